/* The loop of a replica's init: reaps, restarts, probes, obeys. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "host/replica_priv.h"

enum {
    BACKOFF_FIRST_MS = 100,
    BACKOFF_LAST_MS = 10000,
    STEADY_MS = 10000, /* who ran so long starts again at the first backoff */
    PROBE_FAST_MS = 25,
    PROBE_FAST_COUNT = 20,
    PROBE_MEDIUM_MS = 100,
    PROBE_MEDIUM_COUNT = 120,
    PROBE_STEADY_MS = 1000,
    ROTATE_MS = 2000,
    SIDECAR_FAILURES = 3, /* of a sidecar that was ready: then it gets another token */
    WITHDRAW_MS = 300,    /* until callers have heard that this replica ends */
    APP_GRACE_MS = 3000,
    SIDECAR_GRACE_MS = 2000,       /* when all of the mesh ends */
    SIDECAR_DRAIN_GRACE_MS = 6000, /* more than the sidecar's own */
};

static void describe_end(int status, char *buf, size_t len)
{
    if (WIFSIGNALED(status))
        snprintf(buf, len, "signal %d (%s)", WTERMSIG(status), sigabbrev_np(WTERMSIG(status)));
    else
        snprintf(buf, len, "exit code %d", WEXITSTATUS(status));
}

static void plan_restart(struct replica_child *c, uint64_t now_ms)
{
    if (c->backoff_ms == 0 || now_ms - c->started_ms >= STEADY_MS)
        c->backoff_ms = BACKOFF_FIRST_MS;
    else
        c->backoff_ms = MIN(c->backoff_ms * 2, (uint32_t)BACKOFF_LAST_MS);
    c->restart_at_ms = now_ms + c->backoff_ms;
}

static void probe_soon(struct replica *r, uint64_t now_ms)
{
    r->probe_at_ms = now_ms;
    r->probe_fast_count = 0;
}

static void set_app_ready(struct replica *r, bool is_ready)
{
    if (r->app.is_ready == is_ready)
        return;
    r->app.is_ready = is_ready;
    replica_send(r->control, is_ready ? "ready" : "unready");
}

static void on_sidecar_end(struct replica *r, int status, uint64_t now_ms)
{
    char how[64];
    describe_end(status, how, sizeof how);
    r->sidecar.pid = 0;
    r->sidecar.is_ready = false;
    r->told = -1;
    set_app_ready(r, false);
    if (r->is_stopping)
        return;
    plan_restart(&r->sidecar, now_ms);
    logfile_note(&r->proxy_log, "sidecar ended (%s); again in %u ms", how, r->sidecar.backoff_ms);
    replica_send(r->control, "sidecar-ended %s", how);
}

static void on_app_end(struct replica *r, int status, uint64_t now_ms)
{
    char how[64];
    describe_end(status, how, sizeof how);
    r->app.pid = 0;
    set_app_ready(r, false);
    if (r->is_stopping)
        return;
    plan_restart(&r->app, now_ms);
    logfile_note(&r->app_log, "app ended (%s); again in %u ms", how, r->app.backoff_ms);
    replica_send(r->control, "app-ended %s", how);
    probe_soon(r, now_ms); /* tells the sidecar */
}

static void on_sidecar_probe(struct replica *r, int code, uint64_t now_ms)
{
    if ((code & PROBE_IS_READY) == 0 || r->sidecar.pid == 0)
        return;
    r->sidecar.is_ready = true;
    replica_send(r->control, "sidecar-ready");
    probe_soon(r, now_ms);
    if (r->args->workload->command != NULL && r->app.pid == 0 && r->app.restart_at_ms == 0)
        r->app.restart_at_ms = now_ms;
}

/* Its leaf may be over, after a long time without the control plane: only a token helps then. */
static void look_at_sidecar(struct replica *r, bool is_ready)
{
    r->sidecar_failures = is_ready ? 0 : r->sidecar_failures + 1;
    if (r->sidecar_failures % SIDECAR_FAILURES == SIDECAR_FAILURES - 1)
        replica_send(r->control, "want-token");
}

