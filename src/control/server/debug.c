/* /debug/syncz and /debug/endpointz in the shapes that istiod gives them, for tools that read those
 * (istioctl, Kiali): who is in sync, and who serves what. */
#include "control/server/server_priv.h"

/* --- syncz: [{"proxy", "cluster_sent", "cluster_acked", ...}] --- */

static const struct {
    const char *type, *sent, *acked; /* type as status calls it */
} columns[] = {
    {"cluster", "cluster_sent", "cluster_acked"},
    {"listener", "listener_sent", "listener_acked"},
    {"route", "route_sent", "route_acked"},
    {"endpoints", "endpoint_sent", "endpoint_acked"},
};

/* Versions of all resources of a type as one: equal when the proxy runs what it should. */
static void write_versions(struct json_writer *w, const struct json *types)
{
    for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
        const struct json *type = json_get(types, columns[i].type);
        if (json_number_at(type, "resources") == 0 &&
            str_eq(json_text_at(type, "version"), json_text_at(type, "target")))
            continue; /* it asked for none */
        json_writer_str(w, columns[i].sent, json_text_at(type, "target"));
        json_writer_str(w, columns[i].acked, json_text_at(type, "version"));
    }
}

static void write_proxy(const struct server *s, struct json_writer *w, const struct json *p)
{
    struct str_buf name = STR_BUF_INIT(1024);
    struct str version =
        str_eq(json_text_at(p, "dialect"), STR("tulle")) ? STR(TULLE_VERSION) : STR_NULL;
    if (json_get(p, "types") == NULL)
        return; /* not connected */
    str_buf_printf(&name, "%.*s-%llu.%.*s", STR_FMT(json_text_at(p, "workload")),
                   json_number_at(p, "replica"), STR_FMT(json_text_at(p, "namespace")));
    json_writer_object(w, NULL);
    json_writer_str(w, "cluster_id", s->args.mesh);
    json_writer_str(w, "proxy", str_buf_str(&name));
    json_writer_c(w, "proxy_type", "sidecar");
    if (version.len > 0)
        json_writer_str(w, "istio_version", version);
    write_versions(w, json_get(p, "types"));
    json_writer_end(w);
    str_buf_deinit(&name);
}

static void write_syncz(const struct server *s, struct str_buf *to)
{
    struct push_status_query query = {.is_detailed = true};
    struct str_buf status = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    const struct json *root = NULL;
    struct json_writer w;
    struct arena a;
    arena_init(&a, 64 * 1024);
    json_writer_init(&w, &status, 0);
    json_writer_object(&w, NULL);
    push_render_status(s->args.push, &query, &w);
    json_writer_end(&w);
    (void)json_parse(&a, str_buf_str(&status), REST_ANSWER_BYTES_MAX, &root, NULL);
    json_writer_init(&w, to, 0);
    json_writer_array(&w, NULL);
    for (size_t i = 0; i < json_count(json_get(root, "proxies")); i++)
        write_proxy(s, &w, json_at(json_get(root, "proxies"), i));
    json_writer_end(&w);
    to->is_overflown = to->is_overflown || status.is_overflown;
    arena_deinit(&a);
    str_buf_deinit(&status);
}

/* --- endpointz: {HOST: {NAMESPACE: {"Shards": {CLUSTER: [endpoint]}, "ServiceAccounts": {}}}} ---
 */

struct shard {
    const struct server *server;
    struct json_writer *w;
    const struct registry_service *service;
};

static uint16_t target_port(const struct registry_replica *r, const struct api_service_port *p)
{
    const struct api_workload *w = r->doc->spec.workload;
    if (p->target_port != 0)
        return p->target_port;
    for (size_t i = 0; i < w->port_count; i++) {
        if (str_eq(w->ports[i].name, p->target_port_name))
            return w->ports[i].port;
    }
    return 0;
}

static void write_labels(struct json_writer *w, const struct api_labels *labels)
{
    json_writer_object(w, "Labels");
    for (size_t i = 0; i < labels->len; i++) {
        json_writer_key(w, labels->v[i].key);
        json_writer_str(w, NULL, labels->v[i].value);
    }
    json_writer_end(w);
}

