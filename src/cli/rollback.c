/* tulle rollback: documents as they were after an earlier revision. */
#include "base/err.h"
#include "cli/apply.h"
#include "cli/mesh.h"
#include "cli/opt.h"
#include "cli/rest.h"

enum { CALL_TIMEOUT_MS = 60000 };

struct options {
    const char *mesh, *namespace, *note, *wait;
    uint64_t wait_ms;
    bool is_dry;
};

static void make_path(const struct options *o, const char *revision,
                      const struct api_kind_info *kind, const char *name, struct str_buf *path)
{
    str_buf_add_c(path, "/tulle/v1/rollback?");
    rest_add_query(path, "revision", revision);
    rest_add_query(path, "namespace", o->namespace);
    rest_add_query(path, "kind", kind != NULL ? kind->name : NULL);
    rest_add_query(path, "name", name);
    rest_add_query(path, "note", o->note);
    rest_add_query(path, "dryRun", o->is_dry ? "true" : NULL);
}

static int run(struct cli *cli, const struct options *o, const char *path)
{
    struct arena a;
    const struct json *root;
    uint64_t revision;
    arena_init(&a, 16384);
    int code = rest_json(cli, o->mesh, "POST", path, STR_NULL, CALL_TIMEOUT_MS, &a, &root) == 0
                   ? CLI_OK
                   : CLI_ERROR;
    if (code == CLI_OK) {
        rest_print_findings(cli, root, NULL); /* warnings */
        apply_print_changes(cli, root);
        if (json_count(json_get(root, "applied")) == 0)
            fprintf(cli->err, "nothing differs; nothing was changed\n");
        fflush(cli->out);
    }
    if (code == CLI_OK && o->wait_ms > 0 && !o->is_dry)
        code = rest_revision(root, &revision)
                   ? rest_wait(cli, o->mesh, revision, o->wait_ms, false, &a, &root)
                   : cli_fail(cli, CLI_ERROR, "the control plane named no revision to wait for");
    arena_deinit(&a);
    return code;
}

int cli_rollback(struct cli *cli)
{
    struct options o = {0};
    const struct opt opts[] = {
        {"namespace", 'n', OPT_VALUE, &o.namespace},
        {"message", 'm', OPT_VALUE, &o.note},
        {"dry-run", 0, OPT_FLAG, &o.is_dry},
        {"wait", 'w', OPT_OPTIONAL, &o.wait},
        {"mesh", 0, OPT_VALUE, &o.mesh},
    };
    struct opt_result args;
    uint64_t revision;
    int code;
    if (!opt_parse_verb(cli, opts, ARRAY_LEN(opts), &args, &code))
        return code;
    if (!rest_wait_option(cli, o.wait, &o.wait_ms))
        return CLI_USAGE;
    if (args.count < 1 || args.count > 3 ||
        !str_to_u64(str_from_c(args.args[0]), INT64_MAX, &revision))
        return cli_fail(cli, CLI_USAGE, "say REVISION [KIND [NAME]]; 'tulle history' shows them");
    const struct api_kind_info *kind = NULL;
    if (args.count > 1 && (kind = rest_kind(cli, args.args[1])) == NULL)
        return CLI_USAGE;
    o.mesh = mesh_choose(cli, o.mesh, &code);
    if (o.mesh == NULL)
        return code;
    struct str_buf path = STR_BUF_INIT(8192);
    make_path(&o, args.args[0], kind, args.count > 2 ? args.args[2] : NULL, &path);
    code = path.is_overflown ? cli_fail(cli, CLI_USAGE, "the message is too long")
                             : run(cli, &o, path.ptr);
    str_buf_deinit(&path);
    return code;
}
