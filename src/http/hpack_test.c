/* HPACK: the examples of RFC 7541 appendix C, what is refused, and nghttp2's HPACK at the other end
 * of random messages, in both directions. */
#include <nghttp2/nghttp2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/random.h"
#include "http/hpack_huffman.h"
#include "http/hpack_table.h"

enum { BLOCK_MAX = 65536 };

/* --- helpers ---------------------------------------------------------------------------------- */

static size_t from_hex(const char *hex, char *to)
{
    size_t len = 0;
    unsigned byte;

    for (; *hex != '\0'; hex += *hex == ' ' ? 1 : 2) {
        if (*hex != ' ' && sscanf(hex, "%2x", &byte) == 1)
            to[len++] = (char)byte;
    }
    return len;
}

/* "name: value\n..."; an error is "!". */
static void decode_text(struct hpack_decoder *d, struct str block, struct str_buf *to)
{
    struct hpack_field f;
    int got;

    str_buf_reset(to);
    str_buf_add_c(to, "");
    hpack_decode_begin(d);
    while ((got = hpack_decode(d, &block, &f)) > 0)
        str_buf_printf(to, "%.*s: %.*s\n", STR_FMT(f.name), STR_FMT(f.value));
    if (got < 0)
        str_buf_add_c(to, "!");
}

/* --- examples --------------------------------------------------------------------------------- */

struct example {
    const char *hex, *text;
    uint32_t size_max; /* of the table, set before the first of a group; 0: goes on with the last */
    uint32_t size;     /* of the table afterwards */
};

#define FIRST_GET ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n"
#define THIRD_GET                                                                                  \
    ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\n"              \
    "custom-key: custom-value\n"
#define FIRST_ANSWER                                                                               \
    ":status: 302\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\n"                  \
    "location: https://www.example.com\n"
#define SECOND_ANSWER                                                                              \
    ":status: 307\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\n"                  \
    "location: https://www.example.com\n"
#define THIRD_ANSWER                                                                               \
    ":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\n"                  \
    "location: https://www.example.com\ncontent-encoding: gzip\n"                                  \
    "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n"

static const struct example examples[] = {
    /* C.2 */
    {"400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
     "custom-key: custom-header\n", 4096, 55},
    {"040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path\n", 4096, 0},
    {"1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret\n", 4096, 0},
    {"82", ":method: GET\n", 4096, 0},
    /* C.3 */
    {"8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", FIRST_GET, 4096, 57},
    {"8286 84be 5808 6e6f 2d63 6163 6865", FIRST_GET "cache-control: no-cache\n", 0, 110},
    {"8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", THIRD_GET, 0, 164},
    /* C.4 */
    {"8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", FIRST_GET, 4096, 57},
    {"8286 84be 5886 a8eb 1064 9cbf", FIRST_GET "cache-control: no-cache\n", 0, 110},
    {"8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", THIRD_GET, 0, 164},
    /* C.5 */
    {"4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a "
     "3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
     FIRST_ANSWER, 256, 222},
    {"4803 3330 37c1 c0bf", SECOND_ANSWER, 0, 222},
    {"88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 "
     "677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 "
     "553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
     THIRD_ANSWER, 0, 215},
    /* C.6 */
    {"4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e "
     "919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
     FIRST_ANSWER, 256, 222},
    {"4883 640e ffc1 c0bf", SECOND_ANSWER, 0, 222},
    {"88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 "
     "821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed "
     "4ee5 b106 3d50 07",
     THIRD_ANSWER, 0, 215},
};

static void test_examples(void **state)
{
    struct hpack_decoder d;
    struct str_buf text = STR_BUF_INIT(BLOCK_MAX);
    char block[512];

    (void)state;
    hpack_decoder_init(&d);
    for (size_t i = 0; i < ARRAY_LEN(examples); i++) {
        const struct example *e = &examples[i];

        if (e->size_max != 0) {
            hpack_decoder_deinit(&d);
            hpack_decoder_init(&d);
            hpack_table_set_size(&d.table, e->size_max);
        }
        decode_text(&d, str_from(block, from_hex(e->hex, block)), &text);
        assert_string_equal(text.ptr, e->text);
        assert_int_equal(d.table.size, e->size);
    }
    hpack_decoder_deinit(&d);
    str_buf_deinit(&text);
}

