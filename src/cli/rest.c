#include "cli/rest.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/map.h"
#include "cli/mesh.h"
#include "cli/opt.h"
#include "codec/json_writer.h"
#include "host/box.h"

enum {
    WAIT_MS_DEFAULT = 30000,
    BODY_MAX = 32 * 1024 * 1024,
    PRINTED_BYTES_MAX = 128 * 1024 * 1024,
};

int rest_call(struct cli *cli, const char *mesh, const char *method, const char *path,
              struct str body, uint32_t timeout_ms, struct http_answer *ret_answer)
{
    char socket[PATH_LEN_MAX];
    struct http_call call = {
        .unix_path = mesh_is_socket(mesh) ? mesh : paths_in_mesh(mesh, "api.sock", socket),
        .method = method,
        .path = path,
        .content_type = body.len == 0                     ? NULL
                        : str_starts_with(body, STR("{")) ? "application/json"
                                                          : "application/yaml",
        .body = body,
        .timeout_ms = timeout_ms,
    };
    int err = http_call(&call, ret_answer);
    if (err == 0)
        return 0;
    if (mesh_is_socket(mesh))
        cli_fail(cli, CLI_ERROR, "no control plane answers at %s: %s", mesh, err_text(err));
    else if (!box_is_running(mesh))
        cli_fail(cli, CLI_ERROR, "mesh %s does not run", mesh);
    else
        cli_fail(cli, CLI_ERROR, "the control plane of mesh %s does not answer: %s", mesh,
                 err_text(err));
    return err;
}

static void print_refusal(struct cli *cli, int status, const struct json *root, struct str body)
{
    struct str text = json_text_at(root, "message");
    if (text.len == 0)
        text = json_str_or(json_get(root, "error"), body);
    cli_fail(cli, CLI_ERROR, "%.*s (status %d)", STR_FMT(str_sub(str_trim(text), 0, 2000)), status);
}

static int err_of_status(int status)
{
    switch (status) {
    case 403:
    case 401:
        return -ERR_DENIED;
    case 404:
        return -ERR_NOT_FOUND;
    case 409:
        return -ERR_CONFLICT;
    default:
        return status >= 500 ? -ERR_UNAVAILABLE : -ERR_INVALID;
    }
}

int rest_json(struct cli *cli, const char *mesh, const char *method, const char *path,
              struct str body, uint32_t timeout_ms, struct arena *a, const struct json **ret_root)
{
    struct http_answer answer;
    const struct json *root = NULL;
    int err = rest_call(cli, mesh, method, path, body, timeout_ms, &answer);
    if (err == 0) {
        struct str text = str_buf_str(&answer.body);
        int parsed = json_parse(a, text, HTTP_CALL_BODY_MAX, &root, NULL);
        if (answer.status / 100 != 2) {
            err = err_of_status(answer.status);
            if (!rest_print_findings(cli, root, NULL))
                print_refusal(cli, answer.status, root, text);
        } else if (parsed != 0) {
            err = parsed;
            cli_fail(cli, CLI_ERROR, "the control plane's answer is not JSON");
        }
    }
    http_answer_deinit(&answer);
    if (err == 0)
        *ret_root = root;
    return err;
}

struct str rest_path(struct arena *a, const struct api_kind_info *kind, struct str namespace,
                     struct str name)
{
    bool is_core = kind->group[0] == '\0';
    bool has_namespace = kind->is_namespaced && namespace.len > 0;
    return arena_printf(a, "%s%s/%s%s%.*s/%s%s%.*s", is_core ? "/api" : "/apis/", kind->group,
                        kind->versions[0], has_namespace ? "/namespaces/" : "",
                        STR_FMT(has_namespace ? namespace : STR_NULL), kind->plural,
                        name.len > 0 ? "/" : "", STR_FMT(name));
}

void rest_add_query(struct str_buf *path, const char *key, const char *value)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    if (value == NULL)
        return;
    str_buf_printf(path, "%s=", key);
    for (const char *c = value; *c != '\0'; c++) {
        if (strchr(plain, *c) != NULL)
            str_buf_add_char(path, *c);
        else
            str_buf_printf(path, "%%%02X", (unsigned char)*c);
    }
    str_buf_add_char(path, '&');
}

