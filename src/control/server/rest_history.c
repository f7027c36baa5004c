/* What was done, by whom, and the way back:
 *   GET  /tulle/v1/history[?kind=&namespace=&name=&limit=&before=ID&audit=true]
 *   GET  /tulle/v1/history/REVISION              with the documents before and after
 *   POST /tulle/v1/rollback?revision=R[&kind=&namespace=&name=][&dryRun=true] */
#include "control/server/server_priv.h"

enum { ACTS_DEFAULT = 50, ACTS_MAX = 1000 };

struct history {
    struct rest_call *call;
    struct json_writer w;
    bool is_open; /* an act was begun */
    bool is_whole;
    uint64_t before; /* the act's revision */
};

static void end_act(struct history *h)
{
    if (h->is_open) {
        json_writer_end(&h->w); /* objects */
        json_writer_end(&h->w);
    }
    h->is_open = false;
}

static void on_act(void *ctx, const struct store_act *a)
{
    struct history *h = ctx;
    end_act(h);
    json_writer_object(&h->w, NULL);
    json_writer_u64(&h->w, "id", a->id);
    json_writer_u64(&h->w, "revision", a->revision);
    json_writer_str(&h->w, "at", a->by.at);
    json_writer_str(&h->w, "who", a->by.who);
    json_writer_str(&h->w, "source", a->by.source);
    json_writer_str(&h->w, "verb", a->by.verb);
    if (a->by.note.len > 0)
        json_writer_str(&h->w, "note", a->by.note);
    json_writer_array(&h->w, "objects");
    h->is_open = true;
}

/* An object's content before a revision. */
struct earlier {
    const struct store_object *of;
    struct arena *a;
    struct str json;
};

static void on_earlier(void *ctx, const struct store_object *o)
{
    struct earlier *e = ctx;
    if (o->kind == e->of->kind && str_eq(o->name, e->of->name) &&
        str_eq(o->namespace_, e->of->namespace_))
        e->json = arena_str(e->a, o->json);
}

static void write_texts(struct history *h, const struct store_version *v)
{
    struct earlier e = {.of = &v->object, .a = h->call->a};
    if (v->change != STORE_CREATED)
        (void)store_list_at(h->call->server->args.store, v->object.revision - 1, on_earlier, &e);
    if (e.json.len > 0)
        json_writer_raw(&h->w, "before", e.json);
    if (v->change != STORE_DELETED)
        json_writer_raw(&h->w, "after", v->object.json);
}

static void on_version(void *ctx, const struct store_version *v)
{
    struct history *h = ctx;
    const struct store_object *o = &v->object;
    json_writer_object(&h->w, NULL);
    json_writer_c(&h->w, "kind", api_kind_info(o->kind)->name);
    json_writer_str(&h->w, "namespace", o->namespace_);
    json_writer_str(&h->w, "name", o->name);
    json_writer_c(&h->w, "change", rest_change_name(v->change));
    json_writer_u64(&h->w, "revision", o->revision);
    json_writer_str(&h->w, "file", o->file);
    json_writer_u64(&h->w, "line", o->line);
    if (h->is_whole)
        write_texts(h, v);
    json_writer_end(&h->w);
}

static const struct store_history_ops history_ops = {.act = on_act, .version = on_version};

static void reply_history(struct rest_call *c, const struct store_history_query *q)
{
    const struct store *store = c->server->args.store;
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    struct history h = {.call = c, .is_whole = q->revision > 0};
    json_writer_init(&h.w, &out, 0);
    json_writer_object(&h.w, NULL);
    json_writer_u64(&h.w, "revision", store_revision(store));
    json_writer_u64(&h.w, "oldest", store_history_start(store));
    json_writer_array(&h.w, "acts");
    int err = store_history(c->server->args.store, q, &history_ops, &h);
    bool is_found = h.is_open || q->revision == 0;
    end_act(&h);
    json_writer_end(&h.w);
    json_writer_end(&h.w);
    if (err != 0 || out.is_overflown)
        rest_fail_store(c, err != 0 ? err : -ERR_TOO_LARGE, NULL);
    else if (!is_found)
        rest_fail(c, 404, "NotFound",
                  "no change has revision %llu; the history goes back to %llu (now: %llu)",
                  (unsigned long long)q->revision, (unsigned long long)store_history_start(store),
                  (unsigned long long)store_revision(store));
    else
        rest_reply(c, 200, str_buf_str(&out));
    str_buf_deinit(&out);
}