/* --- what is refused -------------------------------------------------------------------------- */

static void test_refused(void **state)
{
    static const struct {
        const char *hex, *text;
    } table[] = {
        {"80", "!"},                     /* index 0 */
        {"be", "!"},                     /* nothing there yet */
        {"7e0161", "!"},                 /* likewise, of a name */
        {"ff80808080808080808001", "!"}, /* an integer without end */
        {"ffffffffff0f", "!"},           /* too large */
        {"ff", "!"},                     /* cut off */
        {"ff8000", "!"},                 /* 127: no such entry */
        {"82 40", ":method: GET\n!"},    /* no name */
        {"400161", "!"},                 /* no value */
        {"40016105616263", "!"},         /* a value that is cut off */
        {"0001610161", "a: a\n"},        /* for comparison */
        {"3fe11f 82", ":method: GET\n"}, /* size 4096 */
        {"3fe21f", "!"},                 /* 4097: never allowed */
        {"20 20 82", ":method: GET\n"},  /* two updates */
        {"20 3fe11f 20 82", "!"},        /* three */
        {"82 20", ":method: GET\n!"},    /* behind a field */
        {"0001618119", "!"},             /* padding of zeros */
        {"00016181ff", "!"},             /* padding of a whole byte */
        {"000161821fff", "!"},           /* likewise, behind a symbol */
        {"000161811f", "a: a\n"},        /* "a" */
        {"00016184ffffffff", "!"},       /* EOS */
        {"0001618180", "!"},             /* cut off within a code */
    };
    struct str_buf text = STR_BUF_INIT(BLOCK_MAX);
    char block[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct hpack_decoder d;

        hpack_decoder_init(&d);
        decode_text(&d, str_from(block, from_hex(table[i].hex, block)), &text);
        if (strcmp(text.ptr, table[i].text) != 0)
            fail_msg("%s: %s", table[i].hex, text.ptr);
        hpack_decoder_deinit(&d);
    }
    str_buf_deinit(&text);
}

/* An entry larger than the table empties it, and is a field all the same (RFC 7541 4.4). */
static void test_too_large_for_the_table(void **state)
{
    struct hpack_decoder d;
    struct str_buf text = STR_BUF_INIT(BLOCK_MAX);
    char block[64];

    (void)state;
    hpack_decoder_init(&d);
    decode_text(&d, str_from(block, from_hex("400161 0162", block)), &text);
    assert_int_equal(d.table.count, 1);
    decode_text(&d, str_from(block, from_hex("3f11 7e0163", block)), &text); /* 48 bytes */
    assert_string_equal(text.ptr, "a: c\n");
    assert_int_equal(d.table.count, 1);
    decode_text(&d, str_from(block, from_hex("3f02 7e0164", block)), &text); /* 33 */
    assert_string_equal(text.ptr, "!"); /* the update has evicted the name */
    hpack_decoder_deinit(&d);
    hpack_decoder_init(&d);
    decode_text(&d, str_from(block, from_hex("3f03 400161 0164", block)), &text);
    assert_int_equal(d.table.count, 1);
    decode_text(&d, str_from(block, from_hex("7e023334", block)), &text);
    assert_string_equal(text.ptr, "a: 34\n");
    assert_int_equal(d.table.count, 0);
    hpack_decoder_deinit(&d);
    str_buf_deinit(&text);
}

