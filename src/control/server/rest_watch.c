/* Watches (Kubernetes' ?watch=true): a line of JSON for each change, until the client leaves, the
 * time is over, or it is too slow to take what it asked for. A watch resumes at any revision that
 * the history still has; at older ones it is 410, and the client lists again. */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "control/server/server_priv.h"

enum {
    WATCHERS_MAX = 1000,
    WATCHERS_OF_ONE_MAX = 200, /* of whoever is no administrator */
    WAITING_BYTES_MAX = 4 * 1024 * 1024,
    TIMEOUT_S_MAX = 3600,
    BOOKMARK_US = 60 * 1000 * 1000,
    KEY_LEN_MAX = 320, /* names are checked: 63 and 253 bytes at most */
};

struct watcher {
    struct list link;
    struct rest_call *call;
    struct rest_target target;
    bool is_table, has_bookmarks;
    uint64_t started_turn;
    struct map shown; /* "NS/NAME" of what its label selector takes at present */
    struct timer timeout, bookmark;
};

static void stop(struct watcher *w)
{
    list_remove(&w->link);
    timer_stop(&w->timeout);
    timer_stop(&w->bookmark);
    w->call->watcher = NULL;
    w->call->server->watcher_count--;
    map_deinit(&w->shown);
    free(w);
}

static void end(struct watcher *w)
{
    struct service_stream *s = w->call->s;
    stop(w);
    service_end(s, NULL, 0);
}

void rest_watch_forget(struct rest_call *c)
{
    if (c->watcher != NULL)
        stop(c->watcher);
}

/* --- events --- */

static void write_line(const struct watcher *w, struct str line)
{
    struct chain out;
    chain_init(&out, turn_chunks(w->call->server->args.turn), NULL);
    chain_add(&out, line);
    service_write(w->call->s, &out);
    chain_deinit(&out);
}

/* More than a watch holds has happened: no client could be quick enough, and it would come again
 * from where it was. So it is told to list. */
static void end_expired(struct watcher *w)
{
    write_line(w, STR("{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"apiVersion\":\"v1\","
                      "\"metadata\":{},\"status\":\"Failure\",\"message\":\"too much has happened "
                      "since: list again\",\"reason\":\"Expired\",\"code\":410}}\n"));
    end(w);
}

/* All that is there, or has happened since, is written in the turn that it begins in. */
static bool is_catching_up(const struct watcher *w)
{
    return turn_count(w->call->server->args.turn) == w->started_turn;
}

static void send(struct watcher *w, struct str line)
{
    write_line(w, line);
    if (service_waiting(w->call->s) <= WAITING_BYTES_MAX)
        return;
    if (is_catching_up(w) && rest_hold(w->call, service_waiting(w->call->s))) {
        end_expired(w);
        return;
    }
    log_event(LOG_WARN, "watch_too_slow", LF("who", w->call->who.name));
    struct rest_call *c = w->call;
    stop(w);
    service_reset(c->s, -ERR_LIMIT);
}

static void send_event(struct watcher *w, const char *type, const struct store_object *o)
{
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    struct json_writer j;
    json_writer_init(&j, &out, 0);
    json_writer_object(&j, NULL);
    json_writer_c(&j, "type", type);
    json_writer_key(&j, STR("object"));
    if (w->is_table)
        rest_table_of(w->call, w->target.kind, o, &j);
    else
        rest_object(w->call->server, o, &j);
    json_writer_end(&j);
    str_buf_add_c(&out, "\n");
    send(w, str_buf_str(&out));
    str_buf_deinit(&out);
}

static const char *type_name(enum store_change change)
{
    return change == STORE_CREATED ? "ADDED" : change == STORE_DELETED ? "DELETED" : "MODIFIED";
}

static bool is_watched(const struct watcher *w, const struct store_object *o)
{
    const struct rest_target *t = &w->target;
    return o->kind == t->kind->kind &&
           (t->namespace_.len == 0 || str_eq(t->namespace_, o->namespace_)) &&
           (t->selection == NULL ||
            selector_takes_fields(&t->selection->fields, o->namespace_, o->name));
}

