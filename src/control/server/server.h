/* tulled's faces beside xDS: REST with Kubernetes' paths on a unix socket, and metrics.
 *
 * Peer credentials decide who is admin: root and the owner of the process. Thread: the brain's. */
#pragma once

#include "control/push/push.h"

struct server;

struct server_args {
    struct turn *turn;
    struct store *store;
    struct registry *registry;
    struct translate *translate;
    struct push *push;
    struct ca *ca;
};

struct server *server_new(const struct server_args *args);
/* Ends listening and all connections; they are gone after the next turn. */
void server_stop(struct server *s);
struct server *server_free(struct server *s); /* stopped, and the turn has run */
int server_listen_api(struct server *s, struct str unix_path, struct str_buf *why);
int server_listen_metrics(struct server *s, const struct addr *at, struct str_buf *why);
