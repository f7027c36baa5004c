/* Inside control/push/ only. */
#pragma once

#include "base/err.h"
#include "base/list.h"
#include "base/map.h"
#include "base/pace.h"
#include "base/vec.h"
#include "control/push/push.h"
#include "http/grpc.h"
#include "mesh/xds/ads_server.h"

struct edge;
struct push_stream;

enum {
    PUSH_VERSION_LEN_MAX = 16, /* ours are 16 digits; longer ones are not ours */
    PUSH_NAME_LEN_MAX = 512,
    PUSH_NACKS_MAX = 100, /* kept of a stream */
    PUSH_REASON_LEN_MAX = 1024,
    PUSH_SUBS_MAX = 100000,            /* of a stream, those of its wildcards among them */
    PUSH_UNANSWERED_MAX = 4096,        /* responses to a stream */
    PUSH_RESPONSE_BYTES = 1024 * 1024, /* a response is closed once it is that large */
    PUSH_MESSAGE_BYTES_MAX = 32 * 1024 * 1024,
    PUSH_CONVERGENCE_BUCKETS = 8,
};

/* --- subscriptions --- */

/* A (type, name) that somebody subscribes to; of what each workload has its own, one for each. */
struct push_target {
    struct str key;  /* own memory: "TYPE/NAME", "TYPE/NAME@NS:WORKLOAD" */
    struct str name; /* within */
    VEC(struct push_sub *) subs;
};

struct push_sub {
    struct push_stream *stream;
    struct push_target *target;
    size_t at; /* its place in the target's list */
    enum resource_type type;
    struct str name; /* the target's */
    char version[PUSH_VERSION_LEN_MAX];
    uint8_t version_len;      /* of what the client has, or was sent; 0: nothing */
    uint8_t before_len;       /* of what it had before that, and runs until it accepts */
    uint8_t unanswered_count; /* responses with it that are not answered yet */
    char before[PUSH_VERSION_LEN_MAX];
    bool is_named; /* subscribed to by name */
    bool is_wild;  /* one of what the wildcard stands for */
    bool is_answered;
    bool is_broken;  /* its output cannot be made now; the client keeps what it has */
    bool is_forced;  /* sent once more, changed or not */
    bool is_fresh;   /* in the response under construction, and changed */
    bool is_warming; /* a cluster: sent, its endpoints not yet acknowledged */
    struct translate_output *output; /* what was sent, where responses repeat everything */
    struct list link;                /* stream->dirty[type] or stream->gone[type] */
};

/* Those of a stream, by type and name: open addressing. */
struct push_subs {
    struct push_sub **slots;
    size_t cap, len, used; /* used: the free ones that were not always free among them */
};

/* An unanswered response. */
struct push_sent {
    uint64_t number, changed_us;
    enum resource_type type;
    struct str_buf names; /* of its resources, each ended by a newline */
};

struct push_nack {
    enum resource_type type;
    char *name, *reason; /* own memory; name may be empty */
    uint64_t at_us;
    bool is_told; /* on the document's status */
};

/* Times, by the bounds that istiod has for the same; the last bucket is all above. */
struct push_times {
    uint64_t buckets[PUSH_CONVERGENCE_BUCKETS + 1], total_us;
};
enum push_times_kind { PUSH_TIMES_CONVERGENCE, PUSH_TIMES_QUEUE, PUSH_TIMES_PUSH };
void push_times_note(struct push_times *t, enum push_times_kind kind, uint64_t us);
/* The histogram's head, then one for each label (`type="rds"`), or one with "". */
void push_times_render_head(enum push_times_kind kind, struct str_buf *to);
void push_times_render(const struct push_times *t, enum push_times_kind kind, const char *label,
                       struct str_buf *to);
/* Now, not as the turn read it. */
uint64_t push_clock_us(void);

struct push_counters {
    struct push_times convergence, queue, push[RESOURCE_TYPE_COUNT];
    uint64_t internal_errors;                       /* resources that could not be made */
    uint64_t csr_parsing, authentication, csr_sign; /* certificates refused, and why */
    uint64_t bytes, resources, responses[RESOURCE_TYPE_COUNT], acks, nacks, rejects, certificates;
    uint64_t visits; /* of streams, to see what they lack */
};

