#include "host/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/http_call.h"
#include "host/proc.h"
#include "host/sandbox.h"

enum { PORT_ADMIN = 15000, PORT_READY = 15021, SIDECAR_TIMEOUT_MS = 500 };

static int call_status(const struct http_call *call)
{
    struct http_answer answer;
    int err = http_call(call, &answer);
    int status = err == 0 ? answer.status : 0;
    http_answer_deinit(&answer);
    return status;
}

/* Connecting is all that is wanted: any outcome but "no connection" will do. */
static bool probe_tcp(const char *address, uint16_t port)
{
    return http_call_connects(
        &(struct http_call){.address = address, .port = port, .timeout_ms = PROBE_TIMEOUT_MS});
}

_Noreturn static void exec_probe(const struct box_ready *ready, const char *folder)
{
    int null = open("/dev/null", O_RDWR);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0);
    if (sandbox_become_app() != 0 || chdir(folder) != 0)
        _exit(126);
    execvp(ready->command[0], (char **)(uintptr_t)ready->command);
    _exit(127);
}

static bool probe_exec(const struct box_ready *ready, const char *folder)
{
    pid_t pid = fork();
    if (pid == 0)
        exec_probe(ready, folder);
    if (pid < 0)
        return false;
    struct proc p = proc_of(pid);
    if (!proc_wait_gone(p, PROBE_EXEC_TIMEOUT_MS))
        kill(-pid, SIGKILL);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return false;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool probe_app(const struct box_ready *ready, const char *address, const char *folder)
{
    int status;
    switch (ready->kind) {
    case BOX_READY_NONE:
        return true;
    case BOX_READY_TCP:
        return probe_tcp(address, ready->port);
    case BOX_READY_HTTP:
        status = call_status(&(struct http_call){.address = address,
                                                 .port = ready->port,
                                                 .path = ready->path,
                                                 .timeout_ms = PROBE_TIMEOUT_MS});
        return status >= 200 && status < 400;
    case BOX_READY_EXEC:
        return probe_exec(ready, folder);
    }
    return false;
}

bool probe_sidecar(void)
{
    return call_status(&(struct http_call){.address = "127.0.0.1",
                                           .port = PORT_READY,
                                           .path = "/healthz/ready",
                                           .timeout_ms = SIDECAR_TIMEOUT_MS}) == 200;
}

bool probe_tell_sidecar(bool is_ready)
{
    return call_status(&(struct http_call){.address = "127.0.0.1",
                                           .port = PORT_ADMIN,
                                           .method = "POST",
                                           .path = is_ready ? "/ready-app?ready=true"
                                                            : "/ready-app?ready=false",
                                           .timeout_ms = SIDECAR_TIMEOUT_MS}) == 200;
}
