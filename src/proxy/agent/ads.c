#include "proxy/agent/ads.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "proxy/agent/backoff.h"
#include "proxy/agent/grpc_call.h"

enum {
    MESSAGE_BYTES_MAX = 64 << 20,
    REPORT_BYTES_MAX = 16384,
    REFUSAL_BYTES_MAX = 8192,
    STABLE_US = 5 * 1000 * 1000,
};

/* Between refusals of what a server sends again and again. */
static const struct backoff_range refusals = {50 * 1000, 1000 * 1000};
static const struct backoff_range retries = {100 * 1000, 5 * 1000 * 1000};

struct ads {
    struct ads_args args;
    struct ads_client *client;
    struct channel *channel;        /* connecting or open */
    struct channel *next;           /* to take its place; connecting */
    struct grpc_call *stream;       /* NULL: none */
    struct timer timer;             /* the next try */
    struct timer held;              /* then answers go out that wait */
    struct timer next_timer;        /* until `next` is opened */
    uint64_t until_s, next_until_s; /* when the certificates of both are over; 0: not known */
    unsigned failures;
    uint64_t opened_us;
    bool is_connected, is_ending;
    struct ads_counts counts;
    struct str_buf refusals[RESOURCE_TYPE_COUNT]; /* of the last response of each type */
    struct str_buf report;                        /* the last that was told or is to be */
};

static void connect_now(struct ads *a);

/* --- the stream --- */

static void on_send(void *ctx, struct str message)
{
    struct ads *a = ctx;
    if (a->stream != NULL)
        grpc_call_send(a->stream, message);
}

static void on_update(void *ctx, const struct ads_update *update)
{
    struct ads *a = ctx;
    a->args.on_update(a->args.ctx, update);
}

static void on_answered(void *ctx, enum resource_type type, struct str why)
{
    struct ads *a = ctx;
    str_buf_reset(&a->refusals[type]);
    if (why.len == 0) {
        a->counts.accepted++;
        return;
    }
    a->counts.refused++;
    str_buf_add(&a->refusals[type], why);
    log_event(LOG_WARN, "xds_refused", LFC("type", resource_type_name(type)),
              LF("authority", a->args.authority), LF("reason", why));
}

static void on_held(void *ctx, enum resource_type type, unsigned times)
{
    struct ads *a = ctx;
    (void)type;
    if (!timer_is_started(&a->held))
        timer_start(a->args.turn, &a->held,
                    backoff_us(&refusals, times, turn_random(a->args.turn)));
}

static void on_held_timer(struct timer *t)
{
    struct ads *a = CONTAINER_OF(t, struct ads, held);
    for (unsigned i = 0; i < RESOURCE_TYPE_COUNT; i++)
        ads_client_release(a->client, (enum resource_type)i);
}

static void on_ignored(void *ctx, struct str type_url, struct str why)
{
    struct ads *a = ctx;
    a->counts.ignored++;
    log_event(LOG_WARN, "xds_ignored", LF("type_url", type_url), LF("authority", a->args.authority),
              LF("reason", why));
}

static const struct ads_client_ops client_ops = {
    .send = on_send,
    .on_update = on_update,
    .on_answered = on_answered,
    .on_held = on_held,
    .on_ignored = on_ignored,
};

static bool on_message(void *ctx, struct grpc_call *c, struct str message)
{
    struct ads *a = ctx;
    if (c != a->stream)
        return false;
    return ads_client_recv(a->client, message) == 0;
}

static void set_connected(struct ads *a, bool is_connected)
{
    if (a->is_connected == is_connected)
        return;
    a->is_connected = is_connected;
    if (!is_connected)
        ads_client_disconnected(a->client);
    if (!a->is_ending)
        a->args.on_connected(a->args.ctx, is_connected);
}

static void retry_later(struct ads *a)
{
    set_connected(a, false);
    a->channel = channel_close(a->channel);
    a->next = channel_close(a->next);
    timer_stop(&a->next_timer);
    if (a->is_ending)
        return;
    if (a->opened_us != 0 && turn_now_us(a->args.turn) - a->opened_us >= STABLE_US)
        a->failures = 0;
    a->opened_us = 0;
    timer_start(a->args.turn, &a->timer,
                backoff_us(&retries, a->failures++, turn_random(a->args.turn)));
}

static void on_stream_end(void *ctx, struct grpc_call *c, int status, struct str why)
{
    struct ads *a = ctx;
    char number[16];
    if (c != a->stream)
        return;
    a->stream = NULL;
    snprintf(number, sizeof number, "%d", status);
    if (!a->is_ending)
        log_event(LOG_WARN, "ads_stream_ended", LFC("grpc_status", number), LF("reason", why));
    retry_later(a);
}

