/* Inside of admin*.c only. */
#pragma once

#include "base/list.h"
#include "http/service.h"
#include "proxy/agent/agent_priv.h"
#include "proxy/telemetry/metrics.h"
#include "proxy/upstream/upstream.h"

enum { ADMIN_BODY_MAX = 64 << 20 };

/* A request that waits for workers, or is answered at once. */
struct admin_request {
    struct list link;
    struct admin *admin;
    struct service_stream *stream; /* NULL: the client went */
    struct arena arena;
    struct str path, query;
    const struct admin_page *page;
    struct str_buf body;
    /* Of the workers, filled one after another on their threads. */
    unsigned next_worker;
    struct metrics *metrics;
    struct str_buf parts;
};

struct admin_page {
    const char *path, *help;
    uint32_t faces; /* bits of 1 << enum admin_face */
    bool is_post;
    /* Fills r->body and returns the status. */
    unsigned (*answer)(struct admin_request *r);
    /* NULL, or run on each worker before `answer`: appends to r->parts or r->metrics. */
    void (*collect)(struct worker *w, void *request);
    const char *content_type; /* NULL: text/plain */
};

struct agent *admin_agent(const struct admin *a);
/* admin_clusters.c: workers is a JSON array of what upstream_render wrote for each. -ERR_X. */
int admin_clusters_render(struct arena *a, struct str workers, bool is_json, struct str_buf *to);
extern const struct admin_page admin_pages[];
extern const size_t admin_page_count;

/* Value of a query parameter; null string when it is not there. */
struct str admin_query(const struct admin_request *r, struct str name);
