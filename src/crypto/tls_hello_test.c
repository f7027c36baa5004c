
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "crypto/test_ids.h"

/* A ClientHello as our own client writes it. */
static struct str_buf make_hello(struct str sni, const struct str *alpn, size_t alpn_count)
{
    struct test_id ca = test_ca("mesh.local");
    struct tls_context_args args = {.role = TLS_CLIENT, .roots = &ca.cert, .root_count = 1};
    struct tls_context *c;
    assert_int_equal(tls_context_new(&args, NULL, &c), 0);
    struct tls_endpoint_args ea = {
        .context = c, .sni = sni, .alpn = alpn, .alpn_count = alpn_count};
    struct tls_endpoint *e = tls_endpoint_new(&ea);
    struct chain in, plain, out;
    chain_init(&in, NULL, NULL);
    chain_init(&plain, NULL, NULL);
    chain_init(&out, NULL, NULL);
    bool is_open = false, is_ended = false;
    assert_int_equal(tls_layer_ops.input(e, &in, &plain, &out, &is_open, &is_ended), 0);
    struct str_buf hello = STR_BUF_INIT(100000);
    str_buf_add(&hello, chain_pullup(&out, out.len));
    chain_deinit(&in);
    chain_deinit(&plain);
    chain_deinit(&out);
    tls_layer_ops.free(e);
    tls_context_unref(c);
    test_id_free(&ca);
    return hello;
}

/* The same message in records of `piece` bytes. */
static void rerecord(struct str hello, size_t piece, struct str_buf *to)
{
    struct str message = str_skip(hello, 5);
    while (message.len > 0) {
        struct str part = str_sub(message, 0, piece);
        char header[5] = {22, 3, 1, (char)(part.len >> 8), (char)part.len};
        str_buf_add(to, str_from(header, 5));
        str_buf_add(to, part);
        message = str_skip(message, part.len);
    }
}

static void check(struct str bytes, struct arena *a)
{
    struct tls_hello hello;
    assert_int_equal(tls_peek_hello(bytes, a, &hello), TLS_PEEK_YES);
    assert_true(str_eq(hello.sni, STR("web.shop.svc")));
    assert_int_equal(hello.alpn_count, 2);
    assert_true(str_eq(hello.alpn[0], STR("h2")));
    assert_true(str_eq(hello.alpn[1], STR("http/1.1")));
}

static void test_own_hello(void **state)
{
    (void)state;
    struct str alpn[] = {STR("h2"), STR("http/1.1")};
    struct str_buf hello = make_hello(STR("Web.shop.SVC"), alpn, 2);
    struct str all = str_buf_str(&hello);
    struct arena a;
    arena_init(&a, 1024);
    check(all, &a);
    struct tls_hello none;
    for (size_t len = 0; len < all.len; len++)
        assert_int_equal(tls_peek_hello(str_sub(all, 0, len), &a, &none), TLS_PEEK_MORE);
    for (size_t piece = 1; piece < 50; piece += 3) {
        struct str_buf many = STR_BUF_INIT(100000);
        rerecord(all, piece, &many);
        check(str_buf_str(&many), &a);
        assert_int_equal(tls_peek_hello(str_sub(str_buf_str(&many), 0, many.len - 1), &a, &none),
                         TLS_PEEK_MORE);
        str_buf_deinit(&many);
    }
    /* bytes behind the hello do not matter */
    str_buf_add_c(&hello, "early data");
    check(str_buf_str(&hello), &a);
    str_buf_deinit(&hello);
    arena_deinit(&a);
}

static void test_no_names(void **state)
{
    (void)state;
    struct str_buf hello = make_hello(STR_NULL, NULL, 0);
    struct arena a;
    arena_init(&a, 1024);
    struct tls_hello h;
    assert_int_equal(tls_peek_hello(str_buf_str(&hello), &a, &h), TLS_PEEK_YES);
    assert_int_equal(h.sni.len, 0);
    assert_int_equal(h.alpn_count, 0);
    str_buf_deinit(&hello);
    arena_deinit(&a);
}

/* A hello built by hand, so that its extensions can be wrong. */
static size_t craft(char *to, const char *extensions, size_t len)
{
    size_t body = 2 + 32 + 1 + 4 + 2 + 2 + len, n = 0;
    char head[] = {
        22,         3, 1, (char)((body + 4) >> 8), (char)(body + 4), 1, 0, (char)(body >> 8),
        (char)body, 3, 3};
    memcpy(to, head, sizeof head);
    n = sizeof head;
    memset(to + n, 7, 32);
    n += 32;
    char tail[] = {0, 0, 2, 0x13, 1, 1, 0, (char)(len >> 8), (char)len};
    memcpy(to + n, tail, sizeof tail);
    n += sizeof tail;
    memcpy(to + n, extensions, len);
    return n + len;
}

#define EXT(s) s, sizeof(s) - 1

