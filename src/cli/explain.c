/* tulle explain WORKLOAD METHOD URL: what would become of a request, and which line of which
 * document says so. By documents in files (-f), or by the running mesh. */
#include "control/explain/explain.h"
#include "base/err.h"
#include "cli/explain_local.h"
#include "cli/explain_print.h"
#include "cli/mesh.h"
#include "cli/opt.h"
#include "cli/origin.h"
#include "cli/rest.h"

enum { ANSWER_BYTES_MAX = 64 * 1024 * 1024, CALL_TIMEOUT_MS = 30000 };

struct question {
    const char *namespace, *from, *from_ip, *mesh;
    struct opt_list headers, files;
    const char *workload, *method, *url;
};

static void write_question(const struct question *q, struct json_writer *w)
{
    json_writer_object(w, NULL);
    json_writer_str(w, "workload", str_from_c(q->workload));
    json_writer_str(w, "namespace", str_from_c(q->namespace));
    json_writer_str(w, "method", str_from_c(q->method));
    json_writer_str(w, "url", str_from_c(q->url));
    json_writer_array(w, "headers");
    for (size_t i = 0; i < q->headers.count; i++)
        json_writer_c(w, NULL, q->headers.items[i]);
    json_writer_end(w);
    json_writer_str(w, "from", str_from_c(q->from));
    json_writer_str(w, "fromIp", str_from_c(q->from_ip));
    json_writer_end(w);
}

/* --- sidecars that do not run it yet --- */

static void add_lagging(struct cli *cli, const char *mesh, const struct json *workload,
                        struct arena *a, struct json *to)
{
    const struct json *root, *proxies;
    struct str_buf path = STR_BUF_INIT(1024);
    struct str name = json_text_at(workload, "name");
    struct str namespace = json_text_at(workload, "namespace");
    if (!str_eq(json_text_at(workload, "kind"), STR("Workload")))
        return;
    str_buf_printf(&path, "/tulle/v1/status?namespace=%.*s&workload=%.*s", STR_FMT(namespace),
                   STR_FMT(name));
    if (rest_json(cli, mesh, "GET", path.ptr, STR_NULL, CALL_TIMEOUT_MS, a, &root) == 0) {
        proxies = json_get(root, "proxies");
        for (size_t i = 0; i < json_count(proxies); i++) {
            const struct json *p = json_at(proxies, i);
            bool is_synced = false;
            json_bool(json_get(p, "synced"), &is_synced);
            if (is_synced)
                continue;
            struct json *item = json_new_object(a);
            json_object_add(a, item, STR("proxy"), json_get(p, "proxy"));
            json_object_add(a, item, STR("why"), json_get(p, "why"));
            json_array_add(a, to, item);
        }
    }
    str_buf_deinit(&path);
}

/* The answer, with those of the two workloads' sidecars that run something else still. */
static const struct json *with_lagging(struct cli *cli, const char *mesh, const struct json *answer,
                                       struct arena *a)
{
    struct json *copy = json_new_object(a), *lagging = json_new_array(a);
    for (size_t i = 0; i < answer->count; i++)
        json_object_add(a, copy, answer->keys[i], answer->items[i]);
    add_lagging(cli, mesh, json_get(answer, "from"), a, lagging);
    add_lagging(cli, mesh, json_get(answer, "workload"), a, lagging);
    json_object_add(a, copy, STR("notInSync"), lagging);
    return copy;
}

/* The control plane's answer. */
static int ask_mesh(struct cli *cli, const struct question *q, struct arena *a,
                    const struct json **ret_root)
{
    int code;
    const char *mesh = mesh_choose(cli, q->mesh, &code);
    if (mesh == NULL)
        return code;
    struct str_buf body = STR_BUF_INIT(ANSWER_BYTES_MAX);
    struct json_writer w;
    json_writer_init(&w, &body, 0);
    write_question(q, &w);
    int err = rest_json(cli, mesh, "POST", "/tulle/v1/explain", str_buf_str(&body), CALL_TIMEOUT_MS,
                        a, ret_root);
    str_buf_deinit(&body);
    if (err == 0)
        *ret_root = with_lagging(cli, mesh, *ret_root, a);
    /* A question that makes no sense is the command line's; all else is the mesh's. */
    return err == 0 ? CLI_OK : CLI_USAGE;
}