static const struct grpc_call_ops stream_ops = {.on_message = on_message, .on_end = on_stream_end};

/* --- reports --- */

static bool on_report_message(void *ctx, struct grpc_call *c, struct str message)
{
    (void)ctx;
    (void)c;
    (void)message;
    return true;
}

static void on_report_end(void *ctx, struct grpc_call *c, int status, struct str why)
{
    (void)ctx;
    (void)c;
    if (status != 0)
        log_event(LOG_DEBUG, "report_refused", LF("reason", why));
}

static const struct grpc_call_ops report_ops = {.on_message = on_report_message,
                                                .on_end = on_report_end};

static void send_report(struct ads *a)
{
    if (a->report.len == 0 || !a->is_connected)
        return;
    struct grpc_call *c =
        grpc_call_start(a->args.turn, channel_client(a->channel),
                        &(struct grpc_call_args){.path = STR("/tulle.mesh.v1.Agent/Report"),
                                                 .authority = a->args.authority,
                                                 .is_plain = !a->args.is_tls,
                                                 .message_bytes_max = REPORT_BYTES_MAX,
                                                 .ops = &report_ops,
                                                 .ctx = a});
    grpc_call_send(c, str_buf_str(&a->report));
    grpc_call_end(c);
}

void ads_report(struct ads *a, struct str state_json)
{
    if (str_eq(str_buf_str(&a->report), state_json))
        return;
    str_buf_reset(&a->report);
    str_buf_add(&a->report, state_json);
    send_report(a);
}

/* --- the connection --- */

#define SERVICE "/envoy.service."

/* Of each type: state of the world, delta. The directory is ours, and aggregated only. */
static const char *const single_paths[RESOURCE_TYPE_COUNT][2] = {
    [RESOURCE_LISTENER] = {SERVICE "listener.v3.ListenerDiscoveryService/StreamListeners",
                           SERVICE "listener.v3.ListenerDiscoveryService/DeltaListeners"},
    [RESOURCE_ROUTE] = {SERVICE "route.v3.RouteDiscoveryService/StreamRoutes",
                        SERVICE "route.v3.RouteDiscoveryService/DeltaRoutes"},
    [RESOURCE_CLUSTER] = {SERVICE "cluster.v3.ClusterDiscoveryService/StreamClusters",
                          SERVICE "cluster.v3.ClusterDiscoveryService/DeltaClusters"},
    [RESOURCE_ENDPOINTS] = {SERVICE "endpoint.v3.EndpointDiscoveryService/StreamEndpoints",
                            SERVICE "endpoint.v3.EndpointDiscoveryService/DeltaEndpoints"},
    [RESOURCE_SECRET] = {SERVICE "secret.v3.SecretDiscoveryService/StreamSecrets",
                         SERVICE "secret.v3.SecretDiscoveryService/DeltaSecrets"},
};

static struct str stream_path(const struct ads_args *args)
{
    if (args->is_single)
        return str_from_c(single_paths[args->type][args->is_sotw ? 0 : 1]);
    return args->is_sotw ? STR(SERVICE "discovery.v3.AggregatedDiscoveryService/"
                                       "StreamAggregatedResources")
                         : STR(SERVICE "discovery.v3.AggregatedDiscoveryService/"
                                       "DeltaAggregatedResources");
}

static void start_stream(struct ads *a)
{
    a->opened_us = turn_now_us(a->args.turn);
    a->stream = grpc_call_start(a->args.turn, channel_client(a->channel),
                                &(struct grpc_call_args){.path = stream_path(&a->args),
                                                         .authority = a->args.authority,
                                                         .is_plain = !a->args.is_tls,
                                                         .message_bytes_max = MESSAGE_BYTES_MAX,
                                                         .ops = &stream_ops,
                                                         .ctx = a});
    log_event(LOG_INFO, "ads_connected", LF("authority", a->args.authority));
    ads_client_connected(a->client);
    set_connected(a, true);
    send_report(a);
}

/* The stream before has nothing more to say: what it had is told to the one that follows. */
static void take_next(struct ads *a)
{
    struct channel *old = a->channel;
    a->channel = a->next;
    a->next = NULL;
    a->until_s = a->next_until_s;
    a->stream = NULL;
    timer_stop(&a->timer);
    timer_stop(&a->held);
    channel_close(old);
    if (a->is_connected)
        ads_client_disconnected(a->client);
    start_stream(a);
}

static void on_open(void *ctx, struct channel *c)
{
    struct ads *a = ctx;
    if (c == a->next)
        take_next(a);
    else
        start_stream(a);
}