static void on_app_probe(struct replica *r, int code)
{
    look_at_sidecar(r, (code & PROBE_IS_SIDECAR_READY) != 0);
    bool is_running = r->args->workload->command == NULL || r->app.pid > 0;
    r->told = (code & PROBE_IS_TOLD) == 0 ? -1 : (code & PROBE_IS_TOLD_READY) != 0;
    r->probe_failures = (code & PROBE_IS_READY) != 0 ? 0 : r->probe_failures + 1;
    set_app_ready(r, r->told == 1 && is_running && r->sidecar.pid > 0);
}

/* Often while something is new, then less so. */
static uint64_t probe_delay(const struct replica *r)
{
    bool is_steady = r->sidecar.is_ready && r->app.is_ready;
    if (!is_steady && r->probe_fast_count < PROBE_FAST_COUNT)
        return PROBE_FAST_MS;
    if (!is_steady && r->probe_fast_count < PROBE_MEDIUM_COUNT)
        return PROBE_MEDIUM_MS;
    return PROBE_STEADY_MS;
}

static void on_probe_end(struct replica *r, int status, uint64_t now_ms)
{
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    r->probe_pid = 0;
    if (r->is_probe_of_app)
        on_app_probe(r, code);
    else
        on_sidecar_probe(r, code, now_ms);
    if (r->probe_at_ms > now_ms) /* else something else asked for one at once */
        r->probe_at_ms = now_ms + probe_delay(r);
}

static void reap(struct replica *r, uint64_t now_ms)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == r->sidecar.pid)
            on_sidecar_end(r, status, now_ms);
        else if (pid == r->app.pid)
            on_app_end(r, status, now_ms);
        else if (pid == r->probe_pid)
            on_probe_end(r, status, now_ms);
    }
}

/* When all of the mesh ends nobody is left to be spared. */
static void stop(struct replica *r, bool is_mesh_ending, uint64_t now_ms)
{
    if (is_mesh_ending)
        r->withdraw_until_ms = now_ms;
    if (r->is_stopping)
        return;
    r->is_stopping = true;
    r->sidecar.restart_at_ms = r->app.restart_at_ms = 0;
    r->sidecar_grace_ms = is_mesh_ending ? SIDECAR_GRACE_MS : SIDECAR_DRAIN_GRACE_MS;
    if (!is_mesh_ending && r->app.is_ready && replica_spawn_withdrawal(r) > 0)
        r->withdraw_until_ms = now_ms + WITHDRAW_MS;
}

static void stop_app(struct replica *r, uint64_t now_ms)
{
    if (r->app.kill_at_ms == 0) {
        kill(r->app.pid, SIGTERM);
        r->app.kill_at_ms = now_ms + APP_GRACE_MS;
    } else if (now_ms >= r->app.kill_at_ms) {
        kill(r->app.pid, SIGKILL);
    }
}

/* First callers hear of it, then the app, so that it can still finish its calls through the
 * sidecar. True: all is over. */
static bool stop_step(struct replica *r, uint64_t now_ms)
{
    if (now_ms < r->withdraw_until_ms)
        return false;
    if (r->app.pid > 0) {
        stop_app(r, now_ms);
        return false;
    }
    if (r->sidecar.pid == 0)
        return true;
    if (r->sidecar.kill_at_ms == 0) {
        kill(r->sidecar.pid, SIGTERM);
        r->sidecar.kill_at_ms = now_ms + r->sidecar_grace_ms;
    } else if (now_ms >= r->sidecar.kill_at_ms) {
        kill(r->sidecar.pid, SIGKILL);
    }
    return false;
}

static void start_sidecar(struct replica *r, uint64_t now_ms)
{
    r->is_sidecar_asked = false;
    if (r->is_stopping || r->sidecar.pid > 0)
        return;
    pid_t pid = replica_spawn_sidecar(r);
    r->sidecar.started_ms = now_ms;
    if (pid < 0) {
        plan_restart(&r->sidecar, now_ms);
        return;
    }
    r->sidecar.pid = pid;
    replica_send(r->control, "sidecar %d", (int)pid);
    probe_soon(r, now_ms);
}

