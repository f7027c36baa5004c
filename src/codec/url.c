#include "codec/url.h"

const char *url_result_text(enum url_result result)
{
    static const char *const texts[] = {
        [URL_OK] = "ok",
        [URL_BAD_EMPTY] = "path does not start with /",
        [URL_BAD_BYTE] = "byte that a URL cannot hold",
        [URL_BAD_ESCAPE] = "% without two hexadecimal digits",
        [URL_BAD_NUL] = "escaped NUL",
        [URL_BAD_FRAGMENT] = "fragment in a request target",
        [URL_BAD_ESCAPED_SLASH] = "escaped slash",
        [URL_BAD_BACKSLASH] = "backslash",
        [URL_BAD_ABOVE_ROOT] = "path that leaves the root",
        [URL_BAD_AUTHORITY] = "malformed authority",
    };

    return texts[result];
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that "%XX" at s[i] stands for, or -1. */
static int escape_value(struct str s, size_t i)
{
    if (s.len - i < 3)
        return -1;
    int high = hex_value(s.ptr[i + 1]), low = hex_value(s.ptr[i + 2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* RFC 3986 2.3. */
static bool is_unreserved(char c)
{
    return is_alnum(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

static bool is_visible(char c)
{
    return c > ' ' && c < 0x7f;
}

enum url_result url_split_target(struct str target, struct str *ret_path, struct str *ret_query,
                                 bool *ret_has_query)
{
    if (target.len == 0 || target.ptr[0] != '/')
        return URL_BAD_EMPTY;
    for (size_t i = 0; i < target.len; i++) {
        if (target.ptr[i] == '#')
            return URL_BAD_FRAGMENT;
        if (!is_visible(target.ptr[i]))
            return URL_BAD_BYTE;
    }
    *ret_path = str_split(&target, '?');
    *ret_query = target;
    *ret_has_query = target.ptr != NULL;
    return URL_OK;
}

/* What a path may not hold as it is (RFC 3986 3.3), and Envoy escapes too. '[' and ']' may not
 * either, but are in use. */
static bool is_escaped_in_paths(char c)
{
    return c == '"' || c == '<' || c == '>' || c == '^' || c == '`' || (c >= '{' && c <= '}');
}

static bool is_slash_or_backslash(int byte)
{
    return byte == '/' || byte == '\\';
}

/* A backslash that is kept is escaped, and its escape falls under the rule for escapes: else the
 * result would not be canonical. */
static enum url_backslash backslash_of(const struct url_path_options *o)
{
    if (o->backslash != URL_BACKSLASH_KEEP || o->escaped_slashes == URL_SLASHES_KEEP)
        return o->backslash;
    return o->escaped_slashes == URL_SLASHES_REJECT ? URL_BACKSLASH_REJECT : URL_BACKSLASH_TO_SLASH;
}

/* What forbids the path whatever the form, and whether any byte needs work. */
static enum url_result inspect(struct str path, const struct url_path_options *o, bool *ret_is_work)
{
    bool is_work = false;

    if (path.len == 0 || path.ptr[0] != '/')
        return URL_BAD_EMPTY;
    for (size_t i = 0; i < path.len; i++) {
        char c = path.ptr[i];

        if (c == '#')
            return URL_BAD_FRAGMENT;
        if (!is_visible(c) || c == '?')
            return URL_BAD_BYTE;
        if (c == '\\' && o->is_normalized && backslash_of(o) == URL_BACKSLASH_REJECT)
            return URL_BAD_BACKSLASH;
        if (c == '%') {
            int byte = escape_value(path, i);

            if (byte < 0)
                return URL_BAD_ESCAPE;
            if (byte == 0)
                return URL_BAD_NUL;
            if (is_slash_or_backslash(byte) && o->escaped_slashes == URL_SLASHES_REJECT)
                return URL_BAD_ESCAPED_SLASH;
        }
        /* "/." covers dot segments, "//" merging; both rare enough to be looked at again below. */
        is_work |= c == '%' || c == '\\' || is_escaped_in_paths(c) ||
                   (i > 0 && path.ptr[i - 1] == '/' && (c == '.' || c == '/'));
    }
    *ret_is_work = is_work;
    return URL_OK;
}

static char *put_escape(char *out, unsigned char byte)
{
    static const char digits[] = "0123456789ABCDEF";

    *out++ = '%';
    *out++ = digits[byte >> 4];
    *out++ = digits[byte & 15];
    return out;
}

static char *put_backslash(char *out, enum url_backslash how)
{
    if (how == URL_BACKSLASH_TO_SLASH) {
        *out++ = '/';
        return out;
    }
    return put_escape(out, '\\');
}

/* The escape at `from`. */
static char *put_escaped(char *out, const char *from, int byte, const struct url_path_options *o)
{
    if (is_slash_or_backslash(byte) && o->escaped_slashes == URL_SLASHES_UNESCAPE) {
        *out++ = '/';
        return out;
    }
    if (!o->is_normalized) {
        memcpy(out, from, 3);
        return out + 3;
    }
    if (is_unreserved((char)byte)) {
        *out++ = (char)byte;
        return out;
    }
    return put_escape(out, (unsigned char)byte);
}

static char *put_byte(char *out, char c, const struct url_path_options *o)
{
    if (o->is_normalized && c == '\\')
        return put_backslash(out, backslash_of(o));
    if (o->is_normalized && is_escaped_in_paths(c))
        return put_escape(out, (unsigned char)c);
    *out++ = c;
    return out;
}

/* Byte by byte: escapes, backslashes. At most three bytes for one. */
static size_t translate(struct str path, const struct url_path_options *o, char *buf)
{
    char *out = buf;

    for (size_t i = 0; i < path.len; i++) {
        char c = path.ptr[i];

        if (c == '%') {
            out = put_escaped(out, path.ptr + i, escape_value(path, i), o);
            i += 2;
        } else {
            out = put_byte(out, c, o);
        }
    }
    return (size_t)(out - buf);
}

static size_t merge_slashes(char *buf, size_t len)
{
    size_t to = 0;

    for (size_t i = 0; i < len; i++)
        if (to == 0 || buf[i] != '/' || buf[to - 1] != '/')
            buf[to++] = buf[i];
    return to;
}

/* RFC 3986 5.2.4 on an absolute path, in place; false when ".." would go above the root, which the
 * RFC ignores: a request that tries is either broken or an attack. */
static bool remove_dot_segments(char *buf, size_t *len)
{
    size_t from = 0, to = 0;

    while (from < *len) { /* buf[from] is the slash before a segment */
        size_t end = from + 1;

        while (end < *len && buf[end] != '/')
            end++;
        struct str segment = str_from(buf + from + 1, end - from - 1);
        bool is_up = str_eq(segment, STR("..")), is_dot = is_up || str_eq(segment, STR("."));
        if (!is_dot) {
            memmove(buf + to, buf + from, end - from);
            to += end - from;
        }
        if (is_up) {
            if (to == 0)
                return false;
            do
                to--;
            while (buf[to] != '/');
        }
        if (is_dot && end == *len) /* "/a/." is "/a/" */
            buf[to++] = '/';
        from = end;
    }
    *len = to;
    return true;
}

/* Istio's BASE. */
const struct url_path_options url_path_options_base = {
    .is_normalized = true,
    .is_slash_merged = false,
    .escaped_slashes = URL_SLASHES_KEEP,
    .backslash = URL_BACKSLASH_TO_SLASH,
};

enum url_result url_path_canonical(struct arena *a, struct str path,
                                   const struct url_path_options *options, struct str *ret_path)
{
    bool is_work;
    enum url_result result = inspect(path, options, &is_work);

    if (result != URL_OK)
        return result;
    if (!is_work) {
        *ret_path = path;
        return URL_OK;
    }
    char *buf = arena_bytes(a, path.len * 3);
    size_t len = translate(path, options, buf);
    if (options->is_normalized && !remove_dot_segments(buf, &len))
        return URL_BAD_ABOVE_ROOT;
    if (options->is_slash_merged)
        len = merge_slashes(buf, len);
    *ret_path = str_from(buf, len);
    return URL_OK;
}

enum url_result url_split_absolute(struct arena *a, struct str url, struct str *ret_scheme,
                                   struct str *ret_authority, struct str *ret_target)
{
    struct url_authority parts;
    size_t n = 0;

    while (n < url.len && (url.ptr[n] | 0x20) >= 'a' && (url.ptr[n] | 0x20) <= 'z')
        n++;
    struct str scheme = str_sub(url, 0, n), rest = str_skip(url, n);
    if (n == 0 || n > 16 || !str_starts_with(rest, STR("://")))
        return URL_BAD_EMPTY;
    rest = str_skip(rest, 3);
    for (n = 0; n < rest.len && rest.ptr[n] != '/' && rest.ptr[n] != '?' && rest.ptr[n] != '#';)
        n++;
    struct str authority = str_sub(rest, 0, n), target = str_skip(rest, n);
    if (url_split_authority(authority, &parts) != URL_OK)
        return URL_BAD_AUTHORITY;
    if (str_find(target, '#') >= 0)
        return URL_BAD_FRAGMENT;
    if (target.len == 0)
        target = STR("/");
    else if (target.ptr[0] == '?')
        target = arena_printf(a, "/%.*s", STR_FMT(target));
    char *lower = arena_bytes(a, scheme.len);
    for (size_t i = 0; i < scheme.len; i++)
        lower[i] = (char)(scheme.ptr[i] | 0x20);
    *ret_scheme = str_from(lower, scheme.len);
    *ret_authority = authority;
    *ret_target = target;
    return URL_OK;
}

bool url_decode(struct arena *a, struct str s, struct str *ret_text)
{
    char *buf, *out;

    if (str_find(s, '%') < 0) {
        *ret_text = s;
        return true;
    }
    buf = out = arena_bytes(a, s.len);
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] != '%') {
            *out++ = s.ptr[i];
            continue;
        }
        int byte = escape_value(s, i);
        if (byte < 0)
            return false;
        *out++ = (char)byte;
        i += 2;
    }
    *ret_text = str_from(buf, (size_t)(out - buf));
    return true;
}

/* Whether raw, once decoded, is name; a malformed escape stands for itself. */
static bool is_decoded_equal(struct str raw, struct str name)
{
    size_t k = 0;

    for (size_t i = 0; i < raw.len; i++, k++) {
        int byte = raw.ptr[i] == '%' ? escape_value(raw, i) : -1;
        char c = byte < 0 ? raw.ptr[i] : (char)byte;

        if (k == name.len || c != name.ptr[k])
            return false;
        if (byte >= 0)
            i += 2;
    }
    return k == name.len;
}

bool url_query_get(struct str query, struct str name, struct str *ret_value)
{
    while (query.ptr != NULL) {
        struct str value = str_split(&query, '&');
        struct str raw_name = str_split(&value, '=');

        if (is_decoded_equal(raw_name, name)) {
            *ret_value = value.ptr != NULL ? value : STR("");
            return true;
        }
    }
    return false;
}
