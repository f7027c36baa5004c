#include "cli/mesh.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "host/box.h"

struct running {
    VEC(char *) names;
};

static void collect_running(void *arg, const char *mesh)
{
    struct running *r = arg;
    if (box_is_running(mesh))
        VEC_PUSH(&r->names, str_dup_c(str_from_c(mesh)));
}

static void running_deinit(struct running *r)
{
    for (size_t i = 0; i < r->names.len; i++)
        free(r->names.ptr[i]);
    VEC_DEINIT(&r->names);
}

bool mesh_is_socket(const char *mesh)
{
    return strchr(mesh, '/') != NULL;
}

static const char *check_named(struct cli *cli, const char *name, int *ret_code)
{
    if (mesh_is_socket(name))
        return name;
    if (!box_name_is_valid(name)) {
        *ret_code = cli_fail(cli, CLI_USAGE, "'%s' is not a mesh's name", name);
        return NULL;
    }
    return name;
}

/* The only one that runs; its text lives in a static buffer. */
static const char *choose_only(struct cli *cli, int *ret_code)
{
    static char name[BOX_NAME_LEN_MAX + 1];
    struct running r = {0};
    paths_each_mesh(collect_running, &r);
    const char *result = NULL;
    if (r.names.len == 1) {
        snprintf(name, sizeof name, "%s", r.names.ptr[0]);
        result = name;
    } else if (r.names.len == 0) {
        *ret_code = cli_fail(cli, CLI_USAGE, "no mesh runs (tulle up DIR starts one)");
    } else {
        cli_fail(cli, CLI_USAGE, "several meshes run; say which by --mesh NAME or TULLE_MESH:");
        for (size_t i = 0; i < r.names.len; i++)
            fprintf(cli->err, "  %s\n", r.names.ptr[i]);
        *ret_code = CLI_USAGE;
    }
    running_deinit(&r);
    return result;
}

const char *mesh_choose(struct cli *cli, const char *option, int *ret_code)
{
    const char *env = getenv("TULLE_MESH");
    if (option != NULL)
        return check_named(cli, option, ret_code);
    if (env != NULL && env[0] != '\0')
        return check_named(cli, env, ret_code);
    return choose_only(cli, ret_code);
}

bool mesh_target_parse(const char *text, struct mesh_target *ret_target)
{
    struct mesh_target t = {0};
    uint64_t number;
    struct str rest = str_from_c(text);
    ptrdiff_t colon = str_find(rest, ':');
    if (colon >= 0) {
        if (!str_to_u64(str_skip(rest, (size_t)colon + 1), UINT16_MAX, &number) || number == 0)
            return false;
        t.port = (uint16_t)number;
        rest = str_sub(rest, 0, (size_t)colon);
    }
    ptrdiff_t slash = str_find(rest, '/');
    if (slash >= 0) {
        if (!str_to_u64(str_skip(rest, (size_t)slash + 1), BOX_REPLICAS_MAX, &number))
            return false;
        t.has_index = true;
        t.index = (uint32_t)number;
        rest = str_sub(rest, 0, (size_t)slash);
    }
    t.workload = rest;
    if (rest.len == 0)
        return false;
    *ret_target = t;
    return true;
}

static bool is_candidate(const struct state_replica *r, const char *namespace,
                         const struct mesh_target *t)
{
    return r->is_wanted && str_eq(r->workload, t->workload) &&
           (namespace == NULL || str_eq(r->namespace, str_from_c(namespace))) &&
           (!t->has_index || r->index == t->index);
}

static void list_replicas(struct cli *cli, const struct state *s, const char *namespace,
                          const struct mesh_target *t)
{
    for (size_t i = 0; i < s->replicas.len; i++) {
        const struct state_replica *r = &s->replicas.ptr[i];
        if (r->is_wanted && (t == NULL || is_candidate(r, namespace, t)))
            fprintf(cli->err, "  -n %.*s %.*s/%u\n", STR_FMT(r->namespace), STR_FMT(r->workload),
                    r->index);
    }
}

struct state_replica *mesh_find_replica(struct cli *cli, struct state *state, const char *namespace,
                                        const struct mesh_target *target)
{
    struct state_replica *found = NULL;
    for (size_t i = 0; i < state->replicas.len; i++) {
        struct state_replica *r = &state->replicas.ptr[i];
        if (!is_candidate(r, namespace, target))
            continue;
        if (found != NULL) {
            cli_fail(cli, CLI_USAGE,
                     "'%.*s' may be any of these; say which:", STR_FMT(target->workload));
            list_replicas(cli, state, namespace, target);
            return NULL;
        }
        found = r;
    }
    if (found == NULL) {
        cli_fail(cli, CLI_USAGE, "no such replica; there are:");
        list_replicas(cli, state, NULL, NULL);
    }
    return found;
}

bool mesh_load(struct cli *cli, const char *mesh, struct state *ret_state)
{
    int err = state_load(mesh, ret_state);
    if (err == 0 && box_is_running(mesh))
        return true;
    if (mesh_is_socket(mesh))
        cli_fail(cli, CLI_ERROR,
                 "%s is a control plane's socket; this is about replicas of 'tulle up'", mesh);
    else if (err == -ERR_CORRUPT)
        cli_fail(cli, CLI_ERROR, "the state of mesh %s is damaged (tulle down --mesh %s cleans up)",
                 mesh, mesh);
    else
        cli_fail(cli, CLI_ERROR, "mesh %s does not run", mesh);
    return false;
}

struct state_replica *mesh_open_replica(struct cli *cli, const char *mesh_option,
                                        const char *namespace, const char *target_text,
                                        struct state *ret_state, struct mesh_target *ret_target,
                                        int *ret_code)
{
    state_init(ret_state);
    if (!mesh_target_parse(target_text, ret_target)) {
        *ret_code = cli_fail(cli, CLI_USAGE, "'%s' is not WORKLOAD[/REPLICA]", target_text);
        return NULL;
    }
    const char *mesh = mesh_choose(cli, mesh_option, ret_code);
    if (mesh == NULL)
        return NULL;
    state_deinit(ret_state);
    *ret_code = CLI_ERROR;
    if (!mesh_load(cli, mesh, ret_state))
        return NULL;
    struct state_replica *r = mesh_find_replica(cli, ret_state, namespace, ret_target);
    *ret_code = r == NULL ? CLI_USAGE : CLI_OK;
    return r;
}
