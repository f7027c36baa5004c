/* tulle history: who changed which documents, and how. */
#include <pwd.h>
#include <stdlib.h>

#include "base/err.h"
#include "cli/diff.h"
#include "cli/mesh.h"
#include "cli/opt.h"
#include "cli/rest.h"
#include "cli/table.h"
#include "codec/yaml.h"

enum { CALL_TIMEOUT_MS = 30000, OUTPUT_MAX = 128 * 1024 * 1024, CONTEXT_LINES = 3, NAMED_MAX = 3 };

/* "uid:0" is "root" where this machine knows the number. */
static struct str name_of(struct str who)
{
    uint64_t uid;
    if (!str_starts_with(who, STR("uid:")) || !str_to_u64(str_skip(who, 4), UINT32_MAX, &uid))
        return who;
    const struct passwd *user = getpwuid((uid_t)uid);
    return user != NULL ? str_from_c(user->pw_name) : who;
}

static void add_subject(const struct json *o, struct str_buf *to)
{
    struct str namespace = json_text_at(o, "namespace");
    str_buf_printf(to, "%.*s/%.*s%s%.*s", STR_FMT(json_text_at(o, "kind")), STR_FMT(namespace),
                   namespace.len > 0 ? "/" : "", STR_FMT(json_text_at(o, "name")));
}

/* "VirtualService/shop/catalog configured, and 2 more" */
static void add_objects(struct table *t, const struct json *objects)
{
    struct str_buf text = STR_BUF_INIT(1000);
    size_t count = json_count(objects), named = MIN(count, (size_t)NAMED_MAX);
    for (size_t i = 0; i < named; i++) {
        str_buf_add_c(&text, i > 0 ? ", " : "");
        add_subject(json_at(objects, i), &text);
        str_buf_printf(&text, " %.*s", STR_FMT(json_text_at(json_at(objects, i), "change")));
    }
    if (count > named)
        str_buf_printf(&text, ", and %zu more", count - named);
    table_cell(t, "%.*s", STR_FMT(str_buf_str(&text)));
    str_buf_deinit(&text);
}

static void print_acts(struct cli *cli, const struct json *root)
{
    static const char *const head[] = {"REVISION",  "WHEN", "WHO", "WHAT",
                                       "DOCUMENTS", "NOTE", NULL};
    const struct json *acts = json_get(root, "acts");
    struct table t;
    table_init(&t, head);
    for (size_t i = 0; i < json_count(acts); i++) {
        const struct json *act = json_at(acts, i);
        uint64_t revision = json_number_at(act, "revision");
        if (revision > 0)
            table_cell(&t, "%llu", (unsigned long long)revision);
        else
            table_cell(&t, "-");
        table_cell(&t, "%.*s", STR_FMT(json_text_at(act, "at")));
        table_cell(&t, "%.*s", STR_FMT(name_of(json_text_at(act, "who"))));
        table_cell(&t, "%.*s", STR_FMT(json_text_at(act, "verb")));
        add_objects(&t, json_get(act, "objects"));
        table_cell(&t, "%.*s", STR_FMT(json_text_at(act, "note")));
    }
    if (json_count(acts) > 0)
        table_print(&t, cli->out);
    else
        fprintf(cli->err, "no change is known\n");
    table_deinit(&t);
}

/* --- one revision --- */

static void add_yaml(const struct json *doc, struct str_buf *to)
{
    if (doc != NULL)
        yaml_write(to, doc);
}

static void print_object(struct cli *cli, const struct json *o)
{
    struct str_buf before = STR_BUF_INIT(OUTPUT_MAX), after = STR_BUF_INIT(OUTPUT_MAX),
                   out = STR_BUF_INIT(OUTPUT_MAX);
    add_subject(o, &out);
    str_buf_printf(&out, " %.*s", STR_FMT(json_text_at(o, "change")));
    if (json_text_at(o, "file").len > 0)
        str_buf_printf(&out, " (%.*s:%llu)", STR_FMT(json_text_at(o, "file")),
                       json_number_at(o, "line"));
    str_buf_add_c(&out, "\n");
    add_yaml(json_get(o, "before"), &before);
    add_yaml(json_get(o, "after"), &after);
    diff_add(str_buf_str(&before), str_buf_str(&after), CONTEXT_LINES, &out);
    fwrite(out.ptr, 1, out.len, cli->out);
    str_buf_deinit(&before);
    str_buf_deinit(&after);
    str_buf_deinit(&out);
}

