#include "mesh/xds/ads_server.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/map.h"
#include "base/vec.h"
#include "mesh/xds/ads_node.h"
#include "mesh/xds/pb_check.h"

enum {
    REQUEST_LEN_MAX = 16 << 20,
    NAME_LEN_MAX = 1024,
    SUBSCRIPTIONS_MAX = 10000, /* per type and stream */
    BLOCK_LEN = 4096,
};

struct type_state {
    struct map names; /* subscribed to; the value only says that it is there */
    bool is_requested;
};

struct sent {
    uint64_t number;
    enum resource_type type;
};

struct ads_stream {
    struct ads_stream_ops ops;
    void *ctx;
    struct type_state types[RESOURCE_TYPE_COUNT];
    bool has_node;
    uint64_t last_response;
    VEC(struct sent) unanswered;
};

struct ads_stream *ads_stream_new(const struct ads_stream_ops *ops, void *ctx)
{
    struct ads_stream *s = NEW(struct ads_stream);
    s->ops = *ops;
    s->ctx = ctx;
    for (unsigned i = 0; i < RESOURCE_TYPE_COUNT; i++)
        map_init(&s->types[i].names);
    return s;
}

struct ads_stream *ads_stream_free(struct ads_stream *s)
{
    if (s == NULL)
        return NULL;
    for (unsigned i = 0; i < RESOURCE_TYPE_COUNT; i++)
        map_deinit(&s->types[i].names);
    VEC_DEINIT(&s->unanswered);
    free(s);
    return NULL;
}

/* --- requests --- */

static int refuse(struct str_buf *why, const char *text)
{
    if (why != NULL)
        str_buf_add_c(why, text);
    return -ERR_PROTOCOL;
}

static int check_names(char const *const *names, size_t count, struct str_buf *why)
{
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(names[i]);
        if (len == 0 || len > NAME_LEN_MAX)
            return refuse(why, "a resource name is empty or too long");
    }
    return 0;
}

static void take_node(struct ads_stream *s, struct arena *a, const Pb__Core__Node *m)
{
    struct ads_node node = {0};
    if (m != NULL)
        ads_node_decode(a, m, &node);
    const struct ads_request_info info = {
        .node_id = node.id,
        .node_cluster = node.cluster,
        .node_metadata_json = node.metadata_json,
        .user_agent = node.user_agent,
    };
    s->has_node = true;
    s->ops.on_node(s->ctx, &info);
}

/* An answer to a response of ours; the same answer twice says nothing new. */
static int take_answer(struct ads_stream *s, enum resource_type type,
                       const Pb__Discovery__DeltaDiscoveryRequest *m, struct str_buf *why)
{
    uint64_t number;
    if (!str_to_u64(str_from_c(m->response_nonce), UINT64_MAX, &number) ||
        number > s->last_response)
        return refuse(why, "a nonce that was never sent");
    for (size_t i = 0; i < s->unanswered.len; i++) {
        if (s->unanswered.ptr[i].number != number)
            continue;
        if (s->unanswered.ptr[i].type != type)
            return refuse(why, "the nonce belongs to another type");
        VEC_REMOVE_SWAP(&s->unanswered, i);
        if (m->error_detail != NULL)
            s->ops.on_nack(s->ctx, type, number, str_from_c(m->error_detail->message));
        else
            s->ops.on_ack(s->ctx, type, number);
        return 0;
    }
    return 0;
}

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

static int subscribe(struct ads_stream *s, enum resource_type type, struct str name,
                     struct map *versions, struct str_buf *why)
{
    struct type_state *t = &s->types[type];
    if (map_len(&t->names) >= SUBSCRIPTIONS_MAX)
        return refuse(why, "too many subscriptions");
    map_put(&t->names, name, t);
    s->ops.on_subscribe(s->ctx, type, name, str_from_c(map_remove(versions, name)));
    return 0;
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
    return subscribe(s, type, STR("*"), versions, why);
}

