/* Identities that are kept out:
 *   GET    /tulle/v1/revoked
 *   POST   /tulle/v1/revoked/NAMESPACE/WORKLOAD[?shared=true]
 *   DELETE /tulle/v1/revoked/NAMESPACE/WORKLOAD */
#include "base/log.h"
#include "control/server/server_priv.h"

/* --- list --- */

static void write_one(void *ctx, struct str identity, struct str note)
{
    struct json_writer *w = ctx;
    json_writer_object(w, NULL);
    json_writer_str(w, "identity", identity);
    json_writer_str(w, "note", note);
    json_writer_end(w);
}

static void reply_list(struct rest_call *c, unsigned status)
{
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    struct json_writer w;
    json_writer_init(&w, &out, 0);
    json_writer_object(&w, NULL);
    json_writer_array(&w, "revoked");
    registry_each_revoked(c->server->args.registry, write_one, &w);
    json_writer_end(&w);
    json_writer_end(&w);
    rest_reply(c, status, str_buf_str(&out));
    str_buf_deinit(&out);
}

/* --- change --- */

/* Other workloads that have the identity: they would be kept out as well. Names, in the arena. */
static struct str sharing(const struct rest_call *c, const struct api_document *d,
                          struct str identity)
{
    const struct registry *r = c->server->args.registry;
    struct registry_docs docs = registry_docs(r, API_KIND_WORKLOAD, d->namespace);
    struct str names = STR_NULL;
    for (size_t i = 0; i < docs.len; i++) {
        if (docs.ptr[i] == d || !str_eq(registry_identity(r, docs.ptr[i], c->a), identity))
            continue;
        names = arena_printf(c->a, "%.*s%s%.*s", STR_FMT(names), names.len > 0 ? ", " : "",
                             STR_FMT(docs.ptr[i]->name));
    }
    return names;
}

static int audit(struct rest_call *c, const char *verb, struct str identity)
{
    struct store_author by = rest_author(c, verb);
    by.note = by.note.len > 0
                  ? arena_printf(c->a, "%.*s: %.*s", STR_FMT(identity), STR_FMT(by.note))
                  : identity;
    return store_audit(c->server->args.store, &by);
}

static int revoke(struct rest_call *c, struct str identity)
{
    struct store_author by = rest_author(c, "workload revoke");
    int err = audit(c, "workload revoke", identity);
    if (err == 0)
        err = registry_revoke(c->server->args.registry, identity,
                              arena_printf(c->a, "%.*s by %.*s%s%.*s", STR_FMT(by.at),
                                           STR_FMT(by.who), by.note.len > 0 ? ": " : "",
                                           STR_FMT(by.note)));
    if (err != 0)
        return err;
    push_revoked(c->server->args.push, identity);
    rest_watch_end_of(c->server, identity);
    return 0;
}

static int restore(struct rest_call *c, struct str identity)
{
    int err = audit(c, "workload restore", identity);
    if (err == 0)
        err = registry_restore(c->server->args.registry, identity);
    if (err == 0)
        push_restored(c->server->args.push, identity);
    return err;
}

static void change(struct rest_call *c, bool is_revoking)
{
    const struct registry *r = c->server->args.registry;
    const struct api_document *d = registry_doc(r, API_KIND_WORKLOAD, c->path[3], c->path[4]);
    if (d == NULL) {
        rest_fail(c, 404, "NotFound", "Workload \"%.*s\" is not there", STR_FMT(c->path[4]));
        return;
    }
    struct str identity = registry_identity(r, d, c->a), others = sharing(c, d, identity);
    if (is_revoking && others.len > 0 && !rest_query_is_true(c, "shared")) {
        rest_fail(c, 409, "Conflict",
                  "%.*s is the identity of other workloads, too (%.*s); shared=true keeps all of "
                  "them out",
                  STR_FMT(identity), STR_FMT(others));
        return;
    }
    int err = is_revoking ? revoke(c, identity) : restore(c, identity);
    if (err == -ERR_NOT_FOUND)
        rest_fail(c, 404, "NotFound", "%.*s is not revoked", STR_FMT(identity));
    else if (err != 0)
        rest_fail_store(c, err, NULL);
    else
        reply_list(c, 200);
    if (err == 0)
        log_event(LOG_WARN, is_revoking ? "identity_revoked" : "identity_restored",
                  LF("identity", identity));
}

bool rest_revoked(struct rest_call *c)
{
    if (!rest_is_own(c, "revoked") || (c->path_count != 3 && c->path_count != 5))
        return false;
    bool is_list = c->path_count == 3;
    bool is_post = rest_is_method(c, "POST"), is_delete = rest_is_method(c, "DELETE");
    if (is_list ? !rest_is_method(c, "GET") : !is_post && !is_delete)
        rest_fail(c, 405, "MethodNotAllowed", "%s only", is_list ? "GET" : "POST and DELETE");
    else if (!rest_may(c, is_list ? ACCESS_LIST : ACCESS_ADMIN, NULL, STR_NULL))
        return true;
    else if (is_list)
        reply_list(c, 200);
    else
        change(c, is_post);
    return true;
}
