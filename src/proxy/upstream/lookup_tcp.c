#include "proxy/upstream/lookup_tcp.h"

#include <stdlib.h>

#include "codec/dns.h"
#include "io/conn.h"

enum { PREFIX_LEN = 2 };

struct lookup_tcp {
    struct turn *turn;
    struct conn *conn;
    lookup_tcp_fn *done; /* NULL: told, or cancelled */
    void *ctx;
    struct timer timer;
    struct grave grave;
};

static void free_grave(struct grave *g)
{
    free(CONTAINER_OF(g, struct lookup_tcp, grave));
}

struct lookup_tcp *lookup_tcp_cancel(struct lookup_tcp *t)
{
    if (t == NULL || t->done == NULL)
        return NULL;
    t->done = NULL;
    timer_stop(&t->timer);
    conn_abort(t->conn, 0); /* on_close buries */
    return NULL;
}

static void tell(struct lookup_tcp *t, struct str payload)
{
    lookup_tcp_fn *done = t->done;
    if (done == NULL)
        return;
    done(t->ctx, payload);
    lookup_tcp_cancel(t);
}

static void on_input(struct conn *c)
{
    struct lookup_tcp *t = c->ctx;
    uint8_t prefix[PREFIX_LEN];
    if (chain_peek(&c->in, 0, prefix, sizeof prefix) == sizeof prefix) {
        size_t len = (size_t)prefix[0] << 8 | prefix[1];
        if (c->in.len >= PREFIX_LEN + len) {
            struct str whole = chain_pullup(&c->in, PREFIX_LEN + len);
            tell(t, str_skip(whole, PREFIX_LEN));
            return;
        }
    }
    if (conn_is_in_ended(c))
        tell(t, STR_NULL);
}

static void on_close(struct conn *c, int err)
{
    struct lookup_tcp *t = c->ctx;
    (void)err;
    lookup_tcp_fn *done = t->done;
    t->done = NULL;
    timer_stop(&t->timer);
    turn_bury(t->turn, &t->grave, free_grave);
    if (done != NULL)
        done(t->ctx, STR_NULL);
}

static void on_timer(struct timer *timer)
{
    tell(CONTAINER_OF(timer, struct lookup_tcp, timer), STR_NULL);
}

static const struct conn_handler handler = {.on_input = on_input, .on_close = on_close};

struct lookup_tcp *lookup_tcp_start(const struct lookup_tcp_args *args)
{
    struct lookup_tcp *t = NEW(struct lookup_tcp);
    const struct conn_options options = {.mark = args->mark, .connect_timeout_us = args->wait_us};
    const char prefix[PREFIX_LEN] = {(char)(args->question.len >> 8), (char)args->question.len};
    t->turn = args->turn;
    t->done = args->done;
    t->ctx = args->ctx;
    timer_init(&t->timer, on_timer);
    timer_start(t->turn, &t->timer, args->wait_us);
    t->conn = conn_connect(t->turn, args->server, &options, &handler, t, NULL, NULL);
    t->conn->read_max = PREFIX_LEN + DNS_TCP_LEN_MAX;
    chain_add(&t->conn->out, str_from(prefix, sizeof prefix));
    chain_add(&t->conn->out, args->question);
    conn_mark_dirty(t->conn);
    return t;
}
