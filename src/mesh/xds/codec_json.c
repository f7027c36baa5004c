/* Resources as JSON: for dumps, and for bootstraps that hold them. */
#include "base/err.h"
#include "mesh/xds/codec.h"
#include "mesh/xds/codec_priv.h"
#include "mesh/xds/pb_check.h"
#include "mesh/xds/pb_json.h"

enum { JSON_LEN_MAX = 16 << 20, WIRE_LEN_MAX = 16 << 20, BLOCK_LEN = 16 << 10 };

int xds_to_json(enum resource_type type, struct str wire, struct str_buf *to)
{
    const ProtobufCMessageDescriptor *desc = codec_descriptor(type);
    if (pb_check(desc, wire, PB_CHECK_STRICT, PB_AT(NULL, ""), NULL) != 0)
        return -ERR_INVALID;
    struct json_writer w;
    json_writer_init(&w, to, 0);
    pb_json_write(desc, wire, &w, NULL);
    return to->is_overflown ? -ERR_TOO_LARGE : 0;
}

static int read_json(struct arena *a, enum resource_type type, struct str json, struct str_buf *why,
                     struct str_buf *wire)
{
    const struct json *root;
    struct json_error error;
    int rc = json_parse(a, json, JSON_LEN_MAX, &root, &error);
    if (rc != 0) {
        str_buf_printf(why, "line %u, column %u: %s", error.line, error.column, error.text);
        return rc;
    }
    return pb_json_read(codec_descriptor(type), root, PB_AT(NULL, ""), why, wire);
}

int xds_from_json(enum resource_type type, struct str json, struct str_buf *why,
                  struct resource **ret_resource)
{
    struct arena a;
    arena_init(&a, BLOCK_LEN);
    AUTO(str_buf_deinit) struct str_buf wire = STR_BUF_INIT(WIRE_LEN_MAX);
    int rc = read_json(&a, type, json, why, &wire);
    if (rc == 0)
        rc = codec_decode(type, str_buf_str(&wire), PB_AT(NULL, ""), true, why, ret_resource);
    arena_deinit(&a);
    return rc;
}
