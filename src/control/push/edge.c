/* The edges as the brain sees them: their certificate, their life, what they counted. */
#include <stdlib.h>
#include <sys/stat.h>

#include "base/log.h"
#include "control/push/edge_priv.h"

enum { OWN_LIFETIME_S = 24 * 3600, CLOSE_TURNS_MAX = 100 };

/* --- our own certificate --- */

struct edge_creds *edge_creds_ref(struct edge_creds *c)
{
    atomic_fetch_add_explicit(&c->ref_count, 1, memory_order_relaxed);
    return c;
}

struct edge_creds *edge_creds_unref(struct edge_creds *c)
{
    if (c == NULL || atomic_fetch_sub_explicit(&c->ref_count, 1, memory_order_acq_rel) > 1)
        return NULL;
    tls_context_unref(c->tls);
    for (size_t i = 0; i < c->root_count; i++)
        cert_unref(c->roots[i]);
    free(c);
    return NULL;
}

static int make_creds(const struct edge *e, struct cert *leaf, struct str_buf *why,
                      struct edge_creds **ret_creds)
{
    static const struct str alpn[] = {{"h2", 2}};
    struct edge_creds *c = NEW(struct edge_creds);
    atomic_init(&c->ref_count, 1);
    c->root_count = ca_roots(e->push->ca, c->roots);
    for (size_t i = 0; i < c->root_count; i++)
        cert_ref(c->roots[i]);
    struct tls_context_args args = {
        .role = TLS_SERVER,
        .key = e->key,
        .chain = &leaf,
        .chain_count = 1,
        .roots = c->roots,
        .root_count = c->root_count,
        .is_client_cert_asked = true,
        .alpn = alpn,
        .alpn_count = ARRAY_LEN(alpn),
    };
    int err = tls_context_new(&args, why, &c->tls);
    if (err != 0) {
        edge_creds_unref(c);
        return err;
    }
    *ret_creds = c;
    return 0;
}

static void take_creds(struct edge *e, struct cert *leaf, struct edge_creds *creds)
{
    edge_creds_unref(e->creds);
    e->creds = creds;
    cert_unref(e->leaf);
    e->leaf = leaf;
    for (unsigned i = 0; i < e->thread_count; i++)
        edge_thread_post_creds(e->threads[i], edge_creds_ref(creds));
}

static int renew(struct edge *e, struct str_buf *why)
{
    static const struct str names[] = {{"tulled", 6}};
    AUTO(cert_unref_auto) struct cert *leaf = NULL;
    struct edge_creds *creds = NULL;
    str_buf_reset(&e->identity);
    str_buf_printf(&e->identity, "spiffe://%.*s/ns/tulle-system/sa/tulled",
                   STR_FMT(registry_mesh(e->push->registry)->trust_domain));
    struct ca_own_request r = {e->key,
                               names,
                               ARRAY_LEN(names),
                               str_buf_str(&e->identity),
                               turn_wall_us(e->turn) / 1000000,
                               OWN_LIFETIME_S};
    str_buf_add_c(why, "a certificate for tulled itself: ");
    int err = ca_issue_own(e->push->ca, &r, why, &leaf);
    if (err == 0) {
        str_buf_reset(why);
        err = make_creds(e, leaf, why, &creds);
    }
    timer_start(e->turn, &e->renew_timer, (uint64_t)OWN_LIFETIME_S / 2 * 1000000);
    if (err == 0)
        take_creds(e, TAKE(leaf), creds);
    return err;
}

static void renew_or_say(struct edge *e)
{
    struct str_buf why = STR_BUF_INIT(PUSH_REASON_LEN_MAX);
    if (renew(e, &why) != 0)
        log_event(LOG_ERROR, "own_certificate_not_renewed", LF("reason", str_buf_str(&why)));
    str_buf_deinit(&why);
}

static void on_renew(struct timer *timer)
{
    renew_or_say(CONTAINER_OF(timer, struct edge, renew_timer));
}

