/* One stream of a proxy: who it is, what it subscribes to. */
#include <stdlib.h>

#include "base/log.h"
#include "codec/json.h"
#include "control/push/push_priv.h"

static struct str own(struct str s)
{
    return str_from(str_dup_c(s), s.len);
}

static void disown(struct str *s)
{
    free((void *)(uintptr_t)s->ptr);
    *s = STR_NULL;
}

struct str push_stream_name(const struct push_stream *s, struct arena *a)
{
    return arena_printf(a, "%.*s/%.*s/%u", STR_FMT(s->namespace_), STR_FMT(s->workload), s->index);
}

void push_stream_end(struct push_stream *s, enum grpc_status status, const char *why)
{
    if (s->is_ended)
        return;
    s->is_ended = true;
    if (status != GRPC_OK)
        log_event(LOG_WARN, "xds_stream_ended", LF("identity", s->identity),
                  LF("namespace", s->namespace_), LF("workload", s->workload), LFC("reason", why));
    s->ops->end(s->ctx, status, str_from_c(why));
}

void push_stream_mark(struct push_stream *s)
{
    if (!s->is_dirty)
        s->dirty_us = turn_now_us(s->push->turn);
    s->is_dirty = true;
    if (!list_is_linked(&s->dirty_link))
        list_push_back(&s->push->dirty, &s->dirty_link);
    if (!list_is_linked(&s->pending_link))
        list_push_back(&s->push->pending, &s->pending_link);
    turn_soon(s->push->turn, &s->push->task);
}

/* --- subscriptions --- */

struct wild {
    struct push_stream *stream;
    enum resource_type type;
};

static void on_wild_name(void *ctx, struct str name)
{
    const struct wild *w = ctx;
    struct push_sub *sub;
    if (name.len == 0 || name.len > PUSH_NAME_LEN_MAX)
        return;
    sub = push_sub_get(w->stream, w->type, name);
    sub->is_wild = true;
    if (!sub->is_answered)
        push_sub_mark(sub);
}

/* All are taken out first; what stays is put back by its name. */
static void refresh_type(struct push_stream *s, enum resource_type type)
{
    struct translate_viewer v = {s->dialect, s->namespace_, s->workload};
    struct wild w = {s, type};
    struct push_sub *sub;
    for (size_t iter = 0; (sub = push_subs_next(&s->subs, &iter)) != NULL;) {
        if (sub->type == type)
            sub->is_wild = false;
    }
    translate_names(s->push->translate, &v, type, on_wild_name, &w);
    for (size_t iter = 0; (sub = push_subs_next(&s->subs, &iter)) != NULL;) {
        if (sub->type == type && !sub->is_wild && !sub->is_named)
            push_sub_mark(sub);
    }
}

void push_stream_refresh_wild(struct push_stream *s)
{
    s->is_wild_due = false;
    for (int type = 0; type < RESOURCE_TYPE_COUNT; type++) {
        if (s->is_wild[type])
            refresh_type(s, (enum resource_type)type);
    }
}

/* 0: none of ours. */
static uint64_t digest_from(struct str version)
{
    uint64_t digest = 0;
    if (version.len != PUSH_VERSION_LEN_MAX)
        return 0;
    for (size_t i = 0; i < version.len; i++) {
        char c = version.ptr[i];
        bool is_digit = c >= '0' && c <= '9';
        if (!is_digit && (c < 'a' || c > 'f'))
            return 0;
        digest = digest << 4 | (uint64_t)(is_digit ? c - '0' : c - 'a' + 10);
    }
    return digest;
}

static void subscribe_all(struct push_stream *s, enum resource_type type, struct str version)
{
    s->is_wild[type] = s->is_wild_due = true;
    s->is_wild_unanswered[type] = !s->has_known[type];
    s->known_digest[type] = digest_from(version);
    push_stream_mark(s);
}