/* What an entry says of its name and value holds whenever it comes again. */
/* Few fields cost little; a name that lies in the table is still there when the table grows. */
static void test_growing(void **state)
{
    struct hpack_decoder d;
    struct str_buf text = STR_BUF_INIT(BLOCK_MAX);
    char block[1100] = "\x40\x01n\x01v" /* n: v */
                       "\x7e\x7f\xe9\x06" /* its name again, a value of 1,000 bytes */;
    size_t head_len = strlen(block);

    (void)state;
    hpack_decoder_init(&d);
    decode_text(&d, str_from(block, 5), &text);
    assert_string_equal(text.ptr, "n: v\n");
    assert_int_equal(d.table.bytes_cap, HPACK_BYTES_MIN);
    assert_int_equal(d.table.entries_cap, HPACK_ENTRIES_MIN);
    memset(block + head_len, 'x', 1000);
    decode_text(&d, str_from(block + 5, head_len - 5 + 1000), &text);
    assert_true(str_starts_with(str_buf_str(&text), STR("n: xxx")));
    assert_int_equal(text.len, strlen("n: \n") + 1000);
    assert_true(d.table.bytes_cap > HPACK_BYTES_MIN);
    /* Both entries are where their indices say. */
    decode_text(&d, STR("\xbf"), &text);
    assert_string_equal(text.ptr, "n: v\n");
    hpack_decoder_deinit(&d);
    str_buf_deinit(&text);
}

static void test_validity_is_remembered(void **state)
{
    static const struct {
        const char *hex;
        bool is_valid;
    } table[] = {
        {"4001410162", false}, /* A: b */
        {"be", false},
        {"0f2f0163", false},   /* the same name again */
        {"4001610101", false}, /* a: \1 */
        {"be", false},
        {"0f2f0163", true},    /* a: c */
        {"4001610120", false}, /* a: " " */
        {"8a", true},          /* :status 304 */
        {"81", false},         /* an empty :authority */
        {"0100", false},
        {"010168", true}, /* :authority h */
        {"b9", false},    /* transfer-encoding */
        {"000a636f6e6e656374696f6e00", false},
        {"40053a666f6f6f0161", false}, /* :fooo */
        {"be", false},
    };
    struct hpack_decoder d;
    struct hpack_field f;
    char block[64];

    (void)state;
    hpack_decoder_init(&d);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct str s = str_from(block, from_hex(table[i].hex, block));

        hpack_decode_begin(&d);
        assert_int_equal(hpack_decode(&d, &s, &f), 1);
        if (f.is_valid != table[i].is_valid)
            fail_msg("%s", table[i].hex);
    }
    hpack_decoder_deinit(&d);
}

/* --- the static table ------------------------------------------------------------------------- */

static char *encode(struct hpack_encoder *e, char *to, const char *name, const char *value)
{
    struct http_field f = {.name = str_from_c(name), .value = str_from_c(value)};

    f.id = http_name_find(f.name);
    return hpack_encode_field(e, to, &f);
}

/* Each row is found again by its name, and names.def knows the same names. */
static void test_static_names(void **state)
{
    struct hpack_encoder e;
    char block[128];

    (void)state;
    hpack_encoder_init(&e);
    for (int i = 1; i <= HPACK_STATIC_COUNT; i++) {
        const struct hpack_static_row *row = &hpack_static[i];
        enum h2_kind kind;
        enum http_name id;

        assert_true(h2_field_name(row->name, &kind, &id));
        assert_int_equal(kind, row->kind);
        assert_int_equal(id, row->id);
        assert_int_equal(h2_field_value_is_valid(kind, id, row->value), row->is_valid);
        if (kind != H2_FIELD)
            continue;
        char *end = encode(&e, block, row->name.ptr, "?!");
        struct hpack_decoder d;
        struct hpack_field f;
        struct str s = str_from(block, (size_t)(end - block));
        hpack_decoder_init(&d);
        hpack_decode_begin(&d);
        assert_int_equal(hpack_decode(&d, &s, &f), 1);
        assert_true(f.is_name_static && str_eq(f.name, row->name));
        hpack_decoder_deinit(&d);
    }
    hpack_encoder_deinit(&e);
}

