/* The edges: connections and gRPC calls of proxies, on threads of their own. Inside control/push/
 * only.
 *
 *   brain's thread                             edge threads
 *   edge.c: certificate, life      --mail-->   edge_thread.c: accepts, hands over; life
 *   edge_link.c: push_stream's     <--mail--   edge_conn.c: gate, TLS, expiry
 *                other end                     edge_call.c: gRPC; edge_out.c: responses to bytes
 *
 * Nothing but mail passes between them; what mail carries is given away or immutable. A call and
 * its push_stream know each other by a struct edge_link, which is counted, and outlives both: mail
 * that comes for one that has gone meets a NULL there. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/pace.h"
#include "control/push/push_priv.h"
#include "crypto/tls.h"
#include "http/server.h"
#include "http/service.h"
#include "io/gate.h"

enum {
    EDGE_CLIENT_BYTES = 64 * 1024,         /* on their way to one stream, before more is made */
    EDGE_TOTAL_BYTES = 256 * 1024 * 1024,  /* and to all of them */
    EDGE_REQUESTS_MAX = 8,                 /* of one stream that the brain has not looked at yet */
    EDGE_UNARIES_MAX = 8,                  /* of a thread; others wait, and the brain goes on */
    EDGE_PARTIAL_BYTES = 64 * 1024 * 1024, /* of large messages that are coming in, of a thread */
    EDGE_UNARY_BYTES = 64 * 1024,
    EDGE_MESSAGE_BYTES = 4 * 1024 * 1024, /* of an xDS stream, whose peer is known */
};

/* What an edge shows, and whom it believes; immutable. */
struct edge_creds {
    _Atomic(uint32_t) ref_count;
    struct tls_context *tls;
    struct cert *roots[CA_ROOTS_MAX];
    size_t root_count;
};
struct edge_creds *edge_creds_ref(struct edge_creds *c);
struct edge_creds *edge_creds_unref(struct edge_creds *c);

/* Counted by the edges, read by whoever asks for metrics. */
#define EDGE_COUNTERS(COUNTER)                                                                     \
    COUNTER(connections, "Connections of the xDS port that were accepted.")                        \
    COUNTER(handshakes, "TLS handshakes of the xDS port that were begun.")                         \
    COUNTER(handshake_failures, "TLS handshakes of the xDS port that failed.")                     \
    COUNTER(dropped_full, "Connections that had to go because there were too many like them.")     \
    COUNTER(dropped_late, "Connections that did not get through their handshake in time.")         \
    COUNTER(expired, "Connections ended because the client's certificate was over.")               \
    COUNTER(requests_delayed, "Times that a client's requests had to wait for being too many.")    \
    COUNTER(certificates_delayed, "Requests for certificates that were refused as too many.")      \
    COUNTER(messages_refused, "Messages that were refused for their size.")                        \
    COUNTER(bytes, "Bytes of xDS responses that were written.")

