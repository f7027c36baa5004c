/* Between json.c and json_parser.c. */
#pragma once

#include "codec/json.h"

struct json *json_new(struct arena *a, enum json_type type);
