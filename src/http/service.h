/* Exchanges that this process answers or asks itself.
 *
 * A service is the upstream of an exchange inside this process: admin, metrics, REST, xDS server.
 * A call is its downstream: requests that we make (ADS client, CSR, health checks).
 * Both see plain callbacks; credit and wakes are handled here. Thread: the loop's. */
#pragma once

#include "http/client.h"
#include "http/exchange.h"

/* --- service --- */

struct service_stream;

struct service_ops {
    /* The request's head. Sets stream ctx by service_set_ctx. Body follows by on_body. */
    void (*on_head)(void *service, struct service_stream *s, const struct http_head *head);
    /* Consumes from `body` (all or part: what is left comes again with more, or after
     * exchange_wake); is_ended: no more will come. */
    void (*on_body)(void *service, struct service_stream *s, struct chain *body, bool is_ended);
    /* There is room for more output (service_room grew from 0). */
    void (*on_room)(void *service, struct service_stream *s);
    /* Last callback, exactly once. err 0: completed. */
    void (*on_end)(void *service, struct service_stream *s, int err);
    /* on_body and on_room may be NULL: the body is dropped, all output is written at once. */
};

struct service {
    const struct service_ops *ops;
    void *ctx;
};

/* The last filter of a chain whose config is a struct service. */
extern const struct filter_ops service_filter_ops;

void service_set_ctx(struct service_stream *s, void *ctx);
void *service_ctx(const struct service_stream *s);
struct exchange *service_exchange(const struct service_stream *s);
/* Each of these, until on_end, inside callbacks and outside; when the exchange has gone on without
 * the service (client gone) they do nothing.
 * Starts the response; fields are copied, their names in lower case. */
void service_respond(struct service_stream *s, unsigned status, const struct http_field *fields,
                     size_t count);
size_t service_room(const struct service_stream *s);    /* bytes that may be written now */
size_t service_waiting(const struct service_stream *s); /* written, not yet taken downstream */
void service_write(struct service_stream *s, struct chain *from); /* moves all, even past room */
/* Ends the response, with trailers when count > 0. */
void service_end(struct service_stream *s, const struct http_field *trailers, size_t count);
/* respond + write + end in one. */
void service_reply(struct service_stream *s, unsigned status, struct str content_type,
                   struct str body);
void service_reset(struct service_stream *s, int err);

/* --- call --- */

struct call;

struct call_ops {
    void (*on_head)(void *ctx, struct call *c, const struct http_head *head);
    /* Consumes what it wants; what is left comes again with more (exchange_wake), and is dropped
     * when the response has ended. NULL: dropped. */
    void (*on_body)(void *ctx, struct call *c, struct chain *body);
    void (*on_room)(void *ctx, struct call *c); /* call_room grew from 0; may be NULL */
    /* Last callback, from the run list. trailers may be NULL; outcome->err 0: completed. A response
     * that a filter or a failure made up locally is not shown by on_head: outcome has it. */
    void (*on_end)(void *ctx, struct call *c, const struct http_head *trailers,
                   const struct outcome *outcome);
};

/* Starts a request on a client connection that has room. head is copied; head->has_body says
 * whether a body follows. Nothing is called back inside. Owner: the loop until on_end. */
struct call *call_start(struct turn *t, struct http_client *client, const struct http_head *head,
                        const struct call_ops *ops, void *ctx);
/* The same through a filter chain (router, ...): config pinned by the caller until on_end. */
struct call *call_start_filters(struct turn *t, const struct filter *filters, uint32_t count,
                                const struct http_head *head, const struct call_ops *ops,
                                void *ctx);
size_t call_room(const struct call *c);              /* request bytes that may be written now */
void call_write(struct call *c, struct chain *from); /* moves all, even past room */
void call_end(struct call *c);
void call_cancel(struct call *c); /* on_end comes with -ERR_CANCELED */
struct exchange *call_exchange(const struct call *c);