/* The same answer, by documents that no mesh runs. */
static int ask_local(struct cli *cli, const struct question *q, struct explain_local *local,
                     struct arena *a, const struct json **ret_root)
{
    struct str headers[OPT_LIST_MAX];
    struct str_buf out = STR_BUF_INIT(ANSWER_BYTES_MAX), why = STR_BUF_INIT(8192);
    struct json_writer w;
    for (size_t i = 0; i < q->headers.count; i++)
        headers[i] = str_from_c(q->headers.items[i]);
    json_writer_init(&w, &out, 0);
    struct explain_args args = {
        .store = local->store,
        .registry = local->registry,
        .translate = local->translate,
        .workload = str_from_c(q->workload),
        .namespace_ = str_from_c(q->namespace),
        .method = str_from_c(q->method),
        .url = str_from_c(q->url),
        .headers = headers,
        .header_count = q->headers.count,
        .from = str_from_c(q->from),
        .from_ip = str_from_c(q->from_ip),
    };
    int code = CLI_OK;
    if (explain(&args, &w, &why) != 0)
        code = cli_fail(cli, CLI_USAGE, "%.*s", STR_FMT(str_buf_str(&why)));
    else if (json_parse(a, str_buf_str(&out), ANSWER_BYTES_MAX, ret_root, NULL) != 0)
        code = cli_fail(cli, CLI_ERROR, "the answer is too large");
    str_buf_deinit(&out);
    str_buf_deinit(&why);
    return code;
}

static int exit_code(const struct json *answer)
{
    struct str decision = json_text_at(answer, "decision");
    return str_eq(decision, STR("ALLOWED")) ? CLI_OK : CLI_ERROR;
}

static int answer(struct cli *cli, const struct question *q, enum cli_output output)
{
    struct arena a;
    struct explain_local local;
    const struct json *root = NULL;
    arena_init(&a, 65536);
    explain_local_init(&local);
    int code = CLI_OK;
    if (q->files.count > 0) {
        code = explain_local_open(&local, cli, &q->files, q->namespace);
        if (code == CLI_OK)
            code = ask_local(cli, q, &local, &a, &root);
    } else {
        code = ask_mesh(cli, q, &a, &root);
    }
    if (code == CLI_OK) {
        root = origin_refine(&a, root, &local.list);
        if (output == CLI_OUTPUT_JSON)
            explain_print_json(cli, root);
        else
            explain_print_text(cli, root);
        code = exit_code(root);
    }
    explain_local_deinit(&local);
    arena_deinit(&a);
    return code;
}

int cli_explain(struct cli *cli)
{
    struct question q = {0};
    const char *output_text = NULL;
    const struct opt opts[] = {
        {"header", 'H', OPT_LIST, &q.headers},
        {"from", 0, OPT_VALUE, &q.from},
        {"from-ip", 0, OPT_VALUE, &q.from_ip},
        {"filename", 'f', OPT_LIST, &q.files},
        {"namespace", 'n', OPT_VALUE, &q.namespace},
        {"output", 'o', OPT_VALUE, &output_text},
        {"mesh", 0, OPT_VALUE, &q.mesh},
    };
    struct opt_result args;
    enum cli_output output;
    int code;
    if (!opt_parse_verb(cli, opts, ARRAY_LEN(opts), &args, &code))
        return code;
    if (!opt_output(cli, output_text, false, &output))
        return CLI_USAGE;
    if (args.count != 3)
        return cli_fail(cli, CLI_USAGE,
                        "say whom is called, and how: WORKLOAD METHOD URL, such as payment POST "
                        "http://payment:8080/charge --from orders");
    if (q.files.count > 0 && q.mesh != NULL)
        return cli_fail(cli, CLI_USAGE, "-f asks documents, --mesh a mesh that runs: not both");
    q.workload = args.args[0];
    q.method = args.args[1];
    q.url = args.args[2];
    return answer(cli, &q, output);
}
