/* Edges on threads of their own under real sockets and TLS: what crosses threads. The test's thread
 * is the brain's and that of all clients. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "control/push/edge_priv.h"
#include "control/push/testing/push_rig.h"
#include "http/client.h"
#include "mesh/xds/ads_client.h"

#define IDENTITY "spiffe://cluster.local/ns/shop/sa/web"
#define ADS "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
#define ROOTS "/tulle.mesh.v1.Agent/Roots"

enum { CLIENTS = 8, SERVICES = 300, WAIT_S = 60 };

struct client {
    struct fixture *f;
    struct conn *conn;
    struct http_client *http;
    struct call *call;
    struct ads_client *ads;
    struct chain in;
    struct str_buf message;
    const char *path;
    unsigned updates, status; /* gRPC status + 1 */
    bool is_mute, is_partial, is_opened, is_closed;
};

struct fixture {
    struct push_rig rig;
    struct tls_context *known, *stranger;
    struct limits limits;
    struct http_client_config config;
    struct client clients[CLIENTS];
    uint64_t lifetime_s;
};

/* --- documents --- */

static void apply_services(struct fixture *f, int count, int port)
{
    struct str_buf text = STR_BUF_INIT(1 << 20);
    for (int i = 0; i < count; i++)
        str_buf_printf(
            &text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {name: s%d, namespace: shop}\n"
            "spec: {selector: {app: web}, ports: [{name: http, port: %d}]}\n",
            i, port);
    str_buf_add_char(&text, '\0');
    push_rig_apply(&f->rig, text.ptr);
    str_buf_deinit(&text);
}

/* --- clients --- */

static void client_write(struct client *c, struct str message)
{
    struct chain out;
    chain_init(&out, turn_chunks(c->f->rig.turn), NULL);
    grpc_frame(&out, message);
    call_write(c->call, &out);
    chain_deinit(&out);
}

/* The beginning of a message, whose end never comes. */
static void client_write_part(struct client *c)
{
    struct chain out;
    chain_init(&out, turn_chunks(c->f->rig.turn), NULL);
    chain_add(&out, str_from("\0\0\0", 3));
    call_write(c->call, &out);
    chain_deinit(&out);
}

static void ads_send(void *ctx, struct str message)
{
    client_write(ctx, message);
}

static void ads_update(void *ctx, const struct ads_update *u)
{
    struct client *c = ctx;
    c->updates++;
    ads_client_done(c->ads, u->token, STR_NULL);
}

static const struct ads_client_ops ads_ops = {ads_send, ads_update};

static void call_head(void *ctx, struct call *call, const struct http_head *head)
{
    (void)ctx;
    (void)call;
    (void)head;
}

static void call_body(void *ctx, struct call *call, struct chain *body)
{
    struct client *c = ctx;
    (void)call;
    if (c->is_mute)
        return;
    chain_move(&c->in, body, body->len);
    while (grpc_deframe(&c->in, 1 << 24, &c->message) == 1) {
        if (c->ads != NULL)
            assert_int_equal(ads_client_recv(c->ads, str_buf_str(&c->message)), 0);
        else
            c->updates++;
    }
}

static void call_ended(void *ctx, struct call *call, const struct http_head *trailers,
                       const struct outcome *outcome)
{
    struct client *c = ctx;
    (void)call;
    (void)outcome;
    c->call = NULL;
    c->status = trailers != NULL ? (unsigned)grpc_status_of(NULL, trailers) + 1 : 100;
}

static const struct call_ops call_ops = {call_head, call_body, NULL, call_ended};

static void http_closed(void *ctx, struct http_client *http, int err)
{
    struct client *c = ctx;
    (void)http;
    (void)err;
    c->http = NULL;
    c->is_closed = true;
}

static void http_nothing(void *ctx, struct http_client *http)
{
    (void)ctx;
    (void)http;
}

static const struct http_client_ops http_ops = {
    .on_room = http_nothing, .on_draining = http_nothing, .on_close = http_closed};

