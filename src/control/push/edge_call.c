/* gRPC calls: xDS streams, and the one-shot ones. */
#include "control/push/edge_priv.h"

enum { MESSAGE_KEPT_BYTES = 2 * 1024 };

#define DISCOVERY "/envoy.service."

struct method {
    const char *path;
    enum edge_method method;
    struct push_call call; /* of EDGE_XDS */
};

#define XDS_ALL(name, variant)                                                                     \
    {                                                                                              \
        DISCOVERY name, EDGE_XDS,                                                                  \
        {                                                                                          \
            variant, false, RESOURCE_LISTENER                                                      \
        }                                                                                          \
    }
#define XDS_ONE(name, variant, type)                                                               \
    {                                                                                              \
        DISCOVERY name, EDGE_XDS,                                                                  \
        {                                                                                          \
            variant, true, type                                                                    \
        }                                                                                          \
    }
#define ADS "discovery.v3.AggregatedDiscoveryService/"

static const struct method methods[] = {
    XDS_ALL(ADS "DeltaAggregatedResources", ADS_DELTA),
    XDS_ALL(ADS "StreamAggregatedResources", ADS_SOTW),
    XDS_ONE("listener.v3.ListenerDiscoveryService/DeltaListeners", ADS_DELTA, RESOURCE_LISTENER),
    XDS_ONE("listener.v3.ListenerDiscoveryService/StreamListeners", ADS_SOTW, RESOURCE_LISTENER),
    XDS_ONE("route.v3.RouteDiscoveryService/DeltaRoutes", ADS_DELTA, RESOURCE_ROUTE),
    XDS_ONE("route.v3.RouteDiscoveryService/StreamRoutes", ADS_SOTW, RESOURCE_ROUTE),
    XDS_ONE("cluster.v3.ClusterDiscoveryService/DeltaClusters", ADS_DELTA, RESOURCE_CLUSTER),
    XDS_ONE("cluster.v3.ClusterDiscoveryService/StreamClusters", ADS_SOTW, RESOURCE_CLUSTER),
    XDS_ONE("endpoint.v3.EndpointDiscoveryService/DeltaEndpoints", ADS_DELTA, RESOURCE_ENDPOINTS),
    XDS_ONE("endpoint.v3.EndpointDiscoveryService/StreamEndpoints", ADS_SOTW, RESOURCE_ENDPOINTS),
    XDS_ONE("secret.v3.SecretDiscoveryService/DeltaSecrets", ADS_DELTA, RESOURCE_SECRET),
    XDS_ONE("secret.v3.SecretDiscoveryService/StreamSecrets", ADS_SOTW, RESOURCE_SECRET),
    {"/istio.v1.auth.IstioCertificateService/CreateCertificate", EDGE_CREATE_CERTIFICATE, {0}},
    {"/tulle.mesh.v1.Agent/Report", EDGE_REPORT, {0}},
    /* The roots as PEM, to anybody: who joins compares them with the pin that his token came with.
     */
    {"/tulle.mesh.v1.Agent/Roots", EDGE_ROOTS, {0}},
};

static const struct method *method_of(const struct http_head *head)
{
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        if (str_eq(head->path, str_from_c(methods[i].path)))
            return &methods[i];
    }
    return NULL;
}

/* --- answering --- */

void edge_call_respond(struct edge_call *c)
{
    static const struct http_field type = {
        {"content-type", 12}, {"application/grpc", 16}, HTTP_NAME_CONTENT_TYPE};
    if (c->is_responded)
        return;
    c->is_responded = true;
    service_respond(c->s, 200, &type, 1);
}

void edge_call_finish(struct edge_call *c, enum grpc_status status, struct str why)
{
    struct arena *a = &service_exchange(c->s)->arena;
    if (c->is_done)
        return;
    c->is_done = true;
    struct http_field trailers[2] = {
        {STR("grpc-status"), arena_printf(a, "%d", (int)status), HTTP_NAME_GRPC_STATUS},
        {STR("grpc-message"), grpc_message_encode(why, a), HTTP_NAME_GRPC_MESSAGE},
    };
    edge_call_respond(c);
    service_end(c->s, trailers, why.len > 0 ? 2 : 1);
}

void edge_call_answer(struct edge_call *c, enum grpc_status status, struct str message,
                      struct str why)
{
    if (status == GRPC_OK && !c->is_done) {
        struct chain out;
        chain_init(&out, turn_chunks(c->thread->turn), NULL);
        grpc_frame(&out, message);
        edge_call_respond(c);
        service_write(c->s, &out);
        chain_deinit(&out);
    }
    edge_call_finish(c, status, why);
}

/* --- one message --- */

