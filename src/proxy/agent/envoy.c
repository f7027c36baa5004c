#include "proxy/agent/envoy.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "io/conn.h"
#include "proxy/agent/backoff.h"
#include "proxy/agent/file.h"

enum {
    FILE_BYTES_MAX = 64 * 1024,
    PATH_BYTES_MAX = 1024,
    PORT_INBOUND = 15006,
    LOOK_US = 100 * 1000,            /* whether it still runs, and takes connections */
    CONNECT_US = 1000 * 1000,        /* to its port */
    STABLE_US = 10ull * 1000 * 1000, /* who ran so long did not fail to start */
    END_STEP_NS = 10 * 1000 * 1000,
    END_STEPS_MAX = 100,
};

static const struct backoff_range restarts = {500 * 1000, 10 * 1000 * 1000};

struct envoy {
    struct envoy_args args;
    char bootstrap[PATH_BYTES_MAX];
    bool is_started, is_ready;
    pid_t pid; /* 0: does not run */
    uint64_t started_us;
    unsigned failures;
    struct conn *probe; /* under way */
    struct timer timer; /* the next look, or the next start */
};

/* --- the process --- */

/* Between fork and exec, with other threads about: system calls only. */
_Noreturn static void become(const struct envoy *e, pid_t parent)
{
    char *argv[] = {(char *)(uintptr_t) "envoy",
                    (char *)(uintptr_t) "-c",
                    (char *)(uintptr_t)e->bootstrap,
                    (char *)(uintptr_t) "--disable-hot-restart",
                    (char *)(uintptr_t) "--concurrency",
                    (char *)(uintptr_t) "1",
                    (char *)(uintptr_t) "-l",
                    (char *)(uintptr_t) "warn",
                    NULL};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(126);
    close_range(3, ~0u, 0);
    execv(e->args.program, argv);
    _exit(127);
}

static int write_files(const struct envoy *e)
{
    static const struct {
        const char *name;
        void (*make)(const struct envoy_args *args, struct str_buf *to);
    } files[] = {
        {ENVOY_FILE_CERTIFICATE, envoy_certificate},
        {ENVOY_FILE_ROOTS, envoy_roots},
        {ENVOY_FILE_BOOTSTRAP, envoy_bootstrap},
    };
    struct str_buf text = STR_BUF_INIT(FILE_BYTES_MAX);
    char path[PATH_BYTES_MAX];
    int err = 0;
    for (size_t i = 0; i < ARRAY_LEN(files) && err == 0; i++) {
        str_buf_reset(&text);
        files[i].make(&e->args, &text);
        snprintf(path, sizeof path, "%.*s/%s", STR_FMT(e->args.state_dir), files[i].name);
        err = text.is_overflown ? -ERR_TOO_LARGE : file_write(path, str_buf_str(&text));
    }
    str_buf_deinit(&text);
    return err;
}

static void set_ready(struct envoy *e, bool is_ready)
{
    if (e->is_ready == is_ready)
        return;
    e->is_ready = is_ready;
    e->args.on_change(e->args.ctx);
}

static void look_again(struct envoy *e)
{
    timer_start(e->args.turn, &e->timer, LOOK_US);
}

static void start_later(struct envoy *e)
{
    struct turn *t = e->args.turn;
    if (turn_now_us(t) - e->started_us >= STABLE_US)
        e->failures = 0;
    timer_start(t, &e->timer, backoff_us(&restarts, e->failures++, turn_random(t)));
}

static void start_now(struct envoy *e)
{
    pid_t self = getpid();
    int err = write_files(e);
    pid_t pid = err == 0 ? fork() : -1;
    if (pid == 0)
        become(e, self);
    e->started_us = turn_now_us(e->args.turn);
    if (pid < 0) {
        log_event(LOG_ERROR, "envoy_not_started",
                  LFC("reason", err_text(err != 0 ? err : err_from_errno(errno))));
        start_later(e);
        return;
    }
    e->pid = pid;
    look_again(e);
}

static void say_ended(int status)
{
    char text[64];
    if (WIFEXITED(status))
        snprintf(text, sizeof text, "exit code %d%s", WEXITSTATUS(status),
                 WEXITSTATUS(status) == 127 ? ": no such program, or it cannot be run" : "");
    else
        snprintf(text, sizeof text, "signal %d", WTERMSIG(status));
    log_event(LOG_ERROR, "envoy_ended", LFC("reason", text));
}

/* --- looking --- */

static void on_open(struct conn *c)
{
    struct envoy *e = c->ctx;
    conn_close(c);
    set_ready(e, e->pid > 0);
}

static void on_input(struct conn *c)
{
    (void)c;
}

static void on_close(struct conn *c, int err)
{
    struct envoy *e = c->ctx;
    (void)err;
    e->probe = NULL;
}

static const struct conn_handler probe_handler = {
    .on_open = on_open,
    .on_input = on_input,
    .on_close = on_close,
};

/* Once it takes connections it does so until it ends. */
static void probe(struct envoy *e)
{
    struct addr at;
    if (e->is_ready || e->probe != NULL)
        return;
    addr_parse_ip(STR("127.0.0.1"), PORT_INBOUND, &at);
    e->probe = conn_connect(
        e->args.turn, &at,
        &(struct conn_options){.mark = e->args.mark_app, .connect_timeout_us = CONNECT_US},
        &probe_handler, e, NULL, NULL);
}

static void on_timer(struct timer *timer)
{
    struct envoy *e = CONTAINER_OF(timer, struct envoy, timer);
    int status;
    if (e->pid == 0) {
        start_now(e);
        return;
    }
    if (waitpid(e->pid, &status, WNOHANG) != e->pid) {
        probe(e);
        look_again(e);
        return;
    }
    e->pid = 0;
    say_ended(status);
    set_ready(e, false);
    start_later(e);
}

/* --- life --- */

struct envoy *envoy_new(const struct envoy_args *args)
{
    struct envoy *e = NEW(struct envoy);
    e->args = *args;
    snprintf(e->bootstrap, sizeof e->bootstrap, "%.*s/" ENVOY_FILE_BOOTSTRAP,
             STR_FMT(args->state_dir));
    timer_init(&e->timer, on_timer);
    return e;
}

void envoy_start(struct envoy *e)
{
    if (e->is_started)
        return;
    e->is_started = true;
    start_now(e);
}

bool envoy_is_ready(const struct envoy *e, struct str_buf *why_not)
{
    if (!e->is_ready)
        str_buf_add_c(why_not,
                      e->pid > 0 ? "Envoy does not take connections yet" : "Envoy does not run");
    return e->is_ready;
}

static void end_process(struct envoy *e)
{
    kill(e->pid, SIGTERM);
    for (int i = 0; i < END_STEPS_MAX; i++) {
        if (waitpid(e->pid, NULL, WNOHANG) != 0)
            return;
        nanosleep(&(struct timespec){0, END_STEP_NS}, NULL);
    }
    kill(e->pid, SIGKILL);
    (void)waitpid(e->pid, NULL, 0);
}

struct envoy *envoy_free(struct envoy *e)
{
    if (e == NULL)
        return NULL;
    timer_stop(&e->timer);
    if (e->probe != NULL)
        conn_abort(e->probe, -ERR_CLOSED);
    while (e->probe != NULL)
        turn_once(e->args.turn, 0);
    if (e->pid > 0)
        end_process(e);
    free(e);
    return NULL;
}
