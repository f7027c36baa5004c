/* What this proxy is to run, and what its workers run: resources by type and name, their
 * dependencies, and the way from "received" to "applied by every worker".
 *
 * A resource is published when it is warm: all that it refers to is here, directly or not, or is
 * known not to exist. What is published goes out as one change set, one set at a time; an update
 * of the control plane is answered once all of it runs (or was overtaken). What nobody refers to
 * any more is given up; what is given up stays while something that runs refers to it.
 *
 * A state machine without I/O: the owner carries out what config_ops say.
 * Owner: the agent. Thread: the main thread's. */
#pragma once

#include "mesh/model/resource.h"
#include "mesh/xds/ads_client.h"

struct config;

struct config_change {
    enum resource_type type;
    struct str name;
    struct resource *resource; /* borrowed for the call; NULL: removed */
};

struct config_ops {
    /* Every worker is to apply it; then config_applied. Never inside another publish. */
    void (*publish)(void *ctx, const struct config_change *changes, size_t count);
    /* from: as who refers to it says; all empty: the aggregated stream. */
    void (*subscribe)(void *ctx, enum resource_type type, struct str name,
                      const struct resource_source *from);
    void (*unsubscribe)(void *ctx, enum resource_type type, struct str name);
    /* The update with this token runs, or was refused. */
    void (*done)(void *ctx, uint64_t token, struct str why);
    void (*detail_failed)(void *ctx, struct str name, struct str why);
};

/* How names of a type come. */
enum config_supply {
    CONFIG_BY_NAME,     /* each is subscribed to */
    CONFIG_BY_WILDCARD, /* all come by themselves; one that is not there does not exist */
    CONFIG_MIXED,       /* names that begin with CONFIG_INBOUND_PREFIX come by themselves */
    CONFIG_LOCAL,       /* only from this process: one that is not there is waited for */
};
#define CONFIG_INBOUND_PREFIX "inbound|"

struct config_args {
    enum config_supply supply[RESOURCE_TYPE_COUNT];
    /* An update is also answered when what does not run of it waits for others: servers there are
     * that send nothing more of a type until then. */
    bool answers_cold;
    bool is_held_at_first; /* listeners that come wait until all that came at first is complete */
    const struct config_ops *ops;
    void *ctx;
};

struct config *config_new(const struct config_args *args);
struct config *config_free(struct config *c);

/* A resource of this process (bootstrap, own listeners, own secrets); NULL removes. Takes a
 * reference of its own. */
void config_set_local(struct config *c, enum resource_type type, struct str name,
                      struct resource *r);
/* What ADS brought; ops->done comes at once or later. */
void config_update(struct config *c, const struct ads_update *update);
/* From the disk cache: as if received in an earlier life. */
void config_restore(struct config *c, struct resource *r, bool is_detail, bool is_wildcard);
/* The detail of a mesh destination is wanted: "HOST:PORT". */
void config_want(struct config *c, struct str name, uint64_t now_us);
/* Wants that cannot be met are failed. Call now and then while config_has_wants. */
void config_expire_wants(struct config *c, uint64_t now_us, bool is_connected);
bool config_has_wants(const struct config *c);
/* Publishes what has become possible. Call after any of the above. */
void config_pump(struct config *c);
/* The set that publish gave out was applied by all workers; error: what one of them refused. */
void config_applied(struct config *c, struct str error);

/* Runs on every worker. */
bool config_is_running(const struct config *c, enum resource_type type, struct str name);
/* Borrowed; NULL: none. */
struct resource *config_running(const struct config *c, enum resource_type type, struct str name);
/* What keeps a received resource from running; false: nothing. Names the missing one. */
bool config_missing(const struct config *c, struct str_buf *to);
/* How often an entry was looked at to find out what to publish or give up: what a change costs. */
uint64_t config_looks(const struct config *c);
/* The first answers are complete, or were not waited for (is_held_at_first). */
bool config_has_begun(const struct config *c);
/* Counts changes of what runs: for who keeps an index. */
uint64_t config_generation(const struct config *c);

struct config_item {
    struct resource *received, *running; /* either may be NULL */
    bool is_local, is_detail, is_wildcard;
};
/* In unspecified order. */
void config_each(const struct config *c, enum resource_type type,
                 void (*each)(void *ctx, const struct config_item *item), void *ctx);