/* A leaf is renewed while it is valid, not for as long as a connection lasts that it opened. */
static struct str renewing_identity(const struct edge_call *c)
{
    uint64_t now_s = turn_wall_us(c->thread->turn) / 1000000;
    return now_s < c->peer.not_after_s ? c->peer.identity : STR_NULL;
}

/* Signing costs the brain's time, and looking for a token that of its disk: whoever asks for too
 * many is told so here, an identity by its name, a stranger by where he comes from. */
static bool may_ask(struct edge_call *c)
{
    struct edge_thread *t = c->thread;
    const struct ip_addr *ip = &c->peer.address;
    uint64_t now_us = turn_now_us(t->turn);
    bool may =
        c->peer.identity.len > 0
            ? pace_take(&t->certificates, c->peer.identity, now_us)
            : pace_take(&t->strangers,
                        str_from((const char *)ip->bytes, ip->family == IP_V6 ? 8 : 4), now_us);
    if (!may) {
        edge_count(&t->edge->counts.certificates_delayed, 1);
        edge_call_finish(c, GRPC_RESOURCE_EXHAUSTED,
                         STR("too many requests for certificates: ask again later"));
    }
    return may;
}

static void take_xds(struct edge_call *c, struct str message)
{
    struct str_buf why = STR_BUF_INIT(PUSH_REASON_LEN_MAX);
    struct ads_request *r = ads_request_decode(c->call->variant, message, &why);
    if (r != NULL) {
        c->request_count++;
        edge_link_request(c->brain, r);
    } else {
        edge_call_finish(c, GRPC_INVALID_ARGUMENT, str_buf_str(&why));
    }
    str_buf_deinit(&why);
}

static void take_unary(struct edge_call *c, struct str message)
{
    struct str identity =
        c->method == EDGE_CREATE_CERTIFICATE ? renewing_identity(c) : c->peer.identity;
    if (c->request_count > 0 || (c->method != EDGE_REPORT && !may_ask(c)))
        return;
    c->request_count++;
    c->thread->unary_count++;
    c->brain = edge_link_new(c);
    edge_link_unary(c->brain, c->method, identity, c->token, message);
}

/* A stream lives for days: the room of a large message is not kept for the small ones behind it. */
static void take(struct edge_call *c)
{
    if (c->method == EDGE_XDS)
        take_xds(c, str_buf_str(&c->message));
    else
        take_unary(c, str_buf_str(&c->message));
    if (c->message.cap > MESSAGE_KEPT_BYTES) {
        str_buf_deinit(&c->message);
        c->message = STR_BUF_INIT(EDGE_MESSAGE_BYTES + 1);
    }
}

/* --- how fast they are taken --- */

static void on_rested(struct timer *timer)
{
    exchange_wake(service_exchange(CONTAINER_OF(timer, struct edge_call, timer)->s));
}

void edge_call_request_done(struct edge_call *c)
{
    c->request_count--;
    if (!c->is_done)
        exchange_wake(service_exchange(c->s));
}

/* Signing takes the brain a while: it is asked for few at a time, so that others get their turn. */
static bool has_unary_place(struct edge_call *c)
{
    struct edge_thread *t = c->thread;
    if (t->unary_count < EDGE_UNARIES_MAX)
        return true;
    if (!list_is_linked(&c->queued))
        list_push_back(&t->unaries_queued, &c->queued);
    return false;
}

static void wake_next(struct edge_thread *t)
{
    struct edge_call *next = LIST_FIRST(&t->unaries_queued, struct edge_call, queued);
    if (next == NULL || t->unary_count >= EDGE_UNARIES_MAX)
        return;
    list_remove(&next->queued);
    exchange_wake(service_exchange(next->s));
}

void edge_call_unary_done(struct edge_thread *t)
{
    t->unary_count--;
    wake_next(t);
}

/* Who was woken for a place and does not take it, for its message is not whole or it has to rest,
 * or is ending, wakes the next. */
static void pass_place(struct edge_call *c)
{
    if (c->method != EDGE_XDS && c->request_count == 0 && !list_is_linked(&c->queued))
        wake_next(c->thread);
}

/* What may not be taken yet stays where it is: the client's window closes. */
static bool may_take(struct edge_call *c)
{
    uint64_t wait_us;
    if (c->is_done || c->request_count >= EDGE_REQUESTS_MAX || timer_is_started(&c->timer))
        return false;
    if (c->method != EDGE_XDS && !has_unary_place(c))
        return false;
    if (c->conn == NULL || c->is_local || edge_conn_take_token(c->conn, &wait_us))
        return true;
    edge_count(&c->thread->edge->counts.requests_delayed, 1);
    timer_start(c->thread->turn, &c->timer, wait_us);
    return false;
}

/* Small messages are not worth counting; of large ones that are under way a thread holds so many.
 */
