/* Comparing the names of a certificate with those that are expected of the peer. */
#include <arpa/inet.h>
#include <openssl/err.h>

#include "crypto/tls_priv.h"

enum { NAMES_SHOWN_MAX = 8 };

struct check {
    const struct tls_san_match *sans;
    size_t count;
    bool is_found;
    struct str_buf *why;
    unsigned seen;
};

static bool kind_fits(enum tls_san_kind kind, int gen_type)
{
    switch (kind) {
    case TLS_SAN_URI:
        return gen_type == GEN_URI;
    case TLS_SAN_DNS:
        return gen_type == GEN_DNS;
    case TLS_SAN_IP:
        return gen_type == GEN_IPADD;
    case TLS_SAN_ANY:
        return true;
    }
    return false;
}

/* RFC 6125 6.4.3: "*" stands for exactly one label, the leftmost, whole. */
static bool dns_eq(struct str pattern, struct str name)
{
    if (!str_starts_with(pattern, STR("*.")))
        return str_eq_nocase(pattern, name);
    ptrdiff_t dot = str_find(name, '.');
    struct str rest = str_skip(pattern, 1);
    return dot > 0 && str_find(str_skip(rest, 1), '.') >= 0 &&
           str_eq_nocase(str_skip(name, (size_t)dot), rest);
}

/* The value of a document may write an address in another way than inet_ntop. */
static bool ip_eq(struct str san, struct str wanted)
{
    char a[INET6_ADDRSTRLEN], b[INET6_ADDRSTRLEN];
    uint8_t x[16], y[16];
    if (san.len >= sizeof a || wanted.len >= sizeof b)
        return false;
    memcpy(a, san.ptr, san.len);
    a[san.len] = '\0';
    memcpy(b, wanted.ptr, wanted.len);
    b[wanted.len] = '\0';
    if (inet_pton(AF_INET, a, x) == 1 && inet_pton(AF_INET, b, y) == 1)
        return memcmp(x, y, 4) == 0;
    return inet_pton(AF_INET6, a, x) == 1 && inet_pton(AF_INET6, b, y) == 1 &&
           memcmp(x, y, 16) == 0;
}

static bool value_fits(const struct tls_san_match *m, int gen_type, struct str value)
{
    switch (m->match) {
    case TLS_MATCH_EXACT:
        if (gen_type == GEN_DNS)
            return dns_eq(value, m->value);
        return gen_type == GEN_IPADD ? ip_eq(value, m->value) : str_eq(value, m->value);
    case TLS_MATCH_PREFIX:
        return str_starts_with(value, m->value);
    case TLS_MATCH_SUFFIX:
        return str_ends_with(value, m->value);
    case TLS_MATCH_CONTAINS:
        return str_contains(value, m->value);
    }
    return false;
}

static bool see(void *ctx, int gen_type, struct str value)
{
    struct check *c = ctx;
    if (c->seen++ < NAMES_SHOWN_MAX) {
        if (c->seen > 1)
            str_buf_add_c(c->why, ", ");
        str_buf_add(c->why, value);
    }
    for (size_t i = 0; i < c->count && !c->is_found; i++)
        c->is_found =
            kind_fits(c->sans[i].san, gen_type) && value_fits(&c->sans[i], gen_type, value);
    return !c->is_found;
}

static void add_wanted(struct str_buf *why, const struct tls_san_match *sans, size_t count)
{
    static const char *const how[] = {
        [TLS_MATCH_EXACT] = "",
        [TLS_MATCH_PREFIX] = "prefix ",
        [TLS_MATCH_SUFFIX] = "suffix ",
        [TLS_MATCH_CONTAINS] = "containing ",
    };
    for (size_t i = 0; i < count && i < NAMES_SHOWN_MAX; i++) {
        str_buf_add_c(why, i > 0 ? " or " : "");
        str_buf_add_c(why, how[sans[i].match]);
        str_buf_add(why, sans[i].value);
    }
    if (count > NAMES_SHOWN_MAX)
        str_buf_printf(why, " or %zu more", count - NAMES_SHOWN_MAX);
}

bool tls_san_check(const X509 *x509, const struct tls_san_match *sans, size_t count,
                   struct str_buf *why)
{
    if (count == 0)
        return true;
    struct str_buf actual = STR_BUF_INIT(4096);
    struct check c = {sans, count, false, &actual, 0};
    int err = x509_walk_sans(x509, see, &c);
    bool is_ok = err == 0 && c.is_found;
    if (!is_ok) {
        str_buf_add_c(why, "peer identity not accepted: expected ");
        add_wanted(why, sans, count);
        str_buf_add_c(why, ", but the certificate names ");
        if (err < 0)
            str_buf_add_c(why, "(damaged names)");
        else if (c.seen == 0)
            str_buf_add_c(why, "nobody");
        else
            str_buf_add(why, str_buf_str(&actual));
    }
    str_buf_deinit(&actual);
    return is_ok;
}
