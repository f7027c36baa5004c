#include "http/target.h"

/* The query is passed on as it is; nothing that is no visible ASCII may be in it. */
static bool is_visible(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] <= 0x20 || s.ptr[i] > 0x7e)
            return false;
    }
    return true;
}

bool http_target_set(struct http_head *h, struct str target,
                     const struct url_path_options *options)
{
    struct str path, query, canonical;
    bool has_query;

    if (str_eq(target, STR("*"))) {
        h->path = target;
        return str_eq(h->method, STR("OPTIONS"));
    }
    if (!is_visible(target) || url_split_target(target, &path, &query, &has_query) != URL_OK ||
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

bool http_authority_set(struct http_head *h, struct str authority)
{
    struct url_authority split;

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
