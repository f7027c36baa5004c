/* TLS over the simulated loop: pairs that agree and pairs that must not, in pieces of any size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "crypto/test_ids.h"
#include "io/sim.h"

#define WEB "spiffe://mesh.local/ns/shop/sa/web"
#define ORDERS "spiffe://mesh.local/ns/shop/sa/orders"

struct side {
    struct conn *conn;
    int opens, closes, err;
    bool is_echo, ends_at_end;
    struct str_buf text;
    char error[2048];
    char alpn[32], uri[256], sni[256], version[16];
    bool is_verified, is_resumed;
    int last_err; /* c->err at the last input */
};

static void copy(char *to, size_t cap, struct str s)
{
    snprintf(to, cap, "%.*s", STR_FMT(s));
}

static void on_open(struct conn *c)
{
    struct side *s = c->ctx;
    s->opens++;
    struct arena texts;
    arena_init(&texts, 512);
    struct tls_peer peer = tls_endpoint_peer(tls_endpoint_of(c), &texts);
    copy(s->alpn, sizeof s->alpn, peer.alpn);
    copy(s->uri, sizeof s->uri, peer.uri_san);
    copy(s->sni, sizeof s->sni, peer.sni);
    copy(s->version, sizeof s->version, str_from_c(peer.version));
    s->is_verified = peer.is_verified;
    s->is_resumed = peer.is_resumed;
    arena_deinit(&texts);
}

static void on_input(struct conn *c)
{
    struct side *s = c->ctx;
    s->last_err = c->err;
    for (uint32_t i = 0; i < c->in.count; i++)
        str_buf_add(&s->text, chain_slice_str(&c->in, i));
    if (s->is_echo) {
        chain_move(&c->out, &c->in, c->in.len);
        conn_mark_dirty(c);
    } else {
        chain_clear(&c->in);
    }
    if (conn_is_in_ended(c) && s->ends_at_end)
        conn_end(c);
}

static void on_close(struct conn *c, int err)
{
    struct side *s = c->ctx;
    s->closes++;
    s->err = err;
    copy(s->error, sizeof s->error, conn_error_text(c));
    s->conn = NULL;
}

static const struct conn_handler handler = {on_open, on_input, NULL, on_close};

struct pair {
    struct sim_world *w;
    struct turn *turn;
    struct listen_socket *ls;
    struct side client, server;
    struct tls_endpoint_args server_args;
};

static void on_accept(void *ctx, struct conn *c)
{
    struct pair *p = ctx;
    p->server.conn = c;
    conn_set_handler(c, &handler, &p->server);
    conn_set_layer(c, &tls_layer_ops, tls_endpoint_new(&p->server_args));
}

static void pair_start(struct pair *p, uint64_t seed, uint32_t piece,
                       const struct tls_endpoint_args *client,
                       const struct tls_endpoint_args *server)
{
    struct addr at;
    memset(p, 0, sizeof *p);
    struct sim_options o = {.seed = seed, .latency_us_max = 500, .piece_bytes_max = piece};
    p->w = sim_world_new(&o);
    p->turn = turn_new_sim(p->w);
    p->server_args = *server;
    p->client.text = p->server.text = STR_BUF_INIT(16 << 20);
    addr_parse(STR("10.0.0.1:443"), &at);
    assert_int_equal(listen_open(p->turn, &at, NULL, on_accept, p, &p->ls), 0);
    p->client.conn = conn_connect(p->turn, &at, NULL, &handler, &p->client, &tls_layer_ops,
                                  tls_endpoint_new(client));
}

static void pair_free(struct pair *p)
{
    listen_close(p->ls);
    turn_free(p->turn);
    sim_world_free(p->w);
    str_buf_deinit(&p->client.text);
    str_buf_deinit(&p->server.text);
}

