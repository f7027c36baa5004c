/* Inside control/server/ only. */
#pragma once

#include "base/err.h"
#include "base/list.h"
#include "base/map.h"
#include "base/vec.h"
#include "codec/json.h"
#include "codec/json_writer.h"
#include "control/server/access.h"
#include "control/server/documents.h"
#include "control/server/own_tls.h"
#include "control/server/selector.h"
#include "control/server/server.h"
#include "http/server.h"
#include "http/service.h"
#include "io/gate.h"

enum {
    REST_BODY_BYTES_MAX = 64 * 1024 * 1024,
    REST_ANSWER_BYTES_MAX = 256 * 1024 * 1024,
    REST_HELD_BYTES_MAX = 256 * 1024 * 1024, /* bodies and answers of all but administrators */
    REST_SEGMENTS_MAX = 12,
    REST_WARNINGS_MAX = 8,
};

/* Who may connect, and what is known of who did. */
enum server_door {
    DOOR_OPEN,   /* anybody: metrics */
    DOOR_LOCAL,  /* a unix socket: the kernel names the peer, root and our user come in */
    DOOR_REMOTE, /* TLS: each request shows a token, or the connection a certificate */
};

/* A listening socket with what it serves. */
struct server_face {
    struct server *server;
    struct listen_socket *socket;
    struct service service;
    struct filter filter;
    enum server_door door;
    struct gate gate;   /* DOOR_REMOTE */
    struct crowd known; /* DOOR_REMOTE: by name; DOOR_OPEN: all, by address */
};

struct server_counts {
    uint64_t requests, unauthenticated, forbidden, limited, dropped;
};

struct server_conn {
    struct server_face *face;
    struct list link;
    struct conn *conn;
    struct conn_peer peer;   /* DOOR_LOCAL */
    struct gate_member gate; /* DOOR_REMOTE, until a request was allowed */
    struct crowd_member known;
    uint64_t not_after_s;     /* of the peer's certificate; 0: it showed none */
    struct http_server *http; /* NULL: not open yet */
};

struct server {
    struct server_args args;
    struct limits limits;
    struct http_server_config config;
    struct server_face api, remote, metrics;
    struct own_tls *tls; /* of remote; NULL: it does not listen */
    struct access_rates rates;
    struct documents *documents; /* NULL: they are written by the API */
    struct list watchers;        /* rest_watch.c */
    size_t watcher_count;
    size_t held_bytes;
    struct server_counts counts;
    uint64_t changes[API_KIND_COUNT][STORE_DELETED + 1];      /* since the start */
    uint64_t passed[API_KIND_COUNT], refused[API_KIND_COUNT]; /* documents that came */
    struct list conns;
};

/* One request; in its exchange's arena. */
struct rest_call {
    struct server *server;
    struct access_principal who;
    struct str source; /* from where, for the history */
    struct service_stream *s;
    struct arena *a;
    const struct http_head *head;
    struct str path[REST_SEGMENTS_MAX]; /* decoded segments */
    size_t path_count;
    struct str_buf body;
    size_t held_bytes;                      /* of it, and of the answer */
    struct str warnings[REST_WARNINGS_MAX]; /* told in fields `warning` (RFC 9111's 299) */
    size_t warning_count;
    bool is_done;
    void *waiting;           /* rest_mesh.c */
    struct watcher *watcher; /* rest_watch.c: the answer is being streamed */
};

/* server_conn.c */
void server_face_init_pools(struct server_face *face);
void server_face_deinit_pools(struct server_face *face);
void server_conn_accept(void *face, struct conn *c);
void server_conns_abort(struct server *s);
/* Who it is was shown by a request. */
void server_conn_known(struct server_conn *sc, struct str name);

extern const struct service_ops rest_ops;
extern const struct service_ops server_metrics_ops;

/* --- metrics.c, debug.c --- */

void server_render_metrics(struct server *s, struct str_buf *to);
void server_note_change(struct server *s, enum store_change change, const struct store_object *o);
struct change;
void server_note_passed(struct server *s, const struct change *change);
void server_note_refused(struct server *s, const struct api_findings *findings);
bool server_has_debug(struct str path);
/* What istiod tells at that path, as JSON. False: it is none of those, or too much. */
bool server_debug(const struct server *s, struct str path, struct str_buf *to);

