/* Delta: requests say what comes and goes, responses what changed. */
#include "base/err.h"
#include "mesh/xds/ads_server_priv.h"
#include "mesh/xds/pb_check.h"

/* --- requests --- */

static struct map *index_versions(struct map *versions,
                                  const Pb__Discovery__DeltaDiscoveryRequest *m)
{
    map_init(versions);
    for (size_t i = 0; i < m->n_initial_resource_versions; i++) {
        const char *name = m->initial_resource_versions[i]->key;
        const char *version = m->initial_resource_versions[i]->value;
        if (name != NULL && version != NULL && version[0] != '\0')
            map_put(versions, str_from_c(name), (void *)(uintptr_t)version);
    }
    return versions;
}

/* Everything, without a name: what the client has is told beforehand, name by name. */
static int subscribe_all(struct ads_stream *s, enum resource_type type, struct map *versions,
                         struct str_buf *why)
{
    size_t iter = 0;
    struct str name;
    void *version;
    while (s->ops.on_known != NULL && map_next(versions, &iter, &name, &version))
        s->ops.on_known(s->ctx, type, name, str_from_c(version));
    return ads_subscribe(s, type, STR("*"), STR_NULL, why);
}

static int take_subscriptions(struct ads_stream *s, enum resource_type type,
                              const Pb__Discovery__DeltaDiscoveryRequest *m, struct map *versions,
                              struct str_buf *why)
{
    struct ads_type *t = &s->types[type];
    /* The older form of the wildcard: a first request that names nothing. */
    bool is_all = !t->is_requested && m->n_resource_names_subscribe == 0 &&
                  m->n_resource_names_unsubscribe == 0 && ads_has_wildcard(type);
    t->is_requested = true;
    for (size_t i = 0; i < m->n_resource_names_subscribe; i++) {
        struct str name = str_from_c(m->resource_names_subscribe[i]);
        if (str_eq(name, STR("*")) && ads_has_wildcard(type))
            is_all = true;
        else if (ads_subscribe(s, type, name, str_from_c(map_remove(versions, name)), why) != 0)
            return -ERR_PROTOCOL;
    }
    if (is_all && subscribe_all(s, type, versions, why) != 0)
        return -ERR_PROTOCOL;
    for (size_t i = 0; i < m->n_resource_names_unsubscribe; i++) {
        struct str name = str_from_c(m->resource_names_unsubscribe[i]);
        if (map_remove(&t->names, name) != NULL)
            s->ops.on_unsubscribe(s->ctx, type, name);
    }
    return 0;
}

const Pb__Discovery__DeltaDiscoveryRequest *ads_delta_decode(struct arena *a, struct str message,
                                                             struct str_buf *why)
{
    const ProtobufCMessageDescriptor *desc = &pb__discovery__delta_discovery_request__descriptor;
    const Pb__Discovery__DeltaDiscoveryRequest *m = NULL;
    if (message.len <= ADS_REQUEST_LEN_MAX &&
        pb_check(desc, message, PB_CHECK_TOLERANT, NULL, NULL) == 0)
        m = pb_unpack(a, desc, message);
    if (m == NULL) {
        ads_refuse(why, "not a DeltaDiscoveryRequest, or too large");
        return NULL;
    }
    if (ads_check_names(m->resource_names_subscribe, m->n_resource_names_subscribe, why) != 0 ||
        ads_check_names(m->resource_names_unsubscribe, m->n_resource_names_unsubscribe, why) != 0)
        return NULL;
    return m;
}

int ads_delta_serve(struct ads_stream *s, struct arena *a,
                    const Pb__Discovery__DeltaDiscoveryRequest *m, struct str_buf *why)
{
    enum resource_type type;
    uint64_t number;
    int rc;
    ads_take_node(s, a, m->node);
    if (!ads_request_type(s, m->type_url, why, &type, &rc))
        return rc;
    /* A nonce is an answer and no more: subscriptions count whichever it is. */
    if (ads_parse_nonce(s, m->response_nonce, why, &number) != 0 ||
        (number > 0 && ads_take_answer(s, type, number, m->error_detail, why) != 0))
        return -ERR_PROTOCOL;
    struct map versions;
    rc = take_subscriptions(s, type, m, index_versions(&versions, m), why);
    map_deinit(&versions);
    return rc;
}

/* --- responses --- */

static Pb__Discovery__Resource *new_resource(struct arena *a, const char *type_url,
                                             const struct ads_item *item)
{
    Pb__Discovery__Resource *m = arena_alloc(a, sizeof *m);
    pb__discovery__resource__init(m);
    m->name = arena_str(a, item->name).ptr;
    m->version = arena_str(a, item->version).ptr;
    m->resource = ads_any(a, type_url, item->wire);
    return m;
}

const ProtobufCMessage *ads_delta_frame(struct arena *a, const struct ads_response *r,
                                        const char *nonce)
{
    Pb__Discovery__DeltaDiscoveryResponse *m = arena_alloc(a, sizeof *m);
    pb__discovery__delta_discovery_response__init(m);
    m->type_url = arena_str(a, resource_type_url(r->type)).ptr;
    m->nonce = nonce;
    m->n_removed_resources = r->removed_count;
    m->removed_resources = arena_alloc(a, sizeof(char *) * (r->removed_count + 1));
    for (size_t i = 0; i < r->removed_count; i++)
        m->removed_resources[i] = arena_str(a, r->removed[i]).ptr;
    return &m->base;
}

const ProtobufCMessage *ads_delta_resource(struct arena *a, const struct ads_response *r, size_t i)
{
    Pb__Discovery__DeltaDiscoveryResponse *m = arena_alloc(a, sizeof *m);
    pb__discovery__delta_discovery_response__init(m);
    m->n_resources = 1;
    m->resources = arena_alloc(a, sizeof(*m->resources));
    m->resources[0] = new_resource(a, arena_str(a, resource_type_url(r->type)).ptr, &r->items[i]);
    return &m->base;
}
