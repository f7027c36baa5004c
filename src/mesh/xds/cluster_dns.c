/* How the names of a cluster's endpoints are looked up. */
#include "base/err.h"
#include "mesh/xds/codec_priv.h"

static const uint64_t refresh_us = 5000000, refresh_us_min = 1000;
enum { RESOLVERS_MAX = 8, FAILURE_FACTOR = 10 };

/* --- decoding --- */

static int decode_family(struct decode *d, const struct pb_path *at, const Pb__Cluster__Cluster *m,
                         struct dns_options *dns)
{
    switch ((int)m->dns_lookup_family) {
    case PB__CLUSTER__CLUSTER__DNS_LOOKUP_FAMILY__AUTO:
        dns->family = DNS_AUTO;
        return 0;
    case PB__CLUSTER__CLUSTER__DNS_LOOKUP_FAMILY__V4_ONLY:
        dns->family = DNS_V4_ONLY;
        return 0;
    case PB__CLUSTER__CLUSTER__DNS_LOOKUP_FAMILY__V6_ONLY:
        dns->family = DNS_V6_ONLY;
        return 0;
    case PB__CLUSTER__CLUSTER__DNS_LOOKUP_FAMILY__V4_PREFERRED:
        dns->family = DNS_V4_PREFERRED;
        return 0;
    case PB__CLUSTER__CLUSTER__DNS_LOOKUP_FAMILY__ALL:
        dns->family = DNS_ALL;
        return 0;
    default:
        return decode_fail(d, PB_AT(at, "dns_lookup_family"), "no such family");
    }
}

static int decode_rate(struct decode *d, const struct pb_path *at, const Pb__Duration *m,
                       uint64_t fallback_us, uint64_t *ret_us)
{
    uint64_t us;
    if (decode_duration(d, at, m, fallback_us, &us) != 0)
        return -ERR_INVALID;
    if (us <= refresh_us_min)
        return decode_fail(d, at, "must be longer than 1 ms");
    *ret_us = us;
    return 0;
}

static int decode_failure_rate(struct decode *d, const struct pb_path *at,
                               const Pb__Cluster__Cluster__RefreshRate *m, struct dns_options *dns)
{
    if (m == NULL)
        return 0;
    if (m->base_interval == NULL)
        return decode_fail(d, PB_AT(at, "base_interval"), "needed");
    if (decode_rate(d, PB_AT(at, "base_interval"), m->base_interval, 0, &dns->failure_base_us) !=
            0 ||
        decode_rate(d, PB_AT(at, "max_interval"), m->max_interval,
                    dns->failure_base_us * FAILURE_FACTOR, &dns->failure_max_us) != 0)
        return -ERR_INVALID;
    if (dns->failure_max_us < dns->failure_base_us)
        return decode_fail(d, PB_AT(at, "max_interval"), "must not be shorter than base_interval");
    return 0;
}

static int decode_resolvers(struct decode *d, const struct pb_path *at,
                            const Pb__Core__TypedExtensionConfig *m, struct dns_options *dns)
{
    if (m == NULL)
        return 0;
    const struct pb_path *here = PB_AT(at, "typed_config");
    const Pb__Cares__CaresDnsResolverConfig *config =
        decode_any_as(d, here, m->typed_config, &pb__cares__cares_dns_resolver_config__descriptor);
    if (config == NULL)
        return -ERR_INVALID;
    if (config->n_resolvers > RESOLVERS_MAX)
        return decode_fail(d, PB_AT(here, "resolvers"), "at most %d", RESOLVERS_MAX);
    struct model_addr *addrs = ARENA_ARRAY(d->arena, struct model_addr, config->n_resolvers);
    for (size_t i = 0; i < config->n_resolvers; i++) {
        const struct pb_path *one = PB_AT_I(here, "resolvers", i);
        if (decode_address(d, one, config->resolvers[i], &addrs[i]) != 0)
            return -ERR_INVALID;
        if (addrs[i].ip.family == IP_NONE || addrs[i].port == 0)
            return decode_fail(d, one, "an IP address and a port are needed");
    }
    dns->resolvers = config->n_resolvers > 0 ? addrs : NULL;
    dns->resolver_count = config->n_resolvers;
    return 0;
}

