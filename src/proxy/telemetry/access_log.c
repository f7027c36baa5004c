/* Formats of access logs: compiled once to a list of pieces, then one pass per line that writes
 * into one buffer. Values are copied first and looked at where they lie, many bytes at a time;
 * almost none needs an escape. */
#include <stdlib.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/err.h"
#include "base/vec.h"
#include "codec/json_writer.h"
#include "proxy/telemetry/access_log_priv.h"

static const char default_text[] =
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" "
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" "
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% "
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME% %TULLE_ORIGIN%\n";

static const struct access_log_json_field default_json[] = {
    {{"start_time", 10}, {"%START_TIME%", 12}},
    {{"method", 6}, {"%REQ(:METHOD)%", 14}},
    {{"path", 4}, {"%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", 34}},
    {{"protocol", 8}, {"%PROTOCOL%", 10}},
    {{"response_code", 13}, {"%RESPONSE_CODE%", 15}},
    {{"response_flags", 14}, {"%RESPONSE_FLAGS%", 16}},
    {{"response_code_details", 21}, {"%RESPONSE_CODE_DETAILS%", 23}},
    {{"connection_termination_details", 30}, {"%CONNECTION_TERMINATION_DETAILS%", 32}},
    {{"upstream_transport_failure_reason", 33}, {"%UPSTREAM_TRANSPORT_FAILURE_REASON%", 35}},
    {{"bytes_received", 14}, {"%BYTES_RECEIVED%", 16}},
    {{"bytes_sent", 10}, {"%BYTES_SENT%", 12}},
    {{"duration", 8}, {"%DURATION%", 10}},
    {{"upstream_service_time", 21}, {"%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", 37}},
    {{"x_forwarded_for", 15}, {"%REQ(X-FORWARDED-FOR)%", 22}},
    {{"user_agent", 10}, {"%REQ(USER-AGENT)%", 17}},
    {{"request_id", 10}, {"%REQ(X-REQUEST-ID)%", 19}},
    {{"authority", 9}, {"%REQ(:AUTHORITY)%", 17}},
    {{"upstream_host", 13}, {"%UPSTREAM_HOST%", 15}},
    {{"upstream_cluster", 16}, {"%UPSTREAM_CLUSTER_RAW%", 22}},
    {{"upstream_local_address", 22}, {"%UPSTREAM_LOCAL_ADDRESS%", 24}},
    {{"downstream_local_address", 24}, {"%DOWNSTREAM_LOCAL_ADDRESS%", 26}},
    {{"downstream_remote_address", 25}, {"%DOWNSTREAM_REMOTE_ADDRESS%", 27}},
    {{"requested_server_name", 21}, {"%REQUESTED_SERVER_NAME%", 23}},
    {{"route_name", 10}, {"%ROUTE_NAME%", 12}},
    {{"origin", 6}, {"%TULLE_ORIGIN%", 14}},
};

/* --- compiling --- */

enum { PAD = 16 }; /* bytes behind a literal and behind a line's end that a wide copy may touch */

/* A literal text and the value behind it. */
struct piece {
    struct str literal;                   /* followed by PAD bytes of its arena */
    const struct access_log_operator *op; /* NULL: the end of a format */
    struct access_log_arg arg;
    size_t len_max; /* of the value; 0: whole */
};

struct pieces {
    struct piece *ptr;
    size_t len, cap;
};

struct json_field {
    struct str key; /* with all that stands before the value: '{"key":' or ',"key":', and PAD */
    struct pieces pieces;
};

struct access_log_format {
    struct arena arena;
    bool is_json;
    struct pieces text;
    struct json_field *fields;
    size_t field_count;
    struct str_buf *scratch; /* of a value of several pieces; kept, so that nothing is allocated */
};

static struct str padded(struct arena *a, struct str s)
{
    char *copy = arena_zalloc(a, s.len + PAD);
    if (s.len > 0)
        memcpy(copy, s.ptr, s.len);
    return str_from(copy, s.len);
}

/* NAME, NAME(arg), NAME(arg):len */
static int compile_operator(struct access_log_format *f, struct str text, struct str_buf *why,
                            struct piece *p)
{
    ptrdiff_t open = str_find(text, '('), close = str_rfind(text, ')');
    struct str name = open >= 0 ? str_sub(text, 0, (size_t)open) : text;
    p->op = access_log_operator_find(name);
    bool is_closed = open < 0 || close > open;
    if (p->op == NULL || !is_closed || p->op->has_arg != (open >= 0)) {
        /* START_TIME takes a format of strftime, which is not built. */
        str_buf_printf(why, "access log: operator %%%.*s%% is not supported", STR_FMT(text));
        return -ERR_UNSUPPORTED;
    }
    if (open >= 0) {
        struct str arg = str_sub(text, (size_t)open + 1, (size_t)(close - open) - 1);
        struct str rest = str_skip(text, (size_t)close + 1);
        uint64_t len = 0;
        p->arg = access_log_arg_of(&f->arena, arg);
        if (rest.len > 0 && (rest.ptr[0] != ':' || !str_to_u64(str_skip(rest, 1), 65536, &len))) {
            str_buf_printf(why, "access log: bad length in %%%.*s%%", STR_FMT(text));
            return -ERR_INVALID;
        }
        p->len_max = len;
    }
    return 0;
}

