#include "mesh/xds/bootstrap.h"

#include <stdlib.h>

#include "base/err.h"
#include "mesh/xds/codec_priv.h"
#include "mesh/xds/overload.h"
#include "mesh/xds/pb_check.h"
#include "mesh/xds/pb_json.h"
#include "mesh/xds/runtime.h"

enum { JSON_LEN_MAX = 16 << 20, WIRE_LEN_MAX = 16 << 20, BLOCK_LEN = 16 << 10 };

struct loader {
    struct bootstrap *b;
    struct decode d; /* for what is not a resource; its arena is the bootstrap's */
};

struct bootstrap *bootstrap_free(struct bootstrap *b)
{
    if (b == NULL)
        return NULL;
    for (size_t i = 0; i < b->resource_count; i++)
        resource_unref(b->resources[i]);
    arena_deinit(&b->arena);
    free(b);
    return NULL;
}

/* --- node and admin --- */

static int load_metadata(struct loader *l, const struct pb_path *at, const Pb__Struct *m)
{
    if (m == NULL)
        return 0;
    AUTO(str_buf_deinit) struct str_buf wire = STR_BUF_INIT(WIRE_LEN_MAX);
    AUTO(str_buf_deinit) struct str_buf text = STR_BUF_INIT(JSON_LEN_MAX);
    struct json_writer w;
    pb_pack(&m->base, &wire);
    json_writer_init(&w, &text, 0);
    pb_json_write(&pb__struct__descriptor, str_buf_str(&wire), &w, NULL);
    if (text.is_overflown)
        return decode_fail(&l->d, at, "too large");
    l->b->node_metadata_json = arena_str(&l->b->arena, str_buf_str(&text));
    return 0;
}

static int load_node(struct loader *l, const Pb__Bootstrap__Bootstrap *m)
{
    const struct pb_path *at = PB_AT(NULL, "node");
    if (m->node == NULL)
        return 0;
    l->b->node_id = decode_str(&l->d, m->node->id);
    l->b->node_cluster = decode_str(&l->d, m->node->cluster);
    return load_metadata(l, PB_AT(at, "metadata"), m->node->metadata);
}

static int load_admin(struct loader *l, const Pb__Bootstrap__Bootstrap *m)
{
    if (m->admin == NULL || m->admin->address == NULL)
        return 0;
    return decode_address(&l->d, PB_AT(PB_AT(NULL, "admin"), "address"), m->admin->address,
                          &l->b->admin);
}

/* --- static resources --- */

static int load_resource(struct loader *l, enum resource_type type, const struct pb_path *at,
                         const ProtobufCMessage *m)
{
    AUTO(str_buf_deinit) struct str_buf wire = STR_BUF_INIT(WIRE_LEN_MAX);
    struct resource *r;
    pb_pack(m, &wire);
    if (wire.is_overflown)
        return decode_fail(&l->d, at, "too large");
    int rc = codec_decode(type, str_buf_str(&wire), at, true, l->d.why, &r);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < l->b->resource_count; i++) {
        if (l->b->resources[i]->type != type || !str_eq(l->b->resources[i]->name, r->name))
            continue;
        (void)decode_fail(&l->d, at, "the name \"%.*s\" is there twice", STR_FMT(r->name));
        resource_unref(r);
        return -ERR_INVALID;
    }
    l->b->resources[l->b->resource_count++] = r;
    return 0;
}

static int load_static(struct loader *l, const Pb__Bootstrap__Bootstrap__StaticResources *m)
{
    const struct pb_path *at = PB_AT(NULL, "static_resources");
    if (m == NULL)
        return 0;
    l->b->resources =
        ARENA_ARRAY(&l->b->arena, struct resource *, m->n_clusters + m->n_listeners + m->n_secrets);
    for (size_t i = 0; i < m->n_secrets; i++) {
        if (load_resource(l, RESOURCE_SECRET, PB_AT_I(at, "secrets", i), &m->secrets[i]->base) != 0)
            return -ERR_INVALID;
    }
    for (size_t i = 0; i < m->n_clusters; i++) {
        if (load_resource(l, RESOURCE_CLUSTER, PB_AT_I(at, "clusters", i), &m->clusters[i]->base) !=
            0)
            return -ERR_INVALID;
    }
    for (size_t i = 0; i < m->n_listeners; i++) {
        if (load_resource(l, RESOURCE_LISTENER, PB_AT_I(at, "listeners", i),
                          &m->listeners[i]->base) != 0)
            return -ERR_INVALID;
    }
    return 0;
}