void edge_mesh_changed(struct edge *e)
{
    struct str_buf identity = STR_BUF_INIT(PUSH_REASON_LEN_MAX);
    str_buf_printf(&identity, "spiffe://%.*s/ns/tulle-system/sa/tulled",
                   STR_FMT(registry_mesh(e->push->registry)->trust_domain));
    if (!str_eq(str_buf_str(&identity), str_buf_str(&e->identity)))
        renew_or_say(e);
    str_buf_deinit(&identity);
}

void edge_roots_changed(struct edge *e)
{
    renew_or_say(e);
}

struct cert *edge_own_leaf(const struct edge *e)
{
    return e->leaf;
}

/* --- life --- */

struct edge *edge_open(struct push *p, const struct addr *at, unsigned thread_count,
                       struct str_buf *why, int *ret_err)
{
    struct edge *e = NEW(struct edge);
    char text[ADDR_TEXT_LEN];
    ASSERT(thread_count > 0 && thread_count <= PUSH_EDGES_MAX);
    e->push = p;
    e->turn = p->turn;
    list_init(&e->links);
    list_init(&e->starved);
    e->key = key_new_p256();
    e->identity = STR_BUF_INIT(PUSH_REASON_LEN_MAX);
    timer_init(&e->renew_timer, on_renew);
    int err = renew(e, why);
    if (err == 0) {
        e->thread_count = thread_count;
        for (unsigned i = 0; i < thread_count; i++)
            e->threads[i] = edge_thread_new(e, i, e->creds);
        err = edge_thread_listen(e->threads[0], at);
        if (err != 0)
            str_buf_printf(why, "listening on %.*s: %s", STR_FMT(addr_format(at, text)),
                           err_text(err));
    }
    if (err != 0) {
        *ret_err = err;
        return edge_close(e);
    }
    return e;
}

int edge_listen_local(struct edge *e, struct str path, struct str_buf *why)
{
    struct addr at;
    if (!addr_set_path(&at, path)) {
        str_buf_printf(why, "--xds-local takes a path of at most %d bytes", ADDR_PATH_LEN_MAX);
        return -ERR_INVALID;
    }
    mode_t old = umask(0177);
    int err = edge_thread_listen_local(e->threads[0], &at);
    umask(old);
    if (err != 0)
        str_buf_printf(why, "listening on %.*s: %s", STR_FMT(path), err_text(err));
    return err;
}

int edge_serve(struct edge *e)
{
    int err = 0;
    for (unsigned i = 0; err == 0 && i < e->thread_count; i++)
        err = edge_thread_start(e->threads[i]);
    return err;
}

const struct addr *edge_addr(const struct edge *e)
{
    return listen_addr(e->threads[0]->socket);
}

/* What was under way in both directions arrives: the threads have ended, and run here. */
static void settle(struct edge *e)
{
    for (int i = 0; i < CLOSE_TURNS_MAX && (!list_is_empty(&e->links) || i < 3); i++) {
        turn_once(e->turn, 0);
        for (unsigned n = 0; n < e->thread_count; n++)
            turn_once(e->threads[n]->turn, 0);
    }
}

struct edge *edge_close(struct edge *e)
{
    if (e == NULL)
        return NULL;
    timer_stop(&e->renew_timer);
    for (unsigned i = 0; i < e->thread_count; i++)
        edge_thread_stop(e->threads[i]);
    settle(e);
    for (unsigned i = 0; i < e->thread_count; i++)
        edge_thread_free(e->threads[i]);
    edge_creds_unref(e->creds);
    cert_unref(e->leaf);
    key_unref(e->key);
    str_buf_deinit(&e->identity);
    free(e);
    return NULL;
}

/* --- what they counted --- */

void edge_render_metrics(const struct edge *e, struct str_buf *to)
{
#define EDGE_COUNTER_ROW(name, help) {"tulled_edge_" #name "_total", help, &e->counts.name},
    const struct {
        const char *name, *help;
        const _Atomic(uint64_t) *value;
    } rows[] = {EDGE_COUNTERS(EDGE_COUNTER_ROW)};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        unsigned long long value = atomic_load_explicit(rows[i].value, memory_order_relaxed);
        str_buf_printf(to, "# HELP %s %s\n# TYPE %s counter\n%s %llu\n", rows[i].name, rows[i].help,
                       rows[i].name, rows[i].name, value);
    }
}