static bool has_labels(const struct watcher *w)
{
    return w->target.selection != NULL && w->target.selection->labels.count > 0;
}

static struct str key_of(char *text, size_t len_max, const struct store_object *o)
{
    int len = snprintf(text, len_max, "%.*s/%.*s", STR_FMT(o->namespace_), STR_FMT(o->name));
    return str_from(text, MIN((size_t)len, len_max - 1));
}

/* Notes whether the selector takes it now; whether it did before. */
static bool note_shown(struct watcher *w, const struct store_object *o, bool is_taken)
{
    char text[KEY_LEN_MAX];
    struct str key = key_of(text, sizeof text, o);
    return (is_taken ? map_put(&w->shown, key, w) : map_remove(&w->shown, key)) != NULL;
}

/* With a label selector an object comes and goes with its labels, too. */
static void on_event(struct watcher *w, enum store_change change, const struct store_object *o)
{
    if (!is_watched(w, o))
        return;
    if (!has_labels(w)) {
        send_event(w, type_name(change), o);
        return;
    }
    bool is_taken = change != STORE_DELETED && rest_is_labelled(w->target.selection, o);
    bool was_taken = note_shown(w, o, is_taken);
    if (is_taken || was_taken)
        send_event(w, !is_taken ? "DELETED" : was_taken ? "MODIFIED" : "ADDED", o);
}

void rest_watch_changed(void *ctx, enum store_change change, const struct store_object *o)
{
    struct server *s = ctx;
    server_note_change(s, change, o);
    rest_watch_tell(s, change, o);
}

void rest_watch_tell(struct server *s, enum store_change change, const struct store_object *o)
{
    LIST_FOREACH (&s->watchers, w, struct watcher, link) {
        on_event(w, change, o);
    }
}

/* --- what has happened since, or what is there; a slow client may end the watch in between --- */

static void on_version(void *ctx, const struct store_version *v)
{
    struct rest_call *c = ctx;
    if (c->watcher != NULL)
        on_event(c->watcher, v->change, &v->object);
}

/* What the client has seen when it resumes. */
static void on_then(void *ctx, const struct store_object *o)
{
    struct rest_call *c = ctx;
    if (is_watched(c->watcher, o) && rest_is_labelled(c->watcher->target.selection, o))
        (void)note_shown(c->watcher, o, true);
}

static void on_present(void *ctx, const struct store_object *o)
{
    struct rest_call *c = ctx;
    if (c->watcher != NULL)
        on_event(c->watcher, STORE_CREATED, o);
}

/* --- its end --- */

static void on_timeout(struct timer *timer)
{
    end(CONTAINER_OF(timer, struct watcher, timeout));
}

void rest_watch_end_of(struct server *s, struct str principal)
{
    LIST_FOREACH (&s->watchers, w, struct watcher, link) {
        if (str_eq(w->call->who.name, principal))
            end(w);
    }
}

/* A right that is over ends what was begun with it. */
static uint64_t timeout_of(const struct rest_call *c, uint64_t asked_s)
{
    uint64_t now_s = turn_wall_us(c->server->args.turn) / 1000000, expires_s = c->who.expires_s;
    uint64_t timeout_s = asked_s == 0 ? TIMEOUT_S_MAX : MIN(asked_s, (uint64_t)TIMEOUT_S_MAX);
    uint64_t left_s = expires_s > now_s ? expires_s - now_s : 0;
    return expires_s == 0 ? timeout_s : MIN(timeout_s, left_s);
}

/* --- bookmarks --- */

static void send_bookmark(struct watcher *w, const char *annotations)
{
    const struct rest_target *t = &w->target;
    struct str_buf out = STR_BUF_INIT(4096);
    str_buf_printf(&out,
                   "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"%s\",\"apiVersion\":\"%s%s%.*s\","
                   "\"metadata\":{\"resourceVersion\":\"%llu\"%s}}}\n",
                   t->kind->name, t->kind->group, t->kind->group[0] != '\0' ? "/" : "",
                   STR_FMT(t->version),
                   (unsigned long long)store_revision(w->call->server->args.store), annotations);
    send(w, str_buf_str(&out));
    str_buf_deinit(&out);
}

