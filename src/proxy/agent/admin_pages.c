/* The pages themselves: one table at the end of the file. */
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "codec/json_writer.h"
#include "crypto/x509.h"
#include "mesh/model/secret.h"
#include "mesh/xds/codec.h"
#include "proxy/agent/admin_priv.h"

enum {
    FACE_ALL = 1 << ADMIN_ALL,
    FACE_METRICS = 1 << ADMIN_METRICS,
    FACE_READY = 1 << ADMIN_READY,
    PART_BYTES_MAX = 16 << 20,
};

static struct agent *agent_of(const struct admin_request *r)
{
    return admin_agent(r->admin);
}

/* --- health --- */

static unsigned answer_ready(struct admin_request *r)
{
    struct str_buf why = STR_BUF_INIT(256);
    bool is_ready = agent_is_ready(agent_of(r), &why);
    if (is_ready)
        str_buf_add_c(&r->body, "LIVE\n");
    else
        str_buf_printf(&r->body, "%.*s\n", STR_FMT(str_buf_str(&why)));
    str_buf_deinit(&why);
    return is_ready ? 200 : 503;
}

static unsigned answer_ready_app(struct admin_request *r)
{
    struct str value = admin_query(r, STR("ready"));
    bool is_true = str_eq(value, STR("true"));
    if (!is_true && !str_eq(value, STR("false"))) {
        str_buf_add_c(&r->body, "ready=true or ready=false is needed\n");
        return 400;
    }
    agent_set_app_ready(agent_of(r), is_true);
    str_buf_add_c(&r->body, "OK\n");
    return 200;
}

/* --- metrics --- */

static void collect_metrics(struct worker *w, void *request)
{
    struct admin_request *r = request;
    if (r->metrics == NULL)
        r->metrics = metrics_new(&agent_of(r)->limits);
    metrics_merge(r->metrics, worker_metrics(w));
}

static void add_xds(struct admin_request *r)
{
    const struct agent *a = agent_of(r);
    struct ads_counts counts = {0};
    if (a->sources != NULL)
        counts = sources_counts(a->sources);
    else if (a->ads != NULL)
        counts = ads_counts(a->ads);
    metrics_add(r->metrics, COUNTER_XDS_ACCEPTED, (int64_t)counts.accepted);
    metrics_add(r->metrics, COUNTER_XDS_REFUSED, (int64_t)counts.refused);
    metrics_add(r->metrics, COUNTER_XDS_IGNORED, (int64_t)counts.ignored);
}

/* What the main thread itself counts. */
static void add_own(struct admin_request *r)
{
    const struct agent *a = agent_of(r);
    if (r->metrics == NULL)
        return;
    add_xds(r);
    if (a->dns != NULL)
        metrics_add(r->metrics, COUNTER_DNS_REQUESTS, (int64_t)dns_requests(a->dns));
    if (a->identity == NULL)
        return;
    struct identity_counts counts = identity_counts(a->identity);
    metrics_add(r->metrics, COUNTER_CERT_RENEWALS, (int64_t)counts.renewals);
    metrics_add(r->metrics, COUNTER_CERT_FAILURES, (int64_t)counts.failures);
    metrics_set(r->metrics, COUNTER_CERT_EXPIRY, (int64_t)counts.not_after_s);
}

static unsigned answer_metrics(struct admin_request *r)
{
    add_own(r);
    if (r->metrics != NULL)
        metrics_render(r->metrics, &r->body);
    return r->body.is_overflown ? 500 : 200;
}

static const char *const counter_names[] = {
#define COUNTER(id, name, help) name,
#define GAUGE(id, name, help) name,
#include "proxy/telemetry/metrics.def"
#undef COUNTER
#undef GAUGE
};

