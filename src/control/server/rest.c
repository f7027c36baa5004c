/* A request of the API: collected, dispatched by its path, answered as JSON. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "codec/duration.h"
#include "control/server/server_priv.h"

enum { NOTE_LEN_MAX = 1000 };

/* --- answering --- */

/* As Kubernetes sends them: kubectl shows them to its user. */
static struct str warning_text(struct rest_call *c, struct str text)
{
    struct str_buf out = STR_BUF_INIT(4096);
    str_buf_add_c(&out, "299 - \"");
    for (size_t i = 0; i < text.len; i++) {
        char ch = text.ptr[i];
        if (ch == '"' || ch == '\\')
            str_buf_add_char(&out, '\\');
        str_buf_add_char(&out, ch < ' ' || ch == 0x7f ? '?' : ch);
    }
    str_buf_add_c(&out, "\"");
    struct str value = arena_str(c->a, str_buf_str(&out));
    str_buf_deinit(&out);
    return value;
}

static void reply_with_warnings(struct rest_call *c, unsigned status, struct str json)
{
    struct http_field fields[1 + REST_WARNINGS_MAX] = {{.name = STR("content-type"),
                                                        .value = STR("application/json"),
                                                        .id = HTTP_NAME_CONTENT_TYPE}};
    struct chain body;
    for (size_t i = 0; i < c->warning_count; i++)
        fields[1 + i] =
            (struct http_field){.name = STR("warning"), .value = warning_text(c, c->warnings[i])};
    service_respond(c->s, status, fields, 1 + c->warning_count);
    chain_init(&body, turn_chunks(c->server->args.turn), NULL);
    chain_add(&body, json);
    service_write(c->s, &body);
    service_end(c->s, NULL, 0);
    chain_deinit(&body);
}

bool rest_hold(struct rest_call *c, size_t bytes)
{
    struct server *s = c->server;
    if (c->who.is_administrator)
        return true;
    if (bytes > REST_HELD_BYTES_MAX - s->held_bytes)
        return false;
    s->held_bytes += bytes;
    c->held_bytes += bytes;
    return true;
}

static void refuse_to_hold(struct rest_call *c)
{
    c->is_done = true;
    c->server->counts.limited++;
    service_reply(c->s, 429, STR("application/json"),
                  STR("{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\","
                      "\"message\":\"too much is being sent and not ended, or asked for and not "
                      "read\",\"reason\":\"TooManyRequests\",\"code\":429}"));
}

void rest_reply(struct rest_call *c, unsigned status, struct str json)
{
    if (c->is_done)
        return;
    if (!rest_hold(c, json.len)) {
        refuse_to_hold(c);
        return;
    }
    c->is_done = true;
    if (c->warning_count > 0)
        reply_with_warnings(c, status, json);
    else
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
    if (!url_query_get(http_head_query(c->head), str_from_c(name), &value))
        return STR_NULL;
    /* As forms are encoded (Go's clients do): a blank is "+", a plus is "%2B". */
    char *blanks = arena_bytes(c->a, value.len);
    for (size_t i = 0; i < value.len; i++)
        blanks[i] = value.ptr[i] == '+' ? ' ' : value.ptr[i];
    return url_decode(c->a, str_from(blanks, value.len), &text) ? text : STR_NULL;
}

bool rest_query_is_true(const struct rest_call *c, const char *name)
{
    struct str value = rest_query(c, name);
    return str_eq_nocase(value, STR("true")) || str_eq(value, STR("1")) ||
           str_eq(value, STR("All"));
}

bool rest_is_method(const struct rest_call *c, const char *method)
{
    return str_eq(c->head->method, str_from_c(method));
}

bool rest_is_own(const struct rest_call *c, const char *name)
{
    return c->path_count >= 3 && str_eq(c->path[0], STR("tulle")) &&
           str_eq(c->path[1], STR("v1")) && str_eq(c->path[2], str_from_c(name));
}

static struct str note_of(struct rest_call *c)
{
    struct str_buf shown = STR_BUF_INIT(NOTE_LEN_MAX);
    str_buf_add_shown(&shown, str_sub(rest_query(c, "note"), 0, NOTE_LEN_MAX));
    struct str note = arena_str(c->a, str_buf_str(&shown));
    str_buf_deinit(&shown);
    return note;
}

