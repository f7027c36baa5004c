/* What is checked before protobuf-c sees a byte, message by message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mesh/xds/pb.h"
#include "mesh/xds/pb_check.h"

#define WIRE(literal)                                                                              \
    {                                                                                              \
        literal, sizeof literal - 1                                                                \
    }

static const struct {
    const ProtobufCMessageDescriptor *descriptor;
    struct str wire;
    const char *strict, *tolerant; /* what it says; NULL: it is well */
} rows[] = {
    /* A number, a string, a message. */
    {&pb__duration__descriptor, WIRE("\x08\x01\x08\x02"), "seconds: there twice", NULL},
    {&pb__duration__descriptor, WIRE("\x08\x01\x10\x02"), NULL, NULL},
    {&pb__cluster__cluster__descriptor,
     WIRE("\x0a\x01"
          "a\x0a\x01"
          "b"),
     "name: there twice", NULL},
    {&pb__cluster__cluster__descriptor, WIRE("\x22\x00\x22\x00"), "connect_timeout: there twice",
     "connect_timeout: there twice"},
    /* Two of a oneof; one of them twice. */
    {&pb__value__descriptor,
     WIRE("\x1a\x01"
          "a\x20\x01"),
     "bool_value: there beside string_value", NULL},
    {&pb__value__descriptor, WIRE("\x2a\x00\x2a\x00"), "struct_value: there twice",
     "struct_value: there twice"},
    /* Keys of a map; an entry without one has the empty one. */
    {&pb__struct__descriptor,
     WIRE("\x0a\x03\x0a\x01"
          "a\x0a\x03\x0a\x01"
          "b"),
     NULL, NULL},
    {&pb__struct__descriptor,
     WIRE("\x0a\x03\x0a\x01"
          "a\x0a\x03\x0a\x01"
          "a"),
     "fields[\"a\"]: there twice", NULL},
    {&pb__struct__descriptor, WIRE("\x0a\x02\x0a\x00\x0a\x00"), "fields[\"\"]: there twice", NULL},
    {&pb__struct__descriptor,
     WIRE("\x0a\x06\x0a\x01"
          "a\x0a\x01"
          "b"),
     "fields[0].key: there twice", NULL},
    /* Lists may repeat what they like. */
    {&pb__list_value__descriptor, WIRE("\x0a\x00\x0a\x00"), NULL, NULL},
};

static void check(enum pb_check_mode mode, size_t i, const char *want)
{
    struct str_buf why = STR_BUF_INIT(1024);
    int rc = pb_check(rows[i].descriptor, rows[i].wire, mode, NULL, &why);
    const char *got = why.len > 0 ? why.ptr : "";
    if ((rc != 0) != (want != NULL) || strcmp(got, want != NULL ? want : "") != 0)
        fail_msg("row %zu, mode %d: \"%s\", not \"%s\"", i, (int)mode, got, want ? want : "");
    str_buf_deinit(&why);
}

static void test_what_is_there_twice(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        check(PB_CHECK_STRICT, i, rows[i].strict);
        check(PB_CHECK_TOLERANT, i, rows[i].tolerant);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_there_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