/* By Envoy's names: what Istio's agent asks before it says that the sidecar is ready. */
static void add_state(struct admin_request *r)
{
    enum { LIVE = 0, DRAINING = 1, INITIALIZING = 3 };
    const struct agent *a = agent_of(r);
    struct str_buf why = STR_BUF_INIT(256);
    int state = a->is_draining ? DRAINING : agent_is_ready(a, &why) ? LIVE : INITIALIZING;
    str_buf_deinit(&why);
    str_buf_printf(&r->body,
                   "server.state: %d\nlistener_manager.workers_started: %d\n"
                   "cluster_manager.cds.update_success: %llu\n"
                   "listener_manager.lds.update_success: %llu\n",
                   state, a->was_started, (unsigned long long)a->updates[RESOURCE_CLUSTER],
                   (unsigned long long)a->updates[RESOURCE_LISTENER]);
}

static unsigned answer_stats(struct admin_request *r)
{
    add_own(r);
    if (agent_of(r)->bootstrap != NULL)
        add_state(r);
    for (unsigned i = 0; r->metrics != NULL && i < COUNTER_COUNT; i++)
        str_buf_printf(&r->body, "%s: %lld\n", counter_names[i],
                       (long long)metrics_get(r->metrics, (enum metrics_counter)i));
    return 200;
}

/* --- dumps --- */

static void collect_clusters(struct worker *w, void *request)
{
    struct admin_request *r = request;
    if (r->parts.len > 0)
        str_buf_add_char(&r->parts, ',');
    upstream_render(worker_upstream(w), &r->parts);
}

static void collect_listeners(struct worker *w, void *request)
{
    struct admin_request *r = request;
    if (worker_index(w) == 0) /* it listens for all */
        worker_render_listeners(w, &r->parts);
}

/* An array for each worker that has one. */
static unsigned answer_parts(struct admin_request *r)
{
    str_buf_printf(&r->body, "{\"workers\":[%.*s]}\n", STR_FMT(str_buf_str(&r->parts)));
    return r->body.is_overflown ? 500 : 200;
}

static unsigned answer_clusters(struct admin_request *r)
{
    struct str_buf all = STR_BUF_INIT(ADMIN_BODY_MAX);
    bool is_json = str_eq(admin_query(r, STR("format")), STR("json"));
    str_buf_printf(&all, "[%.*s]", STR_FMT(str_buf_str(&r->parts)));
    int err = admin_clusters_render(&r->arena, str_buf_str(&all), is_json, &r->body);
    str_buf_deinit(&all);
    return err == 0 && !r->body.is_overflown ? 200 : 500;
}

struct dump {
    struct json_writer *w;
    enum resource_type type;
    struct str_buf *buf;
    bool is_static_wanted;
};

static void dump_body(struct dump *d, const char *key, const struct resource *r)
{
    str_buf_reset(d->buf);
    if (xds_to_json(r->type, r->wire, d->buf) == 0 && d->buf->len > 0)
        json_writer_raw(d->w, key, str_buf_str(d->buf));
    else
        json_writer_null(d->w, key);
}

/* What a certificate says, for people: PEM tells them nothing. */
static void dump_certificate(struct dump *d, const struct secret *secret)
{
    struct arena a;
    struct cert *cert;
    struct cert_info info;
    if (secret->kind != SECRET_CERTIFICATE || cert_from_pem(secret->chain_pem, &cert) != 0)
        return;
    arena_init(&a, 2048);
    if (cert_info(cert, &a, &info) == 0) {
        json_writer_object(d->w, "certificate");
        json_writer_array(d->w, "uri_sans");
        for (size_t i = 0; i < info.uri_san_count; i++)
            json_writer_str(d->w, NULL, info.uri_sans[i]);
        json_writer_end(d->w);
        json_writer_str(d->w, "serial", info.serial_hex);
        json_writer_u64(d->w, "not_before", info.not_before_s);
        json_writer_u64(d->w, "not_after", info.not_after_s);
        json_writer_end(d->w);
    }
    arena_deinit(&a);
    cert_unref(cert);
}

static void dump_item(void *ctx, const struct config_item *item)
{
    struct dump *d = ctx;
    const struct resource *r = item->running;
    if (r == NULL || item->is_local != d->is_static_wanted)
        return;
    json_writer_object(d->w, NULL);
    json_writer_str(d->w, "name", r->name);
    json_writer_str(d->w, "version_info", r->version);
    dump_body(d, resource_type_name(d->type), r);
    if (d->type == RESOURCE_SECRET)
        dump_certificate(d, r->secret);
    json_writer_end(d->w);
}