/* --- streams: the brain's side of the edge --- */

/* A response on its way to a client: immutable, so that it may change threads. */
struct push_response {
    struct list link; /* of whoever holds it */
    enum ads_variant variant;
    uint64_t number;
    struct ads_response ads;
    struct translate_output **outputs; /* what the wire bytes belong to, referenced */
    size_t output_count;
    size_t bytes; /* names and resources */
    struct arena arena;
};
/* Takes over the references of the outputs; copies names. */
struct push_response *push_response_new(enum ads_variant variant, uint64_t number,
                                        const struct ads_response *r,
                                        struct translate_output *const *outputs,
                                        size_t output_count);
void push_response_encode(const struct push_response *r, struct str_buf *to);
struct push_response *push_response_free(struct push_response *r);

struct push_stream_ops {
    void (*send)(void *ctx, struct push_response *r); /* takes it over */
    bool (*has_room)(void *ctx);
    /* Ends the stream; push_stream_close follows later, never from within. */
    void (*end)(void *ctx, enum grpc_status status, struct str why);
};

/* What the connection proved. */
struct push_peer {
    struct str identity;      /* SPIFFE id of a verified client certificate */
    struct ip_addr address;   /* where it comes from; IP_NONE: not known */
    uint64_t not_after_s;     /* of its certificate */
    char root[CA_ID_LEN + 1]; /* that signed it; empty: not known */
};

struct push_stream {
    struct push *push;
    struct list link, dirty_link; /* push->streams, push->dirty */
    struct list pending_link;     /* push->pending */
    struct list paced_link;       /* push->paced */
    struct list group;            /* a ring: the streams of one replica */
    const struct push_stream_ops *ops;
    void *ctx;
    struct ads_stream *ads;
    struct str identity; /* own memory, like namespace_ and workload */
    struct ip_addr address;
    uint64_t not_after_s; /* of the leaf that it runs, as far as we know */
    char root[CA_ID_LEN + 1];
    uint64_t connected_us, dirty_us;
    uint64_t answered_us;            /* the last answer; 0: none yet */
    struct str namespace_, workload; /* empty: no node yet */
    uint32_t index;
    enum xds_dialect dialect;
    struct push_subs subs;
    size_t workload_at;                 /* its place among the streams of its Workload */
    struct push_workload *its_workload; /* NULL: no node yet */
    struct list waits;                  /* struct push_entry: of commits that wait for it */
    struct list dirty[RESOURCE_TYPE_COUNT], gone[RESOURCE_TYPE_COUNT];
    bool is_wild[RESOURCE_TYPE_COUNT], is_wild_unanswered[RESOURCE_TYPE_COUNT];
    bool has_known[RESOURCE_TYPE_COUNT]; /* it came with some of what the wildcard stands for */
    bool is_wild_due, is_check_due, is_dirty, has_sent, is_ended;
    uint64_t digest[RESOURCE_TYPE_COUNT];       /* of all that it has of the type */
    uint64_t known_digest[RESOURCE_TYPE_COUNT]; /* what it came with, where that is one version */
    unsigned warming_count;
    bool is_hold_over; /* waited long enough for answers, this time */
    struct timer hold_timer;
    struct push_secret *secret; /* NULL: it never asked for one */
    uint64_t last_number;
    VEC(struct push_sent *) sent;
    VEC(struct push_nack) nacks;
};

/* Which service was called. */
struct push_call {
    enum ads_variant variant;
    bool is_single; /* a service of one type */
    enum resource_type type;
};
struct push_stream *push_stream_open(struct push *p, const struct push_peer *peer,
                                     const struct push_call *call,
                                     const struct push_stream_ops *ops, void *ctx);
void push_stream_take(struct push_stream *s, const struct ads_request *r);
/* The same from its bytes. */
void push_stream_recv(struct push_stream *s, struct str message);
void push_stream_room(struct push_stream *s);
struct push_stream *push_stream_close(struct push_stream *s);
void push_stream_end(struct push_stream *s, enum grpc_status status, const char *why);
/* Something has to be looked at in this turn. */
void push_stream_mark(struct push_stream *s);
/* A proxy that is not tulle-proxy: it gets all that is in its scope, and no directory. */
static inline bool push_stream_is_foreign(const struct push_stream *s)
{
    return s->dialect != XDS_DIALECT_TULLE;
}