/* What is done with stays until the client was told so: who does not read must not pile it up. */
static bool has_place(struct push_stream *s, enum resource_type type, struct str name)
{
    bool has_it = s->subs.len < PUSH_SUBS_MAX || push_stream_sub(s, type, name) != NULL;
    if (!has_it)
        push_stream_end(s, GRPC_RESOURCE_EXHAUSTED, "too many subscriptions");
    return has_it;
}

static void on_subscribe(void *ctx, enum resource_type type, struct str name, struct str version)
{
    struct push_stream *s = ctx;
    if (s->is_ended)
        return;
    if (str_eq(name, STR("*"))) {
        subscribe_all(s, type, version);
        return;
    }
    if (name.len > PUSH_NAME_LEN_MAX) {
        push_stream_end(s, GRPC_INVALID_ARGUMENT, "a resource name is too long");
        return;
    }
    if (!has_place(s, type, name))
        return;
    struct push_sub *sub = push_sub_get(s, type, name);
    sub->is_named = true;
    /* Asked for again: it lost what it was sent. */
    push_sub_set_version(sub, version);
    sub->is_answered = version.len > 0;
    push_sub_mark(sub);
}

static void on_known(void *ctx, enum resource_type type, struct str name, struct str version)
{
    struct push_stream *s = ctx;
    if (s->is_ended || name.len > PUSH_NAME_LEN_MAX || !has_place(s, type, name))
        return;
    struct push_sub *sub = push_sub_get(s, type, name);
    sub->is_answered = true;
    push_sub_set_version(sub, version);
    s->has_known[type] = true;
    push_sub_mark(sub);
}

/* A client with a wildcard cannot know whether that stands for the name, too: it is told. */
static void tell_again(struct push_sub *sub)
{
    if (sub->is_wild)
        push_sub_set_version(sub, STR_NULL);
    push_sub_mark(sub);
}

static void on_unsubscribe(void *ctx, enum resource_type type, struct str name)
{
    struct push_stream *s = ctx;
    if (str_eq(name, STR("*"))) {
        size_t iter = 0;
        struct push_sub *sub;
        s->is_wild[type] = false;
        while ((sub = push_subs_next(&s->subs, &iter)) != NULL) {
            if (sub->type == type && !sub->is_named)
                push_sub_free(sub);
        }
        return;
    }
    struct push_sub *sub = name.len <= PUSH_NAME_LEN_MAX ? push_stream_sub(s, type, name) : NULL;
    if (sub == NULL)
        return;
    sub->is_named = false;
    if (s->is_wild[type])
        tell_again(sub);
    else
        push_sub_free(sub);
}

static void on_ack(void *ctx, enum resource_type type, uint64_t number)
{
    push_answered(ctx, type, number, false, STR_NULL);
}

static void on_nack(void *ctx, enum resource_type type, uint64_t number, struct str detail)
{
    struct str_buf reason = STR_BUF_INIT(PUSH_REASON_LEN_MAX);
    str_buf_add_shown(&reason, str_sub(detail, 0, PUSH_REASON_LEN_MAX));
    push_answered(ctx, type, number, true, str_buf_str(&reason));
    str_buf_deinit(&reason);
}

/* --- who it is --- */

struct node {
    struct str namespace_, workload;
    uint64_t index;
    struct ip_addr addresses[2];
    bool is_ready;
    enum xds_dialect dialect;
};

static bool parse_addresses(const struct json *list, struct ip_addr addresses[2])
{
    for (size_t i = 0; i < json_count(list); i++) {
        struct str text;
        struct ip_addr ip;
        if (!json_str(json_at(list, i), &text) || !ip_parse(text, &ip))
            return false;
        struct ip_addr *to = &addresses[ip.family == IP_V4 ? 0 : 1];
        if (to->family == IP_NONE)
            *to = ip;
    }
    return true;
}

