#include "base/err.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/util.h"

struct err_row {
    const char *name, *text;
    enum err_class class;
    bool is_retryable;
};

static const struct err_row rows[ERR_COUNT] = {
    [ERR_NONE] = {"NONE", "no error", ERR_CLASS_INTERNAL, false},
#define ERR(name, class, retryable, text)                                                          \
    [ERR_##name] = {#name, text, ERR_CLASS_##class, retryable},
#include "base/err.def"
#undef ERR
};

static const struct err_row *row_of(int err)
{
    if (err < 0 && err > -ERR_COUNT)
        err = -err;
    return &rows[err >= 0 && err < ERR_COUNT ? err : ERR_INTERNAL];
}

const char *err_text(int err)
{
    return row_of(err)->text;
}

const char *err_name(int err)
{
    return row_of(err)->name;
}

enum err_class err_class(int err)
{
    return row_of(err)->class;
}

bool err_is_retryable(int err)
{
    return row_of(err)->is_retryable;
}

static const struct {
    int errno_value;
    enum err err;
} errno_rows[] = {
    {ECONNREFUSED, ERR_REFUSED},
    {ECONNRESET, ERR_RESET},
    {EPIPE, ERR_RESET},
    {ECONNABORTED, ERR_RESET},
    {ETIMEDOUT, ERR_TIMEOUT},
    {EHOSTUNREACH, ERR_UNREACHABLE},
    {ENETUNREACH, ERR_UNREACHABLE},
    {ENETDOWN, ERR_UNREACHABLE},
    {EHOSTDOWN, ERR_UNREACHABLE},
    {EADDRNOTAVAIL, ERR_CONNECT},
    {EACCES, ERR_DENIED},
    {EPERM, ERR_DENIED},
    {ENOENT, ERR_NOT_FOUND},
    {EEXIST, ERR_EXISTS},
    {EADDRINUSE, ERR_EXISTS},
    {EAGAIN, ERR_AGAIN},
    {EINTR, ERR_AGAIN},
    {EINPROGRESS, ERR_AGAIN},
    {ENOSPC, ERR_NO_SPACE},
    {EDQUOT, ERR_NO_SPACE},
    {EMFILE, ERR_LIMIT},
    {ENFILE, ERR_LIMIT},
    {EINVAL, ERR_INVALID},
    {ENAMETOOLONG, ERR_TOO_LARGE},
    {EMSGSIZE, ERR_TOO_LARGE},
    {EFBIG, ERR_TOO_LARGE},
    {EOPNOTSUPP, ERR_UNSUPPORTED},
    {ENOSYS, ERR_UNSUPPORTED},
    {EAFNOSUPPORT, ERR_UNSUPPORTED},
    {ECANCELED, ERR_CANCELED},
    {ENOTCONN, ERR_CLOSED},
    {ESHUTDOWN, ERR_CLOSED},
    {EBADMSG, ERR_CORRUPT},
};

int err_from_errno(int errno_value)
{
    for (size_t i = 0; i < ARRAY_LEN(errno_rows); i++)
        if (errno_rows[i].errno_value == errno_value)
            return -(int)errno_rows[i].err;
    return -ERR_SYSTEM;
}
