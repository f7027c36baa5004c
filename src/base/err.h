/* The one list of errors. Functions return 0 or -ERR_X; errno becomes one of these in io/ and
 * travels no further. Expected outcomes (a parser that wants more bytes) are no errors. */
#pragma once

#include <stdbool.h>

enum err {
    ERR_NONE = 0,
#define ERR(name, class, retryable, text) ERR_##name,
#include "base/err.def"
#undef ERR
    ERR_COUNT,
};

enum err_class {
    ERR_CLASS_INTERNAL,
    ERR_CLASS_SYSTEM,
    ERR_CLASS_PEER,
    ERR_CLASS_INPUT,
    ERR_CLASS_DENIED,
    ERR_CLASS_LIMIT,
    ERR_CLASS_GONE,
    ERR_CLASS_TIMEOUT,
};

/* All take the error with either sign. */
const char *err_text(int err); /* "connection refused" */
const char *err_name(int err); /* "REFUSED" */
enum err_class err_class(int err);
bool err_is_retryable(int err);

/* The error that stands for an errno value, negative. */
int err_from_errno(int errno_value);