/* Of Envoy; clients of gRPC ask for all by name, and see to the order themselves. */
static inline bool push_stream_is_envoy(const struct push_stream *s)
{
    return s->dialect == XDS_DIALECT_ENVOY;
}

/* push_sub.c */
void push_subs_deinit(struct push_subs *subs); /* those that are left are freed, too */
/* The next from *iter = 0 on; NULL: no more. The one that was just given may be freed meanwhile. */
struct push_sub *push_subs_next(const struct push_subs *subs, size_t *iter);
/* What a change of an output concerns; NULL: nobody. view: as translate tells it. */
struct push_target *push_target_of(const struct push *p, enum resource_type type, struct str name,
                                   struct str view);
struct push_sub *push_stream_sub(const struct push_stream *s, enum resource_type type,
                                 struct str name); /* NULL: none */
struct push_sub *push_sub_get(struct push_stream *s, enum resource_type type, struct str name);
void push_sub_mark(struct push_sub *sub);
/* Empty, or none of ours: the client has nothing. */
void push_sub_set_version(struct push_sub *sub, struct str version);
struct str push_sub_version(const struct push_sub *sub);
void push_sub_free(struct push_sub *sub);

/* push_order.c: make before break, for proxies that do not see to it themselves.
 * A cluster was sent: its endpoints follow, new or not, and until they are acknowledged nothing is
 * sent that may send requests there. */
void push_warm_begin(struct push_sub *cluster);
void push_warm_end(struct push_sub *cluster);
/* Of a response the names, each ended by a newline. */
void push_warm_answered(struct push_stream *s, enum resource_type type, struct str names,
                        bool is_nack);
/* Listeners and routes have to wait for clusters; removals for all answers. */
bool push_holds_changes(struct push_stream *s);
bool push_holds_removals(struct push_stream *s);
void push_hold_init(struct push_stream *s);
void push_hold_reset(struct push_stream *s);

/* push_secret.c: the own certificate of proxies that have no agent of ours. A reference; NULL: it
 * cannot be made, or is not for this stream. */
#define PUSH_SECRET_OWN "default"
struct translate_output *push_secret_get(struct push_stream *s);
void push_secret_free(struct push_stream *s);
/* Another root signs: made anew, and sent. */
void push_secret_renew(struct push_stream *s);
/* The id of the root that signed what it was sent; empty: it was sent none. */
struct str push_secret_root(const struct push_stream *s);
/* Its subscriptions of a type that are there because of the wildcard are what they should be. */
void push_stream_refresh_wild(struct push_stream *s);
/* False: its Workload is gone or became somebody else's; the stream is being ended. */
bool push_stream_check(struct push_stream *s);
/* "NS/WORKLOAD/INDEX" in the arena. */
struct str push_stream_name(const struct push_stream *s, struct arena *a);

/* push_address.c: of the addresses that it says it has, [0] IPv4, [1] IPv6, those that are not its
 * to have become IP_NONE; the one it connects from is put in. */
void push_stream_addresses(const struct push_stream *s, struct ip_addr addresses[2]);

/* push_workload.c: the streams of a Workload, whatever became of it. */
struct push_workload {
    struct str key; /* own memory: "NS/NAME" */
    VEC(struct push_stream *) streams;
};
void push_workload_join(struct push_stream *s);
void push_workload_leave(struct push_stream *s);
/* NULL: it has none. */
const struct push_workload *push_workload_streams(const struct push *p, struct str namespace_,
                                                  struct str name);

/* push_group.c: a replica may hold a stream of all types, or several of one type each. */
void push_group_join(struct push_stream *s, struct registry_replica *r);
/* The stream that stands for the replica when s goes; NULL: it was the last. */
struct push_stream *push_group_leave(struct push_stream *s);
#define PUSH_GROUP_NEXT(s) LIST_ENTRY((s)->group.next, struct push_stream, group)

/* push_send.c: what the client is to have of it by now: a reference; NULL: nothing. */
struct translate_output *push_sub_output(const struct push_sub *sub);
/* Sends what is dirty; true when nothing is left. */
bool push_stream_flush(struct push_stream *s);

