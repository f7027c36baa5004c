/* The edge: connections and gRPC calls of proxies. Inside control/push/ only. */
#pragma once

#include "control/push/push_priv.h"
#include "crypto/tls.h"
#include "http/server.h"
#include "http/service.h"

struct edge {
    struct push *push;
    struct turn *turn;
    struct listen_socket *socket, *local; /* local: NULL: none */
    struct list conns;
    size_t conn_count;
    struct key *key;
    struct cert *leaf; /* our own, NULL: none yet */
    struct tls_context *tls;
    struct str_buf identity; /* "spiffe://TD/ns/tulle-system/sa/tulled" */
    struct timer renew_timer;
    struct limits limits;
    struct http_server_config config, config_strangers; /* with a certificate, without */
    struct service service;
    struct filter filter;
};

enum edge_method { EDGE_NONE, EDGE_XDS, EDGE_CREATE_CERTIFICATE, EDGE_REPORT, EDGE_ROOTS };

/* One gRPC call; in its exchange's arena. */
struct edge_call {
    struct edge *edge;
    struct service_stream *s;
    enum edge_method method;
    struct push_peer peer; /* identity empty: no verified certificate */
    struct str token;
    struct chain in; /* received, not yet a whole message */
    struct str_buf message;
    struct push_stream *stream; /* xDS */
    bool is_responded, is_done;
    bool is_local; /* its head says who it is */
};

/* edge_call.c */
extern const struct service_ops edge_call_ops;
