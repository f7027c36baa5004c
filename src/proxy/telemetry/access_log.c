/* Lines of access logs, by a compiled format: one pass that writes into one buffer. Values are
 * copied first and looked at where they lie, many bytes at a time; almost none needs an escape. */
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "codec/json_writer.h"
#include "proxy/telemetry/access_log_priv.h"

/* Room for that many bytes and ACCESS_LOG_PAD more; NULL when the line has become too long. */
static inline char *room(struct str_buf *to, size_t len)
{
    if (to->cap > to->len + len + ACCESS_LOG_PAD)
        return to->ptr + to->len;
    return str_buf_reserve(to, len + ACCESS_LOG_PAD);
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
    if (s.len > ACCESS_LOG_PAD) {
        put(to, s);
        return;
    }
    char *at = room(to, s.len);
    if (at == NULL)
        return;
    memcpy(at, s.ptr, ACCESS_LOG_PAD);
    to->len += s.len;
}

static inline bool is_plain_char(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* Visible ASCII without quotes and backslashes: needs no escape in text nor in JSON. Up to
 * ACCESS_LOG_PAD bytes behind it are read. */
static bool is_plain(const char *p, size_t len)
{
#ifdef __SSE2__
    for (size_t i = 0; i < len; i += ACCESS_LOG_PAD) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i low = _mm_cmplt_epi8(v, _mm_set1_epi8(0x20)); /* signed: from 0x80 on as well */
        __m128i del = _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f));
        __m128i quote = _mm_cmpeq_epi8(v, _mm_set1_epi8('"'));
        __m128i slash = _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'));
        __m128i bad = _mm_or_si128(_mm_or_si128(low, del), _mm_or_si128(quote, slash));
        unsigned found = (unsigned)_mm_movemask_epi8(bad);
        if (len - i < ACCESS_LOG_PAD)
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
    if (value.len > p->len_max)
        value.len = p->len_max;
    return value;
}

/* What stands for a value that there is none of. */
static struct str no_value(const struct access_log_format *f)
{
    return f->omit_empty_values ? STR("") : STR("-");
}

/* is_quoted: the whole is put in quotes afterwards, and escaped then. */
static void text_line(const struct access_log_format *f, const struct pieces *pieces,
                      const struct record *r, bool is_quoted, struct str_buf *to)
{
    char buf[ACCESS_LOG_TEXT_MAX];
    for (size_t i = 0; i < pieces->len; i++) {
        const struct piece *p = &pieces->ptr[i];
        put_literal(to, p->literal);
        if (p->op == NULL)
            return;
        struct str value = value_of(p, r, buf);
        if (value.ptr == NULL)
            put(to, no_value(f));
        else if (is_quoted || (p->op->flags & ACCESS_LOG_OWN) != 0)
            put(to, value);
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

/* Whether there was a value. */
static bool put_text_value(const struct access_log_format *f, const struct json_node *node,
                           const struct record *r, struct str_buf *to)
{
    const struct piece *only = node->pieces.ptr;
    char buf[ACCESS_LOG_TEXT_MAX];
    if (node->pieces.len != 1 || only->literal.len > 0) {
        str_buf_reset(f->scratch);
        text_line(f, &node->pieces, r, true, f->scratch);
        put_quoted(to, str_buf_str(f->scratch));
        return true;
    }
    struct str value = value_of(only, r, buf);
    if (value.ptr == NULL)
        put(to, STR("null"));
    else if ((only->op->flags & ACCESS_LOG_NUMBER) != 0 && value.len > 0)
        put(to, value);
    else
        put_quoted(to, value);
    return value.ptr != NULL;
}

static bool put_value(const struct access_log_format *f, const struct json_node *node,
                      const struct record *r, struct str_buf *to);

/* Envoy leaves out objects that became empty, but not lists. */
static bool put_children(const struct access_log_format *f, const struct json_node *node,
                         const struct record *r, struct str_buf *to)
{
    bool is_object = node->kind == FORMAT_JSON_OBJECT, is_empty = true;
    put(to, is_object ? STR("{") : STR("["));
    for (size_t i = 0; i < node->child_count; i++) {
        const struct json_node *child = &node->children[i];
        size_t before = to->len;
        put_literal(to, str_skip(child->key, is_empty ? 1 : 0)); /* no comma */
        if (put_value(f, child, r, to) || !f->omit_empty_values)
            is_empty = false;
        else
            to->len = before;
    }
    put(to, is_object ? STR("}") : STR("]"));
    return !is_object || !is_empty;
}

static bool put_value(const struct access_log_format *f, const struct json_node *node,
                      const struct record *r, struct str_buf *to)
{
    switch (node->kind) {
    case FORMAT_JSON_TEXT:
        return put_text_value(f, node, r, to);
    case FORMAT_JSON_OBJECT:
    case FORMAT_JSON_LIST:
        return put_children(f, node, r, to);
    case FORMAT_JSON_NUMBER:
    case FORMAT_JSON_BOOL:
    case FORMAT_JSON_NULL:
        put(to, node->text);
        return node->kind != FORMAT_JSON_NULL;
    }
    return false;
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
        text_line(f, &f->text, r, false, to);
        end_line(to, STR_NULL);
        return;
    }
    put_children(f, &f->root, r, to);
    end_line(to, STR("\n"));
}
