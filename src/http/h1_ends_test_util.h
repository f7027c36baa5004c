/* What tests of both HTTP/1 ends say and expect, the peers on both sides being raw. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those before it. */
#include <cmocka.h>

#include "http/h1_ends_util.h"

static void say(struct peer *p, const char *text)
{
    say_bytes(p, str_from_c(text));
    run();
}

/* Compares what came since the last time; "date" fields are left out. */
static void expect(struct peer *p, const char *want)
{
    char *date;

    str_buf_add_c(&p->got, "");
    while (p->got.ptr != NULL && (date = strstr(p->got.ptr, "date: ")) != NULL) {
        char *end = strstr(date, "\r\n") + 2;
        memmove(date, end, strlen(end) + 1);
        p->got.len -= (size_t)(end - date);
    }
    if (strcmp(p->got.ptr != NULL ? p->got.ptr : "", want) != 0)
        fail_msg("want <%s>\ngot  <%s>", want, p->got.ptr != NULL ? p->got.ptr : "");
    str_buf_reset(&p->got);
}

static int teardown(void **state)
{
    end_world();
    return 0;
}

#define C (&w.client)
#define O (&w.origins[0])
#define O2 (&w.origins[1])