static void conn_opened(struct conn *conn)
{
    struct client *c = conn->ctx;
    struct arena a;
    struct http_head head;
    arena_init(&a, 1024);
    c->conn = NULL;
    c->is_opened = true;
    c->http = http_client_open(conn, HTTP_2, &c->f->config, &http_ops, c);
    http_head_init(&head, &a, true);
    head.version = HTTP_2;
    head.method = STR("POST");
    head.scheme = STR("https");
    head.authority = STR("tulled");
    head.path = str_from_c(c->path);
    head.has_body = head.is_grpc = head.wants_trailers = true;
    http_head_add(&head, HTTP_NAME_CONTENT_TYPE, STR("application/grpc"));
    c->call = call_start(c->f->rig.turn, c->http, &head, &call_ops, c);
    if (c->ads != NULL) {
        ads_client_connected(c->ads);
    } else if (c->is_partial) {
        client_write_part(c);
    } else {
        client_write(c, STR_NULL);
        call_end(c->call);
    }
    arena_deinit(&a);
}

static void conn_input(struct conn *conn)
{
    (void)conn;
}

static void conn_closed(struct conn *conn, int err)
{
    struct client *c = conn->ctx;
    (void)err;
    c->conn = NULL;
    c->is_closed = true;
}

static const struct conn_handler conn_handler = {conn_opened, conn_input, NULL, conn_closed};

static void connect_client(struct fixture *f, struct client *c, bool is_known)
{
    static const struct conn_options options = {0};
    char metadata[256];
    snprintf(metadata, sizeof metadata,
             "{\"NAMESPACE\":\"shop\",\"WORKLOAD\":\"web\",\"INDEX\":%d,\"READY\":true,"
             "\"ADDRESSES\":[\"10.0.0.5\"],\"DIALECT\":\"tulle\"}",
             (int)(c - f->clients));
    *c = (struct client){.f = f, .path = is_known ? ADS : ROOTS};
    c->message = STR_BUF_INIT(1 << 24);
    chain_init(&c->in, turn_chunks(f->rig.turn), NULL);
    if (is_known) {
        c->ads =
            ads_client_new(&(struct ads_client_args){.node_id = STR("web"),
                                                     .node_cluster = STR("web"),
                                                     .node_metadata_json = str_from_c(metadata),
                                                     .ops = &ads_ops,
                                                     .ctx = c});
        ads_client_subscribe_all(c->ads, RESOURCE_DIRECTORY);
        ads_client_subscribe_all(c->ads, RESOURCE_LISTENER);
    }
    c->conn = conn_connect(f->rig.turn, push_addr(f->rig.push), &options, &conn_handler, c,
                           &tls_layer_ops,
                           tls_endpoint_new(&(struct tls_endpoint_args){
                               .context = is_known ? f->known : f->stranger}));
}

static void close_client(struct client *c)
{
    if (c->f == NULL)
        return;
    if (c->http != NULL)
        http_client_abort(c->http, -ERR_CANCELED);
    if (c->conn != NULL)
        conn_abort(c->conn, -ERR_CANCELED);
    for (int i = 0; i < 1000 && (c->http != NULL || c->conn != NULL || c->call != NULL); i++)
        turn_once(c->f->rig.turn, 1);
    c->ads = ads_client_free(c->ads);
    chain_deinit(&c->in);
    str_buf_deinit(&c->message);
    c->f = NULL;
}

static void turn(struct fixture *f)
{
    for (int i = 0; i < CLIENTS; i++) {
        struct client *c = &f->clients[i];
        if (c->f != NULL && c->ads != NULL && c->call != NULL)
            ads_client_flush(c->ads);
    }
    turn_once(f->rig.turn, 10);
}

/* Until a condition holds, which is to come; what has hung is told by where. */
#define WAIT(f, condition)                                                                         \
    for (uint64_t until_us = turn_now_us((f)->rig.turn) + WAIT_S * 1000000ull; !(condition);) {    \
        assert_true(turn_now_us((f)->rig.turn) < until_us);                                        \
        turn(f);                                                                                   \
    }

/* --- fixture --- */

