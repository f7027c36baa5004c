#include "mesh/xds/pb_path.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/err.h"
#include "mesh/xds/pb_wire.h"

enum { TEXT_LEN_MAX = 512, KEY_LEN_MAX = 100 };

static long count_before(const struct pb_path *p)
{
    long count = 0;
    struct str rest = p->before;
    struct pb_field f;
    while (pb_wire_next(&rest, &f) == 1)
        count += f.number == p->number;
    return count;
}

void pb_path_print(const struct pb_path *p, struct str_buf *to)
{
    if (p == NULL)
        return;
    pb_path_print(p->parent, to);
    if (p->name != NULL && p->name[0] != '\0') {
        if (to->len > 0)
            str_buf_add_char(to, '.');
        str_buf_add_c(to, p->name);
    }
    long index = p->before.ptr != NULL ? count_before(p) : p->index;
    if (index >= 0)
        str_buf_printf(to, "[%ld]", index);
    if (p->key.ptr != NULL)
        str_buf_printf(to, "[\"%.*s\"]", (int)MIN(p->key.len, (size_t)KEY_LEN_MAX), p->key.ptr);
}

int pb_path_fail(const struct pb_path *p, struct str_buf *why, const char *fmt, ...)
{
    if (why == NULL || why->len > 0)
        return -ERR_INVALID;
    pb_path_print(p, why);
    if (why->len > 0)
        str_buf_add_c(why, ": ");
    char text[TEXT_LEN_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    str_buf_add_c(why, text);
    return -ERR_INVALID;
}