/* --- encoder ---------------------------------------------------------------------------------- */

static size_t encoded_len(struct hpack_encoder *e, const char *name, const char *value)
{
    char block[8192];

    return (size_t)(encode(e, block, name, value) - block);
}

static void test_indexed_the_second_time(void **state)
{
    struct hpack_encoder e;

    (void)state;
    hpack_encoder_init(&e);
    assert_int_equal(encoded_len(&e, "user-agent", "curl/8"), 9);
    assert_int_equal(e.table.count, 0);
    assert_int_equal(encoded_len(&e, "user-agent", "curl/8"), 8);
    assert_int_equal(e.table.count, 1);
    assert_int_equal(encoded_len(&e, "user-agent", "curl/8"), 1);
    assert_int_equal(encoded_len(&e, "x-own", "value"), 13);
    assert_int_equal(encoded_len(&e, "x-own", "value"), 13);
    assert_int_equal(encoded_len(&e, "x-own", "value"), 1);
    assert_int_equal(encoded_len(&e, "x-other", "value"), 15);
    hpack_encoder_deinit(&e);
}

/* Their names come in once, their values never again. */
static void test_unique_values_stay_out(void **state)
{
    struct hpack_encoder e;
    char id[40];

    (void)state;
    hpack_encoder_init(&e);
    for (int i = 0; i < 1000; i++) {
        snprintf(id, sizeof(id), "%036d", i);
        assert_int_equal(encoded_len(&e, "x-request-id", id), i == 0 ? 51 : 39);
    }
    assert_int_equal(e.table.count, 1);
    hpack_encoder_deinit(&e);
}

static void test_secrets_are_never_indexed(void **state)
{
    static const char *const names[] = {"authorization", "proxy-authorization", "cookie",
                                        "set-cookie"};
    struct hpack_encoder e;
    struct hpack_decoder d;
    char block[128];

    (void)state;
    hpack_encoder_init(&e);
    hpack_decoder_init(&d);
    for (size_t i = 0; i < 4 * ARRAY_LEN(names); i++) {
        char *end = encode(&e, block, names[i % 4], "secret");
        struct str s = str_from(block, (size_t)(end - block));
        struct hpack_field f;

        hpack_decode_begin(&d);
        assert_int_equal(hpack_decode(&d, &s, &f), 1);
        assert_true(f.is_never_indexed);
    }
    struct http_field passed_on = {STR("x-key"), STR("secret"), HTTP_NAME_OTHER, true};
    for (int i = 0; i < 4; i++) {
        hpack_encode_field(&e, block, &passed_on);
        assert_int_equal(block[0] & 0xf0, 0x10);
    }
    assert_int_equal(e.table.count, 0);
    hpack_encoder_deinit(&e);
    hpack_decoder_deinit(&d);
}

static void test_size_updates(void **state)
{
    static const struct {
        uint32_t sizes[2];
        const char *hex;
    } table[] = {
        {{4096, 4096}, ""},      {{65536, 65536}, ""}, {{0, 0}, "20"},
        {{0, 4096}, "203fe11f"}, {{100, 100}, "3f45"}, {{100, 50}, "3f13"},
    };
    char got[32], wanted[32];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct hpack_encoder e;

        hpack_encoder_init(&e);
        for (int k = 0; k < 2; k++)
            hpack_encoder_set_size(&e, table[i].sizes[k]);
        size_t len = (size_t)(hpack_encode_begin(&e, got) - got);
        assert_int_equal(len, from_hex(table[i].hex, wanted));
        assert_memory_equal(got, wanted, len);
        assert_ptr_equal(hpack_encode_begin(&e, got), got);
        hpack_encoder_deinit(&e);
    }
}

/* --- random messages -------------------------------------------------------------------------- */

struct message {
    struct http_field fields[40];
    size_t count;
    char texts[BLOCK_MAX];
    size_t len;
};