/* So that a client that saw nothing for long still resumes where the history reaches. */
static void on_bookmark(struct timer *timer)
{
    struct watcher *w = CONTAINER_OF(timer, struct watcher, bookmark);
    timer_start(w->call->server->args.turn, timer, BOOKMARK_US);
    send_bookmark(w, "");
}

/* Kubernetes' streaming lists: a client that asked for what is there waits for this. */
static void send_initial_end(struct watcher *w)
{
    send_bookmark(w, ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}");
}

/* --- starting --- */

static void start(struct rest_call *c, const struct rest_target *t, uint64_t timeout_s)
{
    static const struct http_field type = {.name = {"content-type", 12},
                                           .value = {"application/json", 16},
                                           .id = HTTP_NAME_CONTENT_TYPE};
    struct turn *turn = c->server->args.turn;
    struct watcher *w = NEW(struct watcher);
    w->call = c;
    w->target = *t;
    w->started_turn = turn_count(turn);
    w->is_table = rest_wants_table(c);
    w->has_bookmarks = rest_query_is_true(c, "allowWatchBookmarks");
    map_init(&w->shown);
    timer_init(&w->timeout, on_timeout);
    timer_init(&w->bookmark, on_bookmark);
    list_push_back(&c->server->watchers, &w->link);
    c->server->watcher_count++;
    c->watcher = w;
    c->is_done = true;
    service_respond(c->s, 200, &type, 1);
    timer_start(turn, &w->timeout, timeout_s * 1000000);
    if (w->has_bookmarks)
        timer_start(turn, &w->bookmark, BOOKMARK_US);
}

static void run(struct rest_call *c, const struct rest_target *t, uint64_t since,
                uint64_t timeout_s)
{
    struct store *store = c->server->args.store;
    bool is_initial = rest_query_is_true(c, "sendInitialEvents");
    since = is_initial ? 0 : since;
    /* Behind the present after a backup was restored: the client's view is of another time. */
    if (since > 0 && (since < store_history_start(store) || since > store_revision(store))) {
        rest_fail(c, 410, "Expired",
                  "resourceVersion %llu is not in the history (%llu to %llu): list again",
                  (unsigned long long)since, (unsigned long long)store_history_start(store),
                  (unsigned long long)store_revision(store));
        return;
    }
    start(c, t, timeout_s);
    int err = since > 0 && has_labels(c->watcher) ? store_list_at(store, since, on_then, c) : 0;
    if (err == 0)
        err = since > 0
                  ? store_list_since(store, t->kind->kind, t->namespace_, since, on_version, c)
                  : store_list(store, t->kind->kind, t->namespace_, on_present, c);
    if (c->watcher == NULL)
        return;
    if (err != 0) {
        stop(c->watcher);
        service_reset(c->s, err);
    } else if (is_initial) {
        send_initial_end(c->watcher);
    }
}

static size_t watchers_of(const struct rest_call *c)
{
    size_t count = 0;
    LIST_FOREACH (&c->server->watchers, w, struct watcher, link)
        count += str_eq(w->call->who.name, c->who.name);
    return count;
}

void rest_watch(struct rest_call *c, const struct rest_target *t)
{
    uint64_t since = 0, timeout_s = TIMEOUT_S_MAX;
    struct str from = rest_query(c, "resourceVersion"), timeout = rest_query(c, "timeoutSeconds");
    if ((from.len > 0 && !str_to_u64(from, INT64_MAX, &since)) ||
        (timeout.len > 0 && !str_to_u64(timeout, UINT32_MAX, &timeout_s)))
        rest_fail(c, 400, "BadRequest", "resourceVersion and timeoutSeconds are numbers");
    else if (c->server->watcher_count >= WATCHERS_MAX)
        rest_fail(c, 429, "TooManyRequests", "%d watches are open", WATCHERS_MAX);
    else if (!c->who.is_administrator && watchers_of(c) >= WATCHERS_OF_ONE_MAX)
        rest_fail(c, 429, "TooManyRequests", "you have %d watches open", WATCHERS_OF_ONE_MAX);
    else
        run(c, t, since, timeout_of(c, timeout_s));
}
