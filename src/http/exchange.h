/* An exchange: one request and its response, from one end, through filters, to another end.
 *
 *   downstream end --request flow--> filter 0 .. filter n-1 (the last reaches out) --> upstream end
 *   downstream end <-response flow-- filter 0 .. filter n-1                        <-- upstream end
 *
 * Ends (http1 and http2, server and client; calls and services of this process) only put what they
 * received into a flow and wake the exchange; exchange_run is the only place where anything moves.
 * Filters return verdicts and never call each other. credit is the only flow control: what the
 * producer may still add, and what its consumer takes is credited only when it has left the
 * process, so that whatever waits of a flow is its window at most, wherever it lies. One path for
 * success and failure: `outcome` says what went wrong, whose fault it was, whether it may be
 * retried; it alone drives status, log flag, counter and message.
 *
 * A request may ask for a tunnel (http_head_asks_tunnel: an upgrade, CONNECT). Until the response
 * head opens it (x->is_switched) only the request's head goes upstream: what the caller sends ahead
 * stays in the request flow, so another attempt is possible and a server that refuses sees nothing
 * of it. From then on both flows are bytes; each ends by itself (half-close), credit is the flow
 * control still, and the exchange ends when both are ended or an end fails. There is no time-out
 * but idle_timeout_us. A response that does not open it is an ordinary one: the request counts as
 * complete, the rest that the caller sends is not wanted.
 *
 * Lifetime: from exchange_new (by the downstream end) until both flows have ended or the exchange
 * failed, and both ends have let go: then on_end of every filter, then the graveyard.
 * Thread: the loop's. */
#pragma once

#include "base/chain.h"
#include "base/err.h"
#include "base/limits.h"
#include "http/head.h"
#include "io/addr.h"
#include "io/turn.h"

struct exchange;
struct exchange_pool;
struct http_end;

enum side { SIDE_REQUEST, SIDE_RESPONSE };

enum verdict {
    VERDICT_NEXT,  /* on to the next filter */
    VERDICT_WAIT,  /* a wake is arranged; call me again at this very place */
    VERDICT_REPLY, /* exchange_reply() was called: the response side starts here */
    VERDICT_FAIL,  /* x->outcome says what, whose fault, whether it may be retried */
};

/* Whose fault. */
enum fault { FAULT_NONE, FAULT_DOWNSTREAM, FAULT_UPSTREAM, FAULT_LOCAL, FAULT_POLICY };

/* Response flags as Envoy's access log prints them: FLAG(name, "UH", "LongName") in flags.def. */
enum response_flag {
#define FLAG(id, short_text, long_text) FLAG_##id,
#include "http/flags.def"
#undef FLAG
    FLAG_COUNT,
};
#define FLAG_BIT(id) (1ull << FLAG_##id)
/* "UH,URX" or "-". */
struct str response_flags_text(uint64_t flags, char buf[128]);
/* "NoHealthyUpstream,UpstreamRetryLimitExceeded" or "-". */
struct str response_flags_long(uint64_t flags, char buf[128]);

struct outcome {
    int err; /* 0: fine; else -ERR_X */
    enum fault fault;
    bool is_retryable;  /* another attempt is safe as far as the wire tells */
    bool is_unanswered; /* no byte of a response had come */
    bool was_reused;    /* on a kept connection: the keep-alive race */
    uint16_t status;    /* of the reply that tells the downstream (0: as err says) */
    uint64_t flags;     /* FLAG_BIT(..) */
    struct str details; /* response code details, snake_case ("upstream_reset_before_response") */
    struct str reason;  /* text for logs: upstream transport failure reason; borrowed or arena */
};

struct flow {
    struct http_head *head;     /* NULL until received */
    struct http_head *trailers; /* NULL: none */
    struct chain body;          /* received, not yet taken by the consumer */
    struct chain kept;       /* request only: all that was received, for replay, until committed */
    uint32_t credit_bytes;   /* what the producer may still add */
    uint32_t window_bytes;   /* what it may add ahead of the consumer */
    uint32_t owed_bytes;     /* taken by the consumer and not credited: it may not have sent them */
    uint32_t withheld_bytes; /* to be credited when the loop is pressed for memory no longer */
    bool is_ended;           /* the producer has added everything */
    bool is_committed;       /* kept is given up: no replay any more */
    bool is_head_sent, is_end_sent; /* taken by the consumer */
    bool is_sent_asked;             /* the consumer owes exchange_note_sent */
    uint64_t bytes;                 /* body bytes that the consumer took (of the last attempt) */
    /* The rest belongs to exchange.c. */
    uint32_t replay_bytes;           /* of body: given back by a rewind, credited before */
    uint32_t at;                     /* filters that the head has passed */
    uint32_t body_at;                /* filters that the present growth of the body has passed */
    size_t seen_bytes, pass_bytes;   /* of body: passed all filters / when the pass began */
    bool is_end_seen, is_pass_ended; /* likewise of the end */
};

