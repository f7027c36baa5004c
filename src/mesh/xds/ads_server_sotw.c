/* State of the world: each request repeats all that is subscribed to, and a response of listeners
 * or clusters all that there is. */
#include "base/err.h"
#include "mesh/xds/ads_server_priv.h"
#include "mesh/xds/pb_check.h"

/* --- requests --- */

/* The names of a request, as a set. The wildcard is one of them, by its name or by none at all, the
 * latter for as long as the stream has never named anything of the type. */
static void index_names(struct ads_type *t, enum resource_type type,
                        const Pb__Discovery__DiscoveryRequest *m, struct map *names)
{
    map_init(names);
    t->has_named |= m->n_resource_names > 0;
    if (!t->has_named && ads_has_wildcard(type))
        map_put(names, STR("*"), t);
    for (size_t i = 0; i < m->n_resource_names; i++)
        map_put(names, str_from_c(m->resource_names[i]), t);
}

static void drop_missing(struct ads_stream *s, enum resource_type type, const struct map *names)
{
    struct ads_type *t = &s->types[type];
    size_t iter = 0;
    struct str name;
    while (map_next(&t->names, &iter, &name, NULL)) {
        if (map_get(names, name) != NULL)
            continue;
        /* The callback is told before the key goes. */
        s->ops.on_unsubscribe(s->ctx, type, name);
        map_remove(&t->names, name);
    }
}

/* A version is that of the type as a whole. Whoever comes with names may have come to another set
 * of them since; only a wildcard means the same as on the stream before. */
static struct str version_of(const struct ads_type *t, const struct map *names,
                             const Pb__Discovery__DiscoveryRequest *m)
{
    bool is_wild_only = map_len(names) == 1 && map_get(names, STR("*")) != NULL;
    return !t->is_requested && is_wild_only ? str_from_c(m->version_info) : STR_NULL;
}

static int take_names(struct ads_stream *s, enum resource_type type,
                      const Pb__Discovery__DiscoveryRequest *m, struct str_buf *why)
{
    struct ads_type *t = &s->types[type];
    struct map names;
    size_t iter = 0;
    struct str name;
    int rc = 0;
    index_names(t, type, m, &names);
    struct str version = version_of(t, &names, m);
    t->is_requested = true;
    /* First what comes: what a wildcard and a name both mean is never without either. */
    while (rc == 0 && map_next(&names, &iter, &name, NULL)) {
        if (map_get(&t->names, name) == NULL)
            rc = ads_subscribe(s, type, name, str_eq(name, STR("*")) ? version : STR_NULL, why);
    }
    if (rc == 0)
        drop_missing(s, type, &names);
    map_deinit(&names);
    return rc;
}

/* Who answers a response has seen those before it: they count as accepted, unless it said else. */
static int take_answers(struct ads_stream *s, enum resource_type type, uint64_t number,
                        const Pb__Rpc__Status *error, struct str_buf *why)
{
    for (size_t i = s->unanswered.len; i-- > 0;) {
        struct ads_sent sent = s->unanswered.ptr[i];
        if (sent.type != type || sent.number >= number)
            continue;
        VEC_REMOVE_SWAP(&s->unanswered, i);
        s->ops.on_ack(s->ctx, type, sent.number);
    }
    return ads_take_answer(s, type, number, error, why);
}

const Pb__Discovery__DiscoveryRequest *ads_sotw_decode(struct arena *a, struct str message,
                                                       struct str_buf *why)
{
    const ProtobufCMessageDescriptor *desc = &pb__discovery__discovery_request__descriptor;
    const Pb__Discovery__DiscoveryRequest *m = NULL;
    if (message.len <= ADS_REQUEST_LEN_MAX &&
        pb_check(desc, message, PB_CHECK_TOLERANT, NULL, NULL) == 0)
        m = pb_unpack(a, desc, message);
    if (m == NULL) {
        ads_refuse(why, "not a DiscoveryRequest, or too large");
        return NULL;
    }
    return ads_check_names(m->resource_names, m->n_resource_names, why) == 0 ? m : NULL;
}

int ads_sotw_serve(struct ads_stream *s, struct arena *a, const Pb__Discovery__DiscoveryRequest *m,
                   struct str_buf *why)
{
    enum resource_type type;
    uint64_t number;
    int rc;
    ads_take_node(s, a, m->node);
    if (!ads_request_type(s, m->type_url, why, &type, &rc))
        return rc;
    if (ads_parse_nonce(s, m->response_nonce, why, &number) != 0 ||
        (number > 0 && take_answers(s, type, number, m->error_detail, why) != 0))
        return -ERR_PROTOCOL;
    /* Stale: another response is on its way, whose answer will repeat the names as they are then.
     */
    if (number != s->types[type].last_response)
        return 0;
    return take_names(s, type, m, why);
}

/* --- responses --- */

const ProtobufCMessage *ads_sotw_frame(struct arena *a, const struct ads_response *r,
                                       const char *nonce)
{
    Pb__Discovery__DiscoveryResponse *m = arena_alloc(a, sizeof *m);
    pb__discovery__discovery_response__init(m);
    m->type_url = arena_str(a, resource_type_url(r->type)).ptr;
    m->version_info = arena_str(a, r->version).ptr;
    m->nonce = nonce;
    return &m->base;
}

const ProtobufCMessage *ads_sotw_resource(struct arena *a, const struct ads_response *r, size_t i)
{
    Pb__Discovery__DiscoveryResponse *m = arena_alloc(a, sizeof *m);
    pb__discovery__discovery_response__init(m);
    m->n_resources = 1;
    m->resources = arena_alloc(a, sizeof(*m->resources));
    m->resources[0] = ads_any(a, arena_str(a, resource_type_url(r->type)).ptr, r->items[i].wire);
    return &m->base;
}