static bool charge(struct edge_call *c)
{
    struct edge_thread *t = c->thread;
    size_t bytes = c->part.is_open && c->message.len > EDGE_UNARY_BYTES ? c->message.len : 0;
    t->partial_bytes = t->partial_bytes - c->partial_bytes + bytes;
    c->partial_bytes = bytes;
    return bytes == 0 || t->partial_bytes <= EDGE_PARTIAL_BYTES;
}

static void refuse(struct edge_call *c, enum grpc_status status, const char *why)
{
    edge_count(&c->thread->edge->counts.messages_refused, 1);
    edge_call_finish(c, status, str_from_c(why));
}

static void take_messages(struct edge_call *c, struct chain *body)
{
    int rc = 0;
    size_t max = c->method == EDGE_XDS ? EDGE_MESSAGE_BYTES : EDGE_UNARY_BYTES;
    while (!chain_is_empty(body) && (c->part.is_open || may_take(c)) &&
           (rc = grpc_deframe_part(body, max, &c->part)) == 1)
        take(c);
    if (!charge(c))
        refuse(c, GRPC_RESOURCE_EXHAUSTED, "too many large messages at once: try again later");
    else if (rc < 0)
        refuse(c, rc == -ERR_TOO_LARGE ? GRPC_RESOURCE_EXHAUSTED : GRPC_UNIMPLEMENTED,
               err_text(rc));
}

/* --- service --- */

static struct str bearer(const struct http_head *head)
{
    struct str value = http_head_get_named(head, STR("authorization"));
    return str_starts_with_nocase(value, STR("bearer ")) ? str_trim(str_skip(value, 7)) : STR_NULL;
}

static bool is_for_strangers(enum edge_method method)
{
    return method == EDGE_CREATE_CERTIFICATE || method == EDGE_ROOTS;
}

static void begin(struct edge_call *c, const struct http_head *head)
{
    if (!head->is_grpc && !http_is_grpc_type(http_head_get(head, HTTP_NAME_CONTENT_TYPE))) {
        c->is_done = true;
        service_reply(c->s, 415, STR("text/plain"), STR("gRPC only\n"));
    } else if (c->method == EDGE_NONE) {
        edge_call_finish(c, GRPC_UNIMPLEMENTED, STR("no such method"));
    } else if (!is_for_strangers(c->method) && c->peer.identity.len == 0) {
        edge_call_finish(c, GRPC_UNAUTHENTICATED, STR("needs a client certificate of the mesh"));
    } else if (c->method == EDGE_XDS) {
        c->brain = edge_link_new(c);
        edge_link_open(c->brain, &c->peer, c->call);
        edge_call_respond(c);
    }
}

static void on_head(void *service, struct service_stream *s, const struct http_head *head)
{
    struct edge_call *c = service_exchange(s)->ctx;
    const struct method *m = method_of(head);
    (void)service;
    c->s = s;
    c->method = m != NULL ? m->method : EDGE_NONE;
    c->call = m != NULL ? &m->call : NULL;
    c->token = bearer(head);
    if (c->is_local)
        c->peer.identity = http_head_get_named(head, STR("x-tulle-identity"));
    c->message = STR_BUF_INIT(EDGE_MESSAGE_BYTES + 1);
    c->part.message = &c->message;
    timer_init(&c->timer, on_rested);
    list_init(&c->out);
    list_init(&c->queued);
    service_set_ctx(s, c);
    begin(c, head);
}

static void on_body(void *service, struct service_stream *s, struct chain *body, bool is_ended)
{
    struct edge_call *c = service_ctx(s);
    (void)service;
    if (!c->is_done)
        take_messages(c, body);
    pass_place(c);
    if (c->is_done) {
        chain_clear(body);
        return;
    }
    if (!is_ended || !chain_is_empty(body))
        return;
    if (c->method == EDGE_XDS)
        edge_call_finish(c, GRPC_OK, STR_NULL);
    else if (c->request_count == 0)
        edge_call_finish(c, GRPC_INVALID_ARGUMENT, STR("no message"));
}

static void on_room(void *service, struct service_stream *s)
{
    (void)service;
    edge_out_run(service_ctx(s));
}

static void on_end(void *service, struct service_stream *s, int err)
{
    struct edge_call *c = service_ctx(s);
    (void)service;
    (void)err;
    c->is_done = true; /* its stream is none any more */
    c->thread->partial_bytes -= c->partial_bytes;
    timer_stop(&c->timer);
    list_remove(&c->queued);
    pass_place(c);
    edge_out_drop(c);
    if (c->brain != NULL) {
        edge_link_close(c->brain);
        c->brain = edge_link_unref(c->brain);
    }
    str_buf_deinit(&c->message);
}

const struct service_ops edge_call_ops = {
    .on_head = on_head,
    .on_body = on_body,
    .on_room = on_room,
    .on_end = on_end,
};
