/* x-forwarded-client-cert: what is told of the caller's certificate, in Envoy's words and order. */
#include "crypto/tls.h"
#include "proxy/flow/flow_priv.h"

enum { ELEMENT_LEN_MAX = 64 * 1024 };

static const struct tls_endpoint *endpoint_of(const struct flow_conn *fc)
{
    return fc->conn != NULL ? tls_endpoint_of(fc->conn) : NULL;
}

/* A value that could be taken for more than one is put in quotes. */
static void add_value(struct str_buf *to, struct str value)
{
    bool is_plain = true;
    for (size_t i = 0; i < value.len; i++)
        is_plain &= memchr(",;=\"\\ ", value.ptr[i], 6) == NULL;
    if (is_plain) {
        str_buf_add(to, value);
        return;
    }
    str_buf_add_char(to, '"');
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] == '"' || value.ptr[i] == '\\')
            str_buf_add_char(to, '\\');
        str_buf_add_char(to, value.ptr[i]);
    }
    str_buf_add_char(to, '"');
}

/* PEM in quotes, with escapes for what is not safe in a URL. */
static void add_pem(struct str_buf *to, const char *key, struct str pem)
{
    str_buf_printf(to, ";%s=\"", key);
    for (size_t i = 0; i < pem.len; i++) {
        char c = pem.ptr[i];
        if (memchr("\n +/=", c, 5) != NULL)
            str_buf_printf(to, "%%%02X", (unsigned)c);
        else
            str_buf_add_char(to, c);
    }
    str_buf_add_char(to, '"');
}

static void add_certificate(struct flow_conn *fc, const char *key, bool has_chain,
                            struct str_buf *to)
{
    const struct tls_endpoint *e = endpoint_of(fc);
    struct str_buf pem = STR_BUF_INIT(ELEMENT_LEN_MAX);
    if (e != NULL)
        tls_endpoint_peer_pem(e, has_chain, &pem);
    add_pem(to, key, str_buf_str(&pem));
    str_buf_deinit(&pem);
}

struct names {
    struct str_buf *to;
    enum tls_san_kind kind;
    size_t count;
};

static bool add_name(void *ctx, enum tls_san_kind kind, struct str name)
{
    struct names *n = ctx;
    if (kind != n->kind)
        return true;
    n->count++;
    str_buf_add_c(n->to, kind == TLS_SAN_URI ? ";URI=" : ";DNS=");
    add_value(n->to, name);
    return true;
}

static size_t add_names(struct flow_conn *fc, enum tls_san_kind kind, struct str_buf *to)
{
    const struct tls_endpoint *e = endpoint_of(fc);
    struct names n = {.to = to, .kind = kind};
    if (e != NULL)
        tls_endpoint_walk_names(e, add_name, &n);
    return n.count;
}

static struct str make_element(struct flow_conn *fc, const struct hcm *hcm)
{
    const struct downstream_tls_info *tls = downstream_tls(&fc->info);
    struct str_buf b = STR_BUF_INIT(ELEMENT_LEN_MAX);
    str_buf_add_c(&b, "By=");
    add_value(&b, tls->own_principal.len > 0 ? tls->own_principal : fc->flow->env.own_principal);
    str_buf_printf(&b, ";Hash=%.*s", STR_FMT(tls->peer_cert_sha256));
    if (hcm->xfcc_cert)
        add_certificate(fc, "Cert", false, &b);
    if (hcm->xfcc_chain)
        add_certificate(fc, "Chain", true, &b);
    /* RFC 2253 has escaped the quotes of names already. */
    if (hcm->xfcc_subject)
        str_buf_printf(&b, ";Subject=\"%.*s\"", STR_FMT(tls->peer_subject));
    if (hcm->xfcc_uri && add_names(fc, TLS_SAN_URI, &b) == 0)
        str_buf_printf(&b, ";URI=%.*s", STR_FMT(tls->peer_principal));
    if (hcm->xfcc_dns)
        add_names(fc, TLS_SAN_DNS, &b);
    struct str element = b.is_overflown ? STR_NULL : arena_str(&fc->arena, str_buf_str(&b));
    str_buf_deinit(&b);
    return element;
}

/* The same for all requests of a connection, as long as the settings are. */
static struct str element_of(struct flow_conn *fc, const struct hcm *hcm)
{
    uint8_t parts = (uint8_t)(1 | hcm->xfcc_subject << 1 | hcm->xfcc_uri << 2 | hcm->xfcc_dns << 3 |
                              hcm->xfcc_cert << 4 | hcm->xfcc_chain << 5);
    struct flow_more *more = conn_more(fc);
    if (more->xfcc_parts != parts) {
        more->xfcc = make_element(fc, hcm);
        more->xfcc_parts = parts;
    }
    return more->xfcc;
}

/* Only a verified peer may hand a certificate on; from others the header is removed, unless the
 * configuration always trusts it. */
void xfcc_set(struct flow_conn *fc, const struct hcm *hcm, struct http_head *head)
{
    bool is_mtls = fc->info.is_mtls;
    if (hcm->xfcc == XFCC_ALWAYS_FORWARD_ONLY || (hcm->xfcc == XFCC_FORWARD_ONLY && is_mtls))
        return;
    struct str given = STR_NULL;
    if (is_mtls && hcm->xfcc == XFCC_APPEND_FORWARD)
        given = http_head_get_joined(head, STR("x-forwarded-client-cert"));
    http_head_remove(head, HTTP_NAME_X_FORWARDED_CLIENT_CERT);
    if (!is_mtls || (hcm->xfcc != XFCC_APPEND_FORWARD && hcm->xfcc != XFCC_SANITIZE_SET))
        return;
    struct str element = element_of(fc, hcm);
    if (given.len > 0)
        element = arena_printf(head->arena, "%.*s,%.*s", STR_FMT(given), STR_FMT(element));
    http_head_add(head, HTTP_NAME_X_FORWARDED_CLIENT_CERT, element);
}