static struct tls_context *context(enum tls_role role, const struct test_id *id, struct cert *root,
                                   const char *alpn)
{
    struct str protocol = str_from_c(alpn);
    struct tls_context_args args = {
        .role = role,
        .key = id != NULL ? id->key : NULL,
        .chain = id != NULL ? &id->cert : NULL,
        .chain_count = id != NULL,
        .roots = &root,
        .root_count = root != NULL,
        .is_client_cert_required = role == TLS_SERVER && root != NULL,
        .alpn = &protocol,
        .alpn_count = alpn != NULL,
        .is_unverified_allowed = root == NULL,
    };
    struct str_buf why = STR_BUF_INIT(1000);
    struct tls_context *c;
    int err = tls_context_new(&args, &why, &c);
    if (err < 0)
        fail_msg("%s", why.ptr);
    str_buf_deinit(&why);
    return c;
}

static struct tls_san_match exact(const char *uri)
{
    return (struct tls_san_match){TLS_SAN_URI, TLS_MATCH_EXACT, str_from_c(uri)};
}

/* Both ways, all cuts: 200 KB there and back, then an orderly end on both sides. */
static void test_round_trip(void **state)
{
    (void)state;
    static const uint32_t pieces[] = {1, 7, 1000, 0};
    struct test_id ca = test_ca("mesh.local");
    struct test_id web = test_leaf(&ca, WEB), orders = test_leaf(&ca, ORDERS);
    struct tls_context *cc = context(TLS_CLIENT, &web, ca.cert, "h2");
    struct tls_context *sc = context(TLS_SERVER, &orders, ca.cert, "h2");
    struct tls_san_match want_orders = exact(ORDERS), want_web = exact(WEB);
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        struct tls_endpoint_args ca_args = {
            .context = cc, .sni = STR("orders.shop"), .sans = &want_orders, .san_count = 1};
        struct tls_endpoint_args sa_args = {.context = sc, .sans = &want_web, .san_count = 1};
        struct pair p;
        pair_start(&p, i, pieces[i], &ca_args, &sa_args);
        p.server.is_echo = p.server.ends_at_end = true;
        int lines = pieces[i] == 1 ? 50 : 10000;
        for (int n = 0; n < lines; n++)
            chain_printf(&p.client.conn->out, "line number %d\n", n);
        size_t total = p.client.conn->out.len;
        conn_end(p.client.conn);
        assert_true(sim_world_run(p.w, UINT64_MAX));
        assert_int_equal(p.client.opens + p.server.opens, 2);
        assert_int_equal(p.client.closes + p.server.closes, 2);
        assert_int_equal(p.client.err, 0);
        assert_int_equal(p.server.err, 0);
        assert_int_equal(p.client.text.len, total);
        assert_memory_equal(p.client.text.ptr, p.server.text.ptr, total);
        assert_string_equal(p.client.uri, ORDERS);
        assert_string_equal(p.server.uri, WEB);
        assert_string_equal(p.server.sni, "orders.shop");
        assert_string_equal(p.client.alpn, "h2");
        assert_string_equal(p.server.alpn, "h2");
        assert_string_equal(p.client.version, "TLSv1.3");
        assert_true(p.client.is_verified && p.server.is_verified);
        assert_int_equal(turn_account(p.turn)->bytes, 0);
        pair_free(&p);
    }
    tls_context_unref(cc);
    tls_context_unref(sc);
    test_id_free(&web);
    test_id_free(&orders);
    test_id_free(&ca);
}

/* What a turn produced leaves as one record, however many pieces it was made of; an idle connection
 * holds no chunk. */
static void test_one_record(void **state)
{
    (void)state;
    enum { PIECES = 4, PIECE_LEN = 3000, RECORD_OVERHEAD = 22 };
    static char bytes[PIECE_LEN];
    struct test_id ca = test_ca("mesh.local");
    struct test_id web = test_leaf(&ca, WEB), orders = test_leaf(&ca, ORDERS);
    struct tls_context *cc = context(TLS_CLIENT, &web, ca.cert, NULL);
    struct tls_context *sc = context(TLS_SERVER, &orders, ca.cert, NULL);
    struct tls_endpoint_args client = {.context = cc}, server = {.context = sc};
    struct pair p;
    pair_start(&p, 1, 0, &client, &server);
    sim_world_run(p.w, UINT64_MAX);
    uint64_t before = p.client.conn->bytes_out;
    for (int i = 0; i < PIECES; i++) {
        struct chain piece; /* each in a chunk of its own */
        chain_init(&piece, turn_chunks(p.turn), NULL);
        chain_add(&piece, str_from(bytes, sizeof bytes));
        chain_move(&p.client.conn->out, &piece, piece.len);
        chain_deinit(&piece);
    }
    conn_mark_dirty(p.client.conn);
    sim_world_run(p.w, UINT64_MAX);
    assert_int_equal(p.client.conn->bytes_out - before, PIECES * PIECE_LEN + RECORD_OVERHEAD);
    assert_int_equal(p.server.text.len, PIECES * PIECE_LEN);
    assert_int_equal(turn_chunks(p.turn)->live_count, 0);
    pair_free(&p);
    tls_context_unref(cc);
    tls_context_unref(sc);
    test_id_free(&web);
    test_id_free(&orders);
    test_id_free(&ca);
}

