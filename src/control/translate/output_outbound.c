/* What listens for the app's calls, with proxies that do not know the directory: Envoy asks the
 * kernel where a connection wanted to go, and hands it to the listener of that address. What has
 * none is let out as it is, or nowhere: nowhere always into the mesh's own ranges, where an address
 * that is not assigned would else be looked for in clear, and to the port itself, which would never
 * end. */
#include "control/translate/translate_priv.h"

enum { PORT_OUTBOUND = 15001 };

static struct filter_chain *chain_to(struct job *j, struct str name, struct str cluster)
{
    struct filter_chain *chain = ARENA_NEW(j->a, struct filter_chain);
    struct network_filter *filter = ARENA_NEW(j->a, struct network_filter);
    struct tcp_proxy *tcp = ARENA_NEW(j->a, struct tcp_proxy);
    struct weighted_cluster *w = ARENA_NEW(j->a, struct weighted_cluster);
    *w = (struct weighted_cluster){.name = cluster, .weight = 1};
    tcp->stat_prefix = cluster;
    tcp->clusters = w;
    tcp->cluster_count = 1;
    tcp->idle_timeout_us = (uint64_t)API_IDLE_TIMEOUT_MS_DEFAULT * 1000;
    tcp->access_logs = access_logs(j, &tcp->access_log_count);
    filter->kind = NETWORK_FILTER_TCP_PROXY;
    filter->name = STR("envoy.filters.network.tcp_proxy");
    filter->tcp_proxy = tcp;
    chain->name = name;
    chain->filters = filter;
    chain->filter_count = 1;
    return chain;
}

const struct listener *output_outbound(struct job *j)
{
    if (!job_is_envoy(j))
        return NULL;
    struct filter_chain *nowhere = ARENA_ARRAY(j->a, struct filter_chain, 2);
    struct filter_chain_match *to_mesh = &nowhere[0].match, *to_itself = &nowhere[1].match;
    nowhere[0] = *chain_to(j, STR("mesh"), STR(TRANSLATE_BLACKHOLE));
    nowhere[1] = *chain_to(j, STR("loop"), STR(TRANSLATE_BLACKHOLE));
    to_mesh->prefix_ranges = mesh_ranges(j, &to_mesh->prefix_range_count);
    to_itself->destination_port = PORT_OUTBOUND;
    bool is_registry_only = job_mesh(j)->outbound_mode == API_OUTBOUND_REGISTRY_ONLY;
    struct listener *l = ARENA_NEW(j->a, struct listener);
    l->address = (struct model_addr){.ip = ip_v4(0, 0, 0, 0), .port = PORT_OUTBOUND};
    l->address_v6 =
        (struct model_addr){.ip = ip_from_bytes((const uint8_t[16]){0}, 16), .port = PORT_OUTBOUND};
    l->bind_to_port = true;
    l->use_original_dst = true;
    l->direction = LISTENER_OUTBOUND;
    l->chains = nowhere;
    l->chain_count = 2;
    l->default_chain =
        chain_to(j, STR("default"),
                 is_registry_only ? STR(TRANSLATE_BLACKHOLE) : STR(TRANSLATE_PASSTHROUGH));
    return l;
}
