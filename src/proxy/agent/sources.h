/* Where the configuration of a proxy that starts from a file comes from: the aggregated stream, and
 * streams of one type from services of their own. One link for each pair of service and type.
 *
 * Owner: the agent. Thread: the main thread's. */
#pragma once

#include "mesh/model/resource.h"
#include "proxy/agent/ads.h"

struct agent;
struct sources;

/* The bootstrap's: opens what it names. 0, or -ERR_X with why. */
int sources_new(struct agent *a, struct str_buf *why, struct sources **ret_sources);
struct sources *sources_free(struct sources *s);
void sources_start(struct sources *s);
/* Whether all services that it refers to are there; else why says which not. */
bool sources_has_all(struct sources *s, const struct resource *r, struct str_buf *why);
void sources_subscribe(struct sources *s, enum resource_type type, struct str name,
                       const struct resource_source *from);
void sources_unsubscribe(struct sources *s, enum resource_type type, struct str name);
/* What config says of a token. */
void sources_done(struct sources *s, uint64_t token, struct str why);
void sources_flush(struct sources *s);
struct ads_counts sources_counts(const struct sources *s); /* of all links */
/* As ads_refusal, of the first link that has one. */
struct str sources_refusal(const struct sources *s, enum resource_type type);
bool sources_is_connected(const struct sources *s); /* all of them */