/* --- dynamic resources --- */

static int load_source(struct loader *l, const struct pb_path *at, const Pb__Core__ConfigSource *m,
                       struct bootstrap_source *ret)
{
    ret->is_set = m != NULL;
    return decode_config_source(&l->d, at, m, true, &ret->source);
}

static int load_dynamic(struct loader *l, const Pb__Bootstrap__Bootstrap__DynamicResources *m)
{
    const struct pb_path *at = PB_AT(NULL, "dynamic_resources");
    struct bootstrap *b = l->b;
    if (m == NULL)
        return 0;
    if (load_source(l, PB_AT(at, "lds_config"), m->lds_config, &b->lds) != 0 ||
        load_source(l, PB_AT(at, "cds_config"), m->cds_config, &b->cds) != 0)
        return -ERR_INVALID;
    b->ads.is_set = m->ads_config != NULL;
    if (b->ads.is_set)
        return decode_api_source(&l->d, PB_AT(at, "ads_config"), m->ads_config, &b->ads.source);
    if ((b->lds.is_set && b->lds.source.cluster.len == 0) ||
        (b->cds.is_set && b->cds.source.cluster.len == 0))
        return decode_fail(&l->d, PB_AT(at, "ads_config"), "needed by lds_config and cds_config");
    return 0;
}

/* --- the whole --- */

static int load_wire(struct loader *l, struct str wire)
{
    const ProtobufCMessageDescriptor *desc = &pb__bootstrap__bootstrap__descriptor;
    int rc = pb_check(desc, wire, PB_CHECK_STRICT, NULL, l->d.why);
    if (rc != 0)
        return rc;
    const Pb__Bootstrap__Bootstrap *m = pb_unpack(l->d.scratch, desc, wire);
    if (m == NULL) {
        str_buf_add_c(l->d.why, "too large");
        return -ERR_TOO_LARGE;
    }
    if (load_node(l, m) != 0 || load_admin(l, m) != 0 || load_static(l, m->static_resources) != 0 ||
        load_dynamic(l, m->dynamic_resources) != 0 ||
        overload_load(&l->d, PB_AT(NULL, "overload_manager"), m->overload_manager,
                      &l->b->overload) != 0 ||
        runtime_load(&l->d, PB_AT(NULL, "layered_runtime"), m->layered_runtime, l->b) != 0)
        return -ERR_INVALID;
    return 0;
}

static int load_json(struct loader *l, struct str json)
{
    const struct json *root;
    struct json_error error;
    int rc = json_parse(l->d.scratch, json, JSON_LEN_MAX, &root, &error);
    if (rc != 0) {
        str_buf_printf(l->d.why, "line %u, column %u: %s", error.line, error.column, error.text);
        return rc;
    }
    AUTO(str_buf_deinit) struct str_buf wire = STR_BUF_INIT(WIRE_LEN_MAX);
    const ProtobufCMessageDescriptor *desc = &pb__bootstrap__bootstrap__descriptor;
    rc = l->d.ignored != NULL ? pb_json_read_tolerant(desc, root, l->d.ignored, l->d.why, &wire)
                              : pb_json_read(desc, root, NULL, l->d.why, &wire);
    return rc != 0 ? rc : load_wire(l, str_buf_str(&wire));
}

int bootstrap_parse(struct str json, struct str_buf *why, struct bootstrap **ret_bootstrap)
{
    return bootstrap_parse_tolerant(json, NULL, why, ret_bootstrap);
}

int bootstrap_parse_tolerant(struct str json, struct str_buf *ignored, struct str_buf *why,
                             struct bootstrap **ret_bootstrap)
{
    struct arena scratch;
    arena_init(&scratch, BLOCK_LEN);
    struct bootstrap *b = NEW(struct bootstrap);
    arena_init(&b->arena, BLOCK_LEN);
    struct loader l = {b,
                       {.arena = &b->arena,
                        .scratch = &scratch,
                        .why = why,
                        .ignored = ignored,
                        .may_read_files = true}};
    int rc = load_json(&l, json);
    arena_deinit(&scratch);
    if (rc != 0) {
        bootstrap_free(b);
        return rc;
    }
    *ret_bootstrap = b;
    return 0;
}
