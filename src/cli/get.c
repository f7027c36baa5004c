/* tulle get: documents of the mesh. */
#include "base/err.h"
#include "cli/mesh.h"
#include "cli/opt.h"
#include "cli/rest.h"
#include "cli/table.h"
#include "codec/json_writer.h"
#include "codec/yaml.h"

enum { CALL_TIMEOUT_MS = 30000, OUTPUT_MAX = 128 * 1024 * 1024 };

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
        str_buf_printf(&addresses, "%s%.*s", i > 0 ? "," : "", STR_FMT(json_text_at(r, "address")));
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
        struct str namespace = json_text_at(metadata, "namespace");
        table_cell(&t, "%.*s", STR_FMT(namespace.len > 0 ? namespace : STR("-")));
        table_cell(&t, "%.*s", STR_FMT(json_text_at(metadata, "name")));
        if (is_workload)
            add_workload_cells(&t, docs[i]);
    }
    table_print(&t, cli->out);
    table_deinit(&t);
}

/* A copy of an object with one member replaced or added. */
static const struct json *with_member(struct arena *a, const struct json *object, const char *key,
                                      const struct json *value)
{
    struct json *copy = json_new_object(a);
    for (size_t i = 0; i < json_count(object); i++)
        if (!str_eq(object->keys[i], str_from_c(key)))
            json_object_add(a, copy, object->keys[i], json_at(object, i));
    json_object_add(a, copy, str_from_c(key), value);
    return copy;
}

/* The app's process is known to the supervisor only: it is added to each replica of the status. */
static const struct json *with_pids(struct arena *a, const struct json *doc, struct state *state)
{
    const struct json *metadata = json_get(doc, "metadata"), *status = json_get(doc, "status");
    const struct json *replicas = json_get(status, "replicas");
    struct json *list = json_new_array(a);
    if (replicas == NULL)
        return doc;
    for (size_t i = 0; i < json_count(replicas); i++) {
        uint64_t index = UINT32_MAX;
        json_u64(json_get(json_at(replicas, i), "index"), &index);
        const struct state_replica *r = state_find(state, json_text_at(metadata, "namespace"),
                                                   json_text_at(metadata, "name"), (uint32_t)index);
        const struct json *pid =
            r != NULL && proc_is_alive(r->app) ? json_new_i64(a, r->app.pid) : json_new_null(a);
        json_array_add(a, list, with_member(a, json_at(replicas, i), "pid", pid));
    }
    return with_member(a, doc, "status", with_member(a, status, "replicas", list));
}

static const struct json *add_pids(struct arena *a, const char *mesh, const struct json *root,
                                   bool is_list)
{
    struct state state;
    const struct json *result = root;
    if (state_load(mesh, &state) == 0 && is_list) {
        struct json *items = json_new_array(a);
        const struct json *old = json_get(root, "items");
        for (size_t i = 0; i < json_count(old); i++)
            json_array_add(a, items, with_pids(a, json_at(old, i), &state));
        result = with_member(a, root, "items", items);
    } else if (!is_list) {
        result = with_pids(a, root, &state);
    }
    state_deinit(&state);
    return result;
}

/* A stream of documents, as `tulle apply` takes it: the list around them is no document. */
static void write_yaml(struct str_buf *out, const struct json *root, bool is_list)
{
    const struct json *items = json_get(root, "items");
    if (!is_list)
        yaml_write(out, root);
    for (size_t i = 0; is_list && i < json_count(items); i++) {
        str_buf_add_c(out, i > 0 ? "---\n" : "");
        yaml_write(out, json_at(items, i));
    }
}

static void print_whole(struct cli *cli, const struct json *root, bool is_list,
                        enum cli_output output)
{
    struct str_buf out = STR_BUF_INIT(OUTPUT_MAX);
    if (output == CLI_OUTPUT_YAML) {
        write_yaml(&out, root, is_list);
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
        print_whole(cli, root, is_list, output);
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
    const struct api_kind_info *kind = rest_kind(cli, args.args[0]);
    if (kind == NULL)
        return CLI_USAGE;
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
    if (err == 0 && kind->kind == API_KIND_WORKLOAD)
        root = add_pids(&a, mesh, root, is_list);
    if (err == 0)
        print_answer(cli, kind, root, is_list, output);
    arena_deinit(&a);
    return err == 0 ? CLI_OK : CLI_ERROR;
}
