/* Against openssl(1), over loopback: our server with s_client, our client with s_server,
 * resumption, TLS 1.2. Skipped where there is no openssl program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "crypto/test_ids.h"

#define WEB "spiffe://mesh.local/ns/shop/sa/web"
#define ORDERS "spiffe://mesh.local/ns/shop/sa/orders"

static char dir[] = "/tmp/tulle-tls-test-XXXXXX";
static struct test_id ca, web, orders;

static const char *path_of(const char *name)
{
    static char paths[4][128];
    static int next;
    char *p = paths[next++ % 4];
    snprintf(p, sizeof paths[0], "%s/%s", dir, name);
    return p;
}

static void write_file(const char *name, struct str_buf *b)
{
    FILE *f = fopen(path_of(name), "w");
    assert_non_null(f);
    assert_int_equal(fwrite(b->ptr, 1, b->len, f), b->len);
    fclose(f);
    str_buf_deinit(b);
}

static int set_up(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(dir));
    ca = test_ca("mesh.local");
    web = test_leaf(&ca, WEB);
    orders = test_leaf(&ca, ORDERS);
    const struct {
        const char *name;
        const struct test_id *id;
    } rows[] = {{"ca", &ca}, {"web", &web}, {"orders", &orders}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char name[32];
        struct str_buf b = STR_BUF_INIT(100000);
        cert_to_pem(rows[i].id->cert, &b);
        snprintf(name, sizeof name, "%s.pem", rows[i].name);
        write_file(name, &b);
        b = STR_BUF_INIT(100000);
        key_to_pem(rows[i].id->key, &b);
        snprintf(name, sizeof name, "%s.key", rows[i].name);
        write_file(name, &b);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const names[] = {"ca.pem",  "web.pem",    "orders.pem", "ca.key",
                                        "web.key", "orders.key", "session"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unlink(path_of(names[i]));
    rmdir(dir);
    test_id_free(&ca);
    test_id_free(&web);
    test_id_free(&orders);
    return 0;
}

/* ---- openssl(1) as a child ---- */

struct child {
    pid_t pid;
    int in, out; /* our ends */
    char text[65536];
    size_t len;
};

static void child_start(struct child *c, const char *const *argv)
{
    int in[2], out[2];
    memset(c, 0, sizeof *c);
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    c->pid = fork();
    assert_true(c->pid >= 0);
    if (c->pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        dup2(out[1], 2);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    c->in = in[1];
    c->out = out[0];
    fcntl(c->out, F_SETFL, O_NONBLOCK);
}

static bool child_has(struct child *c, const char *text)
{
    ssize_t n = read(c->out, c->text + c->len, sizeof c->text - 1 - c->len);
    if (n > 0)
        c->len += (size_t)n;
    c->text[c->len] = '\0';
    return strstr(c->text, text) != NULL;
}

static void child_stop(struct child *c)
{
    int status;
    close(c->in);
    kill(c->pid, SIGTERM);
    waitpid(c->pid, &status, 0);
    close(c->out);
}

/* ---- Our side ---- */

struct side {
    struct conn *conn;
    struct tls_context *context;
    const char *want;
    int opens, closes;
    bool is_echo, is_resumed, is_verified;
    char uri[256], version[16], alpn[16], error[512];
    struct str_buf text;
};

static void on_open(struct conn *c)
{
    struct side *s = c->ctx;
    struct arena texts;
    arena_init(&texts, 512);
    struct tls_peer p = tls_endpoint_peer(tls_endpoint_of(c), &texts);
    s->conn = c;
    s->opens++;
    s->is_resumed = p.is_resumed;
    s->is_verified = p.is_verified;
    snprintf(s->uri, sizeof s->uri, "%.*s", STR_FMT(p.uri_san));
    snprintf(s->alpn, sizeof s->alpn, "%.*s", STR_FMT(p.alpn));
    snprintf(s->version, sizeof s->version, "%s", p.version);
    arena_deinit(&texts);
}

static void on_input(struct conn *c)
{
    struct side *s = c->ctx;
    for (uint32_t i = 0; i < c->in.count; i++)
        str_buf_add(&s->text, chain_slice_str(&c->in, i));
    if (s->is_echo)
        chain_move(&c->out, &c->in, c->in.len);
    chain_clear(&c->in);
    conn_mark_dirty(c);
    if (conn_is_in_ended(c))
        conn_close(c);
}

static void on_close(struct conn *c, int err)
{
    (void)err;
    struct side *s = c->ctx;
    s->closes++;
    s->conn = NULL;
    snprintf(s->error, sizeof s->error, "%.*s", STR_FMT(conn_error_text(c)));
}

static const struct conn_handler handler = {on_open, on_input, NULL, on_close};

static void on_accept(void *ctx, struct conn *c)
{
    struct side *s = ctx;
    struct tls_san_match want = {TLS_SAN_URI, TLS_MATCH_EXACT, str_from_c(s->want)};
    struct tls_endpoint_args args = {.context = s->context, .sans = &want, .san_count = 1};
    conn_set_layer(c, &tls_layer_ops, tls_endpoint_new(&args));
    conn_set_handler(c, &handler, s);
}

#define WAIT(turn, cond)                                                                           \
    for (int tries_ = 0; !(cond); tries_++) {                                                      \
        assert_true(tries_ < 1000);                                                                \
        turn_once((turn), 10);                                                                     \
    }

static bool has_openssl(void)
{
    return system("openssl version >/dev/null 2>&1") == 0;
}

static void run_s_client(struct turn *t, struct side *s, const struct addr *at, const char *id,
                         const char *flag, const char *flag_value)
{
    char target[ADDR_TEXT_LEN], cert[128], key[128];
    addr_format(at, target);
    snprintf(cert, sizeof cert, "%s/%s.pem", dir, id);
    snprintf(key, sizeof key, "%s/%s.key", dir, id);
    const char *argv[] = {"openssl",  "s_client",
                          "-connect", target,
                          "-CAfile",  path_of("ca.pem"),
                          "-cert",    cert,
                          "-key",     key,
                          "-alpn",    "h2,http/1.1",
                          "-ign_eof", "-verify_return_error",
                          flag,       flag_value,
                          NULL};
    struct child c;
    child_start(&c, argv);
    assert_int_equal(write(c.in, "hello there\n", 12), 12);
    WAIT(t, s->closes > 0 || (s->text.len == 12 && child_has(&c, "hello there")));
    child_stop(&c);
    WAIT(t, s->closes > 0);
}

static void test_server(void **state)
{
    (void)state;
    if (!has_openssl())
        skip();
    static const uint8_t ticket_key[80] = {1, 2, 3};
    struct str alpn = STR("h2");
    struct tls_context_args args = {.role = TLS_SERVER,
                                    .key = orders.key,
                                    .chain = &orders.cert,
                                    .chain_count = 1,
                                    .roots = &ca.cert,
                                    .root_count = 1,
                                    .is_client_cert_required = true,
                                    .alpn = &alpn,
                                    .alpn_count = 1,
                                    .version_min = 12,
                                    .version_max = 13,
                                    .ticket_key = ticket_key};
    char session[128];
    snprintf(session, sizeof session, "%s", path_of("session"));
    const struct {
        const char *id, *want, *flag, *value, *version;
        bool is_ok, is_resumed;
    } rows[] = {
        {"web", WEB, "-sess_out", session, "TLSv1.3", true, false},
        {"web", WEB, "-sess_in", session, "TLSv1.3", true, true},
        {"web", ORDERS, "-sess_in", session, "TLSv1.3", false, false}, /* judged again */
        {"web", WEB, "-tls1_2", NULL, "TLSv1.2", true, false},
        {"orders", WEB, NULL, NULL, NULL, false, false},
    };
    struct turn *t = turn_new_linux();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct side s = {.is_echo = true, .want = rows[i].want, .text = STR_BUF_INIT(1000)};
        struct listen_socket *ls;
        struct addr at;
        assert_int_equal(tls_context_new(&args, NULL, &s.context), 0);
        addr_parse(STR("127.0.0.1:0"), &at);
        assert_int_equal(listen_open(t, &at, NULL, on_accept, &s, &ls), 0);
        run_s_client(t, &s, listen_addr(ls), rows[i].id, rows[i].flag, rows[i].value);
        assert_int_equal(s.opens, rows[i].is_ok);
        if (rows[i].is_ok) {
            assert_string_equal(s.uri, WEB);
            assert_string_equal(s.alpn, "h2");
            assert_string_equal(s.version, rows[i].version);
            assert_int_equal(s.is_resumed, rows[i].is_resumed);
            assert_true(s.is_verified);
        } else {
            assert_non_null(strstr(s.error, "expected "));
            assert_non_null(strstr(s.error, rows[i].want));
        }
        listen_close(ls);
        turn_once(t, 0);
        tls_context_unref(s.context);
        str_buf_deinit(&s.text);
    }
    turn_free(t);
}

