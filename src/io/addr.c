#include "io/addr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static void set_ip4(struct addr *a, const void *ip, uint16_t port)
{
    memset(a, 0, sizeof *a);
    a->family = ADDR_IP4;
    a->port = port;
    memcpy(a->ip, ip, 4);
}

static void set_ip6(struct addr *a, const uint8_t ip[16], uint16_t port)
{
    if (memcmp(ip, mapped_prefix, sizeof mapped_prefix) == 0) {
        set_ip4(a, ip + 12, port);
        return;
    }
    memset(a, 0, sizeof *a);
    a->family = ADDR_IP6;
    a->port = port;
    memcpy(a->ip, ip, 16);
}

/* --- paths of unix sockets --- */

enum { PATHS_MAX = 1024 };

/* All that there are; grows at its front. Threads: any. */
struct known_path {
    struct known_path *next;
    unsigned count; /* of this and those behind it */
    char text[];
};
static _Atomic(struct known_path *) known_paths;

static const struct known_path *find_path(const struct known_path *from, struct str path)
{
    while (from != NULL && !str_eq(str_from_c(from->text), path))
        from = from->next;
    return from;
}

static const char *intern_path(struct str path)
{
    struct known_path *first = atomic_load(&known_paths), *fresh = NULL;
    for (;;) {
        const struct known_path *known = find_path(first, path);
        if (known != NULL || (first != NULL && first->count >= PATHS_MAX)) {
            free(fresh);
            return known != NULL ? known->text : NULL;
        }
        if (fresh == NULL) {
            fresh = mem_zalloc(sizeof *fresh + path.len + 1);
            memcpy(fresh->text, path.ptr, path.len);
        }
        fresh->next = first;
        fresh->count = first != NULL ? first->count + 1 : 1;
        if (atomic_compare_exchange_weak(&known_paths, &first, fresh))
            return fresh->text;
    }
}

bool addr_set_path(struct addr *a, struct str path)
{
    const char *text = "";
    if (path.len > ADDR_PATH_LEN_MAX || str_find(path, '\0') >= 0)
        return false;
    if (path.len > 0)
        text = intern_path(path);
    if (text == NULL)
        return false;
    *a = (struct addr){.family = ADDR_UNIX};
    _Static_assert(sizeof text <= sizeof a->ip, "a pointer has room where an address has");
    memcpy(a->ip, &text, sizeof text);
    return true;
}

const char *addr_path(const struct addr *a)
{
    const char *text = "";
    if (a->family == ADDR_UNIX)
        memcpy(&text, a->ip, sizeof text);
    return text;
}

static struct str path_of(const struct addr *a)
{
    return str_from_c(addr_path(a));
}

/* --- reading --- */

bool addr_parse_ip(struct str s, uint16_t port, struct addr *ret_addr)
{
    char text[INET6_ADDRSTRLEN];
    if (s.len == 0 || s.len >= sizeof text)
        return false;
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    if (strlen(text) != s.len)
        return false;
    uint8_t ip[16];
    if (inet_pton(AF_INET, text, ip) == 1) {
        set_ip4(ret_addr, ip, port);
        return true;
    }
    if (inet_pton(AF_INET6, text, ip) != 1)
        return false;
    set_ip6(ret_addr, ip, port);
    return true;
}

static bool parse_ip_port(struct str s, struct addr *ret_addr)
{
    ptrdiff_t colon = str_rfind(s, ':');
    if (colon < 1)
        return false;
    uint64_t port;
    struct str host = str_sub(s, 0, (size_t)colon);
    if (!str_to_u64(str_skip(s, (size_t)colon + 1), 65535, &port))
        return false;
    bool is_bracketed = host.ptr[0] == '[';
    if (is_bracketed) {
        if (host.len < 2 || host.ptr[host.len - 1] != ']')
            return false;
        host = str_sub(host, 1, host.len - 2);
    }
    /* "::1:80" could be read in two ways: IPv6 with a port needs its brackets. */
    if (is_bracketed != (str_find(host, ':') >= 0))
        return false;
    return addr_parse_ip(host, (uint16_t)port, ret_addr);
}

bool addr_parse(struct str s, struct addr *ret_addr)
{
    if (str_starts_with(s, STR("unix:")))
        s = str_skip(s, 5);
    else if (s.len == 0 || (s.ptr[0] != '/' && s.ptr[0] != '@'))
        return parse_ip_port(s, ret_addr);
    return s.len > 0 && addr_set_path(ret_addr, s);
}

/* --- text: in access logs several times a line, so IPv4 and ports go without printf --- */

static char *put_u16(char *at, unsigned value)
{
    unsigned digits = 1 + (value > 9) + (value > 99) + (value > 999) + (value > 9999);
    char *end = at + digits, *p = end;
    do
        *--p = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    return end;
}

/* The bytes of an IPv4 address as text. */
#define TEN(tens)                                                                                  \
    {tens "0"}, {tens "1"}, {tens "2"}, {tens "3"}, {tens "4"}, {tens "5"}, {tens "6"},            \
        {tens "7"}, {tens "8"},                                                                    \
    {                                                                                              \
        tens "9"                                                                                   \
    }
static const char octets[260][4] = {
    TEN(""),   TEN("1"),  TEN("2"),  TEN("3"),  TEN("4"),  TEN("5"),  TEN("6"),
    TEN("7"),  TEN("8"),  TEN("9"),  TEN("10"), TEN("11"), TEN("12"), TEN("13"),
    TEN("14"), TEN("15"), TEN("16"), TEN("17"), TEN("18"), TEN("19"), TEN("20"),
    TEN("21"), TEN("22"), TEN("23"), TEN("24"), TEN("25"),
};