static void test_crafted(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        enum tls_peek result;
    } rows[] = {
        {EXT(""), TLS_PEEK_YES},
        {EXT("\0\0\0\6\0\4\0\0\1a"), TLS_PEEK_YES},
        {EXT("\0\0\0\6\0\4\1\0\1a"), TLS_PEEK_NO},                    /* not a host name */
        {EXT("\0\0\0\5\0\3\0\0\0"), TLS_PEEK_NO},                     /* empty name */
        {EXT("\0\0\0\6\0\4\0\0\1\0"), TLS_PEEK_NO},                   /* NUL */
        {EXT("\0\0\0\7\0\4\0\0\1ab"), TLS_PEEK_NO},                   /* bytes behind the list */
        {EXT("\0\0\0\6\0\5\0\0\1a"), TLS_PEEK_NO},                    /* list too long */
        {EXT("\0\0\0\6\0\4\0\0\2a"), TLS_PEEK_NO},                    /* name too long */
        {EXT("\0\0\0\6\0\4\0\0\1a\0\0\0\6\0\4\0\0\1b"), TLS_PEEK_NO}, /* twice */
        {EXT("\0\0\0\7"), TLS_PEEK_NO},                               /* body missing */
        {EXT("\0"), TLS_PEEK_NO},
        {EXT("\0\20\0\5\0\3\2h2"), TLS_PEEK_YES},
        {EXT("\0\20\0\2\0\0"), TLS_PEEK_NO},   /* empty list */
        {EXT("\0\20\0\3\0\1\0"), TLS_PEEK_NO}, /* empty protocol */
        {EXT("\0\20\0\5\0\3\3h2"), TLS_PEEK_NO},
        {EXT("\377\377\0\1x"), TLS_PEEK_YES}, /* unknown: skipped */
    };
    struct arena a;
    arena_init(&a, 1024);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char buf[512];
        struct tls_hello h;
        size_t len = craft(buf, rows[i].bytes, rows[i].len);
        if (tls_peek_hello(str_from(buf, len), &a, &h) != rows[i].result)
            fail_msg("row %zu", i);
    }
    arena_deinit(&a);
}

static void test_not_tls(void **state)
{
    (void)state;
    static const struct str rows[] = {
        {"GET / HTTP/1.1\r\n", 16},
        {"PRI * HTTP/2.0", 14},
        {"\x16\x02", 2},
        {"\x16\x03\x01\x00\x00", 5},                 /* empty record */
        {"\x16\x03\x01\x40\x01", 5},                 /* record too long */
        {"\x16\x03\x01\x00\x04\x02\x00\x00\x01", 9}, /* ServerHello */
        {"\x16\x03\x01\x00\x04\x01\x00\x40\x01", 9}, /* hello too long */
        {"\x15\x03\x01\x00\x02\x01\x00", 7},         /* alert */
        {"\x80\x2e\x01", 3},                         /* SSLv2 */
    };
    struct arena a;
    struct tls_hello h;
    arena_init(&a, 1024);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (tls_peek_hello(rows[i], &a, &h) != TLS_PEEK_NO)
            fail_msg("row %zu", i);
    }
    assert_int_equal(tls_peek_hello(STR_NULL, &a, &h), TLS_PEEK_MORE);
    /* tiny records without end are not waited for */
    static char drip[TLS_PEEK_LEN_MAX];
    for (size_t i = 0; i + 6 <= sizeof drip; i += 6)
        memcpy(drip + i, i == 0 ? "\x16\x03\x01\x00\x01\x01" : "\x16\x03\x01\x00\x01\x00", 6);
    assert_int_equal(tls_peek_hello(str_from(drip, 600), &a, &h), TLS_PEEK_NO);
    memcpy(drip + 6, "\x16\x03\x01\x00\x01\x00\x16\x03\x01\x00\x01\x3f", 12);
    assert_int_equal(tls_peek_hello(str_from(drip, 600), &a, &h), TLS_PEEK_MORE);
    assert_int_equal(tls_peek_hello(str_from(drip, sizeof drip), &a, &h), TLS_PEEK_NO);
    arena_deinit(&a);
}

int main(int argc, char **argv)
{
    /* `test_crypto_tls_hello DIR` writes seeds for the fuzz target. */
    if (argc == 2) {
        struct str alpn[] = {STR("h2"), STR("http/1.1")};
        struct str_buf hello = make_hello(STR("web.shop"), alpn, 2), many = STR_BUF_INIT(100000);
        rerecord(str_buf_str(&hello), 20, &many);
        const struct str seeds[] = {str_buf_str(&hello), str_buf_str(&many)};
        for (size_t i = 0; i < ARRAY_LEN(seeds); i++) {
            char path[512];
            snprintf(path, sizeof path, "%s/own%zu", argv[1], i);
            FILE *f = fopen(path, "wb");
            if (f == NULL || fwrite(seeds[i].ptr, 1, seeds[i].len, f) != seeds[i].len)
                return 1;
            fclose(f);
        }
        str_buf_deinit(&hello);
        str_buf_deinit(&many);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_hello),
        cmocka_unit_test(test_no_names),
        cmocka_unit_test(test_crafted),
        cmocka_unit_test(test_not_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
