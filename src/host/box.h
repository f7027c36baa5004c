/* `tulle up`: a mesh in a box, run by one supervisor process.
 *
 * The supervisor holds the mesh's network namespace (bridge, tulled), starts a replica's init for
 * each replica and restarts what ends. Everything it starts dies with it. Who starts it talks to it
 * over a channel of messages (SOCK_SEQPACKET):
 *
 *   supervisor -> starter   tulled-ready   the control plane answers: apply documents, say go
 *                           change         the state file has news
 *                           note TEXT      trouble, for people
 *                           fatal TEXT     it gives up
 *   starter -> supervisor   go             documents are applied: sidecars may start
 *                           detach         live on without the starter
 *                           stop           end everything
 *
 * Without detach, the starter's death ends the mesh. */
#pragma once

#include "host/spec.h"
#include "host/state.h"

struct box_programs {
    const char *tulled, *proxy; /* absolute */
    const char *envoy;          /* NULL: not found, and no workload wants it */
};

enum { BOX_MESSAGE_MAX = 600, BOX_STOP_MS = 20000 };

/* Takes the mesh's lock, making its directory: a descriptor, or -ERR_EXISTS when a supervisor
 * lives, or another -ERR_X. */
int box_lock(const char *mesh);
/* With the lock held: ends processes that a dead supervisor left, by the state file. */
void box_end_leftovers(const char *mesh);
/* With the lock held: removes the mesh's directory (the lock goes with it). */
int box_remove(const char *mesh);

/* Forks the supervisor, which takes over the lock and the remembered state, if there is one;
 * *ret_channel is the starter's end. 0 or -ERR_X. The spec must stay until the fork only. */
int box_start(const struct box_spec *spec, const struct box_programs *programs, int lock,
              int *ret_channel, pid_t *ret_pid);

/* Ends a mesh, running or crashed, and removes its state. 0, -ERR_NOT_FOUND, -ERR_TIMEOUT. */
int box_down(const char *mesh);
/* Whether a supervisor lives. */
bool box_is_running(const char *mesh);