enum who { CLIENT_FAILS, SERVER_FAILS };

struct bad_case {
    const char *name;
    enum who who;
    int err;
    const char *text;       /* of who fails */
    const char *other_text; /* of the other side */
};

static void run_bad(const struct bad_case *b, const struct tls_endpoint_args *client,
                    const struct tls_endpoint_args *server)
{
    for (uint32_t piece = 0; piece < 2; piece++) {
        struct pair p;
        pair_start(&p, piece, piece, client, server);
        chain_add(&p.client.conn->out, STR("secret"));
        sim_world_run(p.w, sim_world_now_us(p.w) + 60000000);
        struct side *failed = b->who == CLIENT_FAILS ? &p.client : &p.server;
        struct side *other = b->who == CLIENT_FAILS ? &p.server : &p.client;
        if (failed->opens != 0 || failed->closes != 1 || failed->err != b->err)
            fail_msg("%s: opens %d closes %d err %d %s", b->name, failed->opens, failed->closes,
                     failed->err, failed->error);
        if (!str_contains(str_from_c(failed->error), str_from_c(b->text)))
            fail_msg("%s: %s", b->name, failed->error);
        assert_int_equal(other->closes, 1);
        assert_true(other->err < 0);
        if (!str_contains(str_from_c(other->error), str_from_c(b->other_text)))
            fail_msg("%s: other: %s", b->name, other->error);
        assert_int_equal(p.server.text.len, 0);
        pair_free(&p);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    struct test_id ca = test_ca("mesh.local"), other_ca = test_ca("mesh.local");
    uint64_t now = test_now();
    struct test_id web = test_leaf(&ca, WEB), orders = test_leaf(&ca, ORDERS);
    struct test_id foreign = test_leaf(&other_ca, WEB);
    struct test_id old = test_leaf_at(&ca, WEB, now - 7000, now - 10);
    struct test_id early = test_leaf_at(&ca, WEB, now + 1000, now + 2000);
    struct tls_context *good_c = context(TLS_CLIENT, &web, ca.cert, NULL);
    struct tls_context *good_s = context(TLS_SERVER, &orders, ca.cert, NULL);
    struct tls_context *bare_c = context(TLS_CLIENT, NULL, ca.cert, NULL);
    struct tls_context *foreign_c = context(TLS_CLIENT, &foreign, ca.cert, NULL);
    struct tls_context *old_c = context(TLS_CLIENT, &old, ca.cert, NULL);
    struct tls_context *early_c = context(TLS_CLIENT, &early, ca.cert, NULL);
    struct tls_context *wrong_root_c = context(TLS_CLIENT, &web, other_ca.cert, NULL);
    struct tls_san_match want_web = exact(WEB);
    struct tls_endpoint_args client = {.context = good_c}, server = {.context = good_s};

    struct tls_endpoint_args c = client;
    c.sans = &want_web;
    c.san_count = 1;
    run_bad(&(struct bad_case){"server is somebody else", CLIENT_FAILS, -ERR_CERTIFICATE,
                               "expected " WEB ", but the certificate names " ORDERS,
                               "bad certificate"},
            &c, &server);

    struct tls_endpoint_args s = server;
    struct tls_san_match want_orders = exact(ORDERS);
    s.sans = &want_orders;
    s.san_count = 1;
    run_bad(&(struct bad_case){"client is somebody else", SERVER_FAILS, -ERR_CERTIFICATE,
                               "expected " ORDERS ", but the certificate names " WEB,
                               "the peer refused our certificate"},
            &client, &s);

    c = client;
    c.context = bare_c;
    run_bad(&(struct bad_case){"no client certificate", SERVER_FAILS, -ERR_CERTIFICATE,
                               "sent no certificate", "(we have none)"},
            &c, &server);
    c.context = foreign_c;
    run_bad(&(struct bad_case){"client of another CA", SERVER_FAILS, -ERR_CERTIFICATE,
                               "peer certificate not accepted", "refused our certificate"},
            &c, &server);
    c.context = old_c;
    run_bad(&(struct bad_case){"client expired", SERVER_FAILS, -ERR_CERTIFICATE,
                               "certificate has expired", "ours expired at 20"},
            &c, &server);
    c.context = early_c;
    run_bad(&(struct bad_case){"client not yet valid", SERVER_FAILS, -ERR_CERTIFICATE,
                               "not yet valid", "refused our certificate"},
            &c, &server);
    c.context = wrong_root_c;
    run_bad(&(struct bad_case){"server of another CA", CLIENT_FAILS, -ERR_CERTIFICATE,
                               "peer certificate not accepted", "unknown ca"},
            &c, &server);

    struct tls_context *all[] = {good_c, good_s, bare_c, foreign_c, old_c, early_c, wrong_root_c};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        tls_context_unref(all[i]);
    struct test_id *ids[] = {&ca, &other_ca, &web, &orders, &foreign, &old, &early};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        test_id_free(ids[i]);
}

/* A client certificate that is asked for, not demanded (PERMISSIVE): who brings none is anonymous,
 * unless names are expected. */
static void test_asked(void **state)
{
    (void)state;
    struct test_id ca = test_ca("mesh.local"), orders = test_leaf(&ca, ORDERS);
    struct tls_context_args args = {.role = TLS_SERVER,
                                    .key = orders.key,
                                    .chain = &orders.cert,
                                    .chain_count = 1,
                                    .roots = &ca.cert,
                                    .root_count = 1,
                                    .is_client_cert_asked = true};
    struct tls_context *sc, *cc = context(TLS_CLIENT, NULL, ca.cert, NULL);
    assert_int_equal(tls_context_new(&args, NULL, &sc), 0);
    struct tls_endpoint_args client = {.context = cc}, server = {.context = sc};
    struct pair p;
    pair_start(&p, 1, 0, &client, &server);
    sim_world_run(p.w, UINT64_MAX);
    assert_int_equal(p.server.opens, 1);
    assert_string_equal(p.server.uri, "");
    assert_false(p.server.is_verified);
    pair_free(&p);
    struct tls_san_match want = exact(WEB);
    server.sans = &want;
    server.san_count = 1;
    run_bad(
        &(struct bad_case){"anonymous", SERVER_FAILS, -ERR_CERTIFICATE, "sent no certificate", ""},
        &client, &server);
    tls_context_unref(sc);
    tls_context_unref(cc);
    test_id_free(&orders);
    test_id_free(&ca);
}

static void say_nothing(void *layer, struct chain *wire_out)
{
    (void)layer;
    (void)wire_out;
}

/* The stream is cut without close_notify: that end is told as one. */
static void test_truncated(void **state)
{
    (void)state;
    struct test_id ca = test_ca("mesh.local");
    struct test_id web = test_leaf(&ca, WEB), orders = test_leaf(&ca, ORDERS);
    struct tls_context *cc = context(TLS_CLIENT, &web, ca.cert, NULL);
    struct tls_context *sc = context(TLS_SERVER, &orders, ca.cert, NULL);
    struct tls_endpoint_args client = {.context = cc}, server = {.context = sc};
    struct pair p;
    pair_start(&p, 1, 0, &client, &server);
    sim_world_run(p.w, UINT64_MAX);
    chain_add(&p.server.conn->out, STR("half of it"));
    /* What stands in for an attacker: the server's layer that says no farewell. */
    struct conn_layer_ops mute = tls_layer_ops;
    mute.end = say_nothing;
    p.server.conn->layer_ops = &mute;
    conn_end(p.server.conn);
    sim_world_run(p.w, UINT64_MAX);
    assert_int_equal(p.client.text.len, 10);
    assert_true(conn_is_in_ended(p.client.conn));
    assert_int_equal(p.client.last_err, -ERR_TRUNCATED);
    conn_close(p.client.conn);
    sim_world_run(p.w, UINT64_MAX);
    assert_int_equal(p.client.err, -ERR_TRUNCATED);
    pair_free(&p);
    tls_context_unref(cc);
    tls_context_unref(sc);
    test_id_free(&web);
    test_id_free(&orders);
    test_id_free(&ca);
}

static void test_alpn(void **state)
{
    (void)state;
    static const struct {
        const char *client[3], *server[3], *result;
    } rows[] = {
        {{"h2", "http/1.1"}, {"http/1.1", "h2"}, "http/1.1"}, /* the server's order */
        {{"h2"}, {"http/1.1"}, ""},                           /* no overlap: goes on without */
        {{NULL}, {"h2"}, ""},
        {{"h2"}, {NULL}, ""},
        {{"istio", "tulle-h2"}, {"tulle-h2", "istio"}, "tulle-h2"},
    };
    struct test_id ca = test_ca("mesh.local"), orders = test_leaf(&ca, ORDERS);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str lists[2][3];
        size_t counts[2] = {0, 0};
        for (size_t k = 0; k < 3; k++) {
            if (rows[i].client[k] != NULL)
                lists[0][counts[0]++] = str_from_c(rows[i].client[k]);
            if (rows[i].server[k] != NULL)
                lists[1][counts[1]++] = str_from_c(rows[i].server[k]);
        }
        struct tls_context_args args = {.role = TLS_SERVER,
                                        .key = orders.key,
                                        .chain = &orders.cert,
                                        .chain_count = 1,
                                        .alpn = lists[1],
                                        .alpn_count = counts[1]};
        struct tls_context *sc, *cc = context(TLS_CLIENT, NULL, ca.cert, NULL);
        assert_int_equal(tls_context_new(&args, NULL, &sc), 0);
        struct tls_endpoint_args client = {
            .context = cc, .alpn = lists[0], .alpn_count = counts[0]};
        struct tls_endpoint_args server = {.context = sc};
        struct pair p;
        pair_start(&p, i, 0, &client, &server);
        sim_world_run(p.w, UINT64_MAX);
        assert_int_equal(p.client.opens + p.server.opens, 2);
        assert_string_equal(p.client.alpn, rows[i].result);
        assert_string_equal(p.server.alpn, rows[i].result);
        pair_free(&p);
        tls_context_unref(sc);
        tls_context_unref(cc);
    }
    test_id_free(&orders);
    test_id_free(&ca);
}

