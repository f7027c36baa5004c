/* What the tests of push and of server share: a control plane in a folder of its own, without
 * sockets, under the trust domain cluster.local. Whatever fails ends the test's process. */
#pragma once

#include "control/push/push_priv.h"

struct push_rig {
    char dir[64]; /* the state */
    struct turn *turn;
    struct store *store;
    struct registry *registry;
    struct translate *translate;
    struct ca *ca;
    struct push *push;
};

/* Makes the folder and the turn, and starts. */
void push_rig_open(struct push_rig *r);
/* Stops and removes. */
void push_rig_close(struct push_rig *r);
/* What is left of one that was stopped: frees the turn, removes the folder. */
void push_rig_remove(struct push_rig *r);
/* On what lies in the folder: a control plane that ends, and another one that comes. */
void push_rig_start(struct push_rig *r);
void push_rig_stop(struct push_rig *r);
/* Documents as YAML, one commit, told to push when it changed something. */
void push_rig_apply(struct push_rig *r, const char *text);