static int take_subscriptions(struct ads_stream *s, enum resource_type type,
                              const Pb__Discovery__DeltaDiscoveryRequest *m, struct map *versions,
                              struct str_buf *why)
{
    bool is_first = !s->types[type].is_requested;
    /* The older form of the wildcard: a first request that names nothing. */
    bool is_all =
        is_first && m->n_resource_names_subscribe == 0 && m->n_resource_names_unsubscribe == 0;
    s->types[type].is_requested = true;
    for (size_t i = 0; i < m->n_resource_names_subscribe; i++) {
        struct str name = str_from_c(m->resource_names_subscribe[i]);
        if (str_eq(name, STR("*")))
            is_all = true;
        else if (subscribe(s, type, name, versions, why) != 0)
            return -ERR_PROTOCOL;
    }
    if (is_all && subscribe_all(s, type, versions, why) != 0)
        return -ERR_PROTOCOL;
    for (size_t i = 0; i < m->n_resource_names_unsubscribe; i++) {
        struct str name = str_from_c(m->resource_names_unsubscribe[i]);
        if (map_remove(&s->types[type].names, name) != NULL)
            s->ops.on_unsubscribe(s->ctx, type, name);
    }
    return 0;
}

static int take_request(struct ads_stream *s, struct arena *a, struct str message,
                        struct str_buf *why)
{
    const ProtobufCMessageDescriptor *desc = &pb__discovery__delta_discovery_request__descriptor;
    enum resource_type type;
    if (message.len > REQUEST_LEN_MAX ||
        pb_check(desc, message, PB_CHECK_TOLERANT, NULL, NULL) != 0)
        return refuse(why, "not a DeltaDiscoveryRequest");
    const Pb__Discovery__DeltaDiscoveryRequest *m = pb_unpack(a, desc, message);
    if (m == NULL)
        return refuse(why, "not a DeltaDiscoveryRequest, or too large");
    if (check_names(m->resource_names_subscribe, m->n_resource_names_subscribe, why) != 0 ||
        check_names(m->resource_names_unsubscribe, m->n_resource_names_unsubscribe, why) != 0)
        return -ERR_PROTOCOL;
    if (!s->has_node)
        take_node(s, a, m->node);
    /* Clients of others ask for types that we do not serve; they get nothing of them. */
    if (!resource_type_from_url(str_from_c(m->type_url), &type))
        return 0;
    if (m->response_nonce != NULL && m->response_nonce[0] != '\0' &&
        take_answer(s, type, m, why) != 0)
        return -ERR_PROTOCOL;
    struct map versions;
    int rc = take_subscriptions(s, type, m, index_versions(&versions, m), why);
    map_deinit(&versions);
    return rc;
}

int ads_stream_recv(struct ads_stream *s, struct str message, struct str_buf *why)
{
    struct arena a;
    arena_init(&a, BLOCK_LEN);
    int rc = take_request(s, &a, message, why);
    arena_deinit(&a);
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
    m->resource = arena_alloc(a, sizeof *m->resource);
    pb__any__init(m->resource);
    m->resource->type_url = type_url;
    m->resource->has_value = true;
    m->resource->value.len = item->wire.len;
    m->resource->value.data = (uint8_t *)(uintptr_t)item->wire.ptr; /* packing only reads */
    return m;
}

uint64_t ads_stream_response(struct ads_stream *s, enum resource_type type,
                             const struct ads_item *items, size_t item_count,
                             const struct str *removed, size_t removed_count,
                             struct str_buf *ret_message)
{
    struct arena a;
    arena_init(&a, BLOCK_LEN);
    Pb__Discovery__DeltaDiscoveryResponse m;
    pb__discovery__delta_discovery_response__init(&m);
    uint64_t number = ++s->last_response;
    m.type_url = arena_str(&a, resource_type_url(type)).ptr;
    m.nonce = arena_printf(&a, "%llu", (unsigned long long)number).ptr;
    m.n_resources = item_count;
    m.resources = arena_alloc(&a, sizeof(*m.resources) * (item_count + 1));
    for (size_t i = 0; i < item_count; i++)
        m.resources[i] = new_resource(&a, m.type_url, &items[i]);
    m.n_removed_resources = removed_count;
    m.removed_resources = arena_alloc(&a, sizeof(char *) * (removed_count + 1));
    for (size_t i = 0; i < removed_count; i++)
        m.removed_resources[i] = arena_str(&a, removed[i]).ptr;
    pb_pack(&m.base, ret_message);
    VEC_PUSH(&s->unanswered, ((struct sent){number, type}));
    arena_deinit(&a);
    return number;
}