/* What was received and does not run yet: it waits for others. */
static void dump_warming(void *ctx, const struct config_item *item)
{
    struct dump *d = ctx;
    if (item->received == NULL || item->received == item->running)
        return;
    json_writer_object(d->w, NULL);
    json_writer_str(d->w, "name", item->received->name);
    json_writer_str(d->w, "version_info", item->received->version);
    json_writer_end(d->w);
}

static const struct {
    enum resource_type type;
    const char *type_url, *static_key, *dynamic_key, *warming_key;
} dumps[] = {
    {RESOURCE_CLUSTER, "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "static_clusters",
     "dynamic_active_clusters", "dynamic_warming_clusters"},
    {RESOURCE_LISTENER, "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
     "static_listeners", "dynamic_listeners", "dynamic_warming_listeners"},
    {RESOURCE_ROUTE, "type.googleapis.com/envoy.admin.v3.RoutesConfigDump", "static_route_configs",
     "dynamic_route_configs", "dynamic_warming_route_configs"},
    {RESOURCE_ENDPOINTS, "type.googleapis.com/envoy.admin.v3.EndpointsConfigDump",
     "static_endpoint_configs", "dynamic_endpoint_configs", "dynamic_warming_endpoint_configs"},
    {RESOURCE_SECRET, "type.googleapis.com/envoy.admin.v3.SecretsConfigDump", "static_secrets",
     "dynamic_active_secrets", "dynamic_warming_secrets"},
    {RESOURCE_DIRECTORY, "type.googleapis.com/tulle.mesh.v1.DirectoriesConfigDump",
     "static_directories", "dynamic_directories", "dynamic_warming_directories"},
};

/* Why the last response of a type does not run, or not all of it. */
static void dump_refusal(struct dump *d, const struct agent *a)
{
    struct str why = STR_NULL;
    if (a->sources != NULL)
        why = sources_refusal(a->sources, d->type);
    else if (a->ads != NULL)
        why = ads_refusal(a->ads, d->type);
    if (why.len > 0)
        json_writer_str(d->w, "last_refusal", why);
}

static unsigned answer_config_dump(struct admin_request *r)
{
    struct json_writer w;
    struct str_buf buf = STR_BUF_INIT(PART_BYTES_MAX);
    const struct config *config = agent_of(r)->config;
    json_writer_init(&w, &r->body, 1);
    json_writer_object(&w, NULL);
    json_writer_array(&w, "configs");
    for (size_t i = 0; i < ARRAY_LEN(dumps); i++) {
        struct dump d = {.w = &w, .type = dumps[i].type, .buf = &buf, .is_static_wanted = true};
        json_writer_object(&w, NULL);
        json_writer_c(&w, "@type", dumps[i].type_url);
        json_writer_array(&w, dumps[i].static_key);
        config_each(config, d.type, dump_item, &d);
        json_writer_end(&w);
        d.is_static_wanted = false;
        json_writer_array(&w, dumps[i].dynamic_key);
        config_each(config, d.type, dump_item, &d);
        json_writer_end(&w);
        json_writer_array(&w, dumps[i].warming_key);
        config_each(config, d.type, dump_warming, &d);
        json_writer_end(&w);
        dump_refusal(&d, agent_of(r));
        json_writer_end(&w);
    }
    json_writer_end(&w);
    json_writer_end(&w);
    str_buf_add_char(&r->body, '\n');
    str_buf_deinit(&buf);
    return r->body.is_overflown ? 500 : 200;
}

static unsigned answer_certs(struct admin_request *r)
{
    const struct agent *a = agent_of(r);
    str_buf_add_c(&r->body, "{\"certificates\":[");
    if (a->identity != NULL)
        identity_render(a->identity, &r->body);
    str_buf_add_c(&r->body, "]}\n");
    return 200;
}