/* kind, namespace and name of the query; false: answered. */
static bool read_filter(struct rest_call *c, struct rollback_target *ret_filter)
{
    struct str kind = rest_query(c, "kind");
    *ret_filter = (struct rollback_target){.namespace_ = rest_query(c, "namespace"),
                                           .name = rest_query(c, "name")};
    if (kind.len == 0 && ret_filter->name.len == 0)
        return true;
    ret_filter->kind = api_kind_parse(kind);
    if (ret_filter->kind == NULL)
        rest_fail(c, 400, "BadRequest", "no such kind: %.*s", STR_FMT(str_sub(kind, 0, 100)));
    return ret_filter->kind != NULL;
}

static void show(struct rest_call *c)
{
    struct rollback_target filter;
    struct store_history_query q = {.acts_max = ACTS_DEFAULT,
                                    .is_commits_only = !rest_query_is_true(c, "audit")};
    struct str limit = rest_query(c, "limit"), before = rest_query(c, "before");
    uint64_t acts_max = ACTS_DEFAULT;
    if ((limit.len > 0 && (!str_to_u64(limit, ACTS_MAX, &acts_max) || acts_max == 0)) ||
        (before.len > 0 && !str_to_u64(before, INT64_MAX, &q.before_id)) ||
        (c->path_count == 4 &&
         (!str_to_u64(c->path[3], INT64_MAX, &q.revision) || q.revision == 0))) {
        rest_fail(c, 400, "BadRequest", "limit is 1 to %d, before an id, history/ has a revision",
                  ACTS_MAX);
        return;
    }
    if (!read_filter(c, &filter))
        return;
    q.acts_max = acts_max;
    q.has_kind = filter.kind != NULL;
    q.kind = filter.kind != NULL ? filter.kind->kind : API_KIND_COUNT;
    q.namespace_ = filter.namespace_;
    q.name = filter.name;
    reply_history(c, &q);
}

/* --- rollback --- */

static void commit(struct rest_call *c, struct change *change, uint64_t revision)
{
    struct store_author by = rest_author(c, "rollback");
    size_t failed = 0;
    struct str to = arena_printf(c->a, "to revision %llu", (unsigned long long)revision);
    if (!rest_may_change(c, change))
        return;
    by.note =
        by.note.len > 0 ? arena_printf(c->a, "%.*s: %.*s", STR_FMT(to), STR_FMT(by.note)) : to;
    if (!change_check(change)) {
        rest_reply_findings(c, change);
        return;
    }
    int err = change_commit(change, rest_query_is_true(c, "dryRun"), &by, &failed);
    if (err != 0)
        rest_fail_store(c, err, change->writes.len > 0 ? &change->writes.ptr[failed].object : NULL);
    else
        rest_reply_applied(c, change);
}

static void roll_back(struct rest_call *c)
{
    const struct store *store = c->server->args.store;
    struct rollback_target target;
    struct change change;
    uint64_t revision;
    if (!str_to_u64(rest_query(c, "revision"), INT64_MAX, &revision)) {
        rest_fail(c, 400, "BadRequest", "say revision=NUMBER");
        return;
    }
    if (!read_filter(c, &target))
        return;
    change_init(&change, c->server, STR("api"));
    int err = change_back_to(&change, revision, &target);
    if (err == -ERR_NOT_FOUND)
        rest_fail(c, 404, "NotFound", "revision %llu is not known: the history has %llu to %llu",
                  (unsigned long long)revision, (unsigned long long)store_history_start(store),
                  (unsigned long long)store_revision(store));
    else if (err != 0)
        rest_fail_store(c, err, NULL);
    else
        commit(c, &change, revision);
    change_deinit(&change);
}

bool rest_history(struct rest_call *c)
{
    bool is_history = rest_is_own(c, "history") && c->path_count <= 4;
    bool is_rollback = rest_is_own(c, "rollback") && c->path_count == 3;
    if (!is_history && !is_rollback)
        return false;
    if (!rest_is_method(c, is_history ? "GET" : "POST"))
        rest_fail(c, 405, "MethodNotAllowed", "%s only", is_history ? "GET" : "POST");
    else if (is_history && rest_may(c, ACCESS_LIST, NULL, STR_NULL))
        show(c);
    else if (is_rollback)
        roll_back(c);
    return true;
}