static void make_contexts(struct fixture *f)
{
    static const struct str alpn[] = {{"h2", 2}};
    struct str_buf csr = STR_BUF_INIT(1 << 14), pem = STR_BUF_INIT(1 << 16),
                   why = STR_BUF_INIT(1000);
    AUTO(key_unref_auto) struct key *key = key_new_p256();
    AUTO(cert_unref_auto) struct cert *leaf = NULL;
    struct cert *root = ca_root(f->rig.ca);
    assert_int_equal(csr_make(key, STR(IDENTITY), &csr), 0);
    struct ca_request r = {str_buf_str(&csr), STR(IDENTITY), turn_wall_us(f->rig.turn) / 1000000,
                           f->lifetime_s};
    assert_int_equal(ca_issue(f->rig.ca, &r, &pem, &why), 0);
    assert_int_equal(cert_from_pem(str_buf_str(&pem), &leaf), 0);
    struct tls_context_args args = {.role = TLS_CLIENT,
                                    .key = key,
                                    .chain = &leaf,
                                    .chain_count = 1,
                                    .roots = &root,
                                    .root_count = 1,
                                    .alpn = alpn,
                                    .alpn_count = 1};
    assert_int_equal(tls_context_new(&args, &why, &f->known), 0);
    args.key = NULL;
    args.chain_count = 0;
    assert_int_equal(tls_context_new(&args, &why, &f->stranger), 0);
    str_buf_deinit(&csr);
    str_buf_deinit(&pem);
    str_buf_deinit(&why);
}

static struct fixture *open_all(uint64_t lifetime_s)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct str_buf why = STR_BUF_INIT(1000);
    struct addr at;
    f->lifetime_s = lifetime_s;
    push_rig_open(&f->rig);
    push_rig_apply(&f->rig,
                   "apiVersion: tulle.dev/v1\nkind: Workload\n"
                   "metadata: {name: web, namespace: shop, labels: {app: web}}\n"
                   "spec: {serviceAccount: web, replicas: 8, ports: [{name: http, port: 80}]}\n");
    apply_services(f, SERVICES, 1000);
    assert_true(addr_parse(STR("127.0.0.1:0"), &at));
    assert_int_equal(push_listen(f->rig.push, &at, 3, &why), 0);
    assert_int_equal(push_serve(f->rig.push), 0);
    limits_init(&f->limits);
    f->config.limits = &f->limits;
    make_contexts(f);
    str_buf_deinit(&why);
    return f;
}

static void close_all(struct fixture *f)
{
    push_rig_stop(&f->rig);
    for (int i = 0; i < CLIENTS; i++)
        close_client(&f->clients[i]);
    tls_context_unref(f->known);
    tls_context_unref(f->stranger);
    push_rig_remove(&f->rig);
    free(f);
}

static bool has_all_but_first(const struct fixture *f, unsigned updates)
{
    for (int i = 1; i < CLIENTS; i++) {
        if (f->clients[i].updates < updates)
            return false;
    }
    return true;
}

static bool has_all(const struct fixture *f, unsigned updates)
{
    return f->clients[0].updates >= updates && has_all_but_first(f, updates);
}

/* --- tests --- */