/* Who does not say it is known by its name: "gRPC Go", "gRPC C-core", "gRPC Node Pure JS", ... */
static enum xds_dialect dialect_of(struct str said, struct str user_agent)
{
    static const struct {
        struct str name;
        enum xds_dialect dialect;
    } names[] = {
        {{"tulle", 5}, XDS_DIALECT_TULLE},
        {{"envoy", 5}, XDS_DIALECT_ENVOY},
        {{"grpc", 4}, XDS_DIALECT_GRPC},
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (str_eq(said, names[i].name))
            return names[i].dialect;
    }
    return str_starts_with_nocase(user_agent, STR("grpc")) ? XDS_DIALECT_GRPC : XDS_DIALECT_ENVOY;
}

static bool parse_node(struct arena *a, const struct ads_request_info *info, struct node *ret_node)
{
    const struct json *root;
    struct str text = info->node_metadata_json, user_agent = info->user_agent;
    struct node n = {.dialect = XDS_DIALECT_ENVOY};
    if (json_parse(a, text, 64 * 1024, &root, NULL) != 0 ||
        !json_str(json_get(root, "NAMESPACE"), &n.namespace_) ||
        !json_str(json_get(root, "WORKLOAD"), &n.workload) ||
        !json_u64(json_get(root, "INDEX"), &n.index) || n.index >= API_WORKLOAD_REPLICAS_MAX ||
        !parse_addresses(json_get(root, "ADDRESSES"), n.addresses))
        return false;
    (void)json_bool(json_get(root, "READY"), &n.is_ready);
    n.dialect = dialect_of(json_str_or(json_get(root, "DIALECT"), STR_NULL), user_agent);
    *ret_node = n;
    return true;
}

static void join_registry(struct push_stream *s, struct node *n)
{
    struct registry *r = s->push->registry;
    struct registry_replica *replica = registry_replica(r, s->namespace_, s->workload, s->index);
    if (replica != NULL)
        push_group_join(s, replica);
    push_stream_addresses(s, n->addresses);
    int err = registry_replica_connect(r, s->namespace_, s->workload, s->index, n->addresses, s,
                                       &replica);
    if (err != 0) {
        push_stream_end(s, GRPC_FAILED_PRECONDITION, err_text(err));
        return;
    }
    /* Not ready is said by a report only: a stream that comes back ejects nobody. */
    if (n->is_ready)
        registry_replica_set_state(r, replica, REPLICA_READY);
}

static void on_node(void *ctx, const struct ads_request_info *info)
{
    struct push_stream *s = ctx;
    struct arena a;
    struct node n;
    arena_init(&a, 4096);
    if (!parse_node(&a, info, &n)) {
        push_stream_end(s, GRPC_INVALID_ARGUMENT,
                        "node.metadata needs NAMESPACE, WORKLOAD, INDEX and ADDRESSES");
    } else if (registry_is_revoked(s->push->registry, s->identity)) {
        push_stream_end(s, GRPC_PERMISSION_DENIED, "this identity is revoked");
    } else if (push_workload_of(s->push, n.namespace_, n.workload, s->identity) == NULL) {
        push_stream_end(s, GRPC_PERMISSION_DENIED, "this identity is not that Workload's");
    } else {
        s->namespace_ = own(n.namespace_);
        s->workload = own(n.workload);
        s->index = (uint32_t)n.index;
        s->dialect = n.dialect;
        push_workload_join(s);
        join_registry(s, &n);
    }
    arena_deinit(&a);
}

bool push_stream_check(struct push_stream *s)
{
    if (!s->is_check_due)
        return true;
    s->is_check_due = false;
    if (push_workload_of(s->push, s->namespace_, s->workload, s->identity) != NULL)
        return true;
    push_stream_end(s, GRPC_PERMISSION_DENIED, "this identity is no longer that Workload's");
    return false;
}

/* --- life --- */

