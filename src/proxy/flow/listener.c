/* Listeners: a resource becomes chains that can be run, and sockets that listen. */
#include <stdlib.h>

#include "codec/json_writer.h"
#include "proxy/flow/flow_priv.h"

enum { BACKLOG = 1024 };

/* --- chains --- */

static enum http_codec codec_of(enum hcm_codec codec)
{
    static const enum http_codec codecs[] = {
        [HCM_CODEC_AUTO] = HTTP_CODEC_AUTO,
        [HCM_CODEC_HTTP1] = HTTP_CODEC_1,
        [HCM_CODEC_HTTP2] = HTTP_CODEC_2,
    };
    return codecs[codec];
}

static int add_logs(struct flows *f, struct flow_chain *chain, const struct access_log_config *logs,
                    size_t count, struct str_buf *why)
{
    if (count > ACCESS_LOGS_MAX) {
        str_buf_printf(why, "access_log: at most %d", ACCESS_LOGS_MAX);
        return -ERR_LIMIT;
    }
    for (size_t i = 0; i < count; i++) {
        struct flow_log *log = &chain->logs[chain->log_count];
        AUTO(str_buf_deinit) struct str_buf reason = STR_BUF_INIT(1024);
        int err = access_log_format_new(&logs[i].format, &reason, &log->format);
        if (err != 0) {
            str_buf_printf(why, "access_log[%zu].typed_config.log_format: %.*s", i,
                           STR_FMT(str_buf_str(&reason)));
            return err;
        }
        log->sink = flow_sink(f, logs[i].path);
        log->filter = logs[i].filter;
        chain->log_count++;
    }
    return 0;
}

static void set_limits(const struct flows *f, struct flow_chain *chain, const struct hcm *hcm)
{
    struct limits *l = &chain->limits;
    *l = *f->env.limits;
    if (hcm->http2.streams_max > 0)
        l->streams_per_connection_max =
            limits_clamp(STR("streams_per_connection_max"), hcm->http2.streams_max);
    if (hcm->http2.stream_window_bytes > 0)
        l->flow_window_bytes =
            limits_clamp(STR("flow_window_bytes"), hcm->http2.stream_window_bytes);
    if (hcm->http2.connection_window_bytes > 0)
        l->conn_window_bytes =
            limits_clamp(STR("conn_window_bytes"), hcm->http2.connection_window_bytes);
    if (hcm->max_headers_count > 0)
        l->header_count_max = hcm->max_headers_count;
    if (hcm->max_request_headers_kb > 0)
        l->header_bytes_max = (uint64_t)hcm->max_request_headers_kb * 1024;
}

/* 0 is none. A head that takes longer than the whole request may is out of time, too. */
static uint64_t headers_timeout_us(const struct flows *f, const struct hcm *hcm)
{
    uint64_t headers = hcm->request_headers_timeout_us > 0
                           ? hcm->request_headers_timeout_us
                           : f->env.limits->request_headers_timeout_ms * 1000;
    if (hcm->request_timeout_us == 0)
        return headers;
    return headers > 0 ? MIN(headers, hcm->request_timeout_us) : hcm->request_timeout_us;
}

static int set_http(struct flows *f, struct flow_chain *chain, const struct hcm *hcm,
                    struct str_buf *why)
{
    chain->hcm = hcm;
    set_limits(f, chain, hcm);
    chain->filters[0] = (struct filter){.ops = &record_filter_ops, .config = chain};
    chain->shed[0] = chain->filters[0];
    chain->shed[1] = (struct filter){.ops = &shed_filter_ops};
    int err = filters_build(hcm->filters, hcm->filter_count, why, chain->filters + 1,
                            &chain->filter_count);
    chain->filter_count++;
    chain->server = (struct http_server_config){
        .codec = codec_of(hcm->codec),
        .limits = &chain->limits,
        .path = match_path_options(hcm),
        .server_name = hcm->server_header != SERVER_PASS_THROUGH ? hcm->server_name : STR_NULL,
        .is_server_overwritten = hcm->server_header == SERVER_OVERWRITE,
        .idle_timeout_us = hcm->idle_timeout_us,
        .headers_timeout_us = headers_timeout_us(f, hcm),
        .stream_idle_timeout_us = hcm->stream_idle_timeout_us,
        .duration_max_us = hcm->max_connection_duration_us,
        .drain_timeout_us = hcm->drain_timeout_us,
        .requests_max = hcm->max_requests_per_connection,
        .h2 = upstream_h2_bounds(&hcm->http2),
        .accept_http_10 = true,
        .accept_upgrade = true,
        .allow_connect = hcm->http2.allow_connect,
    };
    if (err == 0 && hcm->local_reply != NULL)
        err = local_reply_new(hcm->local_reply, why, &chain->local_reply);
    return err != 0 ? err : add_logs(f, chain, hcm->access_logs, hcm->access_log_count, why);
}