static void test_client(void **state)
{
    (void)state;
    if (!has_openssl())
        skip();
    const char *argv[] = {"openssl",
                          "s_server",
                          "-accept",
                          "127.0.0.1:0",
                          "-cert",
                          path_of("orders.pem"),
                          "-key",
                          path_of("orders.key"),
                          "-CAfile",
                          path_of("ca.pem"),
                          "-Verify",
                          "3",
                          "-verify_return_error",
                          "-rev",
                          "-alpn",
                          "h2",
                          NULL};
    struct child child;
    child_start(&child, argv);
    for (int i = 0; !child_has(&child, "ACCEPT") || !child_has(&child, "\n"); i++) {
        assert_true(i < 1000);
        usleep(5000);
    }
    struct addr at;
    char *where = strstr(child.text, "ACCEPT ");
    assert_non_null(where);
    assert_true(addr_parse(str_from(where + 7, strcspn(where + 7, "\n")), &at));

    struct tls_context_args args = {.role = TLS_CLIENT,
                                    .key = web.key,
                                    .chain = &web.cert,
                                    .chain_count = 1,
                                    .roots = &ca.cert,
                                    .root_count = 1};
    struct str alpn = STR("h2");
    struct tls_san_match want = {TLS_SAN_URI, TLS_MATCH_EXACT, STR(ORDERS)};
    struct side s = {.text = STR_BUF_INIT(1000)};
    assert_int_equal(tls_context_new(&args, NULL, &s.context), 0);
    struct tls_endpoint_args ea = {.context = s.context,
                                   .sni = STR("orders.shop"),
                                   .sans = &want,
                                   .san_count = 1,
                                   .alpn = &alpn,
                                   .alpn_count = 1};
    struct turn *t = turn_new_linux();
    struct conn *c =
        conn_connect(t, &at, NULL, &handler, &s, &tls_layer_ops, tls_endpoint_new(&ea));
    chain_add(&c->out, STR("abc\n"));
    WAIT(t, s.closes > 0 || s.text.len == 4);
    assert_memory_equal(s.text.ptr, "cba\n", 4);
    assert_string_equal(s.uri, ORDERS);
    assert_string_equal(s.alpn, "h2");
    conn_close(c);
    WAIT(t, s.closes > 0);
    child_stop(&child);
    turn_free(t);
    tls_context_unref(s.context);
    str_buf_deinit(&s.text);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_server),
        cmocka_unit_test(test_client),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
