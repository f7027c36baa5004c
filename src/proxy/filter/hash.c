/* What ties a request to a host: the hash policies of its route (envoy RouteAction.HashPolicy). */
#include "proxy/filter/filter_priv.h"

enum { COOKIE_VALUE_DIGITS = 16 };

static struct str without_quotes(struct str s)
{
    bool is_quoted = s.len >= 2 && s.ptr[0] == '"' && s.ptr[s.len - 1] == '"';
    return is_quoted ? str_sub(s, 1, s.len - 2) : s;
}

/* The value of a cookie (RFC 6265 5.4); empty: there is none. */
static struct str cookie_of(const struct http_head *head, struct str name)
{
    for (uint32_t i = 0; i < head->field_count; i++) {
        struct str rest = head->fields[i].value;
        if (!str_eq(head->fields[i].name, STR("cookie")))
            continue;
        while (rest.ptr != NULL) {
            struct str value = str_trim(str_split(&rest, ';'));
            struct str key = str_split(&value, '=');
            if (str_eq(key, name) && value.len > 0)
                return without_quotes(value);
        }
    }
    return STR_NULL;
}

/* For the browser to come back with. */
static struct str make_cookie(struct request *r, const struct hash_policy *p)
{
    char *text = arena_bytes(&r->x->arena, COOKIE_VALUE_DIGITS);
    str_put_hex(text, random_u64(turn_random(r->x->turn)), COOKIE_VALUE_DIGITS);
    r->made_cookie = p;
    r->made_cookie_value = str_from(text, COOKIE_VALUE_DIGITS);
    return r->made_cookie_value;
}

static struct str address_of(const struct request *r)
{
    const struct addr *a = r->client.family != ADDR_NONE ? &r->client : &r->x->info->remote;
    size_t len = a->family == ADDR_IP6 ? 16 : a->family == ADDR_IP4 ? 4 : 0;
    return str_from((const char *)a->ip, len);
}

static struct str value_of(struct request *r, const struct hash_policy *p)
{
    const struct http_head *head = r->x->flows[SIDE_REQUEST].head;
    struct str value = STR_NULL;
    switch (p->kind) {
    case HASH_HEADER:
        if (str_eq(p->name, STR(":authority")) || str_eq(p->name, STR("host")))
            return head->authority;
        return str_eq(p->name, STR(":path")) ? head->path : http_head_get_named(head, p->name);
    case HASH_COOKIE:
        value = cookie_of(head, p->name);
        return value.len == 0 && p->is_made ? make_cookie(r, p) : value;
    case HASH_SOURCE_IP:
        return address_of(r);
    case HASH_QUERY:
        return url_query_get(http_head_query(head), p->name, &value) ? value : STR_NULL;
    }
    return value;
}

bool hash_request(struct request *r, uint64_t *ret_hash)
{
    bool has_hash = false;
    uint64_t hash = 0;
    for (size_t i = 0; r->route != NULL && i < r->route->hash_count; i++) {
        const struct hash_policy *p = &r->route->hashes[i];
        struct str value = value_of(r, p);
        if (value.len > 0) {
            /* Without a seed of the process: all proxies mean the same host. */
            hash = (hash << 1 | hash >> 63) ^ str_hash(value, 0);
            has_hash = true;
        }
        if (has_hash && p->is_terminal)
            break;
    }
    *ret_hash = hash;
    return has_hash;
}

void hash_response(const struct request *r, struct http_head *head)
{
    const struct hash_policy *p = r->made_cookie;
    if (p == NULL)
        return;
    struct str path =
        p->path.len > 0 ? arena_printf(head->arena, "; Path=%.*s", STR_FMT(p->path)) : STR_NULL;
    struct str age = p->ttl_us > 0 ? arena_printf(head->arena, "; Max-Age=%llu",
                                                  (unsigned long long)(p->ttl_us / 1000000))
                                   : STR_NULL;
    http_head_add_named(head, STR("set-cookie"),
                        arena_printf(head->arena, "%.*s=\"%.*s\"%.*s%.*s; HttpOnly",
                                     STR_FMT(p->name), STR_FMT(r->made_cookie_value), STR_FMT(age),
                                     STR_FMT(path)));
}
