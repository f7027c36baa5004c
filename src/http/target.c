#include "http/target.h"

enum {
    PATH = 1,  /* stands in a canonical path as it is */
    SLASH = 2, /* '/' and '.': as well, but not behind a slash */
    QUERY = 4, /* may stand in a query: visible ASCII but for '#' */
};

static const unsigned char byte_kinds[256] = {
    ['!'] = PATH | QUERY,
    ['"'] = QUERY,
    ['$'] = PATH | QUERY,
    ['%'] = QUERY,
    ['&' ... '-'] = PATH | QUERY,
    ['.'] = SLASH | PATH | QUERY,
    ['/'] = SLASH | PATH | QUERY,
    ['0' ... ';'] = PATH | QUERY,
    ['<'] = QUERY,
    ['='] = PATH | QUERY,
    ['>'] = QUERY,
    ['?'] = QUERY,
    ['@' ... 'Z'] = PATH | QUERY,
    ['[' ... '^'] = QUERY,
    ['_'] = PATH | QUERY,
    ['`'] = QUERY,
    ['a' ... 'z'] = PATH | QUERY,
    ['{' ... '}'] = QUERY,
    ['~'] = PATH | QUERY,
};

static bool is_query(struct str s)
{
    unsigned char all = QUERY;

    for (size_t i = 0; i < s.len; i++)
        all &= byte_kinds[(unsigned char)s.ptr[i]];
    return all != 0;
}

/* Most targets are canonical as they come, whatever the options: nothing escaped, no "//", no "/.".
 * One look at each byte tells. */
static bool is_canonical(struct str target)
{
    unsigned char before = 0;
    size_t i = 0;

    if (target.len == 0 || target.ptr[0] != '/')
        return false;
    for (; i < target.len; i++) {
        unsigned char kind = byte_kinds[(unsigned char)target.ptr[i]];

        if ((kind & PATH) == 0)
            break;
        if ((before & kind & SLASH) != 0 && target.ptr[i - 1] == '/')
            return false;
        before = kind;
    }
    return i == target.len || (target.ptr[i] == '?' && is_query(str_skip(target, i)));
}

bool http_target_set(struct http_head *h, struct str target, const struct url_path_options *options)
{
    struct str path, query, canonical;
    bool has_query;

    if (is_canonical(target)) {
        h->path = target;
        return true;
    }
    if (str_eq(target, STR("*"))) {
        h->path = target;
        return str_eq(h->method, STR("OPTIONS"));
    }
    if (url_split_target(target, &path, &query, &has_query) != URL_OK || !is_query(query) ||
        url_path_canonical(h->arena, path, options, &canonical) != URL_OK)
        return false;
    if (str_eq(path, canonical)) {
        h->path = target;
        return true;
    }
    h->original_path = target;
    h->path = !has_query ? canonical
                         : arena_printf(h->arena, "%.*s?%.*s", STR_FMT(canonical), STR_FMT(query));
    return true;
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static struct str lowered(struct arena *a, struct str s)
{
    size_t i = 0;

    while (i < s.len && !is_upper(s.ptr[i]))
        i++;
    if (i == s.len)
        return s;
    char *copy = arena_bytes(a, s.len);
    for (i = 0; i < s.len; i++)
        copy[i] = (char)(is_upper(s.ptr[i]) ? s.ptr[i] | 0x20 : s.ptr[i]);
    return str_from(copy, s.len);
}

/* A name in lower case or an IPv4 address, perhaps with a port: what most authorities are, in one
 * look at each byte. */
static bool is_canonical_authority(struct str s)
{
    static const bool is_common[256] = {
        ['a' ... 'z'] = true, ['0' ... '9'] = true, ['-'] = true, ['.'] = true};
    size_t i = 0;
    unsigned port = 0;

    while (i < s.len && is_common[(unsigned char)s.ptr[i]])
        i++;
    if (i == s.len || i == 0)
        return i > 0;
    if (s.ptr[i] != ':' || s.len - i > 6 || (s.len - i > 1 && s.ptr[i + 1] == '0'))
        return false;
    for (i++; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        port = port * 10 + (unsigned)(s.ptr[i] - '0');
    }
    return port >= 1 && port <= 65535;
}

bool http_authority_set(struct http_head *h, struct str authority)
{
    struct url_authority split;

    if (is_canonical_authority(authority)) {
        h->authority = authority;
        return true;
    }
    /* A comma is what joins two Host fields of a careless intermediary. */
    if (url_split_authority(authority, &split) != URL_OK || str_find(authority, ',') >= 0)
        return false;
    h->authority = lowered(h->arena, authority);
    return true;
}

static uint16_t port_of(const struct url_authority *a, struct str scheme)
{
    if (a->port != 0)
        return a->port;
    return str_eq(scheme, STR("https")) ? 443 : 80;
}

bool http_authority_eq(struct str a, struct str b, struct str scheme)
{
    struct url_authority x, y;

    return url_split_authority(a, &x) == URL_OK && url_split_authority(b, &y) == URL_OK &&
           str_eq_nocase(x.host, y.host) && port_of(&x, scheme) == port_of(&y, scheme);
}