/* One side of an exchange towards the world. Embedded in the stream of a codec. */
struct http_end_ops {
    /* flow->credit_bytes grew by `bytes`: read on / WINDOW_UPDATE. 0, once, to the downstream: the
     * request has passed all filters, its body is wanted (100 Continue). */
    void (*grant)(struct http_end *e, uint32_t bytes);
    /* Takes what it can of head, body, trailers, end; called by exchange_run only; whatever is put
     * into the connection's chain is sent when the turn ends. What it cannot take stays; it calls
     * exchange_wake when there is room again. */
    void (*send)(struct http_end *e, struct flow *flow);
    /* exchange_note_sent is wanted, once, from a later event, when all that send() has taken so far
     * has left the process. NULL: what is taken is done with (calls, services). */
    void (*ask_sent)(struct http_end *e);
    /* Downstream only: a 1xx response other than 100 and 101, before the final one's head. NULL:
     * such responses are dropped. */
    void (*inform)(struct http_end *e, const struct http_head *head);
    /* The exchange lets go before both sides were done: reset the stream or the connection. err 0:
     * the response is complete, the rest of the request is of no use. detach follows. */
    void (*reset)(struct http_end *e, const struct outcome *why);
    /* Both flows are done, or reset was called: the end must not touch the exchange any more. */
    void (*detach)(struct http_end *e);
};

struct http_end {
    const struct http_end_ops *ops;
    struct exchange *x; /* NULL when detached */
};

struct filter_ops {
    const char *name;
    uint16_t state_bytes; /* zeroed, in the exchange's arena */
    /* A request passes filters 0 .. n-1, a response n-1 .. 0; a local reply those before the one
     * that made it (one made by exchange_fail or VERDICT_FAIL: all but the last that was called).
     */
    enum verdict (*on_head)(struct exchange *x, void *state, enum side side);
    /* NULL: bytes pass unseen. Called when body grew or ended; sees flow->body whole, and all of it
     * passes on NEXT. WAIT holds the body, its end, and the head if that was not taken yet. */
    enum verdict (*on_body)(struct exchange *x, void *state, enum side side);
    /* Only the filter that reaches out (the last that on_head was called of): the upstream end
     * failed before the response head was passed on; it is detached and what it had answered is
     * dropped. WAIT: another attempt is arranged (exchange_set_upstream rewinds the request; first
     * ask exchange_can_rewind); FAIL: pass it on (x->outcome is set from why); REPLY: answered
     * locally. NULL: FAIL. */
    enum verdict (*on_upstream_fail)(struct exchange *x, void *state, const struct outcome *why);
    /* Exactly once, whatever happened, for each filter whose on_head(REQUEST) was called; in order
     * of filters; x->outcome and flows are final. */
    void (*on_end)(struct exchange *x, void *state);
};

/* NEW -> OPEN -> (REPLYING) -> ENDED; the diagram is in exchange.c. */
enum exchange_phase {
    EXCHANGE_NEW,
    EXCHANGE_OPEN,
    EXCHANGE_REPLYING,
    EXCHANGE_ENDED,
};

/* A filter of a chain with its immutable configuration. */
struct filter {
    const struct filter_ops *ops;
    const void *config;
};

/* What TLS told of a connection. */
struct downstream_tls_info {
    struct str peer_principal; /* URI SAN of a verified mTLS peer "spiffe://...", else empty */
    struct str peer_subject, peer_cert_sha256, peer_dns_san;
    struct str own_principal; /* URI SAN of the certificate that we showed, or empty */
    struct str sni, alpn;
    struct str version;
};

/* What is known of the downstream connection; owned by the server connection, outlives exchanges.
 */
struct downstream_info {
    struct addr local, remote, original_dst;
    struct addr direct_remote; /* who connected; remote may be whom it speaks for (PROXY) */
    bool is_mtls;              /* peer verified */
    const struct downstream_tls_info *tls; /* NULL: plain text; see downstream_tls */
    uint64_t connection_id;
};

/* All empty when there was no TLS. */
static inline const struct downstream_tls_info *downstream_tls(const struct downstream_info *info)
{
    static const struct downstream_tls_info none;
    return info->tls != NULL ? info->tls : &none;
}

enum { EXCHANGE_FILTERS_MAX = 16, EXCHANGE_INFORMS_MAX = 8 };