struct store_author rest_author(struct rest_call *c, const char *verb)
{
    char *at = arena_alloc(c->a, TIME_TEXT_MAX);
    int64_t now_ms = (int64_t)(turn_wall_us(c->server->args.turn) / 1000);
    return (struct store_author){
        .at = time_format(now_ms, false, at),
        .who = c->who.name,
        .source = c->source,
        .verb = str_from_c(verb),
        .note = note_of(c),
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
        rest_apply,     rest_explain, rest_history, rest_backup, rest_access,
        rest_ca,        rest_revoked, rest_bypass,  rest_mesh,   rest_objects,
        rest_discovery, rest_openapi, rest_debug};
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

/* --- who asks --- */

/* A certificate counts while it is valid, not for as long as the connection lasts. */
static int by_certificate(struct rest_call *c, const struct server_conn *conn, struct str identity,
                          uint64_t now_s)
{
    uint64_t end_s = conn->not_after_s;
    if (now_s >= end_s || registry_is_revoked(c->server->args.registry, identity))
        return -ERR_UNAUTHENTICATED;
    int err = access_by_identity(c->server->args.store, identity, now_s, c->a, &c->who);
    c->who.expires_s = c->who.expires_s == 0 ? end_s : MIN(c->who.expires_s, end_s);
    return err;
}

static int authenticate(struct rest_call *c, const struct server_conn *conn,
                        const struct downstream_info *info)
{
    struct store *store = c->server->args.store;
    uint64_t now_s = turn_wall_us(c->server->args.turn) / 1000000;
    char text[ADDR_TEXT_LEN];
    if (conn->face->door == DOOR_LOCAL) {
        c->who.is_administrator = true;
        c->who.name = arena_printf(c->a, "uid:%u", conn->peer.uid);
        c->source = arena_printf(c->a, "unix socket, pid %u", conn->peer.pid);
        return 0;
    }
    c->source = arena_str(c->a, addr_format(&info->remote, text));
    struct str shown = http_head_get_named(c->head, STR("authorization"));
    if (str_starts_with_nocase(shown, STR("bearer ")))
        return access_by_token(store, str_trim(str_skip(shown, 7)), now_s, c->a, &c->who);
    struct str principal = downstream_tls(info)->peer_principal;
    if (info->is_mtls && principal.len > 0)
        return by_certificate(c, conn, principal, now_s);
    return -ERR_UNAUTHENTICATED;
}

static void refuse_stranger(struct rest_call *c, int err)
{
    c->server->counts.unauthenticated++;
    if (err != -ERR_UNAUTHENTICATED) {
        rest_fail_store(c, err, NULL);
        return;
    }
    log_event(LOG_WARN, "api_unauthenticated", LF("from", c->source));
    rest_fail(c, 401, "Unauthorized",
              "show a token that is valid, or a certificate that was given access "
              "('tulle access create')");
}

/* False: answered. */
static bool admit(struct rest_call *c)
{
    const struct exchange *x = service_exchange(c->s);
    struct server *s = c->server;
    struct server_conn *conn = x->ctx;
    s->counts.requests++;
    int err = authenticate(c, conn, x->info);
    if (err != 0) {
        refuse_stranger(c, err);
        return false;
    }
    server_conn_known(conn, c->who.name);
    if (access_rate_take(&s->rates, &c->who, turn_now_us(s->args.turn)))
        return true;
    s->counts.limited++;
    rest_fail(c, 429, "TooManyRequests", "at most %d calls a second (%d at once)", ACCESS_RATE,
              ACCESS_BURST);
    return false;
}

bool rest_may(struct rest_call *c, enum access_verb verb, const struct api_kind_info *kind,
              struct str namespace_)
{
    if (access_may(&c->who, verb, kind != NULL ? kind->kind : API_KIND_COUNT, namespace_))
        return true;
    c->server->counts.forbidden++;
    log_event(LOG_WARN, "api_forbidden", LF("who", c->who.name), LF("from", c->source),
              LFC("verb", access_verb_name(verb)));
    rest_fail(c, 403, "Forbidden", "%.*s may not %s %s%s%.*s", STR_FMT(c->who.name),
              access_verb_name(verb), kind != NULL ? kind->plural : "all of this",
              namespace_.len > 0 ? " in namespace " : "", STR_FMT(namespace_));
    return false;
}

bool rest_may_write(struct rest_call *c, const struct store_object *o, bool is_delete)
{
    const struct documents *d = c->server->documents;
    const char *kind = api_kind_info(o->kind)->name;
    struct str where;
    if (d == NULL || rest_query_is_true(c, "dryRun"))
        return true;
    switch (documents_may_write(d, o, is_delete, c->a, &where)) {
    case DOCUMENTS_FREE:
        return true;
    case DOCUMENTS_FROM:
        rest_fail(c, 409, "Conflict", "%s \"%.*s\" comes from %.*s: change it there", kind,
                  STR_FMT(o->name), STR_FMT(where));
        return false;
    case DOCUMENTS_FOLDER:
        break;
    }
    rest_fail(c, 409, "Conflict", "documents come from the folder %.*s: put %s \"%.*s\" there",
              STR_FMT(where), kind, STR_FMT(o->name));
    return false;
}

bool rest_may_change(struct rest_call *c, const struct change *change)
{
    for (size_t i = 0; i < change->writes.len; i++) {
        const struct store_write *w = &change->writes.ptr[i];
        const struct store_object *o = &w->object;
        struct store_object present;
        enum access_verb verb = ACCESS_DELETE;
        if (!w->is_delete)
            verb = store_get(c->server->args.store, o->kind, o->namespace_, o->name, c->a,
                             &present) == 0
                       ? ACCESS_UPDATE
                       : ACCESS_CREATE;
        if (!rest_may(c, verb, api_kind_info(o->kind), o->namespace_))
            return false;
    }
    for (size_t i = 0; i < change->writes.len; i++) {
        if (!rest_may_write(c, &change->writes.ptr[i].object, change->writes.ptr[i].is_delete))
            return false;
    }
    return true;
}

static void on_head(void *service, struct service_stream *s, const struct http_head *head)
{
    const struct server_face *face = service;
    struct arena *a = &service_exchange(s)->arena;
    struct rest_call *c = ARENA_NEW(a, struct rest_call);
    c->server = face->server;
    c->s = s;
    c->a = a;
    c->head = head;
    c->body = STR_BUF_INIT(REST_BODY_BYTES_MAX);
    service_set_ctx(s, c);
    if (admit(c) && !head->has_body)
        run(c);
}

static void on_body(void *service, struct service_stream *s, struct chain *body, bool is_ended)
{
    struct rest_call *c = service_ctx(s);
    (void)service;
    while (!c->is_done && !chain_is_empty(body)) {
        struct str part = chain_first(body);
        if (!rest_hold(c, part.len)) {
            refuse_to_hold(c);
            break;
        }
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
    c->server->held_bytes -= c->held_bytes;
    rest_mesh_forget(c);
    rest_watch_forget(c);
    str_buf_deinit(&c->body);
}

const struct service_ops rest_ops = {
    .on_head = on_head,
    .on_body = on_body,
    .on_end = on_end,
};
