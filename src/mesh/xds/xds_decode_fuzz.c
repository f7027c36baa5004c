/* First byte: the type of the resource. What decodes encodes, decodes again, and prints. */
#include <stdlib.h>

#include "base/err.h"
#include "mesh/xds/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LEN_MAX = 1 << 22 };

static void check_again(const struct resource *r)
{
    struct str_buf wire = STR_BUF_INIT(LEN_MAX), again = STR_BUF_INIT(LEN_MAX);
    struct str_buf why = STR_BUF_INIT(LEN_MAX), json = STR_BUF_INIT(LEN_MAX);
    struct resource *second = NULL;
    if (xds_to_json(r->type, r->wire, &json) == -ERR_INVALID)
        abort();
    if (xds_encode(r->type, r->name, r->body, XDS_DIALECT_TULLE, &wire) == 0) {
        if (xds_decode(r->type, str_buf_str(&wire), &why, &second) != 0)
            abort();
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct str_buf why = STR_BUF_INIT(LEN_MAX);
    struct resource *r = NULL;
    enum resource_type type = (enum resource_type)(data[0] % RESOURCE_TYPE_COUNT);
    struct str wire = str_from((const char *)data + 1, size - 1);
    if (xds_decode(type, wire, &why, &r) == 0)
        check_again(r);
    else if (why.len == 0)
        abort();
    resource_unref(r);
    str_buf_deinit(&why);
    return 0;
}
