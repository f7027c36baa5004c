#include "base/err.h"
#include "mesh/xds/codec_priv.h"

static const uint64_t idle_timeout_us = 3600000000;

/* --- decoding --- */

static int decode_weights(struct decode *d, const struct pb_path *at,
                          const Pb__TcpProxy__TcpProxy__WeightedCluster *m, struct tcp_proxy *tcp)
{
    if (m->n_clusters == 0)
        return decode_fail(d, PB_AT(at, "clusters"), "at least one is needed");
    struct weighted_cluster *clusters =
        ARENA_ARRAY(d->arena, struct weighted_cluster, m->n_clusters);
    uint64_t total = 0;
    for (size_t i = 0; i < m->n_clusters; i++) {
        clusters[i].name = decode_str(d, m->clusters[i]->name);
        clusters[i].weight = m->clusters[i]->weight;
        total += clusters[i].weight;
        if (clusters[i].name.len == 0 || clusters[i].weight == 0)
            return decode_fail(d, PB_AT_I(at, "clusters", i), "a name and a weight are needed");
        decode_add_ref(d, RESOURCE_CLUSTER, clusters[i].name);
    }
    if (total > UINT32_MAX)
        return decode_fail(d, at, "the sum of the weights is above 2^32-1");
    tcp->clusters = clusters;
    tcp->cluster_count = m->n_clusters;
    return 0;
}

static int decode_clusters(struct decode *d, const struct pb_path *at,
                           const Pb__TcpProxy__TcpProxy *m, struct tcp_proxy *tcp)
{
    if (m->cluster_specifier_case == PB__TCP_PROXY__TCP_PROXY__CLUSTER_SPECIFIER_WEIGHTED_CLUSTERS)
        return decode_weights(d, PB_AT(at, "weighted_clusters"), m->weighted_clusters, tcp);
    if (m->cluster_specifier_case != PB__TCP_PROXY__TCP_PROXY__CLUSTER_SPECIFIER_CLUSTER ||
        !decode_is_set(m->cluster))
        return decode_fail(d, at, "cluster or weighted_clusters is needed");
    struct weighted_cluster *cluster = ARENA_NEW(d->arena, struct weighted_cluster);
    cluster->name = decode_str(d, m->cluster);
    cluster->weight = 1;
    tcp->clusters = cluster;
    tcp->cluster_count = 1;
    decode_add_ref(d, RESOURCE_CLUSTER, cluster->name);
    return 0;
}

/* Envoy's formats ("%...%") in the name of the host are not made. */
static int decode_tunneling(struct decode *d, const struct pb_path *at,
                            const Pb__TcpProxy__TcpProxy__TunnelingConfig *m,
                            const struct tcp_tunneling **ret_tunneling)
{
    if (m == NULL)
        return 0;
    struct tcp_tunneling *tunneling = ARENA_NEW(d->arena, struct tcp_tunneling);
    tunneling->hostname = decode_str(d, m->hostname);
    if (tunneling->hostname.len == 0)
        return decode_fail(d, PB_AT(at, "hostname"), "host:port is needed");
    if (str_find(tunneling->hostname, '%') >= 0)
        return decode_fail(d, PB_AT(at, "hostname"), "no formats, only host:port as it is");
    if (m->has_use_post && m->use_post)
        return decode_fail(d, PB_AT(at, "use_post"), "only CONNECT is sent");
    const struct decode_edits edits = {"tunnel", m->headers_to_add, m->n_headers_to_add, NULL, 0};
    if (decode_header_edits(d, at, &edits, &tunneling->request) != 0)
        return -ERR_INVALID;
    *ret_tunneling = tunneling;
    return 0;
}

