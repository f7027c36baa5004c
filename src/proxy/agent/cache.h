/* What the control plane told, on disk: so that a proxy that starts again serves without it.
 *
 * One pack file, replaced atomically, written a moment after the last change. Secrets are never in
 * it. A pack that is damaged or of another version is as good as none. Thread: the main thread's.
 */
#pragma once

#include "io/turn.h"
#include "mesh/xds/ads_client.h"
#include "proxy/agent/config.h"

struct cache;

struct cache *cache_new(struct turn *t, struct str state_dir, struct config *config);
struct cache *cache_free(struct cache *c); /* writes what is due */
/* Gives all that is there to config, and its versions to ads. The number of resources. */
size_t cache_load(struct cache *c, struct ads_client *ads);
/* Something changed: it is written soon. */
void cache_mark(struct cache *c);

/* The format, apart for tests and fuzzing: false: damaged. each is called for whole records only.
 */
struct cache_record {
    enum resource_type type;
    bool is_detail, is_wildcard;
    struct str name, version, wire;
};
typedef void cache_record_fn(void *ctx, const struct cache_record *r);
bool cache_parse(struct str pack, cache_record_fn *each, void *ctx);
void cache_append(struct str_buf *to, const struct cache_record *r); /* the header when empty */