/* push_pace.c: directories that changed have to wait; if so, the stream is served again. */
bool push_pace_holds(struct push_stream *s);
void push_pace_take(struct push *p, uint64_t bytes); /* of directories, sent */
void push_pace_init(struct push *p);
void push_pace_deinit(struct push *p);

/* push_nack.c */
void push_sent_free(struct push_sent *sent);
void push_answered(struct push_stream *s, enum resource_type type, uint64_t number, bool is_nack,
                   struct str reason);
void push_nacks_free(struct push_stream *s);

/* push_proxy.c: before sub->version becomes another one that is sent; after an answer came. */
void push_proxy_note_sent(struct push_sub *sub);
void push_proxy_note_answered(struct push_stream *s, const struct push_sent *sent);
/* Members of a proxy's object: version, target, since, why, pending; with types when detailed. */
void push_proxy_render(const struct push *p, const struct registry_replica *r, bool is_detailed,
                       struct json_writer *w, struct arena *a);

/* push_wait.c */
struct push_commit;
void push_wait_flushed(struct push_stream *s);
void push_wait_answered(struct push_stream *s, enum resource_type type, uint64_t number,
                        bool is_nack, struct str reason);
void push_wait_gone(struct push_stream *s);
void push_wait_free(struct push *p);

/* --- one-shot calls --- */

/* push_join.c: CreateCertificate. token empty: by peer's identity (renewal). GRPC_OK with the
 * response's bytes, else why. */
enum grpc_status push_create_certificate(struct push *p, struct str identity, struct str token,
                                         struct str request, struct str_buf *ret_response,
                                         struct str_buf *why);
/* push_certs.c: the id of the root that signed a leaf (PEM), empty when it is none of ours. */
void push_root_of(const struct push *p, struct str leaf_pem, char ret_root[CA_ID_LEN + 1]);
/* A sidecar says which leaf all its workers use. False: it is not this stream's. */
bool push_stream_set_leaf(struct push_stream *s, struct str leaf_pem);
/* push_report.c: Agent/Report; the JSON text is the message. */
enum grpc_status push_report(struct push *p, struct str identity, struct str json,
                             struct str_buf *why);
/* Whether a Workload document exists that has this identity. */
const struct api_document *push_workload_of(const struct push *p, struct str namespace_,
                                            struct str workload, struct str identity);

/* An output that may have become another one. */
struct push_change {
    enum resource_type type;
    struct str name, view;
};

struct push {
    struct turn *turn;
    struct store *store;
    struct registry *registry;
    struct translate *translate;
    struct ca *ca;
    struct edge *edge; /* NULL: not listening */
    struct list streams, dirty;
    struct list pending; /* streams that lack something or owe an answer, and some that did */
    struct map targets, workloads;
    VEC(struct push_change) changes; /* not looked at yet */
    struct arena changes_arena;
    size_t envoy_count; /* streams that get all there is */
    struct list paced;  /* streams whose directories wait */
    int64_t pace_bytes;
    uint64_t pace_us; /* when it was counted up last */
    struct timer pace_timer;
    struct turn_task task, keep_task;
    struct timer expire_timer, revoke_timer, trim_timer;
    uint64_t trimmed_bytes; /* of counters.bytes, when memory was given back last */
    VEC(struct push_commit *) commits;
    struct list waiters;
    struct push_counters counters;
    struct pace refusals; /* that are written to documents' status, by identity */
    size_t stream_count;
};
/* Sends what the stream lacks, as far as that goes now. */
void push_stream_serve(struct push_stream *s);
/* Computes what changed, and marks the streams for whom it is another one now. */
void push_settle(struct push *p);

/* edge.c */
struct edge *edge_open(struct push *p, const struct addr *at, unsigned thread_count,
                       struct str_buf *why, int *ret_err);
int edge_serve(struct edge *e); /* starts its threads */
int edge_listen_local(struct edge *e, struct str path, struct str_buf *why);
struct edge *edge_close(struct edge *e);
const struct addr *edge_addr(const struct edge *e);
void edge_mesh_changed(struct edge *e);
void edge_roots_changed(struct edge *e);
struct cert *edge_own_leaf(const struct edge *e);
void edge_render_metrics(const struct edge *e, struct str_buf *to);
