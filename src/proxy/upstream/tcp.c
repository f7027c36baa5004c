/* A plain connection to a host of a cluster, for TCP proxying. */
#include "proxy/upstream/upstream_priv.h"

enum { TCP_TRIES_MAX = 3 };

struct upstream_tcp {
    struct upstream *u; /* not to be used once it is finished: then turn */
    struct turn *turn;
    struct upstream_cluster *cluster;
    const struct upstream_tcp_ops *ops;
    void *ctx;
    struct addr original_dst;
    struct upstream_caller caller;
    char *identity; /* NULL: none */
    struct upstream_host *tried[TCP_TRIES_MAX];
    uint32_t tried_count;
    struct upstream_host *host; /* held */
    struct list link;           /* waits for the cluster's names */
    struct conn *conn;          /* while connecting */
    bool is_counted, is_finished;
    struct timer timer;
    int timeout_err;
    struct outcome why;
    struct turn_task task; /* tells a failure */
    struct grave grave;
};

static void try_host(struct upstream_tcp *t);

static void free_grave(struct grave *g)
{
    struct upstream_tcp *t = CONTAINER_OF(g, struct upstream_tcp, grave);
    free(t->identity);
    free(t);
}

static void tell_failure(struct turn_task *task)
{
    struct upstream_tcp *t = CONTAINER_OF(task, struct upstream_tcp, task);
    t->ops->on_fail(t->ctx, &t->why);
}

static void fail_later(struct upstream_tcp *t, const struct outcome *why)
{
    t->why = *why;
    turn_soon(t->u->env.turn, &t->task);
}

static void on_open(struct conn *c)
{
    struct upstream_tcp *t = c->ctx;
    timer_stop(&t->timer);
    link_note_open(t->host, c);
    outlier_result(t->host, 200);
    t->conn = NULL;
    t->ops->on_ready(t->ctx, c, t->host);
}

static void on_input(struct conn *c)
{
    (void)c;
}

static void on_close(struct conn *c, int err)
{
    struct upstream_tcp *t = c->ctx;
    timer_stop(&t->timer);
    t->conn = NULL;
    if (t->is_finished) {
        turn_bury(t->turn, &t->grave, free_grave);
        return;
    }
    struct outcome why = link_failure(c, t->timeout_err != 0 ? t->timeout_err : err);
    metrics_add(t->u->env.metrics, COUNTER_UPSTREAM_CONNECT_FAILURES, 1);
    outlier_result(t->host, 503);
    t->host->active--;
    t->tried[t->tried_count++] = t->host; /* the reference goes along */
    t->host = NULL;
    if (t->tried_count < TCP_TRIES_MAX && t->cluster->config->kind != CLUSTER_ORIGINAL_DST &&
        t->cluster->hosts.len > t->tried_count) {
        try_host(t);
        return;
    }
    why.reason = str_from_c(err_text(why.err)); /* the layer's text goes with the connection */
    fail_later(t, &why);
}

static const struct conn_handler handler = {
    .on_open = on_open,
    .on_input = on_input,
    .on_close = on_close,
};

static void on_timeout(struct timer *timer)
{
    struct upstream_tcp *t = CONTAINER_OF(timer, struct upstream_tcp, timer);
    t->timeout_err = -ERR_TIMEOUT;
    conn_abort(t->conn, -ERR_TIMEOUT);
}

static void try_host(struct upstream_tcp *t)
{
    struct upstream_cluster *c = t->cluster;
    if (!dns_is_known(c)) {
        list_push_back(&c->unresolved_tcp, &t->link);
        return;
    }
    struct upstream_host *h =
        c->config->kind == CLUSTER_ORIGINAL_DST
            ? (t->original_dst.family == ADDR_NONE
                   ? NULL
                   : cluster_original_host(c, &t->original_dst, str_from_c(t->identity)))
            : lb_pick(c, NULL, t->tried, t->tried_count);
    struct outcome why = {
        .err = -ERR_UNAVAILABLE,
        .fault = FAULT_UPSTREAM,
        .flags = FLAG_BIT(NO_HEALTHY_UPSTREAM),
        .details = STR("no_healthy_upstream"),
        .reason = STR("no healthy endpoint"),
    };
    if (h == NULL) {
        fail_later(t, &why);
        return;
    }
    const struct link_request request = {
        .host = h, .kind = LINK_TCP, .caller = &t->caller, .handler = &handler, .ctx = t};
    int err = link_connect(&request, &why, &t->conn);
    if (err != 0) {
        fail_later(t, &why);
        return;
    }
    t->timeout_err = 0;
    timer_start(t->u->env.turn, &t->timer, c->config->connect_timeout_us);
    t->host = upstream_host_hold(h);
    h->active++;
}

void tcp_resolved(struct list *link)
{
    struct upstream_tcp *t = CONTAINER_OF(link, struct upstream_tcp, link);
    list_remove(&t->link);
    try_host(t);
}

struct upstream_tcp *upstream_tcp_start(struct upstream *u, struct upstream_cluster *c,
                                        const struct downstream_info *info, struct str identity,
                                        const struct upstream_tcp_ops *ops, void *ctx)
{
    struct upstream_tcp *t = NEW(struct upstream_tcp);
    t->u = u;
    t->turn = u->env.turn;
    t->cluster = c;
    t->ops = ops;
    t->ctx = ctx;
    if (info != NULL) {
        t->original_dst = info->original_dst;
        t->caller = link_caller(info);
    }
    t->identity = identity.len > 0 ? str_dup_c(identity) : NULL;
    timer_init(&t->timer, on_timeout);
    turn_task_init(&t->task, tell_failure);
    list_init(&t->link);
    c->held++;
    if (!breaker_take_connection(c)) {
        struct outcome why = {
            .err = -ERR_LIMIT,
            .fault = FAULT_LOCAL,
            .flags = FLAG_BIT(UPSTREAM_OVERFLOW),
            .details = STR("upstream_overflow"),
            .reason = STR("circuit breaker"),
        };
        metrics_add(u->env.metrics, COUNTER_OVERFLOWS, 1);
        fail_later(t, &why);
        return t;
    }
    t->is_counted = true;
    try_host(t);
    return t;
}

void upstream_tcp_finish(struct upstream_tcp *t)
{
    if (t == NULL)
        return;
    struct upstream_cluster *c = t->cluster;
    t->is_finished = true;
    turn_cancel(&t->task);
    timer_stop(&t->timer);
    list_remove(&t->link);
    if (t->is_counted)
        breaker_give_connection(c);
    if (t->host != NULL) {
        t->host->active--;
        upstream_host_drop(t->host);
    }
    for (uint32_t i = 0; i < t->tried_count; i++)
        upstream_host_drop(t->tried[i]);
    c->held--;
    cluster_free_if_unused(c);
    if (t->conn != NULL)
        conn_abort(t->conn, -ERR_CANCELED); /* on_close buries */
    else
        turn_bury(t->turn, &t->grave, free_grave);
}
