#include "mesh/match/match.h"

#include "codec/url.h"
#include "mesh/match/match_priv.h"

static char fold(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static bool contains_nocase(struct str s, struct str needle)
{
    if (needle.len == 0)
        return true;
    for (size_t i = 0; i + needle.len <= s.len; i++) {
        if (fold(s.ptr[i]) == fold(needle.ptr[0]) &&
            str_eq_nocase(str_sub(s, i, needle.len), needle))
            return true;
    }
    return false;
}

static bool match_nocase(const struct string_match *m, struct str value)
{
    switch (m->kind) {
    case STRING_MATCH_ANY:
        return true;
    case STRING_MATCH_EXACT:
        return str_eq_nocase(value, m->value);
    case STRING_MATCH_PREFIX:
        return str_starts_with_nocase(value, m->value);
    case STRING_MATCH_SUFFIX:
        return value.len >= m->value.len &&
               str_eq_nocase(str_skip(value, value.len - m->value.len), m->value);
    case STRING_MATCH_CONTAINS:
        return contains_nocase(value, m->value);
    }
    return false;
}

bool match_string(const struct string_match *m, struct str value)
{
    if (m->ignore_case)
        return match_nocase(m, value);
    switch (m->kind) {
    case STRING_MATCH_ANY:
        return true;
    case STRING_MATCH_EXACT:
        return str_eq(value, m->value);
    case STRING_MATCH_PREFIX:
        return str_starts_with(value, m->value);
    case STRING_MATCH_SUFFIX:
        return str_ends_with(value, m->value);
    case STRING_MATCH_CONTAINS:
        return str_contains(value, m->value);
    }
    return false;
}

/* Pseudo header fields are no fields of a head. Host is :authority, whatever it was on the wire. */
static bool find_pseudo(const struct http_head *head, struct str name, struct str *ret_value)
{
    if (str_eq(name, STR(":path")))
        *ret_value = head->path;
    else if (str_eq(name, STR(":method")))
        *ret_value = head->method;
    else if (str_eq(name, STR(":authority")) || str_eq(name, STR("host")))
        *ret_value = head->authority;
    else if (str_eq(name, STR(":scheme")))
        *ret_value = head->scheme;
    else
        return false;
    return true;
}

/* The null string (ptr NULL) when there is none; several are joined by ",". */
static struct str find_field(const struct http_head *head, struct str name)
{
    struct str found = STR_NULL;
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct http_field *f = &head->fields[i];
        if (!str_eq(f->name, name))
            continue;
        if (found.ptr != NULL)
            return http_head_get_joined(head, name);
        found = f->value.ptr != NULL ? f->value : STR("");
    }
    return found;
}

bool match_header(const struct header_match *m, const struct http_head *head)
{
    struct str value;
    bool is_pseudo = find_pseudo(head, m->name, &value);
    if (!is_pseudo)
        value = find_field(head, m->name);
    bool is_present = is_pseudo ? value.len > 0 : value.ptr != NULL;
    if (m->value.kind == STRING_MATCH_ANY)
        return is_present != m->is_inverted;
    /* As in Envoy, what is missing matches nothing, not even inverted. */
    if (!is_present && !m->treat_missing_as_empty)
        return false;
    return match_string(&m->value, value) != m->is_inverted;
}

bool match_query(const struct query_match *m, struct str query)
{
    struct str value;
    return url_query_get(query, m->name, &value) && match_string(&m->value, value);
}