static struct str random_text(struct message *m, struct random *r, const char *chars, size_t len)
{
    char *to = m->texts + m->len;
    size_t kinds = strlen(chars);

    for (size_t i = 0; i < len; i++)
        to[i] = chars[random_below(r, (uint32_t)kinds)];
    m->len += len;
    return str_from(to, len);
}

/* Few names and values that repeat, some that do not, some long ones. */
static void random_message(struct message *m, struct random *r)
{
    static const char *const names[] = {"accept", "x-request-id", "cookie",      "x-a", "x-b",
                                        "date",   "server",       "traceparent", "te",  "vary"};

    m->len = 0;
    m->count = random_below(r, ARRAY_LEN(m->fields)) + 1;
    for (size_t i = 0; i < m->count; i++) {
        struct http_field *f = &m->fields[i];
        size_t len = random_below(r, 20) == 0 ? random_below(r, 1500) : random_below(r, 3);

        f->name = random_below(r, 8) == 0 ? random_text(m, r, "abcxyz-09", 1 + random_below(r, 20))
                                          : str_from_c(names[random_below(r, ARRAY_LEN(names))]);
        f->value = random_below(r, 6) == 0 ? random_text(m, r, "~!\"abcdeXYZ01 {}\\\x80\xff", 30)
                                           : random_text(m, r, "ab", len);
        f->id = http_name_find(f->name);
        f->is_never_indexed = random_below(r, 30) == 0;
    }
}

static void expect_field(const struct http_field *wanted, struct str name, struct str value)
{
    assert_true(str_eq(wanted->name, name));
    assert_true(str_eq(wanted->value, value));
}

static size_t encode_ours(struct hpack_encoder *e, const struct message *m, char *block)
{
    char *at = hpack_encode_begin(e, block);
    size_t room = HPACK_BLOCK_BYTES;

    for (size_t i = 0; i < m->count; i++) {
        at = hpack_encode_field(e, at, &m->fields[i]);
        room += m->fields[i].name.len + m->fields[i].value.len + HPACK_FIELD_BYTES;
    }
    assert_true((size_t)(at - block) <= room);
    return (size_t)(at - block);
}

static void decode_ours(struct hpack_decoder *d, const struct message *m, struct str block)
{
    struct hpack_field f;

    hpack_decode_begin(d);
    for (size_t i = 0; i < m->count; i++) {
        assert_int_equal(hpack_decode(d, &block, &f), 1);
        expect_field(&m->fields[i], f.name, f.value);
        enum h2_kind kind = H2_FIELD;
        enum http_name id = HTTP_NAME_OTHER;
        assert_true(h2_field_name(f.name, &kind, &id));
        assert_int_equal(id, f.id);
        assert_int_equal(f.is_valid, h2_field_value_is_valid(kind, id, f.value));
    }
    assert_int_equal(hpack_decode(d, &block, &f), 0);
}

static void decode_foreign(nghttp2_hd_inflater *d, const struct message *m, struct str block)
{
    size_t at = 0;

    for (size_t i = 0; i < m->count;) {
        nghttp2_nv nv;
        int flags = 0;
        ssize_t n = nghttp2_hd_inflate_hd2(d, &nv, &flags, (const uint8_t *)block.ptr + at,
                                           block.len - at, 1);

        assert_true(n >= 0);
        at += (size_t)n;
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0)
            continue;
        expect_field(&m->fields[i++], str_from((const char *)nv.name, nv.namelen),
                     str_from((const char *)nv.value, nv.valuelen));
    }
    assert_int_equal(at, block.len);
    nghttp2_hd_inflate_end_headers(d);
}

static size_t encode_foreign(nghttp2_hd_deflater *e, const struct message *m, char *block)
{
    nghttp2_nv pairs[ARRAY_LEN(m->fields)];

    for (size_t i = 0; i < m->count; i++) {
        const struct http_field *f = &m->fields[i];

        pairs[i] = (nghttp2_nv){
            (uint8_t *)(uintptr_t)f->name.ptr, (uint8_t *)(uintptr_t)f->value.ptr, f->name.len,
            f->value.len, f->is_never_indexed ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE};
    }
    ssize_t n = nghttp2_hd_deflate_hd(e, (uint8_t *)block, BLOCK_MAX, pairs, m->count);
    assert_true(n >= 0);
    return (size_t)n;
}