const struct api_kind_info *rest_kind(struct cli *cli, const char *name)
{
    const struct api_kind_info *kind = api_kind_parse(str_from_c(name));
    const char *nearest = kind == NULL ? api_kind_nearest(str_from_c(name)) : NULL;
    if (kind == NULL)
        cli_fail(cli, CLI_USAGE, "no such kind: %s%s%s", name,
                 nearest != NULL ? "; did you mean " : "", nearest != NULL ? nearest : "");
    return kind;
}

/* The document with the resourceVersion that it was written with, for the conflict check. */
static void add_with_version(const struct api_document *d, struct str_buf *out)
{
    struct arena a;
    const struct json *root;
    arena_init(&a, 4096);
    if (json_parse(&a, d->json, d->json.len, &root, NULL) == 0) {
        struct json *copy = json_new_object(&a), *metadata = json_new_object(&a);
        const struct json *old = json_get(root, "metadata");
        for (size_t i = 0; i < json_count(old); i++)
            json_object_add(&a, metadata, old->keys[i], json_at(old, i));
        json_object_add(&a, metadata, STR("resourceVersion"),
                        json_new_str(&a, d->resource_version));
        for (size_t i = 0; i < json_count(root); i++)
            json_object_add(&a, copy, root->keys[i],
                            json_at(root, i) == old ? metadata : json_at(root, i));
        struct json_writer w;
        json_writer_init(&w, out, 0);
        json_writer_tree(&w, NULL, copy);
    }
    arena_deinit(&a);
}

/* Absolute, as whoever asks later may be in another folder. */
static void add_file(struct json_writer *w, struct str file)
{
    char path[PATH_MAX];
    char *name = str_dup_c(file);
    json_writer_c(w, "name", realpath(name, path) != NULL ? path : name);
    free(name);
}

void rest_documents(const struct api_document_list *list, struct str_buf *out)
{
    struct str_buf text = STR_BUF_INIT(BODY_MAX);
    struct json_writer w;
    json_writer_init(&w, out, 0);
    json_writer_object(&w, NULL);
    json_writer_array(&w, "files");
    for (size_t i = 0; i < list->docs.len; i++) {
        const struct api_document *d = list->docs.ptr[i];
        str_buf_reset(&text);
        if (d->resource_version.len > 0)
            add_with_version(d, &text);
        else
            str_buf_add(&text, d->json);
        json_writer_object(&w, NULL);
        add_file(&w, d->file);
        json_writer_u64(&w, "line", d->place.line);
        json_writer_str(&w, "text", str_buf_str(&text));
        json_writer_end(&w);
    }
    json_writer_end(&w);
    json_writer_end(&w);
    str_buf_deinit(&text);
}

/* What the server names a document by -> the document as it was read here. */
static void index_local(const struct api_document_list *local, struct map *by_subject)
{
    struct arena a;
    arena_init(&a, 4096);
    map_init(by_subject);
    for (size_t i = local != NULL ? local->docs.len : 0; i-- > 0;) {
        struct api_document *d = local->docs.ptr[i];
        map_put(by_subject, api_document_subject(&a, d), d);
        arena_reset(&a);
    }
    arena_deinit(&a);
}

static void add_finding(struct api_findings *to, const struct json *f, const struct map *local)
{
    uint64_t line = 0, column = 0;
    struct api_finding finding = {
        .severity = str_eq(json_text_at(f, "severity"), STR("warning")) ? API_WARNING : API_ERROR,
        .file = json_text_at(f, "file"),
        .subject = json_text_at(f, "document"),
        .path = json_text_at(f, "path"),
        .text = json_text_at(f, "text"),
        .hint = json_text_at(f, "hint"),
    };
    json_u64(json_get(f, "line"), &line);
    json_u64(json_get(f, "column"), &column);
    finding.place = (struct api_place){(uint32_t)line, (uint32_t)column};
    const struct api_document *d = map_get(local, finding.subject);
    if (d != NULL) { /* the server saw our JSON, the person wrote this file */
        finding.file = d->file;
        if (!api_document_locate(d, finding.path, &finding.place))
            finding.place = d->place;
    }
    api_findings_add(to, &finding);
}

bool rest_print_findings(struct cli *cli, const struct json *root,
                         const struct api_document_list *local)
{
    const struct json *list = json_get(root, "findings");
    if (json_count(list) == 0)
        return false;
    struct api_findings findings;
    struct map by_subject;
    api_findings_init(&findings);
    index_local(local, &by_subject);
    for (size_t i = 0; i < json_count(list); i++)
        add_finding(&findings, json_at(list, i), &by_subject);
    map_deinit(&by_subject);
    api_findings_sort(&findings);
    for (size_t i = 0; i < findings.list.len; i++) {
        struct str line = api_finding_line(&findings, &findings.list.ptr[i]);
        fprintf(cli->err, "%.*s\n", STR_FMT(line));
    }
    api_findings_deinit(&findings);
    return true;
}