/* --- answering --- */

void rest_reply(struct rest_call *c, unsigned status, struct str json);
/* Kubernetes' Status: {"kind":"Status","code","reason","message",..}. */
void rest_fail(struct rest_call *c, unsigned status, const char *reason, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Who sends and does not end, or asks and does not read, must not have all memory: false when these
 * bytes, kept until the call is over, are too many. */
bool rest_hold(struct rest_call *c, size_t bytes);
/* The store's error as a Status. */
void rest_fail_store(struct rest_call *c, int err, const struct store_object *o);
/* The decoded value of a query parameter; the null string when there is none. */
struct str rest_query(const struct rest_call *c, const char *name);
bool rest_query_is_true(const struct rest_call *c, const char *name);
bool rest_is_method(const struct rest_call *c, const char *method);
/* Whether the path is /tulle/v1/NAME, or below it. */
bool rest_is_own(const struct rest_call *c, const char *name);

/* Whether who asks may do that; else answered (403). kind NULL: to every kind; namespace_ empty: in
 * all namespaces. */
bool rest_may(struct rest_call *c, enum access_verb verb, const struct api_kind_info *kind,
              struct str namespace_);
struct change;
/* Whether the API may write (delete) that document; else answered (409): it comes from a file. */
bool rest_may_write(struct rest_call *c, const struct store_object *o, bool is_delete);
/* Both, of each document of a set. */
bool rest_may_change(struct rest_call *c, const struct change *change);

/* Who asks, and when, for the history; strings in the call's arena. The reason that was given comes
 * as the query's `note`. */
struct store_author rest_author(struct rest_call *c, const char *verb);

/* Member "bypasses", and its metrics. */
void rest_bypass_write(const struct server *s, struct json_writer *w);
void rest_bypass_metrics(const struct server *s, struct str_buf *to);

/* --- handlers: true when the path is theirs --- */

bool rest_objects(struct rest_call *c);     /* /api/v1/.., /apis/GROUP/VERSION/.. */
bool rest_discovery(struct rest_call *c);   /* /api, /apis, /version, /readyz */
bool rest_apply(struct rest_call *c);       /* /tulle/v1/apply */
bool rest_history(struct rest_call *c);     /* /tulle/v1/history, /tulle/v1/rollback */
bool rest_backup(struct rest_call *c);      /* /tulle/v1/backup */
bool rest_access(struct rest_call *c);      /* /tulle/v1/access */
bool rest_explain(struct rest_call *c);     /* /tulle/v1/explain */
bool rest_ca(struct rest_call *c);          /* /tulle/v1/ca */
bool rest_debug(struct rest_call *c);       /* /debug/syncz, /debug/endpointz */
bool rest_revoked(struct rest_call *c);     /* /tulle/v1/revoked */
bool rest_bypass(struct rest_call *c);      /* /tulle/v1/bypasses */
bool rest_mesh(struct rest_call *c);        /* the rest of /tulle/v1 */
void rest_mesh_forget(struct rest_call *c); /* the client is gone */
void rest_token(struct rest_call *c, struct str namespace_, struct str workload);

/* --- documents: rest_objects.c and what belongs to it --- */

/* Which documents of a list are asked for. */
struct rest_selection {
    struct selector labels, fields;
};

/* What a path of Kubernetes' names; strings in the call's arena. */
struct rest_target {
    const struct api_kind_info *kind;
    struct str version, namespace_, name, sub; /* sub: what follows the name */
    const struct rest_selection *selection;    /* of a list; NULL: all */
};

/* labelSelector and fieldSelector of the query; in the call's arena. False: answered. */
bool rest_read_selection(struct rest_call *c, const struct rest_selection **ret_selection);
/* s may be NULL: takes all. */
bool rest_is_selected(const struct rest_selection *s, const struct store_object *o);
bool rest_is_labelled(const struct rest_selection *s, const struct store_object *o);
/* "networking.istio.io/v1" as asked for. */
struct str rest_api_version(const struct rest_call *c, const struct rest_target *t);

/* A list, or a watch of it. */
void rest_list(struct rest_call *c, const struct rest_target *t);
void rest_delete_many(struct rest_call *c, const struct rest_target *t);

/* Takes over the call until the client leaves. */
void rest_watch(struct rest_call *c, const struct rest_target *t);
void rest_watch_forget(struct rest_call *c);
/* That principal has no right any more. */
void rest_watch_end_of(struct server *s, struct str principal);
/* store_watch's callback; ctx is the server. */
void rest_watch_changed(void *ctx, enum store_change change, const struct store_object *o);
/* What is said of it is another thing, though nothing was written. */
void rest_watch_tell(struct server *s, enum store_change change, const struct store_object *o);

/* Whether a Table was asked for (Accept). */
bool rest_wants_table(const struct rest_call *c);
/* A table up to its rows; the caller ends the array and the object. */
void rest_table_begin(const struct rest_call *c, const struct api_kind_info *kind,
                      struct json_writer *w);
void rest_table_row(struct rest_call *c, const struct store_object *o, struct json_writer *w);
/* A table of one row. */
void rest_table_of(struct rest_call *c, const struct api_kind_info *kind,
                   const struct store_object *o, struct json_writer *w);

/* The present document with the body's patch, as text in the arena; false: answered. */
bool rest_patch(struct rest_call *c, const struct store_object *present, struct str *ret_text);

bool rest_openapi(struct rest_call *c); /* /openapi/v3/.. */

/* "metadata" with what the store adds. */
void rest_metadata(struct json_writer *w, const struct json *metadata,
                   const struct store_object *o);
/* An object as the API shows it, with metadata and status. */
void rest_object(const struct server *s, const struct store_object *o, struct json_writer *w);

/* --- change.c: a set of documents, all or nothing --- */

struct change {
    struct server *server;
    struct api_document_list docs;
    struct api_findings findings;   /* of parsing; then of checking, too */
    struct str owner;               /* "up", "api" */
    bool is_single;                 /* documents come one by one: what is unmet is a warning */
    bool is_taking_over;            /* what is there and equal belongs to the owner from now on */
    VEC(struct store_write) writes; /* in the order of docs, then deletions */
    struct map by_subject;          /* the first of docs */
    struct map deleted;             /* subjects, when they are checked */
    bool is_about_all;              /* else checked against what is in these: */
    VEC(struct str) namespaces;
    struct arena arena;
};

/* change_scope.c: what of that which is there the change is checked against; and each of it. */
void change_scope(struct change *c);
void change_each_stored(struct change *c, enum api_kind kind,
                        void (*each)(void *ctx, struct api_document *d), void *ctx);

void change_init(struct change *c, struct server *s, struct str owner);
void change_deinit(struct change *c);
/* Adds the documents of a text; findings are collected. line: 0, or where the text, one document's
 * JSON, stands in the file of the person who wrote it. */
void change_parse(struct change *c, struct str file, uint32_t line, struct str text,
                  struct str namespace_);
/* Adds one that is parsed already; takes a reference. */
void change_add(struct change *c, struct api_document *d);
/* Takes the document out of the set (both, when it is there twice). False: it is not in it. */
bool change_drop(struct change *c, struct str subject);
/* Adds a deletion. */
void change_delete(struct change *c, const struct store_object *o);
/* Deletes what the owner has and the set does not name. */
void change_prune(struct change *c);
/* The documents that a rollback is about: all of them, or those of a kind, of a namespace, one. */
struct rollback_target {
    const struct api_kind_info *kind; /* NULL: of every kind */
    struct str namespace_, name;      /* empty: any */
};
/* Fills the set with what makes them as they were after that revision. -ERR_NOT_FOUND: it is not in
 * the history. */
int change_back_to(struct change *c, uint64_t revision, const struct rollback_target *target);
/* Checks the set together with what is there. False: there are errors, and none is of before. */
bool change_check(struct change *c);
/* Writes; 0 or the store's error (ret_failed: which). is_dry: only says what would change. */
int change_commit(struct change *c, bool is_dry, const struct store_author *by, size_t *ret_failed);
/* The answers of apply, and of whatever else is a set of documents. */
void rest_reply_findings(struct rest_call *c, const struct change *change);
void rest_reply_applied(struct rest_call *c, const struct change *change);
const char *rest_change_name(enum store_change change);
