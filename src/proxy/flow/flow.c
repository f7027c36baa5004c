#include <stdlib.h>

#include "proxy/flow/flow_priv.h"

struct flows *flow_new(const struct flow_env *env)
{
    struct flows *f = NEW(struct flows);
    f->env = *env;
    f->share = env->share;
    if (f->share == NULL) {
        f->share = f->own_share = NEW(struct flow_share);
        flow_share_init(f->share, 1);
    }
    f->connection_ids = env->index;
    overload_init(&f->overload, f, &f->share->overload);
    map_init(&f->listeners);
    map_init(&f->routes);
    map_init(&f->directories);
    map_init(&f->wanted);
    map_init(&f->sinks);
    f->line = STR_BUF_INIT(64 * 1024);
    list_init(&f->conns);
    list_init(&f->parked);
    f->own_peer = metrics_intern_peer(env->metrics, &(struct metrics_peer){
                                                        .workload = env->own_workload,
                                                        .namespace_ = env->own_namespace,
                                                        .principal = env->own_principal,
                                                        .app = env->own_app,
                                                        .version = env->own_version,
                                                        .cluster = env->own_cluster,
                                                    });
    directories_changed(f);
    return f;
}

static void unref_all(struct map *m)
{
    size_t iter = 0;
    void *value;
    while (map_next(m, &iter, NULL, &value))
        resource_unref(value);
    map_deinit(m);
}

struct flows *flow_free(struct flows *f)
{
    if (f == NULL)
        return NULL;
    overload_deinit(&f->overload);
    listeners_free(f);
    directories_deinit(f);
    unref_all(&f->routes);
    unref_all(&f->directories);
    size_t iter = 0;
    void *value;
    while (map_next(&f->sinks, &iter, NULL, &value))
        access_log_sink_free(value);
    map_deinit(&f->sinks);
    str_buf_deinit(&f->line);
    map_deinit(&f->wanted);
    if (f->own_share != NULL)
        flow_share_deinit(f->own_share);
    free(f->own_share);
    free(f);
    return NULL;
}

void flow_abort(struct flows *f)
{
    flow_drain(f, false);
    LIST_FOREACH (&f->conns, fc, struct flow_conn, link) {
        if (fc->server != NULL)
            http_server_abort(fc->server, -ERR_CANCELED);
        else if (fc->tcp != NULL)
            tcp_abort(fc->tcp, STR("proxy_ends"), STR_NULL);
        else if (fc->is_tunnel)
            tunnel_abort(fc, STR("proxy_ends"), STR_NULL);
        else
            conn_abort(fc->conn, -ERR_CANCELED);
    }
}

static void set_resource(struct map *m, struct str name, struct resource *r)
{
    struct resource *old = r != NULL ? map_put(m, name, resource_hold(r)) : map_remove(m, name);
    resource_unref(old);
}

void flow_set_route(struct flows *f, struct str name, struct resource *r)
{
    set_resource(&f->routes, name, r);
}

void flow_set_directory(struct flows *f, struct str name, struct resource *r)
{
    set_resource(&f->directories, name, r);
    directories_changed(f);
}

void flow_detail_failed(struct flows *f, struct str name, struct str why)
{
    outbound_unpark(f, name, why);
}

/* --- how many there may be --- */

/* The connections that are too many stay in the backlog: their clients wait a moment instead of
 * losing what they had begun. */
void flow_admit(struct flows *f, unsigned worker)
{
    uint64_t max = f->env.limits->connections_max;
    if (flow_share_enter(f->share, worker) < max || (f->rests & FLOW_REST_FULL) != 0)
        return;
    if (!flow_share_rest(f->share, max))
        return;
    metrics_add(f->env.metrics, COUNTER_CONNECTIONS_FULL, 1);
    listeners_rest(f, FLOW_REST_FULL, true);
}

void flow_dismiss(struct flows *f)
{
    if (!flow_share_leave(f->share, f->env.index, f->env.limits->connections_max))
        return;
    if (f->env.index == 0)
        flow_has_room(f);
    else
        f->env.on_room(f->env.ctx);
}

void flow_has_room(struct flows *f)
{
    listeners_rest(f, FLOW_REST_FULL, false);
}

uint64_t flow_logs_dropped(const struct flows *f)
{
    uint64_t dropped = 0;
    size_t iter = 0;
    void *value;
    while (map_next(&f->sinks, &iter, NULL, &value))
        dropped += access_log_sink_dropped(value);
    return dropped;
}

unsigned flow_active(const struct flows *f)
{
    /* Those on their way from worker 0 count already. */
    return atomic_load(&f->share->workers[f->env.index].connections);
}

unsigned flow_active_of_all(const struct flows *f)
{
    return atomic_load(&f->share->connections);
}

bool flow_is_closed(const struct flows *f, bool inbound_only)
{
    return atomic_load(&f->share->is_closed) ||
           (inbound_only && atomic_load(&f->share->is_inbound_closed));
}

struct access_log_sink *flow_sink(struct flows *f, struct str path)
{
    struct access_log_sink *sink = map_get(&f->sinks, path);
    if (sink == NULL) {
        sink = access_log_sink_new(f->env.turn, f->env.logs, path,
                                   f->env.limits->access_log_queue_bytes_max);
        map_put(&f->sinks, path, sink);
    }
    return sink;
}

void flow_drain_conns(struct flows *f, bool inbound_only)
{
    f->is_draining = true;
    f->is_outbound_draining |= !inbound_only;
    LIST_FOREACH (&f->conns, fc, struct flow_conn, link) {
        if (fc->server != NULL && !(inbound_only && fc->is_outbound))
            http_server_drain_after_next(fc->server);
    }
}

uint64_t flow_inbound_accepted(const struct flows *f)
{
    return f->inbound_accepted;
}

/* What is refused now was refused by the port before: by a listener that is gone. */
void flow_drain(struct flows *f, bool inbound_only)
{
    size_t iter = 0;
    void *value;
    f->is_draining = f->is_stopped = true;
    f->is_outbound_draining |= !inbound_only;
    while (map_next(&f->listeners, &iter, NULL, &value)) {
        struct flow_listener *l = value;
        bool is_inbound = l->config == NULL || l->config->model->direction != LISTENER_OUTBOUND;
        if (is_inbound || !inbound_only)
            listener_stop(l);
    }
    /* After the last hand-over, which counts for whom it goes to. */
    if (f->env.index == 0)
        atomic_store(inbound_only ? &f->share->is_inbound_closed : &f->share->is_closed, true);
    LIST_FOREACH (&f->conns, fc, struct flow_conn, link) {
        if (fc->server != NULL && !(inbound_only && fc->is_outbound))
            http_server_drain(fc->server);
    }
}
