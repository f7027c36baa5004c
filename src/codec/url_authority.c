#include "codec/ip.h"
#include "codec/url.h"

/* RFC 3986 3.2.2: unreserved and sub-delims; escapes are refused, since no name in DNS has them and
 * what they stand for would be judged by one reader and not by another. */
static bool is_host_byte(char c)
{
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return true;
    return c != '\0' && strchr("-._~!$&'()*+,;=", c) != NULL;
}

static bool is_host(struct str host)
{
    for (size_t i = 0; i < host.len; i++)
        if (!is_host_byte(host.ptr[i]))
            return false;
    return host.len > 0;
}

/* "[v6]" and what follows. */
static bool take_brackets(struct str *rest, struct str *ret_host)
{
    struct ip_addr addr;
    ptrdiff_t close = str_find(*rest, ']');

    if (close < 0)
        return false;
    struct str host = str_sub(*rest, 1, (size_t)close - 1);
    if (str_find(host, ':') < 0 || !ip_parse(host, &addr))
        return false;
    *ret_host = host;
    *rest = str_skip(*rest, (size_t)close + 1);
    return true;
}

enum url_result url_split_authority(struct str authority, struct url_authority *ret_authority)
{
    struct url_authority parts = {.is_ipv6 = str_starts_with(authority, STR("["))};
    uint64_t port;

    if (parts.is_ipv6) {
        if (!take_brackets(&authority, &parts.host))
            return URL_BAD_AUTHORITY;
    } else {
        ptrdiff_t colon = str_find(authority, ':');
        size_t len = colon < 0 ? authority.len : (size_t)colon;

        parts.host = str_sub(authority, 0, len);
        authority = str_skip(authority, len);
        if (!is_host(parts.host))
            return URL_BAD_AUTHORITY;
    }
    if (authority.len > 0) {
        /* RFC 3986 6.2.3: one spelling of a port; a zero in front is somebody's trick. */
        if (authority.ptr[0] != ':' || authority.len > 6 || str_starts_with(authority, STR(":0")) ||
            !str_to_u64(str_skip(authority, 1), 65535, &port))
            return URL_BAD_AUTHORITY;
        parts.port = (uint16_t)port;
    }
    *ret_authority = parts;
    return URL_OK;
}

struct str url_host_canonical(struct arena *a, struct str host)
{
    bool has_upper = false;

    if (host.len > 1 && host.ptr[host.len - 1] == '.')
        host.len--;
    for (size_t i = 0; i < host.len; i++)
        has_upper |= host.ptr[i] >= 'A' && host.ptr[i] <= 'Z';
    if (!has_upper)
        return host;
    char *lower = arena_bytes(a, host.len);
    for (size_t i = 0; i < host.len; i++) {
        char c = host.ptr[i];

        lower[i] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
    return str_from(lower, host.len);
}