static int set_tcp(struct flows *f, struct flow_chain *chain, const struct tcp_proxy *tcp,
                   struct str_buf *why)
{
    chain->tcp = tcp;
    chain->limits = *f->env.limits;
    /* For peers that agree to send connections as streams. */
    chain->server = (struct http_server_config){
        .codec = HTTP_CODEC_2,
        .limits = &chain->limits,
        .idle_timeout_us = f->env.limits->idle_timeout_ms * 1000,
        .headers_timeout_us = f->env.limits->request_headers_timeout_ms * 1000,
        .stream_idle_timeout_us = tcp->idle_timeout_us,
        .accept_upgrade = true,
        .allow_connect = true,
    };
    for (size_t i = 0; i < tcp->cluster_count; i++)
        chain->tcp_weight_total += tcp->clusters[i].weight;
    return add_logs(f, chain, tcp->access_logs, tcp->access_log_count, why);
}

static int set_filter(struct flows *f, struct flow_chain *chain, const struct network_filter *n,
                      bool is_last, struct str_buf *why)
{
    if ((n->kind != NETWORK_FILTER_RBAC) != is_last) {
        str_buf_add_c(why, "filters: the last, and only the last, must be the HTTP connection "
                           "manager or the TCP proxy");
        return -ERR_INVALID;
    }
    switch (n->kind) {
    case NETWORK_FILTER_RBAC:
        if (chain->rbac_count == RBACS_MAX) {
            str_buf_printf(why, "filters: at most %d RBAC filters", RBACS_MAX);
            return -ERR_LIMIT;
        }
        chain->rbacs[chain->rbac_count++] = n->rbac;
        return 0;
    case NETWORK_FILTER_HCM:
        return set_http(f, chain, n->hcm, why);
    case NETWORK_FILTER_TCP_PROXY:
        return set_tcp(f, chain, n->tcp_proxy, why);
    }
    return -ERR_UNSUPPORTED;
}

static int set_chain(struct flows *f, struct flow_chain *chain, const struct filter_chain *model,
                     struct str_buf *why)
{
    chain->model = model;
    for (size_t i = 0; i < model->filter_count; i++) {
        int err = set_filter(f, chain, &model->filters[i], i + 1 == model->filter_count, why);
        if (err != 0)
            return err;
    }
    if (chain->hcm == NULL && chain->tcp == NULL) {
        str_buf_add_c(why, "a filter chain has no filter that serves it");
        return -ERR_INVALID;
    }
    return 0;
}

/* --- versions --- */

struct flow_config *flow_config_ref(struct flow_config *c)
{
    c->ref_count++;
    return c;
}

struct flow_config *flow_config_unref(struct flow_config *c)
{
    if (c == NULL || --c->ref_count > 0)
        return NULL;
    for (size_t i = 0; i < c->chain_count; i++) {
        for (size_t n = 0; n < c->chains[i].log_count; n++)
            access_log_format_free(c->chains[i].logs[n].format);
        local_reply_free(c->chains[i].local_reply);
    }
    free(c->chains);
    resource_unref(c->resource);
    free(c);
    return NULL;
}

