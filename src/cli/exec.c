/* tulle exec: runs a command in a replica's namespaces, with its app's rights. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/mesh.h"
#include "cli/opt.h"
#include "host/sandbox.h"
#include "host/userns.h"

static volatile sig_atomic_t child_pid;

static void pass_on(int signal)
{
    if (child_pid > 0)
        kill((pid_t)child_pid, signal);
}

/* The terminal sends its signals to both of us: only the command obeys. */
static void setup_parent_signals(void)
{
    struct sigaction pass = {.sa_handler = pass_on}, ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGTERM, &pass, NULL);
    sigaction(SIGHUP, &pass, NULL);
    sigaction(SIGINT, &ignore, NULL);
    sigaction(SIGQUIT, &ignore, NULL);
}

_Noreturn static void run_command(const struct state_replica *r, const char *cwd, char **command)
{
    char hostname[300];
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    snprintf(hostname, sizeof hostname, "%.*s-%u", STR_FMT(r->workload), r->index);
    setenv("HOSTNAME", hostname, 1);
    int err = sandbox_become_app();
    if (err != 0) {
        fprintf(stderr, "tulle exec: cannot give up rights: %s\n", err_text(err));
        _exit(126);
    }
    if (cwd == NULL || chdir(cwd) != 0) {
        if (chdir("/") != 0)
            _exit(126);
    }
    execvp(command[0], command);
    fprintf(stderr, "tulle exec: %s: %s\n", command[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

/* Moves this process (and for PIDs its children) into the namespaces of the replica. */
static int enter(struct proc init)
{
    int fd = pidfd_open(init.pid, 0);
    if (fd < 0 || !proc_is_alive(init)) {
        if (fd >= 0)
            close(fd);
        return -ERR_NOT_FOUND;
    }
    bool is_rootless = userns_is_other(init.pid);
    int result = setns(fd, CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC |
                               (is_rootless ? CLONE_NEWUSER : 0));
    /* Its owner is uid 0 there already; root outside is nobody. */
    if (result == 0 && is_rootless && (setresgid(0, 0, 0) != 0 || setresuid(0, 0, 0) != 0))
        result = -1;
    int err = result == 0 ? 0 : err_from_errno(errno);
    close(fd);
    return err;
}

static int wait_for(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return CLI_ERROR;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int exec_in(struct cli *cli, const struct state_replica *r, char **command)
{
    char *cwd = getcwd(NULL, 0);
    int err = enter(r->init);
    if (err != 0) {
        free(cwd);
        return cli_fail(cli, CLI_ERROR, "%.*s/%u cannot be entered: %s", STR_FMT(r->workload),
                        r->index, err == -ERR_NOT_FOUND ? "it is not running" : err_text(err));
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        run_command(r, cwd, command);
    free(cwd);
    if (pid < 0)
        return cli_fail(cli, CLI_ERROR, "no more processes: %s", strerror(errno));
    child_pid = pid;
    setup_parent_signals();
    int code = wait_for(pid);
    fflush(NULL);
    /* At once: what runs at a regular end (a leak checker) would read /proc as its own, but that is
     * the replica's now. */
    _exit(code);
}

int cli_exec(struct cli *cli)
{
    const char *mesh_name = NULL, *namespace = NULL;
    const struct opt opts[] = {
        {"mesh", 0, OPT_VALUE, &mesh_name},
        {"namespace", 'n', OPT_VALUE, &namespace},
    };
    struct opt_result args;
    struct state state;
    struct mesh_target target;
    int code;
    if (!opt_parse_verb(cli, opts, ARRAY_LEN(opts), &args, &code))
        return code;
    if (args.count != 1 || args.rest == NULL || args.rest[0] == NULL)
        return cli_fail(cli, CLI_USAGE, "say which replica, then --, then the command");
    struct state_replica *r =
        mesh_open_replica(cli, mesh_name, namespace, args.args[0], &state, &target, &code);
    if (r != NULL)
        code = exec_in(cli, r, args.rest);
    state_deinit(&state);
    return code;
}
