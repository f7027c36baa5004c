/* tulle apply -f FILE|DIR|-: creates and changes documents, all or nothing. */
#include "cli/apply.h"
#include "base/err.h"
#include "cli/documents.h"
#include "cli/mesh.h"
#include "cli/opt.h"
#include "cli/rest.h"
#include "codec/json_writer.h"
#include "control/api/check.h"

enum { BODY_MAX = 64 * 1024 * 1024, APPLY_TIMEOUT_MS = 60000, QUERY_LEN_MAX = 8192 };

void apply_print_findings(struct cli *cli, struct api_findings *f, bool is_warnings_too)
{
    api_findings_sort(f);
    for (size_t i = 0; i < f->list.len; i++) {
        if (f->list.ptr[i].severity == API_WARNING && !is_warnings_too)
            continue;
        struct str line = api_finding_line(f, &f->list.ptr[i]);
        fprintf(cli->err, "%.*s\n", STR_FMT(line));
    }
}

int apply_documents(struct cli *cli, const char *mesh, const char *query,
                    const struct api_document_list *list, struct arena *a,
                    const struct json **ret_root)
{
    struct str_buf body = STR_BUF_INIT(BODY_MAX);
    struct http_answer answer;
    rest_documents(list, &body);
    struct str_buf path = STR_BUF_INIT(QUERY_LEN_MAX);
    str_buf_printf(&path, "/tulle/v1/apply?%s", query);
    int err = rest_call(cli, mesh, "POST", path.ptr, str_buf_str(&body), APPLY_TIMEOUT_MS, &answer);
    const struct json *root = NULL;
    if (err == 0 && json_parse(a, str_buf_str(&answer.body), HTTP_CALL_BODY_MAX, &root, NULL) != 0)
        root = NULL;
    if (err == 0 && (answer.status / 100 != 2 || root == NULL)) {
        err = answer.status == 409 ? -ERR_CONFLICT : -ERR_INVALID;
        if (!rest_print_findings(cli, root, list)) {
            struct str text = json_str_or(json_get(root, "message"), str_buf_str(&answer.body));
            cli_fail(cli, CLI_ERROR, "refused (status %d): %.*s", answer.status,
                     STR_FMT(str_sub(str_trim(text), 0, 2000)));
        }
    } else if (err == 0) {
        rest_print_findings(cli, root, list); /* warnings */
    }
    str_buf_deinit(&path);
    str_buf_deinit(&body);
    http_answer_deinit(&answer);
    if (err == 0)
        *ret_root = root;
    return err;
}

void apply_print_changes(struct cli *cli, const struct json *root)
{
    const struct json *applied = json_get(root, "applied");
    for (size_t i = 0; i < json_count(applied); i++) {
        const struct json *d = json_at(applied, i);
        struct str namespace = json_text_at(d, "namespace");
        fprintf(cli->out, "%.*s/%.*s%s%.*s %.*s\n", STR_FMT(json_text_at(d, "kind")),
                STR_FMT(namespace), namespace.len > 0 ? "/" : "", STR_FMT(json_text_at(d, "name")),
                STR_FMT(json_text_at(d, "change")));
    }
}

/* The answer of apply, with that of the wait under "wait". */
static void print_json(struct cli *cli, const struct json *root, const struct json *wait)
{
    struct str_buf out = STR_BUF_INIT(BODY_MAX);
    struct json_writer w;
    json_writer_init(&w, &out, 2);
    json_writer_object(&w, NULL);
    for (size_t i = 0; i < json_count(root); i++) {
        json_writer_key(&w, root->keys[i]);
        json_writer_tree(&w, NULL, json_at(root, i));
    }
    if (wait != NULL)
        json_writer_tree(&w, "wait", wait);
    json_writer_end(&w);
    fprintf(cli->out, "%.*s\n", STR_FMT(str_buf_str(&out)));
    str_buf_deinit(&out);
}