static int config_new(struct flows *f, struct resource *r, struct str_buf *why,
                      struct flow_config **ret_config)
{
    const struct listener *model = r->listener;
    struct flow_config *c = NEW(struct flow_config);
    c->ref_count = 1;
    c->resource = resource_hold(r);
    c->model = model;
    size_t count = model->chain_count + (model->default_chain != NULL);
    c->chains = mem_zalloc(sizeof(struct flow_chain) * (count + 1));
    for (size_t i = 0; i < count; i++) {
        const struct filter_chain *chain =
            i < model->chain_count ? &model->chains[i] : model->default_chain;
        c->chain_count = i + 1;
        int err = set_chain(f, &c->chains[i], chain, why);
        if (err != 0) {
            flow_config_unref(c);
            return err;
        }
    }
    *ret_config = c;
    return 0;
}

const struct flow_chain *chain_find(const struct flow_config *c, const struct chain_input *in)
{
    const struct filter_chain *model = match_filter_chain(c->model, in);
    for (size_t i = 0; model != NULL && i < c->chain_count; i++) {
        if (c->chains[i].model == model)
            return &c->chains[i];
    }
    return NULL;
}

/* --- sockets --- */

static int open_socket(struct flow_listener *l, const struct addr *at, int slot,
                       const struct listener *model, struct str_buf *why)
{
    struct listen_options options = {
        .is_transparent_dst = model->inspectors.original_dst || model->use_original_dst,
        .backlog = BACKLOG,
        .inherited_fd = -1,
        .mark = l->flow->env.mark_inbound,
        .is_v6_only = true,
        .route = l->flow->share->count > 1 ? conn_route : NULL,
    };
    int err = listen_open(l->flow->env.turn, at, &options, conn_accepted, l, &l->sockets[slot]);
    if (err != 0) {
        char text[ADDR_TEXT_LEN];
        str_buf_printf(why, "cannot listen at %.*s: %s", STR_FMT(addr_format(at, text)),
                       err_text(err));
    } else if (l->flow->rests != 0) {
        listen_pause(l->sockets[slot]);
    }
    return err;
}

/* Both families: a capture listener at 0.0.0.0 listens at [::] too. */
static int open_sockets(struct flow_listener *l, const struct listener *model, struct str_buf *why)
{
    struct addr at = upstream_addr(&model->address);
    if (l->sockets[0] != NULL && addr_eq(&at, &l->bound))
        return 0;
    struct listen_socket *old[2] = {l->sockets[0], l->sockets[1]};
    l->sockets[0] = l->sockets[1] = NULL;
    int err = open_socket(l, &at, 0, model, why);
    if (err != 0) {
        l->sockets[0] = old[0];
        l->sockets[1] = old[1];
        return err;
    }
    bool is_captured = model->inspectors.original_dst || model->use_original_dst;
    if (is_captured && at.family == ADDR_IP4 && addr_is_any(&at)) {
        struct addr v6 = {.family = ADDR_IP6, .port = at.port};
        struct str_buf ignored = STR_BUF_INIT(256);
        /* Machines without IPv6 exist. */
        (void)open_socket(l, &v6, 1, model, &ignored);
        str_buf_deinit(&ignored);
    }
    for (int i = 0; i < 2; i++) {
        if (old[i] != NULL)
            listen_close(old[i]);
    }
    l->bound = at;
    return 0;
}

void listener_stop(struct flow_listener *l)
{
    for (int i = 0; i < 2; i++) {
        if (l->sockets[i] != NULL)
            listen_close(l->sockets[i]);
        l->sockets[i] = NULL;
    }
}

void listeners_rest(struct flows *f, enum flow_rest reason, bool is_resting)
{
    size_t iter = 0;
    void *value;
    f->rests = is_resting ? f->rests | (unsigned)reason : f->rests & ~(unsigned)reason;
    while (map_next(&f->listeners, &iter, NULL, &value)) {
        struct flow_listener *l = value;
        for (int i = 0; i < 2; i++) {
            if (l->sockets[i] == NULL)
                continue;
            if (f->rests != 0)
                listen_pause(l->sockets[i]);
            else
                listen_resume(l->sockets[i]);
        }
    }
}