static void write_endpoint(const struct shard *shard, const struct registry_replica *r,
                           const struct api_service_port *port)
{
    struct json_writer *w = shard->w;
    char text[IP_TEXT_MAX];
    json_writer_object(w, NULL);
    write_labels(w, &r->doc->labels);
    json_writer_array(w, "Addresses");
    for (size_t i = 0; i < ARRAY_LEN(r->addresses); i++) {
        if (r->addresses[i].family != IP_NONE)
            json_writer_str(w, NULL, ip_format(&r->addresses[i], text));
    }
    json_writer_end(w);
    json_writer_str(w, "ServicePortName", port->name);
    json_writer_str(w, "ServiceAccount", r->identity);
    json_writer_u64(w, "EndpointPort", target_port(r, port));
    json_writer_c(w, "TLSMode", "istio");
    json_writer_str(w, "Namespace", r->namespace_);
    json_writer_str(w, "WorkloadName", r->workload);
    json_writer_u64(w, "HealthStatus", r->state == REPLICA_READY ? 1 : 2);
    json_writer_end(w);
}

static void on_replica(void *ctx, const struct registry_replica *r)
{
    const struct shard *shard = ctx;
    const struct api_service *s = shard->service->doc->spec.service;
    for (size_t i = 0; i < s->port_count; i++)
        write_endpoint(shard, r, &s->ports[i]);
}

static void on_identity(void *ctx, const struct registry_replica *r)
{
    json_writer_key(ctx, r->identity);
    json_writer_object(ctx, NULL);
    json_writer_end(ctx);
}

static void on_service(void *ctx, const struct registry_service *service)
{
    struct shard *shard = ctx;
    struct json_writer *w = shard->w;
    shard->service = service;
    json_writer_key(w, service->host);
    json_writer_object(w, NULL);
    json_writer_key(w, service->doc->namespace);
    json_writer_object(w, NULL);
    json_writer_object(w, "Shards");
    json_writer_key(w, shard->server->args.mesh.len > 0 ? shard->server->args.mesh : STR("mesh"));
    json_writer_array(w, NULL);
    registry_service_replicas(shard->server->args.registry, service, on_replica, shard);
    json_writer_end(w);
    json_writer_end(w);
    json_writer_object(w, "ServiceAccounts");
    registry_service_replicas(shard->server->args.registry, service, on_identity, w);
    json_writer_end(w);
    json_writer_end(w);
    json_writer_end(w);
}

static void write_endpointz(const struct server *s, struct str_buf *to)
{
    struct json_writer w;
    struct shard shard = {.server = s, .w = &w};
    json_writer_init(&w, to, 0);
    json_writer_object(&w, NULL);
    registry_services(s->args.registry, STR_NULL, on_service, &shard);
    json_writer_end(&w);
}

/* --- where they are --- */

static const struct page {
    const char *path;
    void (*write)(const struct server *s, struct str_buf *to);
} pages[] = {
    {"/debug/syncz", write_syncz},
    {"/debug/endpointz", write_endpointz},
    {"/debug/endpointShardz", write_endpointz},
};

static const struct page *page_at(struct str path)
{
    for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
        if (str_eq(path, str_from_c(pages[i].path)))
            return &pages[i];
    }
    return NULL;
}

bool server_has_debug(struct str path)
{
    return page_at(path) != NULL;
}

bool server_debug(const struct server *s, struct str path, struct str_buf *to)
{
    const struct page *page = page_at(path);
    if (page == NULL)
        return false;
    page->write(s, to);
    return !to->is_overflown;
}

/* The same in the API, for those who may list everything. */
bool rest_debug(struct rest_call *c)
{
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    if (c->path_count != 2 || !str_eq(c->path[0], STR("debug")) || !rest_is_method(c, "GET"))
        return false;
    if (!rest_may(c, ACCESS_LIST, NULL, STR_NULL))
        return true;
    struct str path = http_head_path_only(c->head);
    bool is_page = server_has_debug(path);
    if (is_page && server_debug(c->server, path, &out))
        rest_reply(c, 200, str_buf_str(&out));
    else if (is_page)
        rest_fail_store(c, -ERR_TOO_LARGE, NULL);
    str_buf_deinit(&out);
    return is_page;
}
