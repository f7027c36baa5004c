/* Another reader of JSON, for the fuzz target to compare with. */
#pragma once

#include "base/str.h"

bool json_reference_accepts(struct str text);
