/* tulle down: ends a mesh, also what a crash left of one. */
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/mesh.h"
#include "cli/opt.h"
#include "host/box.h"

struct all {
    VEC(char *) names;
};

static void collect(void *arg, const char *mesh)
{
    struct all *all = arg;
    VEC_PUSH(&all->names, str_dup_c(str_from_c(mesh)));
}

static int down_one(struct cli *cli, const char *mesh, bool is_missing_fine)
{
    int err = box_down(mesh);
    if (err == -ERR_NOT_FOUND && is_missing_fine)
        return CLI_OK;
    if (err == -ERR_NOT_FOUND)
        return cli_fail(cli, CLI_ERROR, "there is no mesh %s", mesh);
    if (err != 0)
        return cli_fail(cli, CLI_ERROR, "mesh %s: %s", mesh, err_text(err));
    fprintf(cli->out, "mesh %s is down\n", mesh);
    return CLI_OK;
}

static int down_all(struct cli *cli)
{
    struct all all = {0};
    int code = CLI_OK;
    paths_each_mesh(collect, &all);
    for (size_t i = 0; i < all.names.len; i++) {
        if (down_one(cli, all.names.ptr[i], true) != CLI_OK)
            code = CLI_ERROR;
        free(all.names.ptr[i]);
    }
    VEC_DEINIT(&all.names);
    return code;
}

/* Without a name: what is named by the environment, runs alone, or is the only one that crashed. */
static const char *choose(struct cli *cli, const char *mesh_name, int *ret_code)
{
    static char only[BOX_NAME_LEN_MAX + 1];
    struct all all = {0};
    if (mesh_name == NULL && getenv("TULLE_MESH") == NULL)
        paths_each_mesh(collect, &all);
    bool is_only = all.names.len == 1;
    if (is_only)
        snprintf(only, sizeof only, "%s", all.names.ptr[0]);
    for (size_t i = 0; i < all.names.len; i++)
        free(all.names.ptr[i]);
    VEC_DEINIT(&all.names);
    return is_only ? only : mesh_choose(cli, mesh_name, ret_code);
}

int cli_down(struct cli *cli)
{
    const char *mesh_name = NULL;
    bool is_all = false;
    const struct opt opts[] = {
        {"mesh", 0, OPT_VALUE, &mesh_name},
        {"name", 0, OPT_VALUE, &mesh_name},
        {"all", 'a', OPT_FLAG, &is_all},
    };
    struct opt_result args;
    int code;
    if (!opt_parse_verb(cli, opts, ARRAY_LEN(opts), &args, &code))
        return code;
    if (args.count > 1 || (is_all && args.count > 0))
        return cli_fail(cli, CLI_USAGE, "one mesh at a time, or --all");
    if (is_all)
        return down_all(cli);
    const char *mesh = choose(cli, args.count == 1 ? args.args[0] : mesh_name, &code);
    return mesh == NULL ? code : down_one(cli, mesh, false);
}
