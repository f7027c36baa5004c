/* The node of a discovery request: who the client is. Shared by both halves of ADS. */
#pragma once

#include "mesh/xds/pb.h"

struct ads_node {
    struct str id, cluster, metadata_json, user_agent;
};

/* metadata_json that is no JSON object is left out. */
Pb__Core__Node *ads_node_encode(struct arena *a, const struct ads_node *in);
void ads_node_decode(struct arena *a, const Pb__Core__Node *m, struct ads_node *ret_node);
