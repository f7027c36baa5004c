#include "proxy/agent/grpc_call.h"

#include <stdlib.h>

#include "http/grpc.h"
#include "http/service.h"

enum { MESSAGE_KEPT_BYTES_MAX = 16 * 1024 };

struct grpc_call {
    struct grpc_call_args args;
    struct turn *turn;
    struct call *call;
    struct chain in;
    struct str_buf message;
    struct grpc_part part; /* of message */
    unsigned http_status;
    int head_status; /* of a trailers-only answer; -1: none */
    struct str_buf why;
    bool is_canceled;
};

static void note_why(struct grpc_call *g, const struct http_head *from)
{
    struct str text = http_head_get_named(from, STR("grpc-message"));
    struct arena a;
    arena_init(&a, 512);
    str_buf_reset(&g->why);
    str_buf_add(&g->why, grpc_message_decode(str_sub(text, 0, 1024), &a));
    arena_deinit(&a);
}

static void on_head(void *ctx, struct call *c, const struct http_head *head)
{
    struct grpc_call *g = ctx;
    (void)c;
    g->http_status = head->status;
    g->head_status = grpc_status_of(head, NULL);
    if (g->head_status >= 0)
        note_why(g, head);
}

/* Room for the next message; that of a large one, a directory, is not kept until then. */
static void reset_message(struct grpc_call *g)
{
    if (g->message.len > MESSAGE_KEPT_BYTES_MAX) {
        str_buf_deinit(&g->message);
        g->message = STR_BUF_INIT(g->args.message_bytes_max);
    }
    str_buf_reset(&g->message);
}

/* All bytes are taken at once, for a message may be larger than the window of the stream. */
static void on_body(void *ctx, struct call *c, struct chain *body)
{
    struct grpc_call *g = ctx;
    chain_move(&g->in, body, body->len);
    while (!g->is_canceled) {
        if (!g->part.is_open)
            reset_message(g);
        int n = grpc_deframe_part(&g->in, g->args.message_bytes_max, &g->part);
        if (n == 0)
            return;
        if (n == 1 && g->args.ops->on_message(g->args.ctx, g, str_buf_str(&g->message)))
            continue;
        if (g->why.len == 0)
            str_buf_add_c(&g->why, n < 0 ? err_text(n) : "malformed message");
        g->is_canceled = true;
        call_cancel(c);
    }
}

static void on_end(void *ctx, struct call *c, const struct http_head *trailers,
                   const struct outcome *outcome)
{
    struct grpc_call *g = ctx;
    int status = g->head_status;
    (void)c;
    g->call = NULL;
    if (trailers != NULL && grpc_status_of(NULL, trailers) >= 0) {
        status = grpc_status_of(NULL, trailers);
        note_why(g, trailers);
    }
    if (status < 0 && g->why.len == 0)
        str_buf_add(&g->why, outcome->reason.len > 0 ? outcome->reason
                             : outcome->err != 0     ? str_from_c(err_text(outcome->err))
                                                     : STR("the answer has no gRPC status"));
    if (status < 0)
        status = outcome->err != 0 || g->http_status == 200
                     ? GRPC_UNAVAILABLE
                     : (int)grpc_status_from_http(g->http_status);
    g->args.ops->on_end(g->args.ctx, g, status, str_buf_str(&g->why));
    chain_deinit(&g->in);
    str_buf_deinit(&g->message);
    str_buf_deinit(&g->why);
    free(g);
}

static const struct call_ops ops = {
    .on_head = on_head,
    .on_body = on_body,
    .on_end = on_end,
};

static void fill_head(struct http_head *h, const struct grpc_call_args *args, struct arena *a)
{
    http_head_init(h, a, true);
    h->version = HTTP_2;
    h->method = STR("POST");
    h->scheme = args->is_plain ? STR("http") : STR("https");
    h->authority = args->authority;
    h->path = args->path;
    h->has_body = true;
    h->is_grpc = true;
    h->wants_trailers = true;
    http_head_add(h, HTTP_NAME_CONTENT_TYPE, STR("application/grpc"));
    http_head_add_named(h, STR("user-agent"), STR("tulle-proxy/" TULLE_VERSION));
    if (args->bearer.len > 0)
        http_head_add_named(h, STR("authorization"),
                            arena_printf(a, "Bearer %.*s", STR_FMT(args->bearer)));
}

struct grpc_call *grpc_call_start(struct turn *t, struct http_client *client,
                                  const struct grpc_call_args *args)
{
    struct grpc_call *g = NEW(struct grpc_call);
    g->args = *args;
    g->turn = t;
    g->head_status = -1;
    g->message = STR_BUF_INIT(args->message_bytes_max);
    g->part.message = &g->message;
    g->why = STR_BUF_INIT(2048);
    chain_init(&g->in, turn_chunks(t), turn_account(t));
    struct arena a;
    struct http_head head;
    arena_init(&a, 2048);
    fill_head(&head, args, &a);
    g->call = call_start(t, client, &head, &ops, g);
    arena_deinit(&a);
    return g;
}

void grpc_call_send(struct grpc_call *c, struct str message)
{
    struct chain out;
    if (c->call == NULL)
        return;
    chain_init(&out, turn_chunks(c->turn), turn_account(c->turn));
    grpc_frame(&out, message);
    call_write(c->call, &out);
    chain_deinit(&out);
}

void grpc_call_end(struct grpc_call *c)
{
    if (c->call != NULL)
        call_end(c->call);
}

void grpc_call_cancel(struct grpc_call *c)
{
    c->is_canceled = true;
    if (c->call != NULL)
        call_cancel(c->call);
}
