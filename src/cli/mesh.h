/* Which mesh, and which replica of it, a verb is about. */
#pragma once

#include "cli/cli.h"
#include "host/state.h"

/* The mesh that --mesh (option, may be NULL), TULLE_MESH or the only running one names, as
 * NUL-terminated text (static or the caller's). NULL: said why; *ret_code is what the verb
 * returns. */
const char *mesh_choose(struct cli *cli, const char *option, int *ret_code);

/* A mesh may also be named by the path of its control plane's API socket (with a slash in it): for
 * a tulled that no `tulle up` started. */
bool mesh_is_socket(const char *mesh);

/* "WORKLOAD[/INDEX][:PORT]" */
struct mesh_target {
    struct str workload;
    bool has_index;
    uint32_t index;
    uint16_t port; /* 0: not given */
};
bool mesh_target_parse(const char *text, struct mesh_target *ret_target);

/* The replica that the target names in a mesh's state: the namespace may be NULL where the name is
 * unique, the index missing where there is one replica. NULL: said why, what there is. */
struct state_replica *mesh_find_replica(struct cli *cli, struct state *state, const char *namespace,
                                        const struct mesh_target *target);

/* The state of a mesh whose supervisor lives; else says so. Initialised either way. */
bool mesh_load(struct cli *cli, const char *mesh, struct state *ret_state);

/* All of it, for verbs about one replica: chooses the mesh, loads its state, finds the replica.
 * NULL: *ret_code. ret_state is initialised either way. */
struct state_replica *mesh_open_replica(struct cli *cli, const char *mesh_option,
                                        const char *namespace, const char *target_text,
                                        struct state *ret_state, struct mesh_target *ret_target,
                                        int *ret_code);
