/* Many documents of a kind at a time: lists, and deleting what a selector takes. */
#include "control/server/server_priv.h"

/* --- what is asked for --- */

static bool parse(struct rest_call *c, const char *name,
                  int (*read)(struct arena *a, struct str text, struct selector *ret_selector,
                              const char **ret_why),
                  struct selector *ret_selector)
{
    const char *why = "";
    if (read(c->a, rest_query(c, name), ret_selector, &why) == 0)
        return true;
    rest_fail(c, 400, "BadRequest", "%s: %s", name, why);
    return false;
}

bool rest_read_selection(struct rest_call *c, const struct rest_selection **ret_selection)
{
    struct rest_selection *s = ARENA_NEW(c->a, struct rest_selection);
    if (!parse(c, "labelSelector", selector_parse_labels, &s->labels) ||
        !parse(c, "fieldSelector", selector_parse_fields, &s->fields))
        return false;
    *ret_selection = s;
    return true;
}

bool rest_is_labelled(const struct rest_selection *s, const struct store_object *o)
{
    struct arena a;
    const struct json *root = NULL;
    if (s == NULL || s->labels.count == 0)
        return true;
    arena_init(&a, 4096);
    (void)json_parse(&a, o->json, o->json.len, &root, NULL);
    bool is_taken =
        selector_takes_labels(&s->labels, json_get(json_get(root, "metadata"), "labels"));
    arena_deinit(&a);
    return is_taken;
}

bool rest_is_selected(const struct rest_selection *s, const struct store_object *o)
{
    return s == NULL ||
           (selector_takes_fields(&s->fields, o->namespace_, o->name) && rest_is_labelled(s, o));
}

/* --- lists --- */

struct listing {
    struct rest_call *call;
    const struct rest_selection *selection;
    struct json_writer *w;
    bool is_table;
};

static void on_object(void *ctx, const struct store_object *o)
{
    const struct listing *l = ctx;
    if (!rest_is_selected(l->selection, o))
        return;
    if (l->is_table)
        rest_table_row(l->call, o, l->w);
    else
        rest_object(l->call->server, o, l->w);
}

struct str rest_api_version(const struct rest_call *c, const struct rest_target *t)
{
    return arena_printf(c->a, "%s%s%.*s", t->kind->group, t->kind->group[0] != '\0' ? "/" : "",
                        STR_FMT(t->version));
}

static void begin_list(const struct rest_call *c, const struct rest_target *t,
                       struct json_writer *w)
{
    json_writer_object(w, NULL);
    json_writer_str(w, "kind", arena_printf(c->a, "%sList", t->kind->name));
    json_writer_str(w, "apiVersion", rest_api_version(c, t));
    json_writer_object(w, "metadata");
    json_writer_str(
        w, "resourceVersion",
        arena_printf(c->a, "%llu", (unsigned long long)store_revision(c->server->args.store)));
    json_writer_end(w);
    json_writer_array(w, "items");
}

static void list_all(struct rest_call *c, const struct rest_target *t)
{
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    struct json_writer w;
    struct listing l = {c, t->selection, &w, rest_wants_table(c)};
    json_writer_init(&w, &out, 0);
    if (l.is_table)
        rest_table_begin(c, t->kind, &w);
    else
        begin_list(c, t, &w);
    int err = store_list(c->server->args.store, t->kind->kind, t->namespace_, on_object, &l);
    json_writer_end(&w);
    json_writer_end(&w);
    if (err == 0 && !out.is_overflown)
        rest_reply(c, 200, str_buf_str(&out));
    else
        rest_fail_store(c, err != 0 ? err : -ERR_TOO_LARGE, NULL);
    str_buf_deinit(&out);
}

void rest_list(struct rest_call *c, const struct rest_target *t)
{
    struct rest_target selected = *t;
    if (!rest_read_selection(c, &selected.selection))
        return;
    if (!rest_query_is_true(c, "watch"))
        list_all(c, &selected);
    else if (rest_may(c, ACCESS_WATCH, t->kind, t->namespace_))
        rest_watch(c, &selected);
}

/* --- deleting --- */

struct deletion {
    struct change *change;
    const struct rest_selection *selection;
};

static void on_doomed(void *ctx, const struct store_object *o)
{
    const struct deletion *d = ctx;
    if (rest_is_selected(d->selection, o))
        change_delete(d->change, o);
}

static void commit(struct rest_call *c, struct change *change)
{
    struct store_author by = rest_author(c, "delete");
    size_t failed = 0;
    if (!rest_may_change(c, change))
        return;
    int err = change_commit(change, rest_query_is_true(c, "dryRun"), &by, &failed);
    if (err != 0)
        rest_fail_store(c, err, change->writes.len > 0 ? &change->writes.ptr[failed].object : NULL);
    else
        rest_reply(c, 200,
                   arena_printf(c->a,
                                "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},"
                                "\"status\":\"Success\",\"deleted\":%zu,\"revision\":%llu}",
                                change->writes.len,
                                (unsigned long long)store_revision(c->server->args.store)));
}

/* All that the selectors take, in one change. */
void rest_delete_many(struct rest_call *c, const struct rest_target *t)
{
    struct deletion d = {.change = NULL};
    struct change change;
    if (!rest_read_selection(c, &d.selection))
        return;
    change_init(&change, c->server, STR("api"));
    d.change = &change;
    int err = store_list(c->server->args.store, t->kind->kind, t->namespace_, on_doomed, &d);
    if (err == 0)
        commit(c, &change);
    else
        rest_fail_store(c, err, NULL);
    change_deinit(&change);
}