static void start_app(struct replica *r, uint64_t now_ms)
{
    pid_t pid = replica_spawn_app(r);
    r->app.started_ms = now_ms;
    r->app.restart_at_ms = 0;
    if (pid < 0) {
        plan_restart(&r->app, now_ms);
        return;
    }
    r->app.pid = pid;
    replica_send(r->control, "app %d", (int)pid);
    probe_soon(r, now_ms);
}

static void start_probe(struct replica *r, uint64_t now_ms)
{
    r->is_probe_of_app = r->sidecar.is_ready;
    pid_t pid = replica_spawn_probe(r, r->is_probe_of_app);
    r->probe_pid = pid > 0 ? pid : 0;
    r->probe_fast_count++;
    r->probe_at_ms = now_ms + PROBE_STEADY_MS;
}

static void do_due(struct replica *r, uint64_t now_ms)
{
    if (now_ms >= r->rotate_at_ms) {
        logfile_rotate(&r->app_log, LOGFILE_BYTES_MAX);
        logfile_rotate(&r->proxy_log, LOGFILE_BYTES_MAX);
        r->rotate_at_ms = now_ms + ROTATE_MS;
    }
    if (r->is_stopping)
        return;
    if (r->sidecar.restart_at_ms != 0 && now_ms >= r->sidecar.restart_at_ms &&
        !r->is_sidecar_asked) {
        r->sidecar.restart_at_ms = 0;
        r->is_sidecar_asked = true;
        replica_send(r->control, "want-sidecar");
    }
    if (r->app.restart_at_ms != 0 && now_ms >= r->app.restart_at_ms)
        start_app(r, now_ms);
    if (r->sidecar.pid > 0 && r->probe_pid == 0 && now_ms >= r->probe_at_ms)
        start_probe(r, now_ms);
}

static int next_timeout(const struct replica *r, uint64_t now_ms)
{
    uint64_t at = r->rotate_at_ms;
    if (r->is_stopping) {
        /* Nothing is started any more: what would be due keeps nobody awake. */
        uint64_t rest_ms = at > now_ms ? at - now_ms : 0;
        return (int)MIN(rest_ms, 50u);
    }
    if (r->sidecar.restart_at_ms != 0)
        at = MIN(at, r->sidecar.restart_at_ms);
    if (r->app.restart_at_ms != 0)
        at = MIN(at, r->app.restart_at_ms);
    if (r->sidecar.pid > 0 && r->probe_pid == 0)
        at = MIN(at, r->probe_at_ms);
    return at > now_ms ? (int)(at - now_ms) : 0;
}

/* False: the supervisor is gone. */
static bool obey(struct replica *r, uint64_t now_ms)
{
    char message[REPLICA_MESSAGE_MAX];
    for (;;) {
        int n = replica_receive(r->control, message);
        if (n == -ERR_AGAIN)
            return true;
        if (n <= 0)
            return false;
        if (strcmp(message, "start") == 0)
            start_sidecar(r, now_ms);
        else if (strcmp(message, "stop") == 0)
            stop(r, true, now_ms);
    }
}

static void read_signals(struct replica *r, uint64_t now_ms)
{
    struct signalfd_siginfo info;
    while (read(r->signals, &info, sizeof info) == (ssize_t)sizeof info)
        if (info.ssi_signo != SIGCHLD)
            stop(r, false, now_ms);
    reap(r, now_ms);
}

int replica_loop(struct replica *r)
{
    r->rotate_at_ms = proc_now_ms() + ROTATE_MS;
    r->sidecar.restart_at_ms = proc_now_ms();
    for (;;) {
        uint64_t now_ms = proc_now_ms();
        do_due(r, now_ms);
        if (r->is_stopping && stop_step(r, now_ms))
            return 0;
        struct pollfd fds[] = {{r->control, POLLIN, 0}, {r->signals, POLLIN, 0}};
        if (poll(fds, 2, next_timeout(r, now_ms)) < 0 && errno != EINTR)
            return 1;
        now_ms = proc_now_ms();
        if (fds[0].revents != 0 && !obey(r, now_ms))
            return 1;
        if (fds[1].revents != 0)
            read_signals(r, now_ms);
    }
}