int decode_tcp_proxy(struct decode *d, const struct pb_path *at, const Pb__TcpProxy__TcpProxy *m,
                     const struct tcp_proxy **ret_tcp_proxy)
{
    struct tcp_proxy *tcp = ARENA_NEW(d->arena, struct tcp_proxy);
    if (!decode_is_set(m->stat_prefix))
        return decode_fail(d, PB_AT(at, "stat_prefix"), "a name is needed");
    tcp->stat_prefix = decode_str(d, m->stat_prefix);
    tcp->access_log_count = m->n_access_log;
    if (decode_clusters(d, at, m, tcp) != 0 ||
        decode_duration(d, PB_AT(at, "idle_timeout"), m->idle_timeout, idle_timeout_us,
                        &tcp->idle_timeout_us) != 0 ||
        decode_tunneling(d, PB_AT(at, "tunneling_config"), m->tunneling_config, &tcp->tunneling) !=
            0 ||
        decode_access_logs(d, at, m->access_log, m->n_access_log, &tcp->access_logs) != 0)
        return -ERR_INVALID;
    *ret_tcp_proxy = tcp;
    return 0;
}

/* --- encoding --- */

static Pb__TcpProxy__TcpProxy__WeightedCluster *encode_weights(struct encode *e,
                                                               const struct tcp_proxy *in)
{
    Pb__TcpProxy__TcpProxy__WeightedCluster *m = PB_NEW(e, Pb__TcpProxy__TcpProxy__WeightedCluster,
                                                        pb__tcp_proxy__tcp_proxy__weighted_cluster);
    m->n_clusters = in->cluster_count;
    m->clusters =
        PB_PTRS(e, Pb__TcpProxy__TcpProxy__WeightedCluster__ClusterWeight, in->cluster_count);
    for (size_t i = 0; i < in->cluster_count; i++) {
        m->clusters[i] = PB_NEW(e, Pb__TcpProxy__TcpProxy__WeightedCluster__ClusterWeight,
                                pb__tcp_proxy__tcp_proxy__weighted_cluster__cluster_weight);
        m->clusters[i]->name = encode_str(e, in->clusters[i].name);
        m->clusters[i]->has_weight = true;
        m->clusters[i]->weight = in->clusters[i].weight;
    }
    return m;
}

static Pb__TcpProxy__TcpProxy__TunnelingConfig *encode_tunneling(struct encode *e,
                                                                 const struct tcp_tunneling *in)
{
    if (in == NULL)
        return NULL;
    Pb__TcpProxy__TcpProxy__TunnelingConfig *m = PB_NEW(e, Pb__TcpProxy__TcpProxy__TunnelingConfig,
                                                        pb__tcp_proxy__tcp_proxy__tunneling_config);
    m->hostname = encode_str(e, in->hostname);
    m->n_headers_to_add = in->request.set_count;
    m->headers_to_add = encode_header_set(e, &in->request);
    return m;
}

ProtobufCMessage *encode_tcp_proxy(struct encode *e, const struct tcp_proxy *in)
{
    Pb__TcpProxy__TcpProxy *m = PB_NEW(e, Pb__TcpProxy__TcpProxy, pb__tcp_proxy__tcp_proxy);
    m->stat_prefix = in->stat_prefix.len > 0 ? encode_str(e, in->stat_prefix) : "tcp";
    if (in->cluster_count == 1 && in->clusters[0].weight == 1) {
        m->cluster_specifier_case = PB__TCP_PROXY__TCP_PROXY__CLUSTER_SPECIFIER_CLUSTER;
        m->cluster = encode_str(e, in->clusters[0].name);
    } else {
        m->cluster_specifier_case = PB__TCP_PROXY__TCP_PROXY__CLUSTER_SPECIFIER_WEIGHTED_CLUSTERS;
        m->weighted_clusters = encode_weights(e, in);
    }
    m->idle_timeout =
        in->idle_timeout_us != idle_timeout_us ? encode_duration(e, in->idle_timeout_us) : NULL;
    m->tunneling_config = encode_tunneling(e, in->tunneling);
    m->n_access_log = in->access_log_count;
    m->access_log = encode_access_logs(e, in->access_logs, in->access_log_count);
    return &m->base;
}
