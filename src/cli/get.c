/* tulle get: documents of the mesh. */
#include "base/err.h"
#include "cli/mesh.h"
#include "cli/opt.h"
#include "cli/rest.h"
#include "cli/table.h"
#include "codec/json_writer.h"
#include "codec/yaml.h"

enum { CALL_TIMEOUT_MS = 30000, OUTPUT_MAX = 128 * 1024 * 1024 };

static struct str text_at(const struct json *v, const char *key)
{
    return json_str_or(json_get(v, key), STR_NULL);
}

static void add_workload_cells(struct table *t, const struct json *doc)
{
    const struct json *replicas = json_get(json_get(doc, "status"), "replicas");
    struct str_buf addresses = STR_BUF_INIT(512);
    size_t ready = 0;
    for (size_t i = 0; i < json_count(replicas); i++) {
        bool is_ready = false;
        const struct json *r = json_at(replicas, i);
        json_bool(json_get(r, "ready"), &is_ready);
        ready += is_ready;
        str_buf_printf(&addresses, "%s%.*s", i > 0 ? "," : "", STR_FMT(text_at(r, "address")));
    }
    table_cell(t, "%zu/%zu", ready, json_count(replicas));
    table_cell(t, "%s", addresses.len > 0 ? addresses.ptr : "-");
    str_buf_deinit(&addresses);
}

static void print_table(struct cli *cli, const struct api_kind_info *kind,
                        const struct json *const *docs, size_t count)
{
    static const char *const head[] = {"NAMESPACE", "NAME", NULL};
    static const char *const workload_head[] = {"NAMESPACE", "NAME", "READY", "ADDRESSES", NULL};
    bool is_workload = kind->kind == API_KIND_WORKLOAD;
    struct table t;
    table_init(&t, is_workload ? workload_head : head);
    for (size_t i = 0; i < count; i++) {
        const struct json *metadata = json_get(docs[i], "metadata");
        struct str namespace = text_at(metadata, "namespace");
        table_cell(&t, "%.*s", STR_FMT(namespace.len > 0 ? namespace : STR("-")));
        table_cell(&t, "%.*s", STR_FMT(text_at(metadata, "name")));
        if (is_workload)
            add_workload_cells(&t, docs[i]);
    }
    table_print(&t, cli->out);
    table_deinit(&t);
}

static void print_whole(struct cli *cli, const struct json *root, enum cli_output output)
{
    struct str_buf out = STR_BUF_INIT(OUTPUT_MAX);
    if (output == CLI_OUTPUT_YAML) {
        yaml_write(&out, root);
    } else {
        struct json_writer w;
        json_writer_init(&w, &out, 2);
        json_writer_tree(&w, NULL, root);
        str_buf_add_c(&out, "\n");
    }
    fwrite(out.ptr, 1, out.len, cli->out);
    str_buf_deinit(&out);
}

static void print_answer(struct cli *cli, const struct api_kind_info *kind, const struct json *root,
                         bool is_list, enum cli_output output)
{
    if (output != CLI_OUTPUT_TEXT) {
        print_whole(cli, root, output);
        return;
    }
    const struct json *items = json_get(root, "items");
    const struct json *one[] = {root};
    if (!is_list)
        print_table(cli, kind, one, 1);
    else if (json_count(items) == 0)
        fprintf(cli->err, "there are none\n");
    else
        print_table(cli, kind, items->items, json_count(items));
}

int cli_get(struct cli *cli)
{
    const char *output_text = NULL, *mesh_name = NULL, *namespace = NULL;
    bool is_all = false;
    const struct opt opts[] = {
        {"namespace", 'n', OPT_VALUE, &namespace}, {"all", 'A', OPT_FLAG, &is_all},
        {"all-namespaces", 0, OPT_FLAG, &is_all},  {"output", 'o', OPT_VALUE, &output_text},
        {"mesh", 0, OPT_VALUE, &mesh_name},
    };
    struct opt_result args;
    enum cli_output output;
    int code;
    if (!opt_parse_verb(cli, opts, ARRAY_LEN(opts), &args, &code))
        return code;
    if (!opt_output(cli, output_text, true, &output))
        return CLI_USAGE;
    if (args.count < 1 || args.count > 2 || (is_all && namespace != NULL))
        return cli_fail(cli, CLI_USAGE, "say KIND [NAME], and -n NS or -A");
    const struct api_kind_info *kind = api_kind_parse(str_from_c(args.args[0]));
    if (kind == NULL) {
        const char *nearest = api_kind_nearest(str_from_c(args.args[0]));
        return cli_fail(cli, CLI_USAGE, "no such kind: %s%s%s", args.args[0],
                        nearest != NULL ? "; did you mean " : "", nearest != NULL ? nearest : "");
    }
    bool is_list = args.count == 1;
    struct str in = str_from_c(namespace != NULL ? namespace : is_list ? "" : "default");
    const char *mesh = mesh_choose(cli, mesh_name, &code);
    if (mesh == NULL)
        return code;
    struct arena a;
    const struct json *root;
    arena_init(&a, 65536);
    struct str path = rest_path(&a, kind, in, str_from_c(is_list ? NULL : args.args[1]));
    int err = rest_json(cli, mesh, "GET", path.ptr, STR_NULL, CALL_TIMEOUT_MS, &a, &root);
    if (err == 0)
        print_answer(cli, kind, root, is_list, output);
    arena_deinit(&a);
    return err == 0 ? CLI_OK : CLI_ERROR;
}