static void push_piece(struct access_log_format *f, struct pieces *pieces, struct str_buf *literal,
                       struct piece p)
{
    p.literal = padded(&f->arena, str_buf_str(literal));
    str_buf_reset(literal);
    VEC_PUSH(pieces, p);
}

static int compile(struct access_log_format *f, struct pieces *pieces, struct str text,
                   struct str_buf *why)
{
    AUTO(str_buf_deinit) struct str_buf literal = STR_BUF_INIT(text.len + 1);
    while (text.len > 0) {
        ptrdiff_t at = str_find(text, '%');
        str_buf_add(&literal, str_sub(text, 0, at < 0 ? text.len : (size_t)at));
        if (at < 0)
            break;
        text = str_skip(text, (size_t)at + 1);
        if (text.len > 0 && text.ptr[0] == '%') {
            str_buf_add_char(&literal, '%');
            text = str_skip(text, 1);
            continue;
        }
        ptrdiff_t end = str_find(text, '%');
        if (end < 0) {
            str_buf_add_c(why, "access log: a % without its end");
            return -ERR_SYNTAX;
        }
        struct piece p = {0};
        int err = compile_operator(f, str_sub(text, 0, (size_t)end), why, &p);
        if (err != 0)
            return err;
        push_piece(f, pieces, &literal, p);
        text = str_skip(text, (size_t)end + 1);
    }
    if (literal.len > 0)
        push_piece(f, pieces, &literal, (struct piece){0});
    return 0;
}

/* What stands before the value of a JSON field. */
static struct str json_key(struct access_log_format *f, size_t index, struct str key)
{
    AUTO(str_buf_deinit) struct str_buf text = STR_BUF_INIT(key.len * 6 + 16);
    str_buf_add_char(&text, index == 0 ? '{' : ',');
    json_writer_quote(&text, key);
    str_buf_add_char(&text, ':');
    return padded(&f->arena, str_buf_str(&text));
}

static int compile_json(struct access_log_format *f, const struct access_log_json_field *fields,
                        size_t count, struct str_buf *why)
{
    f->fields = ARENA_ARRAY(&f->arena, struct json_field, count + 1);
    for (size_t i = 0; i < count; i++) {
        f->fields[i].key = json_key(f, i, fields[i].key);
        f->field_count = i + 1;
        int err = compile(f, &f->fields[i].pieces, fields[i].format, why);
        if (err != 0)
            return err;
    }
    return 0;
}

int access_log_format_new(const struct access_log_config *config, struct str_buf *why,
                          struct access_log_format **ret_format)
{
    struct access_log_format *f = NEW(struct access_log_format);
    arena_init(&f->arena, 2048);
    f->is_json = config->is_json;
    f->scratch = NEW(struct str_buf);
    *f->scratch = STR_BUF_INIT(16 * 1024);
    int err;
    if (!config->is_json)
        err = compile(f, &f->text,
                      config->text_format.len > 0 ? config->text_format : str_from_c(default_text),
                      why);
    else if (config->json_field_count > 0)
        err = compile_json(f, config->json_fields, config->json_field_count, why);
    else
        err = compile_json(f, default_json, ARRAY_LEN(default_json), why);
    if (err != 0) {
        access_log_format_free(f);
        return err;
    }
    *ret_format = f;
    return 0;
}

struct access_log_format *access_log_format_free(struct access_log_format *f)
{
    if (f == NULL)
        return NULL;
    VEC_DEINIT(&f->text);
    for (size_t i = 0; i < f->field_count; i++)
        VEC_DEINIT(&f->fields[i].pieces);
    str_buf_deinit(f->scratch);
    free(f->scratch);
    arena_deinit(&f->arena);
    free(f);
    return NULL;
}

/* --- lines --- */

/* Room for that many bytes and PAD more; NULL when the line has become too long. */
static inline char *room(struct str_buf *to, size_t len)
{
    if (to->cap > to->len + len + PAD)
        return to->ptr + to->len;
    return str_buf_reserve(to, len + PAD);
}

static inline void put(struct str_buf *to, struct str s)
{
    char *at = room(to, s.len);
    if (at == NULL)
        return;
    if (s.len > 0)
        memcpy(at, s.ptr, s.len);
    to->len += s.len;
}

