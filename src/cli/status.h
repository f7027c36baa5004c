/* What `tulle status` knows: of the box, from its state file; of sidecars, from tulled. Borrowed.
 * Thread: one. */
#pragma once

#include "cli/cli.h"
#include "codec/json.h"
#include "host/state.h"

struct status_view {
    struct cli *cli;
    const struct state *state;
    const struct json *control; /* tulled's answer; NULL: it does not answer */
    bool is_remote;             /* no box: state is made of what tulled says */
    struct arena *a;
    /* Only these; NULL: all. */
    const char *namespace;
    struct str workload;
    bool has_index;
    uint32_t index;
};

bool status_is_asked_for(const struct status_view *v, const struct state_replica *r);
/* What tulled says of a replica's sidecar; NULL: nothing. */
const struct json *status_proxy(const struct status_view *v, const struct state_replica *r);
bool status_is_synced(const struct json *proxy);
/* Why it does not run what it should; empty: it does, or nobody knows. */
struct str status_why(const struct status_view *v, const struct state_replica *r);
enum state_phase status_phase(const struct state_replica *r);
/* Its first address. */
struct str status_address(const struct status_view *v, const struct state_replica *r);

/* status_print.c: a line a replica, then what is not as it should be; of a few all there is. */
void status_print_text(const struct status_view *v);
