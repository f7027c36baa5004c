#include "mesh/identity/spiffe.h"

#include "base/err.h"

/* SPIFFE-ID 2.3: an id has at most 2048 bytes, a trust domain at most 255. */
enum { ID_LEN_MAX = 2048, TRUST_DOMAIN_LEN_MAX = 255 };

static bool is_trust_domain_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

static bool is_segment_byte(char c)
{
    return is_trust_domain_byte(c) || (c >= 'A' && c <= 'Z');
}

/* SPIFFE-ID 2.1: lower-case letters, digits, dots, dashes and underscores. */
static bool is_trust_domain(struct str s)
{
    if (s.len == 0 || s.len > TRUST_DOMAIN_LEN_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (!is_trust_domain_byte(s.ptr[i]))
            return false;
    }
    return true;
}

/* SPIFFE-ID 2.2: no empty segment, none that is "." or "..", no percent-encoding. */
static bool is_segment(struct str s)
{
    if (s.len == 0 || str_eq(s, STR(".")) || str_eq(s, STR("..")))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (!is_segment_byte(s.ptr[i]))
            return false;
    }
    return true;
}

int spiffe_parse(struct str text, struct spiffe_id *ret_id)
{
    if (text.len > ID_LEN_MAX || !str_starts_with(text, STR("spiffe://")))
        return -ERR_INVALID;
    struct str rest = str_skip(text, strlen("spiffe://"));
    struct spiffe_id id = {.trust_domain = str_split(&rest, '/')};
    struct str ns_word = str_split(&rest, '/');
    id.namespace_ = str_split(&rest, '/');
    struct str sa_word = str_split(&rest, '/');
    id.service_account = str_split(&rest, '/');
    if (rest.ptr != NULL || !str_eq(ns_word, STR("ns")) || !str_eq(sa_word, STR("sa")))
        return -ERR_INVALID;
    if (!is_trust_domain(id.trust_domain) || !is_segment(id.namespace_) ||
        !is_segment(id.service_account))
        return -ERR_INVALID;
    *ret_id = id;
    return 0;
}

struct str spiffe_format(struct arena *a, const struct spiffe_id *id)
{
    return arena_printf(a, "spiffe://%.*s/ns/%.*s/sa/%.*s", STR_FMT(id->trust_domain),
                        STR_FMT(id->namespace_), STR_FMT(id->service_account));
}
