/* Inside control/server/ only: a request with its whole body, and the answers. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "codec/json.h"
#include "codec/json_writer.h"
#include "control/server/server.h"
#include "http/server.h"
#include "http/service.h"

enum { BODY_BYTES_MAX = 64 * 1024 * 1024, ANSWER_BYTES_MAX = 256 * 1024 * 1024 };

struct server {
    struct server_args args;
    struct limits limits;
    struct http_server_config http;
    struct listen_socket *api, *metrics;
    struct list conns; /* server_conn.link */
    struct service api_service, metrics_service;
    struct filter api_filter, metrics_filter;
};

/* One request of the REST API. Lives from its head until its stream ends and its handler is done.
 */
struct rest {
    struct server *server;
    struct service_stream *stream; /* NULL: the client has left */
    struct str method, path, query;
    bool is_json;
    struct str file; /* x-tulle-file: for places of findings */
    struct str_buf body;
    struct arena arena;
    bool is_waiting; /* a handler will answer later (wait) */
    bool is_refused; /* the body was too large; answered already */
};

struct str rest_query(struct rest *q, struct str name); /* decoded; empty: none */
void rest_answer(struct rest *q, unsigned status, struct str json);
/* {"kind": "Status", "status": "Failure", "code", "reason", "message"} as Kubernetes'. */
void rest_error(struct rest *q, unsigned status, const char *reason, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void rest_free(struct rest *q);

/* route.c: finds the handler and calls it. */
void rest_dispatch(struct rest *q);

/* objects.c: GET, POST, PUT, DELETE at Kubernetes' paths. name empty: the list or the collection.
 */
struct rest_target {
    const struct api_kind_info *kind;
    struct str namespace_, name;
};
void objects_get(struct rest *q, const struct rest_target *t);
void objects_list(struct rest *q, const struct rest_target *t);
void objects_put(struct rest *q, const struct rest_target *t, bool is_create);
void objects_delete(struct rest *q, const struct rest_target *t);
void objects_write(struct json_writer *w, struct server *s, const struct store_object *o,
                   struct arena *a);

/* apply.c */
struct apply_options {
    struct str owner;
    bool is_pruning, is_dry_run;
};
void apply_handle(struct rest *q);
/* Documents of the body, checked with those of the store; findings were answered when negative. */
int apply_parse(struct rest *q, struct api_document_list *list, struct api_findings *warnings,
                const struct apply_options *options);
/* Commits all or nothing and tells push; negative: answered already. */
int apply_commit(struct rest *q, struct store_write *writes, size_t count);
struct store_write apply_write(struct rest *q, const struct api_document *d, struct str owner);

/* status.c */
void status_handle(struct rest *q);
void wait_handle(struct rest *q);
void token_handle(struct rest *q, const struct rest_target *workload);