/* Many clients on several threads, changes for all of them, and an end in the midst of it. */
static void test_changes_reach_all_threads(void **state)
{
    struct fixture *f = open_all(3600);
    (void)state;
    for (int i = 0; i < CLIENTS; i++)
        connect_client(f, &f->clients[i], true);
    WAIT(f, has_all(f, 2)); /* a directory, a listener */
    unsigned before[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        before[i] = f->clients[i].updates;
    apply_services(f, 1, 2000);
    for (int i = 0; i < CLIENTS; i++)
        WAIT(f, f->clients[i].updates > before[i]);
    for (int n = 0; n < 20; n++) {
        apply_services(f, 1, 3000 + n);
        if (n % 4 == 0) {
            close_client(&f->clients[n % CLIENTS]);
            connect_client(f, &f->clients[n % CLIENTS], true);
        }
        turn(f);
    }
    apply_services(f, 1, 4000);
    close_all(f);
}

/* Who reads nothing costs what is on its way to it, and no more is made for it. */
static void test_who_does_not_read_holds_nobody_up(void **state)
{
    struct fixture *f = open_all(3600);
    (void)state;
    connect_client(f, &f->clients[0], true);
    f->clients[0].is_mute = true;
    WAIT(f, f->clients[0].is_opened);
    for (int i = 1; i < CLIENTS; i++)
        connect_client(f, &f->clients[i], true);
    WAIT(f, has_all_but_first(f, 2));
    for (int n = 0; n < 30; n++) {
        unsigned before = f->clients[1].updates;
        apply_services(f, 1, 5000 + n);
        WAIT(f, f->clients[1].updates > before);
    }
    assert_int_equal(f->clients[0].updates, 0);
    /* A directory of that size went out thirty times to the others. */
    assert_true(f->rig.push->counters.bytes > 30ull * EDGE_CLIENT_BYTES);
    assert_true(f->rig.push->edge->in_flight_bytes < 3 * EDGE_CLIENT_BYTES);
    close_all(f);
}

static void test_strangers_get_the_roots_and_nothing_else(void **state)
{
    struct fixture *f = open_all(3600);
    (void)state;
    connect_client(f, &f->clients[0], false);
    connect_client(f, &f->clients[1], false);
    f->clients[1].path = ADS;
    WAIT(f, f->clients[0].status > 0 && f->clients[1].status > 0);
    assert_int_equal(f->clients[0].updates, 1);
    assert_int_equal(f->clients[0].status, GRPC_OK + 1);
    assert_int_equal(f->clients[1].status, GRPC_UNAUTHENTICATED + 1);
    close_all(f);
}

/* --- on the first thread, by mail --- */

struct errand {
    struct mail mail;
    struct edge_thread *thread;
    size_t queued;
    atomic_bool is_done;
};

static void on_occupy(struct turn *turn, struct mail *mail)
{
    struct errand *e = CONTAINER_OF(mail, struct errand, mail);
    (void)turn;
    e->thread->unary_count = EDGE_UNARIES_MAX;
    atomic_store(&e->is_done, true);
}

static void on_free_one(struct turn *turn, struct mail *mail)
{
    struct errand *e = CONTAINER_OF(mail, struct errand, mail);
    (void)turn;
    edge_call_unary_done(e->thread);
    atomic_store(&e->is_done, true);
}

static void on_count(struct turn *turn, struct mail *mail)
{
    struct errand *e = CONTAINER_OF(mail, struct errand, mail);
    (void)turn;
    LIST_FOREACH (&e->thread->unaries_queued, c, struct edge_call, queued)
        e->queued += c != NULL;
    atomic_store(&e->is_done, true);
}

static size_t run_errand(struct fixture *f, mail_fn *handle)
{
    struct errand e = {.mail = {.handle = handle}, .thread = f->rig.push->edge->threads[0]};
    mailbox_post(e.thread->turn, &e.mail);
    WAIT(f, atomic_load(&e.is_done));
    return e.queued;
}

/* A place that becomes free goes to somebody who can use it. */
static void test_half_a_request_holds_no_place(void **state)
{
    struct fixture *f = open_all(3600);
    (void)state;
    run_errand(f, on_occupy);
    connect_client(f, &f->clients[0], false);
    f->clients[0].is_partial = true;
    WAIT(f, run_errand(f, on_count) == 1);
    for (int i = 1; i < 3; i++) { /* to the other threads */
        connect_client(f, &f->clients[i], true);
        WAIT(f, f->clients[i].is_opened);
    }
    connect_client(f, &f->clients[3], false);
    WAIT(f, run_errand(f, on_count) == 2);
    run_errand(f, on_free_one);
    WAIT(f, f->clients[3].status > 0);
    assert_int_equal(f->clients[3].status, GRPC_OK + 1);
    close_all(f);
}

static void test_a_stream_ends_with_its_certificate(void **state)
{
    struct fixture *f = open_all(3);
    (void)state;
    connect_client(f, &f->clients[0], true);
    WAIT(f, f->clients[0].updates > 0);
    WAIT(f, f->clients[0].status > 0 && f->clients[0].is_closed);
    assert_int_equal(f->clients[0].status, GRPC_UNAUTHENTICATED + 1);
    assert_int_equal(f->rig.push->edge->counts.expired, 1);
    WAIT(f, f->rig.push->stream_count == 0);
    close_all(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_changes_reach_all_threads),
        cmocka_unit_test(test_who_does_not_read_holds_nobody_up),
        cmocka_unit_test(test_strangers_get_the_roots_and_nothing_else),
        cmocka_unit_test(test_half_a_request_holds_no_place),
        cmocka_unit_test(test_a_stream_ends_with_its_certificate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
