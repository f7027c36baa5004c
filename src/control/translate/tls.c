/* TLS settings of the mesh: secrets by SDS, our own ALPN tokens first, Istio's next. */
#include "control/translate/translate_priv.h"

static const struct str alpn_http[] = {{"tulle-h2", 8}, {"istio-h2", 8}, {"h2", 2}};
static const struct str alpn_tcp[] = {
    {TLS_ALPN_TUNNEL, 12},
    {"tulle-tcp", 9},
    {"istio-peer-exchange", 19},
    {"istio", 5},
};
/* What a server takes: the most wanted first. */
static const struct str alpn_server[] = {
    {"tulle-h2", 8},        {"istio-h2", 8},        {"h2", 2},
    {"istio-http/1.1", 14}, {"istio-http/1.0", 14}, {"http/1.1", 8},
    {TLS_ALPN_TUNNEL, 12},  {"tulle-tcp", 9},       {"istio-peer-exchange", 19},
    {"istio", 5},
};

const struct secret *output_roots(struct job *j)
{
    job_note(j, "roots");
    if (registry_roots(j->r).len == 0)
        return NULL;
    struct secret *s = ARENA_NEW(j->a, struct secret);
    s->kind = SECRET_VALIDATION;
    s->roots_pem = registry_roots(j->r);
    return s;
}

/* Envoy takes its own word for an ALPN token for HTTP/2: "h2" alone. Istio's tokens stand before it
 * in what a client offers, and tell the server's filter chains whom they deal with. */
static const struct str alpn_envoy_http1[] = {{"istio-http/1.1", 14}, {"http/1.1", 8}};
static const struct str alpn_envoy_http2[] = {{"istio-h2", 8}, {"h2", 2}};
static const struct str alpn_envoy_tcp[] = {{"istio-peer-exchange", 19}, {"istio", 5}};
static const struct str alpn_envoy_server[] = {
    {"h2", 2}, {"http/1.1", 8}, {"istio-peer-exchange", 19}, {"istio", 5}};

struct alpn {
    const struct str *ptr;
    size_t len;
};
#define ALPN(list) ((struct alpn){list, ARRAY_LEN(list)})

/* TCP's tokens stand at the end. */
static struct alpn server_alpn(const struct job *j, bool is_http, bool is_tcp)
{
    struct alpn all = job_is_envoy(j) ? ALPN(alpn_envoy_server) : ALPN(alpn_server);
    struct alpn tcp = job_is_envoy(j) ? ALPN(alpn_envoy_tcp) : ALPN(alpn_tcp);
    if (!is_http)
        return tcp;
    return is_tcp ? all : (struct alpn){all.ptr, all.len - tcp.len};
}

static struct alpn client_alpn(const struct job *j, enum tls_use use)
{
    switch (use) {
    case TLS_HTTP1:
        return job_is_envoy(j) ? ALPN(alpn_envoy_http1) : ALPN(alpn_http);
    case TLS_HTTP2:
        return job_is_envoy(j) ? ALPN(alpn_envoy_http2) : ALPN(alpn_http);
    case TLS_TCP:
        return job_is_envoy(j) ? ALPN(alpn_envoy_tcp) : ALPN(alpn_tcp);
    case TLS_TCP_ALONE: /* without the token of tunnels, the first */
        return job_is_envoy(j) ? ALPN(alpn_envoy_tcp)
                               : (struct alpn){alpn_tcp + 1, ARRAY_LEN(alpn_tcp) - 1};
    }
    return (struct alpn){NULL, 0};
}

static struct common_tls mesh_tls(void)
{
    return (struct common_tls){
        .certificate = {.sds_name = STR(TLS_SECRET_OWN)},
        .validation = {.sds_name = STR(TLS_SECRET_ROOTS)},
        .version_min = 13,
        .version_max = 13,
    };
}

static void set_sans(struct common_tls *tls, struct tls_san_matcher *sans, size_t count)
{
    tls->sans = sans;
    tls->san_count = count;
}

/* Peers of the trust domain only. */
const struct downstream_tls *tls_inbound(struct job *j, bool is_http, bool is_tcp)
{
    struct downstream_tls *tls = ARENA_NEW(j->a, struct downstream_tls);
    struct tls_san_matcher *san = ARENA_NEW(j->a, struct tls_san_matcher);
    tls->common = mesh_tls();
    san->type = TLS_SAN_TYPE_URI;
    san->match.kind = STRING_MATCH_PREFIX;
    san->match.value = arena_printf(j->a, "spiffe://%.*s/", STR_FMT(job_mesh(j)->trust_domain));
    set_sans(&tls->common, san, 1);
    struct alpn alpn = server_alpn(j, is_http, is_tcp);
    tls->common.alpn = alpn.ptr;
    tls->common.alpn_count = alpn.len;
    tls->require_client_certificate = true;
    return tls;
}

/* Each endpoint carries the identity that it must prove. Clients that do not know of that still
 * hold it to the accounts of the service's namespace, never to any name under the roots. */
static struct tls_san_matcher *service_accounts(struct job *j, struct str host)
{
    struct tls_san_matcher *san = ARENA_NEW(j->a, struct tls_san_matcher);
    struct str name, namespace_ = STR_NULL;
    (void)api_host_split(host, &name, &namespace_);
    san->type = TLS_SAN_TYPE_URI;
    san->match.kind = STRING_MATCH_PREFIX;
    san->match.value = arena_printf(j->a, "spiffe://%.*s/ns/%.*s/sa/",
                                    STR_FMT(job_mesh(j)->trust_domain), STR_FMT(namespace_));
    return san;
}

const struct upstream_tls *tls_outbound(struct job *j, const struct output_name *n,
                                        enum tls_use use, const struct api_client_tls *rule)
{
    struct upstream_tls *tls = ARENA_NEW(j->a, struct upstream_tls);
    tls->common = mesh_tls();
    struct alpn alpn = client_alpn(j, use);
    tls->common.alpn = alpn.ptr;
    tls->common.alpn_count = alpn.len;
    bool is_said = rule != NULL && rule->sni.len > 0;
    if (is_said || !job_is_grpc(j)) /* whose own choice is the endpoint's name, or none */
        tls->sni = is_said ? rule->sni
                           : arena_printf(j->a, "outbound_.%u_.%.*s_.%.*s", n->port,
                                          STR_FMT(n->subset), STR_FMT(n->host));
    size_t count = rule != NULL ? rule->subject_alt_names.len : 0;
    if (count == 0) {
        set_sans(&tls->common, service_accounts(j, n->host), 1);
        return tls;
    }
    struct tls_san_matcher *sans = ARENA_ARRAY(j->a, struct tls_san_matcher, count);
    for (size_t i = 0; i < count; i++) {
        sans[i].type = str_starts_with(rule->subject_alt_names.v[i], STR("spiffe://"))
                           ? TLS_SAN_TYPE_URI
                           : TLS_SAN_TYPE_DNS;
        sans[i].match.kind = STRING_MATCH_EXACT;
        sans[i].match.value = rule->subject_alt_names.v[i];
    }
    set_sans(&tls->common, sans, count);
    return tls;
}
