/* Inside proxy/agent/ only. */
#pragma once

#include "base/limits.h"
#include "mesh/xds/bootstrap.h"
#include "proxy/agent/admin.h"
#include "proxy/agent/ads.h"
#include "proxy/agent/agent.h"
#include "proxy/agent/cache.h"
#include "proxy/agent/config.h"
#include "proxy/agent/dns.h"
#include "proxy/agent/envoy.h"
#include "proxy/agent/identity.h"
#include "proxy/agent/sources.h"
#include "proxy/tls/store.h"
#include "proxy/worker/worker.h"

enum {
    AGENT_WORKERS_MAX = FLOW_WORKERS_MAX,
    AGENT_MARK_OUTBOUND = 0x539,
    AGENT_MARK_INBOUND = 0x53a,
    AGENT_TERMINATION_US = 5 * 1000 * 1000,
    AGENT_ANNOUNCE_US = 300 * 1000, /* until callers have heard that this replica ends */
};
/* Nothing is captured beside an app that speaks xDS itself, and nobody need be root for it. */
static inline uint32_t agent_mark(const struct agent_args *args, uint32_t mark)
{
    return args->is_proxyless ? 0 : mark;
}
#define AGENT_SERVER_NAME "tulled"
#define AGENT_LISTENER_INBOUND "virtualInbound"

/* budget.c: of memory_budget_bytes when nobody set it. */
uint64_t budget_default(void);

/* seal.c: what the process gives up. Before the workers are started; once the ports are open. */
void agent_confine(const struct agent *a);
void agent_seal(struct agent *a);

struct agent {
    const struct agent_args *args;
    struct arena arena; /* strings for as long as we run */
    struct limits limits;
    struct turn *turn;
    struct worker_group *group;
    struct worker *workers[AGENT_WORKERS_MAX];
    unsigned worker_count;
    uint8_t ticket_key[80];
    struct config *config;
    struct ads *ads;           /* sidecar */
    struct sources *sources;   /* -c; NULL: static only */
    struct cache *cache;       /* sidecar */
    struct identity *identity; /* sidecar */
    struct dns *dns;           /* sidecar */
    struct envoy *envoy;       /* sidecar whose data plane it is; NULL: our own */
    struct admin *admin;
    struct bootstrap *bootstrap; /* -c */
    struct tls_store *tls;       /* -c: for the connection to the ADS cluster */
    struct tls_san_match ads_sans[1];
    struct str node_id, node_cluster, metadata, spiffe_id;
    /* The change set under way. */
    unsigned sets_pending;
    uint64_t updates[RESOURCE_TYPE_COUNT]; /* -c: that came by the network */
    struct str_buf leaf_pem;               /* that every worker runs; empty: none yet */
    struct str_buf set_error;
    uint64_t indexed_generation;
    struct timer wants_timer;
    bool is_app_ready, is_ready, was_started, has_begun, is_draining, is_start_failed;
    bool is_sealed;
    bool is_ended; /* the workers go: nothing is posted to them any more */
    unsigned drains_pending;
    struct watch signals;
    int signal_fd;
    int exit_code;
    uint64_t started_us;
    uint64_t unready_since_us; /* as reported; UINT64_MAX: it is ready */
};

/* agent.c */
void agent_drain(struct agent *a, bool is_exit);
void agent_set_app_ready(struct agent *a, bool is_ready);
bool agent_is_ready(const struct agent *a, struct str_buf *why_not);
void agent_quit(struct agent *a, int exit_code);
void agent_look(struct agent *a); /* readiness, reports, indices: after anything changed */

/* workers.c */
void workers_init(struct agent *a);
void workers_start(struct agent *a);
void workers_stop(struct agent *a);
extern const struct config_ops workers_config_ops; /* ctx: agent */

/* start_static.c, start_sidecar.c: 0 or -ERR_X, with why. */
int start_static(struct agent *a, struct str_buf *why);
int start_sidecar(struct agent *a, struct str_buf *why);