static void print_revision(struct cli *cli, const struct json *root)
{
    const struct json *act = json_at(json_get(root, "acts"), 0);
    const struct json *objects = json_get(act, "objects");
    struct str note = json_text_at(act, "note");
    fprintf(cli->out, "revision %llu, %.*s by %.*s (%.*s) at %.*s%s%.*s\n",
            json_number_at(act, "revision"), STR_FMT(json_text_at(act, "verb")),
            STR_FMT(name_of(json_text_at(act, "who"))), STR_FMT(json_text_at(act, "source")),
            STR_FMT(json_text_at(act, "at")), note.len > 0 ? ": " : "", STR_FMT(note));
    for (size_t i = 0; i < json_count(objects); i++) {
        fputc('\n', cli->out);
        print_object(cli, json_at(objects, i));
    }
}

/* --- the verb --- */

struct options {
    const char *mesh, *namespace, *limit, *show, *output;
    bool is_audit;
};

static void make_path(const struct options *o, const struct api_kind_info *kind, const char *name,
                      struct str_buf *path)
{
    str_buf_printf(path, "/tulle/v1/history%s%s?", o->show != NULL ? "/" : "",
                   o->show != NULL ? o->show : "");
    rest_add_query(path, "limit", o->limit);
    rest_add_query(path, "namespace", o->namespace);
    rest_add_query(path, "audit", o->is_audit ? "true" : NULL);
    rest_add_query(path, "kind", kind != NULL ? kind->name : NULL);
    rest_add_query(path, "name", name);
}

static int run(struct cli *cli, const struct options *o, const struct api_kind_info *kind,
               const char *name, enum cli_output output)
{
    struct arena a;
    const struct json *root;
    struct str_buf path = STR_BUF_INIT(8192);
    make_path(o, kind, name, &path);
    arena_init(&a, 65536);
    int err = rest_json(cli, o->mesh, "GET", path.ptr, STR_NULL, CALL_TIMEOUT_MS, &a, &root);
    if (err == 0 && output == CLI_OUTPUT_JSON)
        rest_print_json(cli, root);
    else if (err == 0 && o->show != NULL)
        print_revision(cli, root);
    else if (err == 0)
        print_acts(cli, root);
    arena_deinit(&a);
    str_buf_deinit(&path);
    return err == 0 ? CLI_OK : CLI_ERROR;
}

static bool is_number(const char *text)
{
    uint64_t number;
    return text == NULL || (str_to_u64(str_from_c(text), INT64_MAX, &number) && number > 0);
}

int cli_history(struct cli *cli)
{
    struct options o = {0};
    const struct opt opts[] = {
        {"namespace", 'n', OPT_VALUE, &o.namespace}, {"limit", 0, OPT_VALUE, &o.limit},
        {"show", 's', OPT_VALUE, &o.show},           {"audit", 0, OPT_FLAG, &o.is_audit},
        {"output", 'o', OPT_VALUE, &o.output},       {"mesh", 0, OPT_VALUE, &o.mesh},
    };
    struct opt_result args;
    enum cli_output output;
    int code;
    if (!opt_parse_verb(cli, opts, ARRAY_LEN(opts), &args, &code))
        return code;
    if (!opt_output(cli, o.output, false, &output))
        return CLI_USAGE;
    if (args.count > 2 || !is_number(o.limit) || !is_number(o.show) ||
        (o.show != NULL && args.count > 0))
        return cli_fail(cli, CLI_USAGE, "say [KIND [NAME]], or --show REVISION");
    const struct api_kind_info *kind = NULL;
    if (args.count > 0 && (kind = rest_kind(cli, args.args[0])) == NULL)
        return CLI_USAGE;
    o.mesh = mesh_choose(cli, o.mesh, &code);
    return o.mesh != NULL ? run(cli, &o, kind, args.count > 1 ? args.args[1] : NULL, output) : code;
}
