#include "host/replica.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "host/replica_priv.h"

int replica_send(int control, const char *fmt, ...)
{
    char message[REPLICA_MESSAGE_MAX];
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    if (len < 0)
        return -ERR_INTERNAL;
    size_t n = MIN((size_t)len, sizeof message - 1);
    return send(control, message, n, MSG_NOSIGNAL) >= 0 ? 0 : err_from_errno(errno);
}

int replica_receive(int control, char buf[REPLICA_MESSAGE_MAX])
{
    for (;;) {
        ssize_t n = recv(control, buf, REPLICA_MESSAGE_MAX - 1, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_from_errno(errno);
        buf[n] = '\0';
        return (int)n;
    }
}

/* Waits for the supervisor's word that the link is here. False: the supervisor is gone. */
static bool wait_for_network(int control)
{
    char message[REPLICA_MESSAGE_MAX];
    for (;;) {
        ssize_t n = recv(control, message, sizeof message - 1, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        message[n] = '\0';
        return strcmp(message, "net") == 0;
    }
}

static int open_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_SETMASK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Keeps only standard error and what the replica uses: descriptors of other replicas' channels
 * would hide the supervisor's death. */
static void close_others(struct replica *r)
{
    int *keep[] = {&r->control, &r->app_log.fd, &r->app_log.old_fd, &r->proxy_log.fd,
                   &r->proxy_log.old_fd};
    /* First out of the way of the low numbers, then down to a dense range. */
    for (size_t i = 0; i < ARRAY_LEN(keep); i++)
        *keep[i] = fcntl(*keep[i], F_DUPFD_CLOEXEC, 64);
    for (size_t i = 0; i < ARRAY_LEN(keep); i++) {
        int to = 3 + (int)i;
        dup3(*keep[i], to, O_CLOEXEC);
        *keep[i] = to;
    }
    close_range(3 + ARRAY_LEN(keep), ~0u, 0);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        close(null);
    }
}

_Noreturn static void run_init(const struct replica_args *args, int control,
                               const struct logfile *app_log, const struct logfile *proxy_log)
{
    struct replica r = {
        .args = args, .control = control, .app_log = *app_log, .proxy_log = *proxy_log, .told = -1};
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    prctl(PR_SET_NAME, "tulle-init", 0, 0, 0);
    setsid();
    close_others(&r);
    r.signals = open_signals();
    signal(SIGPIPE, SIG_DFL);
    if (r.signals < 0 || !wait_for_network(r.control))
        _exit(1);
    const char *what;
    int err = sandbox_setup(&args->sandbox, &what);
    if (err != 0) {
        replica_send(r.control, "failed %s: %s", what, err_text(err));
        _exit(1);
    }
    replica_send(r.control, "setup");
    _exit(replica_loop(&r));
}

int replica_start(const struct replica_args *args, struct logfile *app_log,
                  struct logfile *proxy_log, int *ret_control)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return err_from_errno(errno);
    /* As fork(2), in new namespaces; the caller has one thread. */
    long pid =
        syscall(SYS_clone,
                CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | SIGCHLD,
                NULL, NULL, NULL, NULL);
    if (pid == 0)
        run_init(args, pair[1], app_log, proxy_log);
    int err = pid < 0 ? err_from_errno(errno) : 0;
    close(pair[1]);
    if (err != 0) {
        close(pair[0]);
        return err;
    }
    *ret_control = pair[0];
    return (int)pid;
}