static void test_garbage(void **state)
{
    (void)state;
    struct test_id ca = test_ca("mesh.local"), orders = test_leaf(&ca, ORDERS);
    struct tls_context *sc = context(TLS_SERVER, &orders, ca.cert, NULL);
    struct tls_endpoint_args args = {.context = sc};
    struct chunk_pool pool;
    chunk_pool_init(&pool, 4);
    struct chain in, plain, out;
    chain_init(&in, &pool, NULL);
    chain_init(&plain, &pool, NULL);
    chain_init(&out, &pool, NULL);
    struct tls_endpoint *e = tls_endpoint_new(&args);
    bool is_open = false, is_ended = false;
    chain_add(&in, STR("GET / HTTP/1.1\r\n\r\n"));
    assert_int_equal(tls_layer_ops.input(e, &in, &plain, &out, &is_open, &is_ended), -ERR_TLS);
    assert_false(is_open);
    assert_true(tls_layer_ops.error_text(e).len > 0);
    chain_clear(&in);
    assert_int_equal(tls_layer_ops.input(e, &in, &plain, &out, &is_open, &is_ended), -ERR_TLS);
    tls_layer_ops.free(e);
    chain_deinit(&in);
    chain_deinit(&plain);
    chain_deinit(&out);
    chunk_pool_deinit(&pool);
    tls_context_unref(sc);
    test_id_free(&orders);
    test_id_free(&ca);
}

