/* tulled's faces beside xDS: REST with Kubernetes' paths on a unix socket and by TLS, and metrics.
 *
 * On the unix socket peer credentials decide who is admin: root and the owner of the process; by
 * TLS access.h does. Thread: the brain's. */
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
    struct str mesh;      /* its name, for status; borrowed for good */
    struct str state_dir; /* whose files a backup takes along; borrowed for good */
};

struct server *server_new(const struct server_args *args);
struct server *server_free(struct server *s);
/* Documents come from this folder from now on (documents.h). Before anybody is listened to, so that
 * whoever connects finds what lies there. */
int server_follow(struct server *s, struct str folder, struct str_buf *why);
/* The API for others: TLS under a certificate of our CA; tokens or client certificates. */
int server_listen_remote(struct server *s, const struct addr *at, struct str_buf *why);
/* The socket gets mode 0600. */
int server_listen_api(struct server *s, struct str unix_path, struct str_buf *why);
int server_listen_metrics(struct server *s, const struct addr *at, struct str_buf *why);
