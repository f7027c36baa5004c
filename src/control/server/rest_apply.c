/* POST /tulle/v1/apply[?owner=up][&prune=true][&dryRun=true]: many documents, all or nothing. */
#include "control/server/server_priv.h"

static struct str file_name(const struct rest_call *c)
{
    struct str name = http_head_get_named(c->head, STR("x-tulle-file"));
    return str_sub(name, 0, 1024);
}

/* {"files": [{"name": .., "line": .., "text": ..}]}: so that places keep their files. With a line
 * the text is one document that begins there. */
static bool parse_files(struct rest_call *c, struct change *change)
{
    const struct json *root, *files;
    struct str type = http_head_get(c->head, HTTP_NAME_CONTENT_TYPE);
    if (!str_starts_with(type, STR("application/json")) ||
        json_parse(c->a, str_buf_str(&c->body), REST_BODY_BYTES_MAX, &root, NULL) != 0)
        return false;
    files = json_get(root, "files");
    if (files == NULL || files->type != JSON_ARRAY || json_get(root, "kind") != NULL)
        return false;
    for (size_t i = 0; i < json_count(files); i++) {
        const struct json *file = json_at(files, i);
        struct str text = json_str_or(json_get(file, "text"), STR_NULL);
        uint64_t line = 0;
        json_u64(json_get(file, "line"), &line);
        change_parse(change, str_sub(json_str_or(json_get(file, "name"), STR_NULL), 0, 1024),
                     line <= UINT32_MAX ? (uint32_t)line : 0, text, STR_NULL);
    }
    return true;
}

const char *rest_change_name(enum store_change change)
{
    switch (change) {
    case STORE_CREATED:
        return "created";
    case STORE_CONFIGURED:
        return "configured";
    case STORE_UNCHANGED:
        return "unchanged";
    case STORE_DELETED:
        return "deleted";
    }
    return "unchanged";
}

static void write_findings(const struct api_findings *f, struct json_writer *w)
{
    struct str_buf list = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    api_findings_add_json(f, &list);
    json_writer_raw(w, "findings", list.len > 0 ? str_buf_str(&list) : STR("[]"));
    str_buf_deinit(&list);
}

void rest_reply_findings(struct rest_call *c, const struct change *change)
{
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    struct json_writer w;
    server_note_refused(c->server, &change->findings);
    json_writer_init(&w, &out, 0);
    json_writer_object(&w, NULL);
    json_writer_c(&w, "kind", "Status");
    json_writer_c(&w, "apiVersion", "v1");
    json_writer_c(&w, "status", "Failure");
    json_writer_c(&w, "message", "the documents have errors; nothing was changed");
    json_writer_c(&w, "reason", "Invalid");
    json_writer_u64(&w, "code", 422);
    write_findings(&change->findings, &w);
    json_writer_end(&w);
    rest_reply(c, 422, str_buf_str(&out));
    str_buf_deinit(&out);
}

void rest_reply_applied(struct rest_call *c, const struct change *change)
{
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    struct json_writer w;
    json_writer_init(&w, &out, 0);
    json_writer_object(&w, NULL);
    json_writer_array(&w, "applied");
    for (size_t i = 0; i < change->writes.len; i++) {
        const struct store_write *write = &change->writes.ptr[i];
        json_writer_object(&w, NULL);
        json_writer_c(&w, "kind", api_kind_info(write->object.kind)->name);
        json_writer_str(&w, "namespace", write->object.namespace_);
        json_writer_str(&w, "name", write->object.name);
        json_writer_c(&w, "change", rest_change_name(write->change));
        json_writer_end(&w);
    }
    json_writer_end(&w);
    write_findings(&change->findings, &w);
    json_writer_u64(&w, "revision", store_revision(c->server->args.store));
    json_writer_end(&w);
    rest_reply(c, 200, str_buf_str(&out));
    str_buf_deinit(&out);
}

static void apply(struct rest_call *c, struct change *change)
{
    size_t failed = 0;
    struct store_author by = rest_author(c, str_eq(change->owner, STR("up")) ? "up" : "apply");
    if (!parse_files(c, change))
        change_parse(change, file_name(c), 0, str_buf_str(&c->body), STR_NULL);
    if (change->findings.error_count == 0 && rest_query_is_true(c, "prune"))
        change_prune(change);
    if (!rest_may_change(c, change))
        return;
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

bool rest_apply(struct rest_call *c)
{
    if (!rest_is_own(c, "apply") || c->path_count != 3)
        return false;
    struct str owner = rest_query(c, "owner");
    if (!rest_is_method(c, "POST")) {
        rest_fail(c, 405, "MethodNotAllowed", "POST documents here");
        return true;
    }
    if (owner.len == 0)
        owner = STR("api");
    if (!str_eq(owner, STR("api")) && !str_eq(owner, STR("up"))) {
        rest_fail(c, 400, "BadRequest", "owner is api or up");
        return true;
    }
    struct change change;
    change_init(&change, c->server, owner);
    apply(c, &change);
    change_deinit(&change);
    return true;
}
