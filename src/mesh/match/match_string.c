#include "mesh/match/match.h"

#include "codec/regex.h"
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
    case STRING_MATCH_REGEX:
        return regex_match(m->regex, value);
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
    case STRING_MATCH_REGEX:
        return regex_match(m->regex, value);
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

/* Of several fields each is looked at by itself: a second one hides no value from a rule that
 * denies it. As in Envoy, what is missing matches nothing, not even inverted. */
bool match_header(const struct header_match *m, const struct http_head *head)
{
    struct str value = STR("");
    bool is_present = false, is_match = false;
    if (find_pseudo(head, m->name, &value)) {
        is_present = value.len > 0;
        is_match = is_present && match_string(&m->value, value);
    } else {
        for (uint32_t i = 0; i < head->field_count && !is_match; i++) {
            if (!str_eq(head->fields[i].name, m->name))
                continue;
            is_present = true;
            is_match = match_string(&m->value, head->fields[i].value);
        }
    }
    if (!is_present && m->treat_missing_as_empty)
        return match_string(&m->value, STR("")) != m->is_inverted;
    if (!is_present && m->value.kind != STRING_MATCH_ANY)
        return false;
    return is_match != m->is_inverted;
}

bool match_query(const struct query_match *m, struct str query)
{
    struct str value;
    return url_query_get(query, m->name, &value) && match_string(&m->value, value);
}
