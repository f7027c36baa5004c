/* For the fuzz targets of resources, one a type: what decodes encodes, decodes again, and prints.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "mesh/xds/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LEN_MAX = 1 << 22 };

static inline void fuzz_check_again(const struct resource *r)
{
    struct str_buf wire = STR_BUF_INIT(LEN_MAX), again = STR_BUF_INIT(LEN_MAX);
    struct str_buf why = STR_BUF_INIT(LEN_MAX), json = STR_BUF_INIT(LEN_MAX);
    struct resource *second = NULL;
    if (xds_to_json(r->type, r->wire, &json) == -ERR_INVALID)
        abort();
    if (xds_encode(r->type, r->name, r->body, XDS_DIALECT_TULLE, &wire) == 0) {
        if (xds_decode(r->type, str_buf_str(&wire), &why, &second) != 0) {
            fprintf(stderr, "does not decode again: %.*s\n", STR_FMT(str_buf_str(&why)));
            abort();
        }
        xds_encode(r->type, second->name, second->body, XDS_DIALECT_TULLE, &again);
        if (!str_eq(str_buf_str(&wire), str_buf_str(&again)))
            abort();
    }
    resource_unref(second);
    str_buf_deinit(&wire);
    str_buf_deinit(&again);
    str_buf_deinit(&why);
    str_buf_deinit(&json);
}

static inline int fuzz_resource(enum resource_type type, const uint8_t *data, size_t size)
{
    struct str_buf why = STR_BUF_INIT(LEN_MAX);
    struct resource *r = NULL;
    if (xds_decode(type, str_from((const char *)data, size), &why, &r) == 0)
        fuzz_check_again(r);
    else if (why.len == 0)
        abort();
    resource_unref(r);
    str_buf_deinit(&why);
    return 0;
}
