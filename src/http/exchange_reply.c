/* Replies that this process makes itself, in the language of the request: HTTP or gRPC. */
#include "http/exchange_priv.h"
#include "http/grpc.h"

static struct http_head *reply_http(struct exchange *x, unsigned status, struct str body)
{
    struct flow *f = &x->flows[SIDE_RESPONSE];
    struct http_head *head = ARENA_NEW(&x->arena, struct http_head);

    http_head_init(head, &x->arena, false);
    head->status = (uint16_t)status;
    head->has_length = true;
    head->length = body.len;
    if (!str_is_empty(body))
        http_head_add(head, HTTP_NAME_CONTENT_TYPE, STR("text/plain"));
    head->has_body =
        !str_is_empty(body) && !str_eq(x->flows[SIDE_REQUEST].head->method, STR("HEAD"));
    if (head->has_body)
        chain_add(&f->body, body);
    return head;
}

/* "Trailers only": the status in the head, which ends the response. */
static struct http_head *reply_grpc(struct exchange *x, unsigned status, struct str body)
{
    struct http_head *head = ARENA_NEW(&x->arena, struct http_head);
    enum grpc_status code = grpc_status_from_http(status);

    http_head_init(head, &x->arena, false);
    head->status = 200;
    head->is_grpc = true;
    http_head_add(head, HTTP_NAME_CONTENT_TYPE, STR("application/grpc"));
    http_head_add(head, HTTP_NAME_GRPC_STATUS, arena_printf(&x->arena, "%d", (int)code));
    if (!str_is_empty(body))
        http_head_add(head, HTTP_NAME_GRPC_MESSAGE, grpc_message_encode(body, &x->arena));
    return head;
}

struct http_head *exchange_reply(struct exchange *x, unsigned status, struct str details,
                                 struct str body)
{
    static const struct outcome replied = {.err = -ERR_CANCELED, .fault = FAULT_LOCAL};
    const struct http_head *request = x->flows[SIDE_REQUEST].head;
    struct flow *f = &x->flows[SIDE_RESPONSE];

    ASSERT(request != NULL && !f->is_head_sent);
    exchange_let_go(x, &x->upstream, &replied);
    exchange_restart_response(x);
    exchange_set_phase(x, EXCHANGE_REPLYING);
    x->reply_from = x->called_count > 0 ? x->called_count - 1 : 0;
    x->is_response_local = true;
    x->outcome.status = (uint16_t)status;
    if (!str_is_empty(details))
        x->outcome.details = details;
    f->head = request->is_grpc ? reply_grpc(x, status, body) : reply_http(x, status, body);
    f->is_ended = true;
    x->response_head_us = turn_now_us(x->turn);
    return f->head;
}
