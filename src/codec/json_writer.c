#include "codec/json_writer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "codec/json.h"

void json_writer_init(struct json_writer *w, struct str_buf *out, uint32_t indent)
{
    *w = (struct json_writer){.out = out, .indent = indent};
}

static void new_line(struct json_writer *w)
{
    if (w->indent == 0)
        return;
    str_buf_add_char(w->out, '\n');
    for (uint32_t i = 0; i < w->depth * w->indent; i++)
        str_buf_add_char(w->out, ' ');
}

static void put_key(struct json_writer *w, struct str key)
{
    json_writer_quote(w->out, key);
    str_buf_add(w->out, w->indent > 0 ? STR(": ") : STR(":"));
}

/* What stands before a value: the comma, the line break, the key. */
static void start_value(struct json_writer *w, const char *key)
{
    struct json_writer_level *level;

    if (w->depth == 0) {
        ASSERT(key == NULL);
        return;
    }
    if (w->has_key) { /* json_writer_key has written all of it */
        ASSERT(key == NULL);
        w->has_key = false;
        return;
    }
    level = &w->levels[w->depth - 1];
    ASSERT(level->is_object == (key != NULL));
    if (level->has_items)
        str_buf_add_char(w->out, ',');
    level->has_items = true;
    new_line(w);
    if (key != NULL)
        put_key(w, str_from_c(key));
}

void json_writer_key(struct json_writer *w, struct str key)
{
    struct json_writer_level *level = &w->levels[w->depth - 1];

    ASSERT(w->depth > 0 && level->is_object && !w->has_key);
    if (level->has_items)
        str_buf_add_char(w->out, ',');
    level->has_items = true;
    new_line(w);
    put_key(w, key);
    w->has_key = true;
}

static void open_level(struct json_writer *w, const char *key, bool is_object)
{
    start_value(w, key);
    ASSERT(w->depth < JSON_WRITER_DEPTH_MAX);
    w->levels[w->depth++] = (struct json_writer_level){.is_object = is_object};
    str_buf_add_char(w->out, is_object ? '{' : '[');
}

void json_writer_object(struct json_writer *w, const char *key)
{
    open_level(w, key, true);
}

void json_writer_array(struct json_writer *w, const char *key)
{
    open_level(w, key, false);
}

void json_writer_end(struct json_writer *w)
{
    ASSERT(w->depth > 0 && !w->has_key);
    struct json_writer_level level = w->levels[--w->depth];

    if (level.has_items)
        new_line(w);
    str_buf_add_char(w->out, level.is_object ? '}' : ']');
}

static void quote_ascii(struct str_buf *out, unsigned char c)
{
    static const char shorts[128] = {
        ['"'] = '"',  ['\\'] = '\\', ['\n'] = 'n', ['\r'] = 'r',
        ['\t'] = 't', ['\b'] = 'b',  ['\f'] = 'f',
    };

    if (shorts[c] != '\0')
        str_buf_add(out, str_from((char[2]){'\\', shorts[c]}, 2));
    else
        str_buf_printf(out, "\\u%04x", c);
}

/* Characters that some reader takes for a line break or does not show: C1 controls, U+2028, U+2029
 * and the byte order mark; returned as a number, else 0. */
static unsigned risky_char(struct str s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    unsigned code = 0;

    if (len == 2)
        code = (p[0] & 0x1fU) << 6 | (p[1] & 0x3fU);
    else if (len == 3)
        code = (p[0] & 0x0fU) << 12 | (p[1] & 0x3fU) << 6 | (p[2] & 0x3fU);
    if ((code >= 0x80 && code < 0xa0) || code == 0x2028 || code == 0x2029 || code == 0xfeff)
        return code;
    return 0;
}

/* Length of the first run that needs no escape; 0 when the first byte does. */
static size_t plain_run(struct str s)
{
    size_t n = 0;

    while (n < s.len) {
        unsigned char c = (unsigned char)s.ptr[n];
        size_t len = c < 0x80 ? 1 : str_utf8_len(str_skip(s, n));

        if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f || len == 0 ||
            risky_char(str_skip(s, n), len) != 0)
            break;
        n += len;
    }
    return n;
}

/* The first character, escaped; returns its length. */
static size_t quote_special(struct str_buf *out, struct str s)
{
    size_t len = str_utf8_len(s);

    if (len == 1)
        quote_ascii(out, (unsigned char)s.ptr[0]);
    else if (len == 0)
        str_buf_add(out, STR("\xef\xbf\xbd"));
    else
        str_buf_printf(out, "\\u%04x", risky_char(s, len));
    return MAX(len, (size_t)1);
}

void json_writer_quote(struct str_buf *out, struct str value)
{
    str_buf_add_char(out, '"');
    while (value.len > 0) {
        size_t n = plain_run(value);

        str_buf_add(out, str_sub(value, 0, n));
        value = str_skip(value, n);
        if (value.len > 0)
            value = str_skip(value, quote_special(out, value));
    }
    str_buf_add_char(out, '"');
}

void json_writer_str(struct json_writer *w, const char *key, struct str value)
{
    start_value(w, key);
    json_writer_quote(w->out, value);
}

void json_writer_c(struct json_writer *w, const char *key, const char *value)
{
    if (value == NULL)
        json_writer_null(w, key);
    else
        json_writer_str(w, key, str_from_c(value));
}

void json_writer_raw(struct json_writer *w, const char *key, struct str text)
{
    start_value(w, key);
    str_buf_add(w->out, text);
}

void json_writer_i64(struct json_writer *w, const char *key, int64_t value)
{
    start_value(w, key);
    str_buf_printf(w->out, "%lld", (long long)value);
}

void json_writer_u64(struct json_writer *w, const char *key, uint64_t value)
{
    start_value(w, key);
    str_buf_printf(w->out, "%llu", (unsigned long long)value);
}

void json_writer_f64(struct json_writer *w, const char *key, double value)
{
    char text[40];

    if (!isfinite(value)) {
        json_writer_null(w, key);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    /* A number that was real stays real when it is read back. */
    json_writer_raw(w, key, str_from_c(text));
    if (strpbrk(text, ".e") == NULL)
        str_buf_add(w->out, STR(".0"));
}

void json_writer_bool(struct json_writer *w, const char *key, bool value)
{
    json_writer_raw(w, key, value ? STR("true") : STR("false"));
}

void json_writer_null(struct json_writer *w, const char *key)
{
    json_writer_raw(w, key, STR("null"));
}

static void write_children(struct json_writer *w, const struct json *v)
{
    for (uint32_t i = 0; i < v->count; i++) {
        if (v->type == JSON_OBJECT)
            json_writer_key(w, v->keys[i]);
        json_writer_tree(w, NULL, v->items[i]);
    }
    json_writer_end(w);
}

void json_writer_tree(struct json_writer *w, const char *key, const struct json *v)
{
    switch (v->type) {
    case JSON_NULL:
        json_writer_null(w, key);
        return;
    case JSON_BOOL:
        json_writer_bool(w, key, v->boolean);
        return;
    case JSON_INT:
        json_writer_i64(w, key, v->integer);
        return;
    case JSON_REAL:
        json_writer_f64(w, key, v->real);
        return;
    case JSON_STR:
        json_writer_str(w, key, v->str);
        return;
    case JSON_ARRAY:
        json_writer_array(w, key);
        write_children(w, v);
        return;
    case JSON_OBJECT:
        json_writer_object(w, key);
        write_children(w, v);
        return;
    }
}