static void test_context_refusals(void **state)
{
    (void)state;
    struct test_id ca = test_ca("mesh.local");
    struct test_id web = test_leaf(&ca, WEB), orders = test_leaf(&ca, ORDERS);
    struct str empty = STR_NULL;
    const struct tls_context_args rows[] = {
        {.role = TLS_SERVER}, /* no certificate */
        {.role = TLS_CLIENT}, /* no roots, and nobody said that this is meant */
        {.role = TLS_SERVER, .key = web.key, .chain = &orders.cert, .chain_count = 1},
        {.role = TLS_SERVER,
         .key = web.key,
         .chain = &web.cert,
         .chain_count = 1,
         .is_client_cert_required = true},
        {.role = TLS_CLIENT, .roots = &ca.cert, .root_count = 1, .version_min = 11},
        {.role = TLS_CLIENT,
         .roots = &ca.cert,
         .root_count = 1,
         .version_min = 13,
         .version_max = 12},
        {.role = TLS_CLIENT, .roots = &ca.cert, .root_count = 1, .alpn = &empty, .alpn_count = 1},
        {.role = TLS_CLIENT, .roots = &ca.cert, .root_count = 1, .ciphers = "NONSENSE"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str_buf why = STR_BUF_INIT(1000);
        struct tls_context *c;
        assert_true(tls_context_new(&rows[i], &why, &c) < 0);
        assert_true(why.len > 0);
        str_buf_deinit(&why);
    }
    test_id_free(&web);
    test_id_free(&orders);
    test_id_free(&ca);
}

/* Names of a server certificate, as kinds and ways of matching see them. */
static void test_san_kinds(void **state)
{
    (void)state;
    static const struct {
        struct tls_san_match match;
        bool is_ok;
    } rows[] = {
        {{TLS_SAN_DNS, TLS_MATCH_EXACT, {"api.example.com", 15}}, true}, /* by *.example.com */
        {{TLS_SAN_DNS, TLS_MATCH_EXACT, {"API.example.COM", 15}}, true},
        {{TLS_SAN_DNS, TLS_MATCH_EXACT, {"a.api.example.com", 17}}, false},
        {{TLS_SAN_DNS, TLS_MATCH_EXACT, {"example.com", 11}}, false},
        {{TLS_SAN_DNS, TLS_MATCH_EXACT, {"tulled.local", 12}}, true},
        {{TLS_SAN_URI, TLS_MATCH_EXACT, {"tulled.local", 12}}, false},
        {{TLS_SAN_ANY, TLS_MATCH_EXACT, {"tulled.local", 12}}, true},
        {{TLS_SAN_IP, TLS_MATCH_EXACT, {"127.0.0.1", 9}}, true},
        {{TLS_SAN_IP, TLS_MATCH_EXACT, {"0:0::1", 6}}, true},
        {{TLS_SAN_IP, TLS_MATCH_EXACT, {"127.0.0.2", 9}}, false},
        {{TLS_SAN_URI, TLS_MATCH_PREFIX, {"spiffe://mesh.local/", 20}}, true},
        {{TLS_SAN_URI, TLS_MATCH_SUFFIX, {"/tulled", 7}}, true},
        {{TLS_SAN_URI, TLS_MATCH_CONTAINS, {"mesh", 4}}, true},
        {{TLS_SAN_URI, TLS_MATCH_PREFIX, {"spiffe://other/", 15}}, false},
    };
    struct test_id ca = test_ca("mesh.local"), id = {key_new_p256(), NULL};
    struct str names[] = {STR("*.example.com"), STR("tulled.local"), STR("127.0.0.1"), STR("::1")};
    assert_int_equal(ca_issue_server(ca.key, ca.cert, id.key, names, 4,
                                     STR("spiffe://mesh.local/tulled"), test_now() - 1,
                                     test_now() + 600, &id.cert),
                     0);
    struct tls_context_args args = {
        .role = TLS_SERVER, .key = id.key, .chain = &id.cert, .chain_count = 1};
    struct tls_context *sc, *cc = context(TLS_CLIENT, NULL, ca.cert, NULL);
    assert_int_equal(tls_context_new(&args, NULL, &sc), 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct tls_endpoint_args client = {.context = cc, .sans = &rows[i].match, .san_count = 1};
        struct tls_endpoint_args server = {.context = sc};
        struct pair p;
        pair_start(&p, i, 0, &client, &server);
        sim_world_run(p.w, UINT64_MAX);
        if ((p.client.opens == 1) != rows[i].is_ok)
            fail_msg("row %zu: %s", i, p.client.error);
        pair_free(&p);
    }
    tls_context_unref(sc);
    tls_context_unref(cc);
    test_id_free(&id);
    test_id_free(&ca);
}

/* A session is taken once and renewed, serves only the contexts that made it, and carries nobody
 * past the check of names. */
static void test_sessions(void **state)
{
    (void)state;
    enum { CONTEXTS = 2 };
    static const struct {
        int client, server; /* which context */
        const char *want;
        bool is_open, is_resumed, is_kept;
    } rows[] = {
        {0, 0, ORDERS, true, false, true},
        {0, 0, ORDERS, true, true, true},
        {0, 0, ORDERS, true, true, true},
        {1, 0, ORDERS, true, false, true}, /* another context of the client */
        {1, 0, WEB, false, true, false},   /* names are judged again */
        {1, 0, ORDERS, true, false, true}, /* nothing was left */
        {1, 1, ORDERS, true, false, true}, /* a server without tickets knows none */
        {1, 0, ORDERS, true, true, true},
    };
    static const uint8_t ticket_key[80] = {1, 2, 3};
    struct test_id ca = test_ca("mesh.local");
    struct test_id web = test_leaf(&ca, WEB), orders = test_leaf(&ca, ORDERS);
    struct tls_context *clients[CONTEXTS], *servers[CONTEXTS];
    for (int i = 0; i < CONTEXTS; i++) {
        struct tls_context_args args = {.role = TLS_SERVER,
                                        .key = orders.key,
                                        .chain = &orders.cert,
                                        .chain_count = 1,
                                        .roots = &ca.cert,
                                        .root_count = 1,
                                        .is_client_cert_required = true,
                                        .ticket_key = i == 0 ? ticket_key : NULL};
        assert_int_equal(tls_context_new(&args, NULL, &servers[i]), 0);
        clients[i] = context(TLS_CLIENT, &web, ca.cert, NULL);
    }
    struct tls_session *session = tls_session_new();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct tls_san_match want = exact(rows[i].want);
        struct tls_endpoint_args client = {
            .context = clients[rows[i].client], .sans = &want, .san_count = 1, .session = session};
        struct tls_endpoint_args server = {.context = servers[rows[i].server]};
        struct pair p;
        pair_start(&p, i, 0, &client, &server);
        sim_world_run(p.w, UINT64_MAX);
        assert_int_equal(p.client.opens, rows[i].is_open);
        if (rows[i].is_open) {
            assert_int_equal(p.client.is_resumed, rows[i].is_resumed);
            assert_int_equal(p.server.is_resumed, rows[i].is_resumed);
            assert_true(p.client.is_verified && p.server.is_verified);
            assert_string_equal(p.client.uri, ORDERS);
            assert_string_equal(p.server.uri, WEB);
        } else {
            assert_non_null(strstr(p.client.error, "expected "));
        }
        pair_free(&p);
        assert_int_equal(tls_session_is_kept(session), rows[i].is_kept);
    }
    tls_session_unref(session);
    for (int i = 0; i < CONTEXTS; i++) {
        tls_context_unref(clients[i]);
        tls_context_unref(servers[i]);
    }
    test_id_free(&web);
    test_id_free(&orders);
    test_id_free(&ca);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_one_record),
        cmocka_unit_test(test_refusals),   cmocka_unit_test(test_asked),
        cmocka_unit_test(test_truncated),  cmocka_unit_test(test_alpn),
        cmocka_unit_test(test_garbage),    cmocka_unit_test(test_context_refusals),
        cmocka_unit_test(test_san_kinds),  cmocka_unit_test(test_sessions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
