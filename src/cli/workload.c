/* tulle workload: who is kept out of the mesh. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "cli/mesh.h"
#include "cli/opt.h"
#include "cli/rest.h"
#include "cli/table.h"

enum { CALL_TIMEOUT_MS = 30000 };

struct options {
    const char *mesh, *namespace, *message;
    bool is_shared;
};

static int list(struct cli *cli, const struct options *o)
{
    static const char *const head[] = {"IDENTITY", "SINCE", NULL};
    struct arena a;
    const struct json *root;
    arena_init(&a, 4096);
    int err =
        rest_json(cli, o->mesh, "GET", "/tulle/v1/revoked", STR_NULL, CALL_TIMEOUT_MS, &a, &root);
    if (err == 0) {
        const struct json *items = json_get(root, "revoked");
        struct table t;
        table_init(&t, head);
        for (size_t i = 0; i < json_count(items); i++) {
            table_cell(&t, "%.*s", STR_FMT(json_text_at(json_at(items, i), "identity")));
            table_cell(&t, "%.*s", STR_FMT(json_text_at(json_at(items, i), "note")));
        }
        if (json_count(items) > 0)
            table_print(&t, cli->out);
        else
            fprintf(cli->err, "nobody is kept out\n");
        table_deinit(&t);
    }
    arena_deinit(&a);
    return err == 0 ? CLI_OK : CLI_ERROR;
}

static int change(struct cli *cli, const struct options *o, const char *workload, bool is_revoking)
{
    struct arena a;
    const struct json *root;
    struct str_buf path = STR_BUF_INIT(8192);
    arena_init(&a, 4096);
    str_buf_printf(&path, "/tulle/v1/revoked/%s/%s?", o->namespace, workload);
    rest_add_query(&path, "shared", o->is_shared ? "true" : NULL);
    rest_add_query(&path, "note", o->message);
    int err = rest_json(cli, o->mesh, is_revoking ? "POST" : "DELETE", path.ptr, STR_NULL,
                        CALL_TIMEOUT_MS, &a, &root);
    if (err == 0)
        fprintf(cli->out,
                is_revoking ? "%s/%s is kept out until 'tulle workload restore'\n"
                            : "%s/%s may come back\n",
                o->namespace, workload);
    str_buf_deinit(&path);
    arena_deinit(&a);
    return err == 0 ? CLI_OK : CLI_ERROR;
}

int cli_workload(struct cli *cli)
{
    struct options o = {.namespace = "default"};
    const struct opt opts[] = {
        {"namespace", 'n', OPT_VALUE, &o.namespace},
        {"message", 'm', OPT_VALUE, &o.message},
        {"shared", 0, OPT_FLAG, &o.is_shared},
        {"mesh", 0, OPT_VALUE, &o.mesh},
    };
    struct opt_result args;
    int code;
    if (!opt_parse_verb(cli, opts, ARRAY_LEN(opts), &args, &code))
        return code;
    const char *verb = args.count > 0 ? args.args[0] : "";
    bool is_list = args.count == 1 && strcmp(verb, "revoked") == 0;
    bool is_revoking = strcmp(verb, "revoke") == 0;
    if (!is_list && (args.count != 2 || (!is_revoking && strcmp(verb, "restore") != 0)))
        return cli_fail(cli, CLI_USAGE, "say revoke WORKLOAD, restore WORKLOAD or revoked");
    o.mesh = mesh_choose(cli, o.mesh, &code);
    if (o.mesh == NULL)
        return code;
    return is_list ? list(cli, &o) : change(cli, &o, args.args[1], is_revoking);
}
