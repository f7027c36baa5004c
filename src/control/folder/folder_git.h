/* Whether Git is rewriting the checkout that a folder lies in. */
#pragma once

#include <stdbool.h>

/* Git holds index.lock while it replaces the files of a checkout (checkout, reset, merge, pull). */
bool folder_git_is_busy(const char *folder);
