/* tulle delete: by kind and name, or what files name. */
#include "base/err.h"
#include "cli/apply.h"
#include "cli/mesh.h"
#include "cli/opt.h"
#include "cli/rest.h"

enum { CALL_TIMEOUT_MS = 30000, QUERY_LEN_MAX = 8192 };

struct deletion {
    const char *mesh, *note;
    uint64_t revision; /* of the last one; 0: none yet */
    struct arena arena;
};

static int delete_one(struct cli *cli, struct deletion *d, const struct api_kind_info *kind,
                      struct str namespace, struct str name)
{
    const struct json *root;
    uint64_t revision;
    struct str_buf path = STR_BUF_INIT(QUERY_LEN_MAX);
    str_buf_add(&path, rest_path(&d->arena, kind, namespace, name));
    str_buf_add_c(&path, "?");
    rest_add_query(&path, "note", d->note);
    int err =
        rest_json(cli, d->mesh, "DELETE", path.ptr, STR_NULL, CALL_TIMEOUT_MS, &d->arena, &root);
    str_buf_deinit(&path);
    if (err != 0)
        return CLI_ERROR;
    if (rest_revision(root, &revision))
        d->revision = revision;
    fprintf(cli->out, "%s/%.*s%s%.*s deleted\n", kind->name,
            STR_FMT(kind->is_namespaced ? namespace : STR_NULL), kind->is_namespaced ? "/" : "",
            STR_FMT(name));
    return CLI_OK;
}

static int delete_files(struct cli *cli, struct deletion *d, const struct opt_list *files,
                        const char *namespace)
{
    struct api_document_list list;
    api_document_list_init(&list);
    int code = apply_read(cli, files->items, files->count, namespace, &list);
    /* Against the order of the files: what refers to something goes before it. */
    for (size_t i = list.docs.len; i-- > 0 && (code == CLI_OK || code == CLI_ERROR);) {
        const struct api_document *doc = list.docs.ptr[i];
        if (delete_one(cli, d, api_kind_info(doc->kind), doc->namespace, doc->name) != CLI_OK)
            code = CLI_ERROR;
    }
    api_document_list_deinit(&list);
    return code;
}

static int delete_named(struct cli *cli, struct deletion *d, const struct opt_result *args,
                        const char *namespace)
{
    const struct api_kind_info *kind = rest_kind(cli, args->args[0]);
    if (kind == NULL)
        return CLI_USAGE;
    return delete_one(cli, d, kind, str_from_c(namespace != NULL ? namespace : "default"),
                      str_from_c(args->args[1]));
}

int cli_delete(struct cli *cli)
{
    const char *mesh_name = NULL, *namespace = NULL, *wait = NULL, *note = NULL;
    struct opt_list files = {0};
    const struct opt opts[] = {
        {"filename", 'f', OPT_LIST, &files}, {"namespace", 'n', OPT_VALUE, &namespace},
        {"wait", 'w', OPT_OPTIONAL, &wait},  {"message", 'm', OPT_VALUE, &note},
        {"mesh", 0, OPT_VALUE, &mesh_name},
    };
    struct opt_result args;
    uint64_t wait_ms;
    int code;
    if (!opt_parse_verb(cli, opts, ARRAY_LEN(opts), &args, &code))
        return code;
    if (!rest_wait_option(cli, wait, &wait_ms))
        return CLI_USAGE;
    if ((files.count > 0) == (args.count > 0) || (args.count > 0 && args.count != 2))
        return cli_fail(cli, CLI_USAGE, "say KIND NAME, or -f FILE");
    struct deletion d = {.mesh = mesh_choose(cli, mesh_name, &code), .note = note};
    if (d.mesh == NULL)
        return code;
    arena_init(&d.arena, 4096);
    code = files.count > 0 ? delete_files(cli, &d, &files, namespace)
                           : delete_named(cli, &d, &args, namespace);
    const struct json *root;
    if (code == CLI_OK && wait_ms > 0 && d.revision > 0)
        code = rest_wait(cli, d.mesh, d.revision, wait_ms, false, &d.arena, &root);
    else if (code == CLI_OK && wait_ms > 0)
        code = cli_fail(cli, CLI_ERROR, "the control plane named no revision to wait for");
    arena_deinit(&d.arena);
    return code;
}
