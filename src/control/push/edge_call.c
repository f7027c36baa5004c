/* gRPC calls: xDS streams, and the one-shot ones. */
#include "control/push/edge_priv.h"

enum {
    MESSAGE_BYTES_MAX = 4 * 1024 * 1024, /* of an xDS stream, whose peer is known */
    UNARY_BYTES_MAX = 64 * 1024,
    ANSWER_BYTES_MAX = 256 * 1024,
};

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

static void respond(struct edge_call *c)
{
    static const struct http_field type = {
        {"content-type", 12}, {"application/grpc", 16}, HTTP_NAME_CONTENT_TYPE};
    if (c->is_responded)
        return;
    c->is_responded = true;
    service_respond(c->s, 200, &type, 1);
}

static void send_message(struct edge_call *c, struct str message)
{
    struct chain out;
    chain_init(&out, turn_chunks(c->edge->turn), NULL);
    grpc_frame(&out, message);
    respond(c);
    service_write(c->s, &out);
    chain_deinit(&out);
}

static void finish(struct edge_call *c, enum grpc_status status, struct str why)
{
    struct arena *a = &service_exchange(c->s)->arena;
    if (c->is_done)
        return;
    c->is_done = true;
    struct http_field trailers[2] = {
        {STR("grpc-status"), arena_printf(a, "%d", (int)status), HTTP_NAME_GRPC_STATUS},
        {STR("grpc-message"), grpc_message_encode(why, a), HTTP_NAME_GRPC_MESSAGE},
    };
    respond(c);
    service_end(c->s, trailers, why.len > 0 ? 2 : 1);
}

/* --- what the brain asks of the stream --- */

static void stream_send(void *ctx, struct str message)
{
    struct edge_call *c = ctx;
    if (!c->is_done)
        send_message(c, message);
}

static bool stream_has_room(void *ctx)
{
    const struct edge_call *c = ctx;
    return !c->is_done && service_room(c->s) > 0;
}

static void stream_end(void *ctx, enum grpc_status status, struct str why)
{
    finish(ctx, status, why);
}

static const struct push_stream_ops stream_ops = {
    .send = stream_send,
    .has_room = stream_has_room,
    .end = stream_end,
};

/* --- one message --- */

/* A leaf is renewed while it is valid, not for as long as a connection lasts that it opened. */
static struct str renewing_identity(const struct edge_call *c)
{
    uint64_t now_s = turn_wall_us(c->edge->turn) / 1000000;
    return now_s < c->peer.not_after_s ? c->peer.identity : STR_NULL;
}

static void take_unary(struct edge_call *c, struct str message)
{
    struct str_buf answer = STR_BUF_INIT(ANSWER_BYTES_MAX), why = STR_BUF_INIT(PUSH_REASON_LEN_MAX);
    struct push *p = c->edge->push;
    enum grpc_status status = GRPC_OK;
    if (c->method == EDGE_CREATE_CERTIFICATE)
        status = push_create_certificate(p, renewing_identity(c), c->token, message, &answer, &why);
    else if (c->method == EDGE_REPORT)
        status = push_report(p, c->peer.identity, message, &why);
    else
        str_buf_add(&answer, ca_bundle(p->ca));
    if (status == GRPC_OK)
        send_message(c, str_buf_str(&answer));
    finish(c, status, str_buf_str(&why));
    str_buf_deinit(&answer);
    str_buf_deinit(&why);
}

static void take_messages(struct edge_call *c)
{
    int rc = 0;
    size_t max = c->method == EDGE_XDS ? MESSAGE_BYTES_MAX : UNARY_BYTES_MAX;
    while (!c->is_done && (rc = grpc_deframe(&c->in, max, &c->message)) == 1) {
        if (c->method == EDGE_XDS)
            push_stream_recv(c->stream, str_buf_str(&c->message));
        else
            take_unary(c, str_buf_str(&c->message));
    }
    if (rc < 0)
        finish(c, rc == -ERR_TOO_LARGE ? GRPC_RESOURCE_EXHAUSTED : GRPC_UNIMPLEMENTED,
               str_from_c(err_text(rc)));
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

static void on_head(void *service, struct service_stream *s, const struct http_head *head)
{
    struct edge *e = service;
    struct edge_call *c = service_exchange(s)->ctx;
    c->s = s;
    const struct method *m = method_of(head);
    c->method = m != NULL ? m->method : EDGE_NONE;
    c->token = bearer(head);
    if (c->is_local)
        c->peer.identity = http_head_get_named(head, STR("x-tulle-identity"));
    c->message = STR_BUF_INIT(MESSAGE_BYTES_MAX + 1);
    chain_init(&c->in, turn_chunks(e->turn), NULL);
    service_set_ctx(s, c);
    if (!head->is_grpc && !http_is_grpc_type(http_head_get(head, HTTP_NAME_CONTENT_TYPE))) {
        c->is_done = true;
        service_reply(s, 415, STR("text/plain"), STR("gRPC only\n"));
    } else if (c->method == EDGE_NONE) {
        finish(c, GRPC_UNIMPLEMENTED, STR("no such method"));
    } else if (!is_for_strangers(c->method) && c->peer.identity.len == 0) {
        finish(c, GRPC_UNAUTHENTICATED, STR("needs a client certificate of the mesh"));
    } else if (c->method == EDGE_XDS) {
        c->stream = push_stream_open(e->push, &c->peer, &m->call, &stream_ops, c);
        respond(c);
    }
}

static void on_body(void *service, struct service_stream *s, struct chain *body, bool is_ended)
{
    struct edge_call *c = service_ctx(s);
    (void)service;
    if (c->is_done) {
        chain_clear(body);
        return;
    }
    chain_move(&c->in, body, body->len);
    take_messages(c);
    if (is_ended && !c->is_done)
        finish(c, c->method == EDGE_XDS ? GRPC_OK : GRPC_INVALID_ARGUMENT,
               c->method == EDGE_XDS ? STR_NULL : STR("no message"));
}

static void on_room(void *service, struct service_stream *s)
{
    const struct edge_call *c = service_ctx(s);
    (void)service;
    if (c->stream != NULL && !c->is_done)
        push_stream_room(c->stream);
}

static void on_end(void *service, struct service_stream *s, int err)
{
    struct edge_call *c = service_ctx(s);
    (void)service;
    (void)err;
    c->is_done = true;
    if (c->stream != NULL)
        c->stream = push_stream_close(c->stream);
    str_buf_deinit(&c->message);
    chain_deinit(&c->in);
}

const struct service_ops edge_call_ops = {
    .on_head = on_head,
    .on_body = on_body,
    .on_room = on_room,
    .on_end = on_end,
};