#define EDGE_COUNTER_MEMBER(name, help) _Atomic(uint64_t) name;
struct edge_counters {
    EDGE_COUNTERS(EDGE_COUNTER_MEMBER)
};
static inline void edge_count(_Atomic(uint64_t) *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

struct edge {
    /* The same from start to end, for all threads. */
    struct push *push; /* edge threads pass it on only */
    struct turn *turn; /* the brain's */
    struct edge_thread *threads[PUSH_EDGES_MAX];
    unsigned thread_count;
    struct edge_counters counts;
    /* The brain's. */
    struct key *key;
    struct cert *leaf; /* our own, NULL: none yet */
    struct edge_creds *creds;
    struct str_buf identity; /* "spiffe://TD/ns/tulle-system/sa/tulled" */
    struct timer renew_timer;
    struct list links, starved; /* of struct edge_link */
    size_t in_flight_bytes;
};

struct edge_thread {
    struct edge *edge;
    unsigned index;
    struct turn *turn;
    pthread_t thread;
    bool is_started;
    _Atomic(unsigned) conn_count; /* those on their way to it, too */
    /* The thread's own. */
    struct listen_socket *socket, *local; /* of thread 0; local: a unix socket, NULL: none */
    struct edge_creds *creds;
    struct list conns;
    struct gate gate;
    struct crowd known; /* connections with a certificate, by identity */
    size_t known_max;
    struct timer trim_timer;
    unsigned handshakes_untrimmed;
    size_t partial_bytes;
    unsigned unary_count;       /* one-shot calls that the brain has */
    struct list unaries_queued; /* of struct edge_call */
    struct pace certificates, strangers;
    struct limits limits, limits_strangers;
    struct http_server_config config, config_strangers; /* with a certificate, without */
    struct service service;
    struct filter filter;
    bool is_stopping;
};

/* edge_thread.c. Brain: made, started, told to end, joined, freed. */
struct edge_thread *edge_thread_new(struct edge *e, unsigned index, struct edge_creds *creds);
int edge_thread_listen(struct edge_thread *t, const struct addr *at);
int edge_thread_listen_local(struct edge_thread *t, const struct addr *at);
int edge_thread_start(struct edge_thread *t);
void edge_thread_stop(struct edge_thread *t); /* ends and joins it; its calls end, too */
struct edge_thread *edge_thread_free(struct edge_thread *t);
void edge_thread_post_creds(struct edge_thread *t, struct edge_creds *creds); /* takes it over */

/* edge_conn.c */
struct edge_conn {
    struct edge_thread *thread;
    struct list link;
    struct conn *conn;
    struct http_server *server; /* NULL: no handshake yet */
    struct gate_member gate;
    struct crowd_member known;
    struct timer timer; /* until its certificate is over */
    struct list calls;  /* of struct edge_call */
    uint64_t not_after_s;
    bool is_expired;
    bool is_local; /* by the unix socket: calls say themselves who they are */
    char root[CA_ID_LEN + 1];
    /* How many requests it may still make. */
    uint64_t tokens_us;
    uint32_t tokens;
};
void edge_conn_accept(struct edge_thread *t, struct conn *c, bool is_local);
void edge_conn_init_pools(struct edge_thread *t);
void edge_conn_deinit_pools(struct edge_thread *t);
void edge_conn_abort_all(struct edge_thread *t);
/* A request may be taken now. False: *ret_wait_us from now. */
bool edge_conn_take_token(struct edge_conn *ec, uint64_t *ret_wait_us);

/* --- between a call and its push_stream --- */

struct edge_call;
struct edge_link {
    _Atomic(uint32_t) ref_count;
    struct edge *edge;
    struct edge_thread *thread;
    struct edge_call *call; /* the thread's; NULL: it has ended */
    /* The brain's. */
    struct push_stream *stream; /* NULL: not opened, or closed */
    struct list node, starved;
    size_t in_flight_bytes;
};

enum edge_method { EDGE_NONE, EDGE_XDS, EDGE_CREATE_CERTIFICATE, EDGE_REPORT, EDGE_ROOTS };

/* One of all kinds; each uses what it needs. Goes back to where it came from, when its sender has
 * something to free or to learn. */
struct edge_mail {
    struct mail mail;
    struct edge_link *link; /* referenced */
    struct list node;       /* edge_call.out */
    struct push_response *response;
    struct ads_request *request;
    enum edge_method method;
    enum grpc_status status;
    size_t bytes;
    struct str identity, token, message, why; /* own memory */
    struct ip_addr address;
    uint64_t not_after_s;
    char root[CA_ID_LEN + 1];
    struct push_call call;
};

/* edge_link.c; on the call's thread */
struct edge_link *edge_link_new(struct edge_call *c);
struct edge_link *edge_link_unref(struct edge_link *l);
void edge_link_open(struct edge_link *l, const struct push_peer *peer,
                    const struct push_call *call);
void edge_link_request(struct edge_link *l, struct ads_request *r); /* takes it over */
void edge_link_unary(struct edge_link *l, enum edge_method method, struct str identity,
                     struct str token, struct str message);
void edge_link_released(struct edge_mail *m); /* a response was written; takes it over */
void edge_link_close(struct edge_link *l);    /* the call has ended */
struct edge_mail *edge_mail_free(struct edge_mail *m);

/* One gRPC call; in its exchange's arena. */
struct edge_call {
    struct edge_thread *thread;
    struct edge_conn *conn; /* NULL: it is closed */
    struct list link;       /* conn->calls */
    struct list queued;     /* thread->unaries_queued */
    struct service_stream *s;
    struct edge_link *brain; /* NULL: not yet */
    enum edge_method method;
    const struct push_call *call; /* xDS */
    struct push_peer peer;        /* identity empty: no verified certificate */
    struct str token;
    struct str_buf message; /* coming in */
    struct grpc_part part;
    size_t partial_bytes;   /* of it that were charged */
    struct timer timer;     /* until it may ask again */
    unsigned request_count; /* that the brain has */
    struct list out;        /* of struct edge_mail: responses that wait for room */
    size_t piece;           /* of the first of them, the next to be written */
    bool is_responded, is_done;
    bool is_local; /* its head says who it is */
};

/* edge_call.c */
extern const struct service_ops edge_call_ops;
void edge_call_respond(struct edge_call *c);
void edge_call_finish(struct edge_call *c, enum grpc_status status, struct str why);
void edge_call_request_done(struct edge_call *c);
void edge_call_unary_done(struct edge_thread *t);
void edge_call_answer(struct edge_call *c, enum grpc_status status, struct str message,
                      struct str why);

/* edge_out.c */
void edge_out_add(struct edge_call *c, struct edge_mail *m); /* takes it over */
void edge_out_run(struct edge_call *c);                      /* writes while there is room */
void edge_out_drop(struct edge_call *c);
