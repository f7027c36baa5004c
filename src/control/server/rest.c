/* A request of the API: collected, dispatched by its path, answered as JSON. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "codec/duration.h"
#include "control/server/server_priv.h"

enum { NOTE_LEN_MAX = 1000 };

/* --- answering --- */

void rest_reply(struct rest_call *c, unsigned status, struct str json)
{
    if (c->is_done)
        return;
    c->is_done = true;
    service_reply(c->s, status, STR("application/json"), json);
}

void rest_fail(struct rest_call *c, unsigned status, const char *reason, const char *fmt, ...)
{
    struct str_buf out = STR_BUF_INIT(32 * 1024);
    struct json_writer w;
    char text[4096];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    json_writer_init(&w, &out, 0);
    json_writer_object(&w, NULL);
    json_writer_c(&w, "kind", "Status");
    json_writer_c(&w, "apiVersion", "v1");
    json_writer_c(&w, "status", "Failure");
    json_writer_c(&w, "message", text);
    json_writer_c(&w, "reason", reason);
    json_writer_u64(&w, "code", status);
    json_writer_end(&w);
    rest_reply(c, status, str_buf_str(&out));
    str_buf_deinit(&out);
}

void rest_fail_store(struct rest_call *c, int err, const struct store_object *o)
{
    const char *kind = o != NULL ? api_kind_info(o->kind)->name : "document";
    struct str name = o != NULL ? o->name : STR_NULL;
    if (err == -ERR_NOT_FOUND)
        rest_fail(c, 404, "NotFound", "%s \"%.*s\" is not there", kind, STR_FMT(name));
    else if (err == -ERR_CONFLICT)
        rest_fail(c, 409, "Conflict",
                  "%s \"%.*s\" was changed by somebody else since it was read; read it again", kind,
                  STR_FMT(name));
    else if (err == -ERR_NO_SPACE)
        rest_fail(c, 507, "InsufficientStorage",
                  "%s \"%.*s\": the disk of the control plane's state is full; nothing was changed",
                  kind, STR_FMT(name));
    else
        rest_fail(c, 500, "InternalError", "%s \"%.*s\": %s", kind, STR_FMT(name), err_text(err));
}

struct str rest_query(const struct rest_call *c, const char *name)
{
    struct str value, text;
    if (!url_query_get(http_head_query(c->head), str_from_c(name), &value) ||
        !url_decode(c->a, value, &text))
        return STR_NULL;
    return text;
}

bool rest_query_is_true(const struct rest_call *c, const char *name)
{
    struct str value = rest_query(c, name);
    return str_eq(value, STR("true")) || str_eq(value, STR("1")) || str_eq(value, STR("All"));
}

bool rest_is_method(const struct rest_call *c, const char *method)
{
    return str_eq(c->head->method, str_from_c(method));
}

struct store_author rest_author(struct rest_call *c, const char *verb)
{
    const struct conn_peer *peer = &c->conn->peer;
    char *at = arena_alloc(c->a, TIME_TEXT_MAX);
    int64_t now_ms = (int64_t)(turn_wall_us(c->server->args.turn) / 1000);
    return (struct store_author){
        .at = time_format(now_ms, false, at),
        .who = arena_printf(c->a, "uid:%u", peer->uid),
        .source = arena_printf(c->a, "unix socket, pid %u", peer->pid),
        .verb = str_from_c(verb),
        .note = str_sub(rest_query(c, "note"), 0, NOTE_LEN_MAX),
    };
}

/* --- the call --- */

static bool split_path(struct rest_call *c)
{
    struct str rest = str_skip(http_head_path_only(c->head), 1);
    while (rest.ptr != NULL && rest.len > 0) {
        struct str segment;
        if (c->path_count == REST_SEGMENTS_MAX ||
            !url_decode(c->a, str_split(&rest, '/'), &segment) || segment.len == 0)
            return false;
        c->path[c->path_count++] = segment;
    }
    return true;
}

static void run(struct rest_call *c)
{
    static bool (*const handlers[])(struct rest_call *) = {
        rest_apply, rest_history, rest_backup, rest_mesh, rest_objects, rest_discovery};
    if (!split_path(c)) {
        rest_fail(c, 400, "BadRequest", "the path has empty or too many parts");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(handlers); i++) {
        if (handlers[i](c))
            return;
    }
    rest_fail(c, 404, "NotFound", "there is nothing at %.*s",
              STR_FMT(str_sub(c->head->path, 0, 200)));
}

static void on_head(void *service, struct service_stream *s, const struct http_head *head)
{
    const struct server_face *face = service;
    struct arena *a = &service_exchange(s)->arena;
    struct rest_call *c = ARENA_NEW(a, struct rest_call);
    c->server = face->server;
    c->conn = service_exchange(s)->ctx;
    c->s = s;
    c->a = a;
    c->head = head;
    c->body = STR_BUF_INIT(REST_BODY_BYTES_MAX);
    service_set_ctx(s, c);
    if (!head->has_body)
        run(c);
}

static void on_body(void *service, struct service_stream *s, struct chain *body, bool is_ended)
{
    struct rest_call *c = service_ctx(s);
    (void)service;
    while (!c->is_done && !chain_is_empty(body)) {
        struct str part = chain_first(body);
        str_buf_add(&c->body, part);
        chain_skip(body, part.len);
        if (c->body.is_overflown)
            rest_fail(c, 413, "RequestEntityTooLarge", "the body is larger than %d bytes",
                      REST_BODY_BYTES_MAX);
    }
    chain_clear(body);
    if (is_ended && !c->is_done && c->head->has_body && c->waiting == NULL)
        run(c);
}

static void on_end(void *service, struct service_stream *s, int err)
{
    struct rest_call *c = service_ctx(s);
    (void)service;
    (void)err;
    c->is_done = true;
    rest_mesh_forget(c);
    str_buf_deinit(&c->body);
}

const struct service_ops rest_ops = {
    .on_head = on_head,
    .on_body = on_body,
    .on_end = on_end,
};