static char *put_ip4(char *at, const uint8_t ip[4])
{
    for (unsigned i = 0; i < 4; i++) {
        memcpy(at, octets[ip[i]], sizeof octets[0]);
        at += ip[i] < 10 ? 1 : ip[i] < 100 ? 2 : 3;
        *at++ = '.';
    }
    return at - 1;
}

/* The end of the text, which is not terminated. */
static char *put_ip(char *at, const struct addr *a)
{
    struct str path;
    switch (a->family) {
    case ADDR_NONE:
        return at;
    case ADDR_IP4:
        return put_ip4(at, a->ip);
    case ADDR_IP6:
        inet_ntop(AF_INET6, a->ip, at, INET6_ADDRSTRLEN);
        return at + strlen(at);
    case ADDR_UNIX:
        path = path_of(a);
        return str_put(at, path);
    }
    return at;
}

static struct str end_text(char *buf, char *end)
{
    *end = '\0';
    return str_from(buf, (size_t)(end - buf));
}

struct str addr_format_ip(const struct addr *a, char buf[ADDR_TEXT_LEN])
{
    return end_text(buf, put_ip(buf, a));
}

struct str addr_format(const struct addr *a, char buf[ADDR_TEXT_LEN])
{
    char *at = buf;
    if (a->family == ADDR_IP6)
        *at++ = '[';
    at = put_ip(at, a);
    if (a->family == ADDR_IP6)
        *at++ = ']';
    if (a->family == ADDR_IP4 || a->family == ADDR_IP6) {
        *at++ = ':';
        at = put_u16(at, a->port);
    }
    return end_text(buf, at);
}

static size_t ip_len(const struct addr *a)
{
    return a->family == ADDR_IP4 ? 4 : a->family == ADDR_IP6 ? 16 : 0;
}

bool addr_eq_ip(const struct addr *a, const struct addr *b)
{
    return a->family == b->family && memcmp(a->ip, b->ip, ip_len(a)) == 0 &&
           (a->family != ADDR_UNIX || str_eq(path_of(a), path_of(b)));
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
    return a->port == b->port && addr_eq_ip(a, b);
}

bool addr_is_loopback(const struct addr *a)
{
    static const uint8_t loopback6[16] = {[15] = 1};
    return (a->family == ADDR_IP4 && a->ip[0] == 127) ||
           (a->family == ADDR_IP6 && memcmp(a->ip, loopback6, 16) == 0);
}

bool addr_is_any(const struct addr *a)
{
    static const uint8_t any[16];
    return ip_len(a) > 0 && memcmp(a->ip, any, ip_len(a)) == 0;
}

uint64_t addr_hash(const struct addr *a, uint64_t seed)
{
    if (a->family == ADDR_UNIX)
        return str_hash(path_of(a), seed);
    char key[18];
    memcpy(key, &a->port, 2);
    memcpy(key + 2, a->ip, 16);
    return str_hash(str_from(key, 2 + ip_len(a)), seed);
}

unsigned addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *ret_sa)
{
    memset(ret_sa, 0, sizeof *ret_sa);
    struct sockaddr_in *in4 = (void *)ret_sa;
    struct sockaddr_in6 *in6 = (void *)ret_sa;
    struct sockaddr_un *un = (void *)ret_sa;
    struct str path = path_of(a);
    switch (a->family) {
    case ADDR_NONE:
        return 0;
    case ADDR_IP4:
        in4->sin_family = AF_INET;
        in4->sin_port = htons(a->port);
        memcpy(&in4->sin_addr, a->ip, 4);
        return sizeof *in4;
    case ADDR_IP6:
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(a->port);
        memcpy(&in6->sin6_addr, a->ip, 16);
        return sizeof *in6;
    case ADDR_UNIX:
        un->sun_family = AF_UNIX;
        str_put(un->sun_path, path);
        if (path.len > 0 && path.ptr[0] == '@') {
            un->sun_path[0] = '\0';
            return (unsigned)(offsetof(struct sockaddr_un, sun_path) + path.len);
        }
        return (unsigned)(offsetof(struct sockaddr_un, sun_path) + path.len + 1);
    }
    return 0;
}

static bool from_unix(const struct sockaddr_un *un, unsigned len, struct addr *ret_addr)
{
    size_t path_max = len > offsetof(struct sockaddr_un, sun_path)
                          ? len - offsetof(struct sockaddr_un, sun_path)
                          : 0;
    char path[sizeof un->sun_path + 1] = "";
    memcpy(path, un->sun_path, MIN(path_max, sizeof un->sun_path));
    if (path_max > 1 && path[0] == '\0')
        path[0] = '@';
    /* The peer of an unbound socket has an empty path, and so has one too many. */
    if (!addr_set_path(ret_addr, str_from(path, strnlen(path, ADDR_PATH_LEN_MAX))))
        addr_set_path(ret_addr, STR(""));
    return true;
}

bool addr_from_sockaddr(const struct sockaddr_storage *sa, unsigned len, struct addr *ret_addr)
{
    const struct sockaddr_in *in4 = (const void *)sa;
    const struct sockaddr_in6 *in6 = (const void *)sa;
    if (len < sizeof sa->ss_family)
        return false;
    switch (sa->ss_family) {
    case AF_INET:
        if (len < sizeof *in4)
            return false;
        set_ip4(ret_addr, &in4->sin_addr, ntohs(in4->sin_port));
        return true;
    case AF_INET6:
        if (len < sizeof *in6)
            return false;
        set_ip6(ret_addr, (const uint8_t *)&in6->sin6_addr, ntohs(in6->sin6_port));
        return true;
    case AF_UNIX:
        return from_unix((const void *)sa, len, ret_addr);
    }
    return false;
}