/* Most are a few bytes long: one wide copy. */
static inline void put_literal(struct str_buf *to, struct str s)
{
    if (s.len > PAD) {
        put(to, s);
        return;
    }
    char *at = room(to, s.len);
    if (at == NULL)
        return;
    memcpy(at, s.ptr, PAD);
    to->len += s.len;
}

static inline bool is_plain_char(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* Visible ASCII without quotes and backslashes: needs no escape in text nor in JSON. Up to PAD
 * bytes behind it are read. */
static bool is_plain(const char *p, size_t len)
{
#ifdef __SSE2__
    for (size_t i = 0; i < len; i += PAD) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i low = _mm_cmplt_epi8(v, _mm_set1_epi8(0x20)); /* signed: from 0x80 on as well */
        __m128i del = _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f));
        __m128i quote = _mm_cmpeq_epi8(v, _mm_set1_epi8('"'));
        __m128i slash = _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'));
        __m128i bad = _mm_or_si128(_mm_or_si128(low, del), _mm_or_si128(quote, slash));
        unsigned found = (unsigned)_mm_movemask_epi8(bad);
        if (len - i < PAD)
            found &= (1u << (len - i)) - 1;
        if (found != 0)
            return false;
    }
#else
    for (size_t i = 0; i < len; i++)
        if (!is_plain_char((unsigned char)p[i]))
            return false;
#endif
    return true;
}

/* False: the value was not put, it needs escapes (or there is no room, which is noted). */
static inline bool put_plain(struct str_buf *to, struct str value)
{
    char *at = room(to, value.len);
    if (at == NULL)
        return false;
    if (value.len > 0)
        memcpy(at, value.ptr, value.len);
    if (!is_plain(at, value.len))
        return false;
    to->len += value.len;
    return true;
}

/* A value of a peer must not forge a line: control bytes, quotes and backslashes are escaped. */
static void put_escaped(struct str_buf *to, struct str value)
{
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        char escape[4] = {'\\', 'x'};
        str_put_hex(escape + 2, c, 2);
        put(to, is_plain_char(c) ? str_sub(value, i, 1) : str_from(escape, sizeof escape));
    }
}

static struct str value_of(const struct piece *p, const struct record *r,
                           char buf[ACCESS_LOG_TEXT_MAX])
{
    struct str value = p->op->value(r, &p->arg, buf);
    if (p->len_max > 0 && value.len > p->len_max)
        value.len = p->len_max;
    return value;
}

static void text_line(const struct pieces *pieces, const struct record *r, struct str_buf *to)
{
    char buf[ACCESS_LOG_TEXT_MAX];
    for (size_t i = 0; i < pieces->len; i++) {
        const struct piece *p = &pieces->ptr[i];
        put_literal(to, p->literal);
        if (p->op == NULL)
            return;
        struct str value = value_of(p, r, buf);
        if (value.len == 0)
            put(to, STR("-"));
        else if (!put_plain(to, value))
            put_escaped(to, value);
    }
}

static void put_quoted(struct str_buf *to, struct str value)
{
    size_t before = to->len;
    put(to, STR("\""));
    if (put_plain(to, value)) {
        put(to, STR("\""));
        return;
    }
    to->len = before;
    json_writer_quote(to, value);
}

static void json_value(const struct json_field *field, const struct record *r,
                       struct str_buf *scratch, struct str_buf *to)
{
    const struct piece *only = field->pieces.ptr;
    char buf[ACCESS_LOG_TEXT_MAX];
    put_literal(to, field->key);
    if (field->pieces.len != 1 || only->literal.len > 0) {
        str_buf_reset(scratch);
        text_line(&field->pieces, r, scratch);
        put_quoted(to, str_buf_str(scratch));
        return;
    }
    struct str value = value_of(only, r, buf);
    if (value.len == 0)
        put(to, STR("null"));
    else if (only->op->is_number)
        put(to, value);
    else
        put_quoted(to, value);
}

/* One that would be longer than its buffer is cut, and still ends as a line. */
static void end_line(struct str_buf *to, struct str end)
{
    put(to, end);
    if (to->is_overflown && to->len > 0)
        to->ptr[to->len - 1] = '\n';
    if (to->ptr != NULL)
        to->ptr[to->len] = '\0';
}

void access_log_format_line(const struct access_log_format *f, const struct record *r,
                            struct str_buf *to)
{
    if (!f->is_json) {
        text_line(&f->text, r, to);
        end_line(to, STR_NULL);
        return;
    }
    for (size_t i = 0; i < f->field_count; i++)
        json_value(&f->fields[i], r, f->scratch, to);
    end_line(to, f->field_count > 0 ? STR("}\n") : STR("{}\n"));
}