static int apply_and_wait(struct cli *cli, const char *mesh, const struct api_document_list *list,
                          const char *note, uint64_t wait_ms, enum cli_output output)
{
    struct str_buf query = STR_BUF_INIT(QUERY_LEN_MAX / 2);
    struct arena a;
    const struct json *root, *wait = NULL;
    uint64_t revision;
    arena_init(&a, 16384);
    rest_add_query(&query, "note", note);
    int code = apply_documents(cli, mesh, query.len > 0 ? query.ptr : "", list, &a, &root) == 0
                   ? CLI_OK
                   : CLI_ERROR;
    str_buf_deinit(&query);
    if (code == CLI_OK && output == CLI_OUTPUT_TEXT)
        apply_print_changes(cli, root);
    if (code == CLI_OK && wait_ms > 0) {
        fflush(cli->out);
        code = rest_revision(root, &revision)
                   ? rest_wait(cli, mesh, revision, wait_ms, output == CLI_OUTPUT_JSON, &a, &wait)
                   : cli_fail(cli, CLI_ERROR, "the control plane named no revision to wait for");
        if (output == CLI_OUTPUT_JSON)
            print_json(cli, root, wait);
    } else if (code == CLI_OK && output == CLI_OUTPUT_JSON) {
        print_json(cli, root, NULL);
    }
    arena_deinit(&a);
    return code;
}

int apply_read(struct cli *cli, const char *const *paths, size_t count, const char *namespace,
               struct api_document_list *list)
{
    struct api_findings findings;
    size_t file_count = 0;
    api_findings_init(&findings);
    for (size_t i = 0; i < count; i++)
        documents_read(paths[i], str_from_c(namespace), list, &findings, &file_count);
    /* Here, where the files are known; the rest depends on what is there already. */
    api_check_duplicates(list, &findings);
    /* Warnings come with the control plane's answer, which knows what was there before. */
    size_t errors = findings.error_count;
    if (errors > 0)
        apply_print_findings(cli, &findings, true);
    api_findings_deinit(&findings);
    if (errors == 0 && list->docs.len > 0)
        return CLI_OK;
    if (errors == 0)
        return cli_fail(cli, CLI_ERROR, "there are no documents");
    return cli_fail(cli, CLI_ERROR, "%zu error%s; nothing was changed", errors,
                    errors == 1 ? "" : "s");
}

int cli_apply(struct cli *cli)
{
    const char *output_text = NULL, *mesh_name = NULL, *namespace = NULL, *wait = NULL,
               *note = NULL;
    struct opt_list files = {0};
    const struct opt opts[] = {
        {"filename", 'f', OPT_LIST, &files},       {"wait", 'w', OPT_OPTIONAL, &wait},
        {"output", 'o', OPT_VALUE, &output_text},  {"mesh", 0, OPT_VALUE, &mesh_name},
        {"namespace", 'n', OPT_VALUE, &namespace}, {"message", 'm', OPT_VALUE, &note},
    };
    struct opt_result args;
    enum cli_output output;
    uint64_t wait_ms;
    int code;
    if (!opt_parse_verb(cli, opts, ARRAY_LEN(opts), &args, &code))
        return code;
    if (!opt_output(cli, output_text, false, &output) || !rest_wait_option(cli, wait, &wait_ms))
        return CLI_USAGE;
    if (args.count > 0 || files.count == 0)
        return cli_fail(cli, CLI_USAGE, "say what to apply by -f FILE, -f DIR or -f -");
    const char *mesh = mesh_choose(cli, mesh_name, &code);
    if (mesh == NULL)
        return code;
    struct api_document_list list;
    api_document_list_init(&list);
    code = apply_read(cli, files.items, files.count, namespace, &list);
    if (code == CLI_OK)
        code = apply_and_wait(cli, mesh, &list, note, wait_ms, output);
    api_document_list_deinit(&list);
    return code;
}
