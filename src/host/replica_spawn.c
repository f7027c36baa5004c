/* What a replica's init starts: sidecar, app, probes. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "host/paths.h"
#include "host/probe.h"
#include "host/replica_priv.h"
#include "host/userns.h"

/* A child's standard streams and a clean signal state. */
static void become_child(int log_fd)
{
    dup2(log_fd, STDOUT_FILENO);
    dup2(log_fd, STDERR_FILENO);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
}

_Noreturn static void exec_sidecar(const struct replica *r)
{
    const struct replica_args *a = r->args;
    char program[PATH_LEN_MAX], envoy[PATH_LEN_MAX], index[16], address[128];
    snprintf(index, sizeof index, "%u", a->index);
    snprintf(address, sizeof address, "%s%s%s", a->sandbox.address_v4,
             a->sandbox.address_v6 != NULL ? "," : "",
             a->sandbox.address_v6 != NULL ? a->sandbox.address_v6 : "");
    sandbox_proxy_path(a->sandbox.mesh, program, sizeof program);
    sandbox_envoy_path(a->sandbox.mesh, envoy, sizeof envoy);
    become_child(r->proxy_log.fd);
    /* Envoy opens its standard output anew, by name. */
    if (a->workload->is_envoy &&
        fchown(STDOUT_FILENO, userns_uid_or_own(SANDBOX_PROXY_UID), (gid_t)-1) != 0)
        dprintf(STDERR_FILENO, "[tulle] Envoy's access log: errno %d\n", errno);
    umask(077);
    int err = sandbox_become_proxy();
    if (err != 0) {
        dprintf(STDERR_FILENO, "[tulle] cannot become uid %d: %s\n", SANDBOX_PROXY_UID,
                err_text(err));
        _exit(126);
    }
    execl(program, "tulle-proxy", "sidecar", "--mesh-state", a->state_dir, "--discovery",
          a->discovery, "--root-cert", a->root_cert, "--token-file", a->token_file, "--workload",
          a->workload->name, "--namespace", a->workload->namespace, "--index", index,
          "--service-account", a->workload->service_account, "--trust-domain", a->trust_domain,
          "--address", address, "--egress-socket", a->egress_path,
          a->workload->is_envoy ? "--envoy" : (char *)NULL, envoy, (char *)NULL);
    dprintf(STDERR_FILENO, "[tulle] cannot start %s: errno %d\n", program, errno);
    _exit(127);
}

pid_t replica_spawn_sidecar(const struct replica *r)
{
    pid_t pid = fork();
    if (pid == 0)
        exec_sidecar(r);
    return pid > 0 ? pid : err_from_errno(errno);
}

_Noreturn static void exec_app(const struct replica *r)
{
    const struct box_workload *w = r->args->workload;
    become_child(r->app_log.fd);
    setenv("HOSTNAME", r->args->sandbox.hostname, 1);
    for (const char **e = w->env; e != NULL && *e != NULL; e++) {
        char *entry = strdup(*e);
        if (entry == NULL || putenv(entry) != 0)
            _exit(126);
    }
    int err = sandbox_become_app();
    if (err != 0) {
        dprintf(STDERR_FILENO, "[tulle] cannot give up rights: %s\n", err_text(err));
        _exit(126);
    }
    if (chdir(w->folder) != 0) {
        dprintf(STDERR_FILENO, "[tulle] cannot enter %s\n", w->folder);
        _exit(126);
    }
    execvp(w->command[0], (char **)(uintptr_t)w->command);
    dprintf(STDERR_FILENO, "[tulle] cannot start %s: %s\n", w->command[0],
            errno == ENOENT ? "no such program" : err_text(err_from_errno(errno)));
    _exit(127);
}

pid_t replica_spawn_app(const struct replica *r)
{
    pid_t pid = fork();
    if (pid == 0)
        exec_app(r);
    return pid > 0 ? pid : err_from_errno(errno);
}

/* The probe of the app: what `ready` says, else a connection to the first port. */
static struct box_ready effective_ready(const struct box_workload *w)
{
    struct box_ready ready = w->ready;
    if (ready.kind == BOX_READY_NONE && w->first_port != 0) {
        ready.kind = BOX_READY_TCP;
        ready.port = w->first_port;
    }
    return ready;
}

static int probe_exit_code(const struct replica *r, bool is_of_app)
{
    if (!is_of_app)
        return probe_sidecar() ? PROBE_IS_READY : 0;
    const struct box_workload *w = r->args->workload;
    struct box_ready ready = effective_ready(w);
    bool is_running = w->command == NULL || r->app.pid > 0;
    bool is_ready = is_running && probe_app(&ready, r->args->sandbox.address_v4, w->folder);
    /* A single failure of a serving app may be chance. */
    bool is_told_ready = is_ready || (is_running && r->told == 1 && r->probe_failures == 0);
    int code = (is_ready ? PROBE_IS_READY : 0) | (is_told_ready ? PROBE_IS_TOLD_READY : 0);
    if (r->told == (int)is_told_ready || probe_tell_sidecar(is_told_ready))
        code |= PROBE_IS_TOLD;
    if (probe_sidecar())
        code |= PROBE_IS_SIDECAR_READY;
    return code;
}

pid_t replica_spawn_withdrawal(const struct replica *r)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid > 0 ? pid : err_from_errno(errno);
    close(r->control);
    _exit(probe_tell_sidecar(false) ? 0 : 1);
}

pid_t replica_spawn_probe(const struct replica *r, bool is_of_app)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid > 0 ? pid : err_from_errno(errno);
    close(r->control);
    _exit(probe_exit_code(r, is_of_app));
}