/* --- the table --- */

struct flow_listener *listener_find(struct flows *f, struct str name)
{
    struct flow_listener *l = map_get(&f->listeners, name);
    return l != NULL && l->config != NULL ? l : NULL;
}

struct flow_listener *listener_find_addr(struct flows *f, const struct addr *a)
{
    struct flow_listener *any = NULL;
    size_t iter = 0;
    void *value;
    while (map_next(&f->listeners, &iter, NULL, &value)) {
        struct flow_listener *l = value;
        if (l->config == NULL || l->config->model->bind_to_port)
            continue;
        struct addr at = upstream_addr(&l->config->model->address);
        if (at.port != a->port)
            continue;
        if (addr_eq(&at, a))
            return l;
        if (addr_is_any(&at))
            any = l;
    }
    return any;
}

struct resource *flow_listener_resource(const struct flows *f, struct str name)
{
    const struct flow_listener *l = map_get(&f->listeners, name);
    return l != NULL && l->config != NULL ? resource_hold(l->config->resource) : NULL;
}

static struct flow_listener *listener_new(struct flows *f, struct str name)
{
    struct flow_listener *l = NEW(struct flow_listener);
    l->flow = f;
    l->name = str_from(str_dup_c(name), name.len);
    map_put(&f->listeners, l->name, l);
    return l;
}

static void judge_all(struct flows *f, const struct flow_listener *l)
{
    LIST_FOREACH (&f->conns, fc, struct flow_conn, link) {
        if (fc->listener == l)
            conn_judge(fc);
    }
}

/* The struct stays while connections point to it; a removed listener has no config. */
static void remove_listener(struct flows *f, struct flow_listener *l)
{
    listener_stop(l);
    l->config = flow_config_unref(l->config);
    judge_all(f, l);
}

int flow_set_listener(struct flows *f, struct str name, struct resource *r, struct str_buf *why)
{
    struct flow_listener *l = map_get(&f->listeners, name);
    if (r == NULL) {
        if (l != NULL)
            remove_listener(f, l);
        return 0;
    }
    struct flow_config *config;
    int err = config_new(f, r, why, &config);
    if (err != 0) {
        outbound_unpark(f, name, STR("listener_refused"));
        return err;
    }
    if (l == NULL)
        l = listener_new(f, name);
    if (!r->listener->bind_to_port) {
        listener_stop(l);
    } else if (!f->is_stopped && f->env.index == 0) {
        err = open_sockets(l, r->listener, why);
        if (err != 0) {
            flow_config_unref(config);
            return err;
        }
    }
    flow_config_unref(l->config);
    l->config = config;
    judge_all(f, l);
    outbound_unpark(f, name, STR_NULL);
    return 0;
}

void listeners_free(struct flows *f)
{
    size_t iter = 0;
    void *value;
    while (map_next(&f->listeners, &iter, NULL, &value)) {
        struct flow_listener *l = value;
        listener_stop(l);
        flow_config_unref(l->config);
        free((void *)(uintptr_t)l->name.ptr);
        free(l);
    }
    map_deinit(&f->listeners);
}

void flow_render_listeners(const struct flows *f, struct str_buf *to)
{
    struct json_writer w;
    json_writer_init(&w, to, 0);
    json_writer_array(&w, NULL);
    size_t iter = 0;
    void *value;
    while (map_next(&f->listeners, &iter, NULL, &value)) {
        const struct flow_listener *l = value;
        char text[ADDR_TEXT_LEN];
        if (l->config == NULL)
            continue;
        json_writer_object(&w, NULL);
        json_writer_str(&w, "name", l->name);
        struct addr at = l->sockets[0] != NULL ? *listen_addr(l->sockets[0])
                                               : upstream_addr(&l->config->model->address);
        json_writer_str(&w, "address", addr_format(&at, text));
        json_writer_bool(&w, "listening", l->sockets[0] != NULL);
        json_writer_end(&w);
    }
    json_writer_end(&w);
}
