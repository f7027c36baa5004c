#include "proxy/worker/group.h"

#include <stdlib.h>

#include "base/util.h"
#include "proxy/telemetry/access_log.h"

struct worker_group *worker_group_new(unsigned count)
{
    struct worker_group *g = NEW(struct worker_group);
    g->count = count;
    flow_share_init(&g->connections, count);
    upstream_share_init(&g->upstream, count);
    g->logs = access_log_share_new();
    return g;
}

struct worker_group *worker_group_free(struct worker_group *g)
{
    if (g == NULL)
        return NULL;
    upstream_share_deinit(&g->upstream);
    flow_share_deinit(&g->connections);
    access_log_share_free(g->logs);
    free(g);
    return NULL;
}
