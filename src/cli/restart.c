/* tulle restart: replicas of a box, or its control plane, from the programs that lie there now. */
#include <signal.h>
#include <time.h>

#include "base/err.h"
#include "cli/mesh.h"
#include "cli/opt.h"

enum { POLL_MS = 50, GRACE_MS = 3000, TIMEOUT_MS_DEFAULT = 60000 };

struct restart {
    struct cli *cli;
    const char *mesh;
    uint64_t deadline_ms;
};

/* The state that the supervisor writes, read anew until `is_done` holds. */
typedef bool done_fn(struct state *s, const void *arg);
static int wait_for(const struct restart *r, done_fn *is_done, const void *arg, const char *what)
{
    for (;;) {
        struct state s;
        bool is_it = state_load(r->mesh, &s) == 0 && is_done(&s, arg);
        state_deinit(&s);
        if (is_it)
            return CLI_OK;
        if (proc_now_ms() >= r->deadline_ms)
            return cli_fail(r->cli, CLI_TIMEOUT, "%s is not back yet (tulle status)", what);
        nanosleep(&(struct timespec){0, POLL_MS * 1000000}, NULL);
    }
}

/* --- the control plane --- */

static bool is_tulled_back(struct state *s, const void *arg)
{
    const struct proc *old = arg;
    return s->is_tulled_ready && s->tulled.pid != 0 &&
           (s->tulled.pid != old->pid || s->tulled.start_time != old->start_time);
}

static int restart_control(const struct restart *r, const struct state *s)
{
    struct proc old = s->tulled;
    proc_signal(old, SIGTERM);
    if (!proc_wait_gone(old, GRACE_MS)) /* it hangs: that may be why */
        proc_signal(old, SIGKILL);
    int code = wait_for(r, is_tulled_back, &old, "the control plane");
    if (code == CLI_OK)
        fprintf(r->cli->out, "the control plane is back\n");
    return code;
}

/* --- replicas --- */

static bool is_replica_back(struct state *s, const void *arg)
{
    const struct state_replica *old = arg;
    const struct state_replica *now = state_find(s, old->namespace, old->workload, old->index);
    bool is_up = now != NULL &&
                 (now->phase == STATE_READY || (!now->is_self_ready && now->phase == STATE_APP));
    return is_up &&
           (now->init.pid != old->init.pid || now->init.start_time != old->init.start_time);
}

/* Its init tells callers, lets the app finish, drains the sidecar and ends; the supervisor makes it
 * anew. */
static int restart_replica(const struct restart *r, const struct state_replica *old)
{
    char what[300];
    snprintf(what, sizeof what, "%.*s/%u", STR_FMT(old->workload), old->index);
    proc_signal(old->init, SIGTERM);
    int code = wait_for(r, is_replica_back, old, what);
    if (code == CLI_OK)
        fprintf(r->cli->out, "%s is back\n", what);
    fflush(r->cli->out);
    return code;
}

static bool is_meant(const struct state_replica *r, const struct mesh_target *t,
                     const char *namespace)
{
    return r->is_wanted && str_eq(r->workload, t->workload) &&
           (!t->has_index || t->index == r->index) &&
           (namespace == NULL || str_eq(r->namespace, str_from_c(namespace)));
}

static int restart_workload(struct restart *r, const struct state *s, const char *text,
                            const char *namespace, uint64_t timeout_ms)
{
    struct mesh_target t;
    size_t count = 0;
    if (!mesh_target_parse(text, &t))
        return cli_fail(r->cli, CLI_USAGE, "'%s' is not WORKLOAD[/REPLICA]", text);
    for (size_t i = 0; i < s->replicas.len; i++) {
        const struct state_replica *one = &s->replicas.ptr[i];
        if (!is_meant(one, &t, namespace))
            continue;
        count++;
        r->deadline_ms = proc_now_ms() + timeout_ms;
        int code = restart_replica(r, one);
        if (code != CLI_OK)
            return code; /* one at a time: the next one may be the last that serves */
    }
    return count > 0 ? CLI_OK : cli_fail(r->cli, CLI_USAGE, "there is no %s (tulle status)", text);
}

int cli_restart(struct cli *cli)
{
    const char *mesh_name = NULL, *namespace = NULL, *timeout_text = NULL;
    bool is_control = false;
    uint64_t timeout_ms = TIMEOUT_MS_DEFAULT;
    const struct opt opts[] = {
        {"control-plane", 0, OPT_FLAG, &is_control},
        {"timeout", 0, OPT_VALUE, &timeout_text},
        {"namespace", 'n', OPT_VALUE, &namespace},
        {"mesh", 0, OPT_VALUE, &mesh_name},
    };
    struct opt_result args;
    struct state state;
    int code;
    if (!opt_parse_verb(cli, opts, ARRAY_LEN(opts), &args, &code))
        return code;
    if (args.count != (is_control ? 0u : 1u))
        return cli_fail(cli, CLI_USAGE, "say WORKLOAD[/REPLICA], or --control-plane");
    if (timeout_text != NULL && !opt_duration_ms(timeout_text, &timeout_ms))
        return cli_fail(cli, CLI_USAGE, "--timeout %s is not a time (60s)", timeout_text);
    const char *mesh = mesh_choose(cli, mesh_name, &code);
    if (mesh == NULL)
        return code;
    struct restart r = {cli, mesh, proc_now_ms() + timeout_ms};
    if (!mesh_load(cli, mesh, &state))
        code = CLI_ERROR;
    else
        code = is_control ? restart_control(&r, &state)
                          : restart_workload(&r, &state, args.args[0], namespace, timeout_ms);
    state_deinit(&state);
    return code;
}