static unsigned answer_server_info(struct admin_request *r)
{
    const struct agent *a = agent_of(r);
    struct json_writer w;
    struct str_buf why = STR_BUF_INIT(256);
    json_writer_init(&w, &r->body, 1);
    json_writer_object(&w, NULL);
    json_writer_c(&w, "version", "tulle/" TULLE_VERSION);
    json_writer_c(&w, "state",
                  a->is_draining            ? "DRAINING"
                  : agent_is_ready(a, &why) ? "LIVE"
                                            : "INITIALIZING");
    json_writer_str(&w, "node_id", a->node_id);
    json_writer_u64(&w, "concurrency", a->worker_count);
    json_writer_u64(&w, "uptime_s", (turn_now_us(a->turn) - a->started_us) / 1000000);
    if (a->ads != NULL)
        json_writer_bool(&w, "ads_connected", ads_is_connected(a->ads));
    if (a->sources != NULL)
        json_writer_bool(&w, "ads_connected", sources_is_connected(a->sources));
    json_writer_end(&w);
    str_buf_add_char(&r->body, '\n');
    str_buf_deinit(&why);
    return 200;
}

/* --- orders --- */

static unsigned answer_logging(struct admin_request *r)
{
    enum log_level level;
    if (!log_level_parse(admin_query(r, STR("level")), &level)) {
        str_buf_add_c(&r->body, "level=debug|info|warn|error|off is needed\n");
        return 400;
    }
    log_set_level(level);
    str_buf_printf(&r->body, "level: %s\n", log_level_name(level));
    return 200;
}

static unsigned answer_drain(struct admin_request *r)
{
    agent_drain(agent_of(r), false);
    str_buf_add_c(&r->body, "OK\n");
    return 200;
}

static unsigned answer_quit(struct admin_request *r)
{
    agent_drain(agent_of(r), true);
    str_buf_add_c(&r->body, "OK\n");
    return 200;
}

static unsigned answer_help(struct admin_request *r)
{
    for (size_t i = 0; i < admin_page_count; i++) {
        if ((admin_pages[i].faces & FACE_ALL) != 0)
            str_buf_printf(&r->body, "  %s%s: %s\n", admin_pages[i].path,
                           admin_pages[i].is_post ? " (POST)" : "", admin_pages[i].help);
    }
    return 200;
}

#define JSON "application/json"
#define METRICS "text/plain; version=0.0.4; charset=utf-8"

const struct admin_page admin_pages[] = {
    {"/ready", "200 when this proxy serves", FACE_ALL, false, answer_ready, NULL, NULL},
    {"/healthz/ready", "the same", FACE_ALL | FACE_METRICS | FACE_READY, false, answer_ready, NULL,
     NULL},
    {"/ready-app", "?ready=true|false: what the prober saw of the app", FACE_ALL, true,
     answer_ready_app, NULL, NULL},
    {"/stats", "counters", FACE_ALL, false, answer_stats, collect_metrics, NULL},
    {"/stats/prometheus", "all metrics", FACE_ALL | FACE_METRICS, false, answer_metrics,
     collect_metrics, METRICS},
    {"/metrics", "the same", FACE_METRICS, false, answer_metrics, collect_metrics, METRICS},
    {"/config_dump", "what runs, and what waits", FACE_ALL, false, answer_config_dump, NULL, JSON},
    {"/clusters", "clusters and hosts; ?format=json", FACE_ALL, false, answer_clusters,
     collect_clusters, NULL},
    {"/listeners", "listeners", FACE_ALL, false, answer_parts, collect_listeners, JSON},
    {"/certs", "our certificate", FACE_ALL, false, answer_certs, NULL, JSON},
    {"/server_info", "version, state, uptime", FACE_ALL, false, answer_server_info, NULL, JSON},
    {"/logging", "?level=debug|info|warn|error|off", FACE_ALL, true, answer_logging, NULL, NULL},
    {"/drain_listeners", "no new inbound connections, the present ones end", FACE_ALL, true,
     answer_drain, NULL, NULL},
    {"/quitquitquit", "drain and exit", FACE_ALL, true, answer_quit, NULL, NULL},
    {"/help", "this list", FACE_ALL, false, answer_help, NULL, NULL},
};
const size_t admin_page_count = ARRAY_LEN(admin_pages);