bool rest_revision(const struct json *root, uint64_t *ret_revision)
{
    return json_u64_or_str(json_get(root, "revision"), ret_revision);
}

bool rest_wait_option(struct cli *cli, const char *text, uint64_t *ret_timeout_ms)
{
    *ret_timeout_ms = 0;
    if (text == NULL)
        return true;
    if (text[0] == '\0')
        *ret_timeout_ms = WAIT_MS_DEFAULT;
    else if (!opt_duration_ms(text, ret_timeout_ms) || *ret_timeout_ms == 0) {
        cli_fail(cli, CLI_USAGE, "--wait=%s is not a time (30s, 500ms)", text);
        return false;
    }
    return true;
}

static void print_nacks(struct cli *cli, const struct json *nacks)
{
    for (size_t i = 0; i < json_count(nacks); i++) {
        const struct json *n = json_at(nacks, i);
        fprintf(cli->err, "refused by %.*s: %.*s: %.*s\n",
                STR_FMT(json_str_or(json_get(n, "proxy"), STR("?"))),
                STR_FMT(json_str_or(json_get(n, "type"), STR("?"))),
                STR_FMT(json_str_or(json_get(n, "reason"), STR("?"))));
    }
}

/* The wait names the first of many. */
static int fail_late(struct cli *cli, const struct json *lagging, uint64_t acked, uint64_t proxies,
                     uint64_t timeout_ms)
{
    size_t named = json_count(lagging);
    struct str_buf names = STR_BUF_INIT(4096);
    for (size_t i = 0; i < named; i++)
        str_buf_printf(&names, "%s%.*s", i == 0 ? "; not yet: " : ", ",
                       STR_FMT(json_str_or(json_at(lagging, i), STR("?"))));
    if (named > 0 && acked + named < proxies)
        str_buf_add_c(&names, ", ...");
    int code = cli_fail(cli, CLI_TIMEOUT, "live on %llu of %llu proxies after %llu ms%.*s",
                        (unsigned long long)acked, (unsigned long long)proxies,
                        (unsigned long long)timeout_ms, STR_FMT(str_buf_str(&names)));
    str_buf_deinit(&names);
    return code;
}

int rest_wait(struct cli *cli, const char *mesh, uint64_t revision, uint64_t timeout_ms,
              bool is_quiet, struct arena *a, const struct json **ret_root)
{
    char path[128];
    uint64_t proxies = 0, acked = 0, nacked = 0, ms = 0;
    const struct json *root;
    *ret_root = NULL;
    snprintf(path, sizeof path, "/tulle/v1/wait?revision=%llu&timeout=%llu",
             (unsigned long long)revision, (unsigned long long)timeout_ms);
    if (rest_json(cli, mesh, "GET", path, STR_NULL, (uint32_t)timeout_ms + 5000, a, &root) != 0)
        return CLI_ERROR;
    *ret_root = root;
    json_u64(json_get(root, "proxies"), &proxies);
    json_u64(json_get(root, "acked"), &acked);
    json_u64(json_get(root, "nacked"), &nacked);
    json_u64(json_get(root, "ms"), &ms);
    print_nacks(cli, json_get(root, "nacks"));
    if (nacked == 0 && acked < proxies)
        return fail_late(cli, json_get(root, "lagging"), acked, proxies, timeout_ms);
    if (!is_quiet)
        fprintf(cli->out, "live on %llu of %llu proxies in %llu ms\n", (unsigned long long)acked,
                (unsigned long long)proxies, (unsigned long long)ms);
    return nacked > 0 ? CLI_NACK : CLI_OK;
}

void rest_print_json(struct cli *cli, const struct json *root)
{
    struct str_buf out = STR_BUF_INIT(PRINTED_BYTES_MAX);
    struct json_writer w;
    json_writer_init(&w, &out, 2);
    json_writer_tree(&w, NULL, root);
    str_buf_add_c(&out, "\n");
    fwrite(out.ptr, 1, out.len, cli->out);
    str_buf_deinit(&out);
}