struct exchange {
    /* Readable by all. */
    struct turn *turn;
    struct arena arena;
    struct flow flows[2]; /* [SIDE_REQUEST], [SIDE_RESPONSE] */
    struct outcome outcome;
    const struct downstream_info *info;
    const struct filter *filters;
    uint32_t filter_count;
    void *ctx; /* of whoever installed the filters */
    uint64_t started_us, request_end_us, response_head_us, ended_us;
    uint64_t ordinal;         /* unique among the loops of this process */
    uint64_t idle_timeout_us; /* see exchange_set_idle_timeout */
    bool is_response_local;   /* made by exchange_reply */
    bool is_tunnel;           /* the request asks for one */
    bool is_switched;         /* ... and the response opened it: both flows are bytes */
    /* Sees the request's trailers before anybody else; may take fields out, or fail the exchange.
     * NULL: nobody asks. */
    void (*on_trailers)(struct exchange *x, struct http_head *trailers);
    /* Called once, after every on_end, before the memory goes: unpins configuration. */
    void (*release)(struct exchange *x);
    struct list link; /* for the installer of the filters (all exchanges of a listener, ...) */
    /* Of the downstream's owner: called last of all, when account and info are used no more. */
    void (*unpin)(struct exchange *x);
    void *owner;
    /* The rest belongs to exchange*.c. */
    struct http_loop *loop;
    struct chain_account account;
    uint32_t charged_bytes; /* of the arena */
    struct http_end *downstream, *upstream;
    void **states;
    uint32_t called_count; /* filters whose on_head(REQUEST) was called */
    uint32_t reply_from;   /* the response passes the filters before this one */
    enum exchange_phase phase;
    bool is_downstream_failed, is_upstream_failed, is_fail_due, is_body_wanted, has_body_filter;
    bool is_request_moving; /* the pass that is under way comes to the upstream yet */
    struct outcome failure; /* what the flags above are about */
    const struct http_head *informs[EXCHANGE_INFORMS_MAX]; /* not yet told downstream */
    uint32_t inform_count;
    uint32_t kept_bytes_max;
    uint64_t moved_us;
    struct timer idle_timer;
    struct turn_task task;
    struct grave grave;
};

/* --- for ends ------------------------------------------------------------------------------- */

/* A new exchange with its downstream end attached. account: charged for its chains.
 * Filters are set by the owner before the first wake's run. Without a request head it does nothing.
 * In steady state nothing is allocated: objects and arenas are recycled per loop. */
struct exchange *exchange_new(struct turn *t, struct http_end *downstream,
                              const struct downstream_info *info, struct chain_account *account,
                              const struct limits *limits);
/* Each stores and wakes; nothing runs inside the call. head and trailers must be in x->arena. */
void exchange_recv_head(struct exchange *x, enum side side, struct http_head *head);
/* An upstream's 1xx other than 100 and 101: goes downstream as it is, past the filters. Those
 * beyond EXCHANGE_INFORMS_MAX that wait are dropped. */
void exchange_recv_informational(struct exchange *x, const struct http_head *head);
void exchange_recv_body(struct exchange *x, enum side side, struct chain *from, size_t len);
void exchange_recv_trailers(struct exchange *x, enum side side, struct http_head *trailers);
void exchange_recv_end(struct exchange *x, enum side side);
/* The end is gone (reset, connection lost, protocol error). The end is detached by this call. The
 * producer of the request is the downstream end, that of the response the upstream end. */
void exchange_recv_fail(struct exchange *x, enum side side, const struct outcome *why);

/* Something that the end holds has gone on its way: no idle time-out for now. */
void exchange_note_moved(struct exchange *x);
/* All that the consumer took has left the process: the producer gets its credit back. Runs nothing
 * of the pump; the producer's grant is called. */
void exchange_note_sent(struct exchange *x, enum side side);

/* Any number of times; runs nothing: puts the exchange on the run list. */
void exchange_wake(struct exchange *x);
/* The pump: until nothing moves or its budget is spent (then it has woken itself). Called from the
 * run list; tests without a loop of their own may call it. */
void exchange_run(struct exchange *x);

/* --- for filters ---------------------------------------------------------------------------- */

/* Attaches the upstream end: the request flow now goes there, from its beginning. There is none
 * attached; a request that went elsewhere before is rewound (exchange_can_rewind holds). When the
 * exchange was answered locally meanwhile, the end is reset and detached at once. */
void exchange_set_upstream(struct exchange *x, struct http_end *upstream);
/* Lets go of the present attempt (reset) and of what its response had brought; the request flow is
 * rewound. Only while exchange_can_rewind; else -ERR_INVALID. */
int exchange_rewind(struct exchange *x, const struct outcome *why);
bool exchange_can_rewind(const struct exchange *x);
/* Answers locally; body is copied. The filter returns VERDICT_REPLY. Extra fields may be added to
 * the returned head. A gRPC request gets status 200 with grpc-status mapped from status, and the
 * body's text as grpc-message. */
struct http_head *exchange_reply(struct exchange *x, unsigned status, struct str details,
                                 struct str body);
/* Ends it from outside of the pump (timers: time-outs; policy: judged again): as if a filter had
 * failed. Before the response head was sent the downstream gets outcome.status, else a reset.
 * Only stores and wakes; the first failure counts. */
void exchange_fail(struct exchange *x, const struct outcome *why);
/* When nothing moves for so long: 408 or, behind the response head, a reset; flag SI. 0: never. */
void exchange_set_idle_timeout(struct exchange *x, uint64_t timeout_us);

/* Fills in what is missing for the one who is told: table of err -> status, flag, details. */
void outcome_describe(struct outcome *o);