static void on_close(void *ctx, struct channel *c, struct str why)
{
    struct ads *a = ctx;
    log_event(LOG_WARN, "ads_not_connected", LF("reason", why));
    if (c == a->next) {
        a->next = NULL;
        timer_start(a->args.turn, &a->next_timer, retries.last_us);
        return;
    }
    a->channel = NULL;
    if (a->stream == NULL)
        retry_later(a); /* else the stream's end does */
}

static const struct channel_ops channel_ops = {.on_open = on_open, .on_close = on_close};

static struct channel *open_channel(struct ads *a, struct tls_context *tls)
{
    return channel_open(a->args.turn, &(struct channel_args){.to = a->args.to,
                                                             .tls = tls,
                                                             .sni = a->args.sni,
                                                             .sans = a->args.sans,
                                                             .san_count = a->args.san_count,
                                                             .mark = a->args.mark,
                                                             .limits = a->args.limits,
                                                             .ops = &channel_ops,
                                                             .ctx = a});
}

static uint64_t until_s(const struct ads *a)
{
    return a->args.is_tls && a->args.tls_until_s != NULL ? a->args.tls_until_s(a->args.ctx) : 0;
}

static void connect_now(struct ads *a)
{
    struct tls_context *tls = a->args.is_tls ? a->args.tls(a->args.ctx) : NULL;
    if (a->args.is_tls && tls == NULL) {
        retry_later(a);
        return;
    }
    a->until_s = until_s(a);
    a->channel = open_channel(a, tls);
}

/* Only in place of one that works; else the next try has the new certificate anyway. */
static void on_next(struct timer *t)
{
    struct ads *a = CONTAINER_OF(t, struct ads, next_timer);
    struct tls_context *tls = a->args.tls(a->args.ctx);
    if (!a->is_connected || a->next != NULL || tls == NULL || until_s(a) == a->until_s)
        return;
    a->next_until_s = until_s(a);
    a->next = open_channel(a, tls);
}

void ads_tls_changed(struct ads *a)
{
    enum { PERCENT_MIN = 10, PERCENT_SPREAD = 50 }; /* of what is left: not all at once */
    uint64_t now_us = turn_wall_us(a->args.turn), until_us = a->until_s * 1000000;
    if (until_us == 0 || until_s(a) == a->until_s)
        return;
    uint64_t left_us = until_us > now_us ? until_us - now_us : 0;
    uint32_t percent = PERCENT_MIN + random_below(turn_random(a->args.turn), PERCENT_SPREAD);
    timer_start(a->args.turn, &a->next_timer, left_us / 100 * percent);
}

static void on_timer(struct timer *t)
{
    connect_now(CONTAINER_OF(t, struct ads, timer));
}

struct ads *ads_new(const struct ads_args *args)
{
    struct ads *a = NEW(struct ads);
    a->args = *args;
    a->report = STR_BUF_INIT(REPORT_BYTES_MAX);
    for (unsigned i = 0; i < RESOURCE_TYPE_COUNT; i++)
        a->refusals[i] = STR_BUF_INIT(REFUSAL_BYTES_MAX);
    timer_init(&a->timer, on_timer);
    timer_init(&a->held, on_held_timer);
    timer_init(&a->next_timer, on_next);
    a->client = ads_client_new(&(struct ads_client_args){
        .node_id = args->node_id,
        .node_cluster = args->node_cluster,
        .node_metadata_json = args->node_metadata_json,
        .user_agent = STR("tulle-proxy/" TULLE_VERSION),
        .is_sotw = args->is_sotw,
        .ops = &client_ops,
        .ctx = a,
    });
    return a;
}

struct ads *ads_free(struct ads *a)
{
    if (a == NULL)
        return NULL;
    /* What still comes from the connection in the last turns finds no stream of ours. */
    a->is_ending = true;
    timer_stop(&a->timer);
    timer_stop(&a->next_timer);
    channel_close(a->next);
    channel_close(a->channel);
    for (int i = 0; i < 4; i++)
        turn_once(a->args.turn, 0);
    ads_client_free(a->client);
    str_buf_deinit(&a->report);
    for (unsigned i = 0; i < RESOURCE_TYPE_COUNT; i++)
        str_buf_deinit(&a->refusals[i]);
    free(a);
    return NULL;
}

void ads_start(struct ads *a)
{
    if (a->channel == NULL && !timer_is_started(&a->timer))
        timer_start(a->args.turn, &a->timer, 0);
}

struct ads_client *ads_client_of(struct ads *a)
{
    return a->client;
}

bool ads_is_connected(const struct ads *a)
{
    return a->is_connected;
}

struct ads_counts ads_counts(const struct ads *a)
{
    return a->counts;
}

struct str ads_refusal(const struct ads *a, enum resource_type type)
{
    return str_buf_str(&a->refusals[type]);
}
