#include "control/api/name_priv.h"

enum { LABEL_LEN_MAX = 63, SUBDOMAIN_LEN_MAX = 253 };

static bool is_lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
    return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z');
}

bool name_is_dns_label(struct str s)
{
    if (s.len == 0 || s.len > LABEL_LEN_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (!is_lower_or_digit(s.ptr[i]) && s.ptr[i] != '-')
            return false;
    return s.ptr[0] != '-' && s.ptr[s.len - 1] != '-';
}

bool name_is_dns_subdomain(struct str s)
{
    if (s.len == 0 || s.len > SUBDOMAIN_LEN_MAX)
        return false;
    for (struct str rest = s; rest.ptr != NULL;)
        if (!name_is_dns_label(str_split(&rest, '.')))
            return false;
    return true;
}

bool name_is_header(struct str s)
{
    static const char specials[] = "!#$%&'*+-.^_`|~";
    if (s.len == 0 || s.len > 256)
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (!is_alnum(s.ptr[i]) && memchr(specials, s.ptr[i], sizeof specials - 1) == NULL)
            return false;
    return true;
}

bool name_is_header_value(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

bool name_is_host(struct str s, bool is_wildcard_allowed)
{
    if (is_wildcard_allowed && str_eq(s, STR("*")))
        return true;
    if (is_wildcard_allowed && str_starts_with(s, STR("*.")))
        s = str_skip(s, 2);
    return name_is_dns_subdomain(s);
}

static bool is_qualified_name(struct str s)
{
    if (s.len == 0 || s.len > LABEL_LEN_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!is_alnum(c) && c != '-' && c != '_' && c != '.')
            return false;
    }
    return is_alnum(s.ptr[0]) && is_alnum(s.ptr[s.len - 1]);
}

bool name_is_label_key(struct str s)
{
    ptrdiff_t slash = str_find(s, '/');
    if (slash < 0)
        return is_qualified_name(s);
    return name_is_dns_subdomain(str_sub(s, 0, (size_t)slash)) &&
           is_qualified_name(str_skip(s, (size_t)slash + 1));
}

bool name_is_label_value(struct str s)
{
    return s.len == 0 || is_qualified_name(s);
}
