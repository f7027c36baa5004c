/* Answers of the proxy's own, as the listener wants them (local_reply_config): the first mapper
 * that fits says another status, another body, fields; then the body goes through a format.
 * Malformed messages are answered by the codec, before there is a request, and as they are. */
#include <stdlib.h>

#include "http/grpc.h"
#include "proxy/flow/flow_priv.h"

enum { BODY_BYTES_MAX = 1 << 20 };

struct flow_local_reply {
    const struct local_reply *model;
    struct access_log_format *format;           /* NULL: the body as it is */
    struct access_log_format *mapper_formats[]; /* likewise */
};

static int compile(const struct substitution_format *model, const char *name, size_t index,
                   struct str_buf *why, struct access_log_format **ret_format)
{
    AUTO(str_buf_deinit) struct str_buf reason = STR_BUF_INIT(1024);
    int err = access_log_format_new(model, &reason, ret_format);
    if (err == 0)
        return 0;
    str_buf_add_c(why, "local_reply_config.");
    if (index != SIZE_MAX)
        str_buf_printf(why, "mappers[%zu].", index);
    str_buf_printf(why, "%s: %.*s", name, STR_FMT(str_buf_str(&reason)));
    return err;
}

int local_reply_new(const struct local_reply *model, struct str_buf *why,
                    struct flow_local_reply **ret_reply)
{
    struct flow_local_reply *lr =
        mem_zalloc(sizeof *lr + model->mapper_count * sizeof lr->mapper_formats[0]);
    int err = 0;
    lr->model = model;
    if (model->has_format)
        err = compile(&model->format, "body_format", SIZE_MAX, why, &lr->format);
    for (size_t i = 0; err == 0 && i < model->mapper_count; i++) {
        if (model->mappers[i].has_format)
            err = compile(&model->mappers[i].format, "body_format_override", i, why,
                          &lr->mapper_formats[i]);
    }
    if (err != 0) {
        local_reply_free(lr);
        return err;
    }
    *ret_reply = lr;
    return 0;
}

struct flow_local_reply *local_reply_free(struct flow_local_reply *lr)
{
    if (lr == NULL)
        return NULL;
    access_log_format_free(lr->format);
    for (size_t i = 0; i < lr->model->mapper_count; i++)
        access_log_format_free(lr->mapper_formats[i]);
    free(lr);
    return NULL;
}

/* --- an answer --- */

/* What it would say: of gRPC, the message in its head. */
static struct str body_of(struct exchange *x)
{
    struct flow *f = &x->flows[SIDE_RESPONSE];
    if (f->head->is_grpc)
        return grpc_message_decode(http_head_get(f->head, HTTP_NAME_GRPC_MESSAGE), &x->arena);
    return chain_pullup(&f->body, f->body.len);
}

static void set_grpc(struct exchange *x, unsigned status, struct str body)
{
    struct http_head *head = x->flows[SIDE_RESPONSE].head;
    http_head_set(head, HTTP_NAME_GRPC_STATUS,
                  arena_printf(&x->arena, "%d", (int)grpc_status_from_http(status)));
    http_head_remove(head, HTTP_NAME_GRPC_MESSAGE);
    if (body.len > 0)
        http_head_add(head, HTTP_NAME_GRPC_MESSAGE, grpc_message_encode(body, &x->arena));
}

/* RFC 9110 15.3.5, 15.4.5 */
static bool has_no_content(unsigned status)
{
    return status == 204 || status == 304;
}

static void set_body(struct exchange *x, struct str body, struct str content_type)
{
    struct flow *f = &x->flows[SIDE_RESPONSE];
    struct http_head *head = f->head;
    bool is_head = str_eq(x->flows[SIDE_REQUEST].head->method, STR("HEAD"));
    bool is_none = has_no_content(head->status);
    chain_clear(&f->body);
    head->has_body = body.len > 0 && !is_head && !is_none;
    /* What GET would have got is not known. */
    head->has_length = !is_head && !is_none;
    head->length = head->has_length ? body.len : 0;
    if (head->has_body)
        chain_add(&f->body, body);
    if (body.len > 0 && !is_none)
        http_head_set(head, HTTP_NAME_CONTENT_TYPE, content_type);
    else
        http_head_remove(head, HTTP_NAME_CONTENT_TYPE);
}

static struct str content_type_of(const struct substitution_format *f, bool has_format)
{
    if (has_format && f->content_type.len > 0)
        return f->content_type;
    return has_format && f->is_json ? STR("application/json") : STR("text/plain");
}

/* RFC 9110 9.3.6: to who asked for a tunnel, success says that there is one. */
static bool may_say(const struct exchange *x, unsigned status)
{
    return status >= 300 || !str_eq(x->flows[SIDE_REQUEST].head->method, STR("CONNECT"));
}

static size_t find_mapper(const struct local_reply *model, const struct record *rec)
{
    size_t i = 0;
    while (i < model->mapper_count && !log_is_wanted(model->mappers[i].filter, rec))
        i++;
    return i;
}

/* The body as it is to be, in the exchange's arena; the one that was when the format gives too
 * much.
 */
static struct str format_body(const struct access_log_format *format, struct record *rec,
                              struct str body, struct arena *a)
{
    AUTO(str_buf_deinit) struct str_buf text = STR_BUF_INIT(BODY_BYTES_MAX);
    if (format == NULL)
        return arena_str(a, body);
    rec->local_reply_body = body.ptr != NULL ? body : STR("");
    access_log_format_line(format, rec, &text);
    return arena_str(a, text.is_overflown ? body : str_buf_str(&text));
}

void local_reply_apply(const struct flow_local_reply *lr, struct flow_conn *fc, struct request *r)
{
    struct exchange *x = r->x;
    struct http_head *head = x->flows[SIDE_RESPONSE].head;
    struct record rec = record_of(fc, r, turn_now_us(x->turn));
    rec.status = x->outcome.status;
    size_t at = find_mapper(lr->model, &rec);
    bool is_mapped = at < lr->model->mapper_count;
    const struct local_reply_mapper *m = is_mapped ? &lr->model->mappers[at] : NULL;
    bool is_own = is_mapped && m->has_format;
    const struct substitution_format *model = is_own ? &m->format : &lr->model->format;
    const struct access_log_format *format = is_own ? lr->mapper_formats[at] : lr->format;
    if (is_mapped && m->status != 0 && may_say(x, m->status))
        rec.status = (uint16_t)m->status;
    struct str body = is_mapped && m->has_body ? m->body : body_of(x);
    body = format_body(format, &rec, body, &x->arena);
    bool is_other = format != NULL || (is_mapped && m->has_body);
    if (head->is_grpc) {
        /* JSON's end of a line is no part of a message. */
        bool is_line = format != NULL && model->is_json && str_ends_with(body, STR("\n"));
        set_grpc(x, rec.status, str_sub(body, 0, body.len - is_line));
    } else {
        head->status = rec.status;
        if (is_other || has_no_content(rec.status))
            set_body(x, body, content_type_of(model, format != NULL));
    }
    if (is_mapped)
        match_edit(&m->headers, head);
}