int decode_cluster_dns(struct decode *d, const struct pb_path *at, const Pb__Cluster__Cluster *m,
                       struct cluster *cluster)
{
    struct dns_options *dns = &cluster->dns;
    dns->respect_ttl = m->respect_dns_ttl != 0;
    if (decode_family(d, at, m, dns) != 0 ||
        decode_rate(d, PB_AT(at, "dns_refresh_rate"), m->dns_refresh_rate, refresh_us,
                    &dns->refresh_us) != 0 ||
        decode_failure_rate(d, PB_AT(at, "dns_failure_refresh_rate"), m->dns_failure_refresh_rate,
                            dns) != 0)
        return -ERR_INVALID;
    return decode_resolvers(d, PB_AT(at, "typed_dns_resolver_config"), m->typed_dns_resolver_config,
                            dns);
}

/* --- encoding --- */

static Pb__Core__TypedExtensionConfig *encode_resolvers(struct encode *e,
                                                        const struct dns_options *dns)
{
    if (dns->resolver_count == 0)
        return NULL;
    Pb__Cares__CaresDnsResolverConfig *config =
        PB_NEW(e, Pb__Cares__CaresDnsResolverConfig, pb__cares__cares_dns_resolver_config);
    config->n_resolvers = dns->resolver_count;
    config->resolvers = PB_PTRS(e, Pb__Core__Address, dns->resolver_count);
    for (size_t i = 0; i < dns->resolver_count; i++)
        config->resolvers[i] = encode_address(e, &dns->resolvers[i]);
    Pb__Core__TypedExtensionConfig *m =
        PB_NEW(e, Pb__Core__TypedExtensionConfig, pb__core__typed_extension_config);
    m->name = "envoy.network.dns_resolver.cares";
    m->typed_config = encode_any(e, &config->base);
    return m;
}

void encode_cluster_dns(struct encode *e, const struct cluster *in, Pb__Cluster__Cluster *m)
{
    static const Pb__Cluster__Cluster__DnsLookupFamily families[] = {
        [DNS_AUTO] = PB__CLUSTER__CLUSTER__DNS_LOOKUP_FAMILY__AUTO,
        [DNS_V4_ONLY] = PB__CLUSTER__CLUSTER__DNS_LOOKUP_FAMILY__V4_ONLY,
        [DNS_V6_ONLY] = PB__CLUSTER__CLUSTER__DNS_LOOKUP_FAMILY__V6_ONLY,
        [DNS_V4_PREFERRED] = PB__CLUSTER__CLUSTER__DNS_LOOKUP_FAMILY__V4_PREFERRED,
        [DNS_ALL] = PB__CLUSTER__CLUSTER__DNS_LOOKUP_FAMILY__ALL,
    };
    const struct dns_options *dns = &in->dns;
    m->has_dns_lookup_family = dns->family != DNS_AUTO;
    m->dns_lookup_family = families[dns->family];
    m->has_respect_dns_ttl = m->respect_dns_ttl = dns->respect_ttl;
    if (dns->refresh_us != 0 && dns->refresh_us != refresh_us)
        m->dns_refresh_rate = encode_duration(e, dns->refresh_us);
    if (dns->failure_base_us != 0) {
        m->dns_failure_refresh_rate =
            PB_NEW(e, Pb__Cluster__Cluster__RefreshRate, pb__cluster__cluster__refresh_rate);
        m->dns_failure_refresh_rate->base_interval = encode_duration(e, dns->failure_base_us);
        m->dns_failure_refresh_rate->max_interval = encode_duration(e, dns->failure_max_us);
    }
    m->typed_dns_resolver_config = encode_resolvers(e, dns);
}
