#include "mesh/xds/codec.h"

#include "base/err.h"
#include "mesh/xds/codec_priv.h"
#include "mesh/xds/pb_check.h"

enum {
    WIRE_LEN_MAX = 16 << 20,
    SCRATCH_BLOCK_LEN = 16 << 10,
    TREE_PER_WIRE = 4, /* bytes of an unpacked message to its bytes on the wire */
};

struct codec_ops {
    const ProtobufCMessageDescriptor *descriptor;
    int (*decode)(struct decode *d, const struct pb_path *at, const void *message,
                  struct str *ret_name, const void **ret_body);
    ProtobufCMessage *(*encode)(struct encode *e, struct str name, const void *body);
};

static const struct codec_ops ops[RESOURCE_TYPE_COUNT] = {
    [RESOURCE_LISTENER] = {&pb__listener__listener__descriptor, decode_listener, encode_listener},
    [RESOURCE_ROUTE] = {&pb__route__route_configuration__descriptor, decode_route_config,
                        encode_route_config},
    [RESOURCE_CLUSTER] = {&pb__cluster__cluster__descriptor, decode_cluster, encode_cluster},
    [RESOURCE_ENDPOINTS] = {&pb__endpoint__cluster_load_assignment__descriptor, decode_endpoints,
                            encode_endpoints},
    [RESOURCE_SECRET] = {&pb__tls__secret__descriptor, decode_secret, encode_secret},
    [RESOURCE_DIRECTORY] = {&pb__directory__directory__descriptor, decode_directory,
                            encode_directory},
};

const ProtobufCMessageDescriptor *codec_descriptor(enum resource_type type)
{
    ASSERT(type < RESOURCE_TYPE_COUNT);
    return ops[type].descriptor;
}

/* Stable over processes and restarts: it is the version that both sides compare. */
uint64_t xds_hash(struct str wire)
{
    return str_hash(wire, 0);
}

/* --- decoding --- */

/* What the decoder leaves in the resource besides its body. */
static void finish_resource(struct resource *r, const struct decode *d)
{
    r->hash = xds_hash(d->wire);
    r->version = arena_printf(&r->arena, "%016llx", (unsigned long long)r->hash);
    r->wire = d->wire;
    struct resource_ref *refs = ARENA_ARRAY(&r->arena, struct resource_ref, d->refs.len);
    size_t count = 0;
    for (unsigned type = 0; type < RESOURCE_TYPE_COUNT; type++) {
        for (size_t i = 0; i < d->refs.len; i++) {
            if (d->refs.ptr[i].type == type)
                refs[count++] = d->refs.ptr[i];
        }
    }
    r->refs = refs;
    r->ref_count_out = count;
}

static int decode_into(struct resource *r, struct decode *d, struct str wire,
                       const struct pb_path *at)
{
    const struct codec_ops *o = &ops[r->type];
    int rc = pb_check(o->descriptor, wire, PB_CHECK_STRICT, at, d->why);
    if (rc != 0)
        return rc;
    const void *message = pb_unpack(d->scratch, o->descriptor, wire);
    if (message == NULL)
        return decode_fail(d, at, "malformed %s, or too large", o->descriptor->name);
    d->wire = arena_str(&r->arena, wire);
    rc = o->decode(d, at, message, &r->name, &r->body);
    if (rc == 0)
        finish_resource(r, d);
    return rc;
}

int codec_decode(enum resource_type type, struct str wire, const struct pb_path *at,
                 bool may_read_files, struct str_buf *why, struct resource **ret_resource)
{
    if (wire.len > WIRE_LEN_MAX) {
        (void)pb_path_fail(at, why, "larger than %d bytes", WIRE_LEN_MAX);
        return -ERR_TOO_LARGE;
    }
    struct arena scratch;
    /* One block for a large message: it comes from the system and goes back whole, where many small
     * ones would leave holes between what stays. */
    arena_init(&scratch, MAX((size_t)SCRATCH_BLOCK_LEN, wire.len * TREE_PER_WIRE));
    struct resource *r = resource_new(type, STR_NULL);
    struct decode d = {
        .arena = &r->arena, .scratch = &scratch, .why = why, .may_read_files = may_read_files};
    for (unsigned i = 0; i < RESOURCE_TYPE_COUNT; i++)
        map_init(&d.seen_refs[i]);
    int rc = decode_into(r, &d, wire, at);
    for (unsigned i = 0; i < RESOURCE_TYPE_COUNT; i++)
        map_deinit(&d.seen_refs[i]);
    VEC_DEINIT(&d.refs);
    arena_deinit(&scratch);
    if (rc != 0) {
        resource_unref(r);
        return rc;
    }
    *ret_resource = r;
    return 0;
}

int xds_decode(enum resource_type type, struct str wire, struct str_buf *why,
               struct resource **ret_resource)
{
    return codec_decode(type, wire, PB_AT(NULL, ""), false, why, ret_resource);
}

/* --- encoding --- */

int xds_encode(enum resource_type type, struct str name, const void *body, enum xds_dialect dialect,
               struct str_buf *to)
{
    ASSERT(type < RESOURCE_TYPE_COUNT);
    struct arena scratch;
    arena_init(&scratch, SCRATCH_BLOCK_LEN);
    struct encode e = {.arena = &scratch, .dialect = dialect};
    ProtobufCMessage *m = ops[type].encode(&e, name, body);
    if (e.rc == 0)
        pb_pack(m, to);
    arena_deinit(&scratch);
    if (e.rc != 0)
        return e.rc;
    return to->is_overflown ? -ERR_TOO_LARGE : 0;
}