static const struct ads_stream_ops ads_ops = {
    .on_subscribe = on_subscribe,
    .on_known = on_known,
    .on_unsubscribe = on_unsubscribe,
    .on_ack = on_ack,
    .on_nack = on_nack,
    .on_node = on_node,
};

struct push_stream *push_stream_open(struct push *p, const struct push_peer *peer,
                                     const struct push_call *call,
                                     const struct push_stream_ops *ops, void *ctx)
{
    struct push_stream *s = NEW(struct push_stream);
    s->push = p;
    s->ops = ops;
    s->ctx = ctx;
    s->ads = ads_stream_new(&(struct ads_stream_args){.variant = call->variant,
                                                      .is_single = call->is_single,
                                                      .type = call->type,
                                                      .ops = &ads_ops,
                                                      .ctx = s});
    s->identity = own(peer->identity);
    s->address = peer->address;
    s->not_after_s = peer->not_after_s;
    memcpy(s->root, peer->root, sizeof s->root);
    s->connected_us = turn_now_us(p->turn);
    list_init(&s->waits);
    for (int type = 0; type < RESOURCE_TYPE_COUNT; type++) {
        list_init(&s->dirty[type]);
        list_init(&s->gone[type]);
    }
    list_init(&s->dirty_link);
    list_init(&s->pending_link);
    list_init(&s->paced_link);
    list_init(&s->group);
    push_hold_init(s);
    list_push_back(&p->streams, &s->link);
    p->stream_count++;
    return s;
}

void push_stream_take(struct push_stream *s, const struct ads_request *r)
{
    struct str_buf why = STR_BUF_INIT(PUSH_REASON_LEN_MAX);
    if (!s->is_ended && ads_stream_take(s->ads, r, &why) != 0)
        push_stream_end(s, GRPC_INVALID_ARGUMENT, why.ptr != NULL ? why.ptr : "malformed");
    str_buf_deinit(&why);
}

void push_stream_recv(struct push_stream *s, struct str message)
{
    struct str_buf why = STR_BUF_INIT(PUSH_REASON_LEN_MAX);
    struct ads_request *r = ads_request_decode(ads_stream_variant(s->ads), message, &why);
    if (r != NULL)
        push_stream_take(s, r);
    else
        push_stream_end(s, GRPC_INVALID_ARGUMENT, why.ptr != NULL ? why.ptr : "malformed");
    ads_request_free(r);
    str_buf_deinit(&why);
}

void push_stream_room(struct push_stream *s)
{
    if (s->is_dirty)
        push_stream_mark(s);
}

struct push_stream *push_stream_close(struct push_stream *s)
{
    struct push *p = s->push;
    s->is_ended = true;
    push_wait_gone(s);
    struct registry_replica *r =
        s->workload.len > 0 ? registry_replica(p->registry, s->namespace_, s->workload, s->index)
                            : NULL;
    struct push_stream *other = push_group_leave(s);
    if (r != NULL && r->node == s) {
        r->node = other;
        if (other == NULL) {
            registry_replica_disconnect(p->registry, r, turn_now_us(p->turn));
            /* Leases are equally long: one that runs already ends sooner. */
            if (!timer_is_started(&p->expire_timer) || p->expire_timer.due_us > r->lease_until_us)
                push_expire_soon(p);
        }
    }
    push_subs_deinit(&s->subs);
    push_workload_leave(s);
    for (size_t i = 0; i < s->sent.len; i++)
        push_sent_free(s->sent.ptr[i]);
    VEC_DEINIT(&s->sent);
    push_nacks_free(s);
    push_hold_reset(s);
    push_secret_free(s);
    ads_stream_free(s->ads);
    list_remove(&s->link);
    list_remove(&s->dirty_link);
    list_remove(&s->pending_link);
    list_remove(&s->paced_link);
    disown(&s->identity);
    disown(&s->namespace_);
    disown(&s->workload);
    p->stream_count--;
    free(s);
    return NULL;
}