/* Ours to ours, ours to nghttp2, nghttp2 to ours; the table's size changes now and then. */
static void test_random_messages(void **state)
{
    static struct message m;
    static char block[BLOCK_MAX];
    struct random r;
    struct hpack_encoder ours_out;
    struct hpack_decoder ours_in, from_foreign;
    nghttp2_hd_inflater *foreign_in;
    nghttp2_hd_deflater *foreign_out;

    (void)state;
    random_init(&r, 7541);
    hpack_encoder_init(&ours_out);
    hpack_decoder_init(&ours_in);
    hpack_decoder_init(&from_foreign);
    nghttp2_hd_inflate_new(&foreign_in);
    nghttp2_hd_deflate_new(&foreign_out, 4096);
    for (int i = 0; i < 5000; i++) {
        if (random_below(&r, 50) == 0) {
            uint32_t size = random_below(&r, 5000);
            hpack_encoder_set_size(&ours_out, size);
            nghttp2_hd_deflate_change_table_size(foreign_out, size);
        }
        random_message(&m, &r);
        struct str sent = str_from(block, encode_ours(&ours_out, &m, block));
        decode_ours(&ours_in, &m, sent);
        decode_foreign(foreign_in, &m, sent);
        assert_int_equal(ours_in.table.size, ours_out.table.size);
        assert_int_equal(nghttp2_hd_inflate_get_dynamic_table_size(foreign_in),
                         ours_out.table.size);
        decode_ours(&from_foreign, &m, str_from(block, encode_foreign(foreign_out, &m, block)));
    }
    hpack_encoder_deinit(&ours_out);
    hpack_decoder_deinit(&ours_in);
    hpack_decoder_deinit(&from_foreign);
    nghttp2_hd_inflate_del(foreign_in);
    nghttp2_hd_deflate_del(foreign_out);
}

/* Every byte through Huffman's code: nghttp2 codes, we decode. */
static void test_huffman_of_all_bytes(void **state)
{
    nghttp2_hd_deflater *out;
    struct hpack_decoder d;

    (void)state;
    nghttp2_hd_deflate_new(&out, 4096);
    hpack_decoder_init(&d);
    for (int byte = 0; byte < 256; byte++) {
        /* 40 zeros (5 bits each) make the coded form the shorter one. */
        uint8_t value[48], block[256];
        memset(value, '0', sizeof(value));
        value[20] = (uint8_t)byte;
        nghttp2_nv nv = {(uint8_t *)(uintptr_t) "x", value, 1, sizeof(value), 0};
        ssize_t n = nghttp2_hd_deflate_hd(out, block, sizeof(block), &nv, 1);
        struct str s = str_from((const char *)block, (size_t)n);
        struct hpack_field f;

        assert_true(n > 0 && n < 45);
        hpack_decode_begin(&d);
        assert_int_equal(hpack_decode(&d, &s, &f), 1);
        assert_int_equal(f.value.len, sizeof(value));
        assert_memory_equal(f.value.ptr, value, sizeof(value));
    }
    nghttp2_hd_deflate_del(out);
    hpack_decoder_deinit(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_too_large_for_the_table),
        cmocka_unit_test(test_growing),
        cmocka_unit_test(test_validity_is_remembered),
        cmocka_unit_test(test_static_names),
        cmocka_unit_test(test_indexed_the_second_time),
        cmocka_unit_test(test_unique_values_stay_out),
        cmocka_unit_test(test_secrets_are_never_indexed),
        cmocka_unit_test(test_size_updates),
        cmocka_unit_test(test_random_messages),
        cmocka_unit_test(test_huffman_of_all_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
