#include "host/box.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "host/box_priv.h"
#include "host/netns.h"
#include "host/userns.h"

enum {
    BACKOFF_FIRST_MS = 100,
    BACKOFF_LAST_MS = 10000,
    STEADY_MS = 10000,
    TURN_MS_MAX = 1000,
    REPLICAS_GRACE_MS = 7000,
    KILL_GRACE_MS = 2000,
    TULLED_GRACE_MS = 3000,
};

void box_restart_plan(struct box_restart *r, uint64_t now_ms)
{
    if (r->backoff_ms == 0 || now_ms - r->started_ms >= STEADY_MS)
        r->backoff_ms = BACKOFF_FIRST_MS;
    else
        r->backoff_ms = MIN(r->backoff_ms * 2, (uint32_t)BACKOFF_LAST_MS);
    r->at_ms = now_ms + r->backoff_ms;
}

/* Trouble goes to the supervisor's own log too: the starter may be gone. */
void box_tell(struct box *b, const char *fmt, ...)
{
    char message[BOX_MESSAGE_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    if (strcmp(message, "change") != 0)
        fprintf(stderr, "%s\n", message);
    if (b->channel >= 0 &&
        send(b->channel, message, strlen(message), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
        errno != EAGAIN && errno != ENOBUFS) {
        close(b->channel);
        b->channel = -1;
    }
}

pid_t box_fork(const char *name)
{
    pid_t supervisor = getpid();
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != supervisor)
        _exit(1);
    prctl(PR_SET_NAME, name, 0, 0, 0);
    setsid();
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    return 0;
}

/* The mesh's network namespace: a bridge with the gateway's and tulled's addresses. */
static int setup_network(struct box *b)
{
    b->netns = netns_new();
    if (b->netns < 0)
        return b->netns;
    int err = netlink_open_in(&b->netlink, b->netns);
    if (err != 0)
        return err;
    err = netlink_add_bridge(&b->netlink, "tulle0", netlink_mac_of(STATE_ADDRESS_GATEWAY));
    b->bridge = err == 0 ? netlink_link_index(&b->netlink, "tulle0") : err;
    if (b->bridge < 0)
        return b->bridge;
    static const uint32_t numbers[] = {STATE_ADDRESS_GATEWAY, STATE_ADDRESS_TULLED};
    for (size_t i = 0; i < ARRAY_LEN(numbers) && err == 0; i++) {
        char text[STATE_ADDRESS_LEN_MAX];
        struct netlink_addr addr;
        netlink_addr_parse(state_address_v4(numbers[i], text), &addr);
        err = netlink_add_addr(&b->netlink, b->bridge, addr, STATE_PREFIX_LEN_V4);
        netlink_addr_parse(state_address_v6(numbers[i], text), &addr);
        if (err == 0 && b->state.has_ipv6)
            err = netlink_add_addr(&b->netlink, b->bridge, addr, STATE_PREFIX_LEN_V6);
    }
    return err == 0 ? netlink_set_up(&b->netlink, b->bridge) : err;
}

static int setup_state(struct box *b)
{
    char path[PATH_LEN_MAX];
    const char *mesh = b->spec->name;
    int err = state_load(mesh, &b->state);
    if (err == -ERR_CORRUPT) { /* addresses are all that is lost */
        state_deinit(&b->state);
        state_init(&b->state);
    }
    err = state_plan(&b->state, b->spec);
    b->state.has_ipv6 = netns_has_ipv6();
    b->state.supervisor = proc_of(getpid());
    static const char *const dirs[] = {"logs", "replicas", "tulled", "bypass"};
    for (size_t i = 0; i < ARRAY_LEN(dirs) && err == 0; i++)
        err = paths_make_dir(paths_in_mesh(mesh, dirs[i], path), 0700);
    if (err == 0)
        err = logfile_open(&b->tulled_log, paths_in_mesh(mesh, "logs/tulled.log", path));
    if (err == 0)
        err = egress_open(paths_in_mesh(mesh, "egress.sock", path),
                          userns_uid_or_own(SANDBOX_PROXY_UID), &b->egress);
    return err == 0 ? state_save(&b->state) : err;
}

static const struct box_workload *find_workload(const struct box_spec *spec,
                                                const struct state_replica *r)
{
    for (size_t i = 0; i < spec->workloads.len; i++) {
        const struct box_workload *w = &spec->workloads.ptr[i];
        if (str_eq(r->workload, str_from_c(w->name)) &&
            str_eq(r->namespace, str_from_c(w->namespace)))
            return w;
    }
    return NULL;
}

static void setup_replicas(struct box *b)
{
    b->replicas = mem_zalloc(sizeof *b->replicas * (b->state.replicas.len + 1));
    for (size_t i = 0; i < b->state.replicas.len; i++) {
        struct state_replica *s = &b->state.replicas.ptr[i];
        const struct box_workload *w = find_workload(b->spec, s);
        if (s->is_wanted && w != NULL)
            box_replica_init(b, &b->replicas[b->replica_count++], s, w);
    }
}

static int setup_signals(struct box *b)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_SETMASK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    b->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return b->signals >= 0 ? 0 : err_from_errno(errno);
}

static void stop(struct box *b, uint64_t now_ms)
{
    if (b->is_stopping) { /* asked twice: at once */
        b->stop_at_ms = now_ms;
        return;
    }
    b->is_stopping = true;
    b->stop_at_ms = now_ms + REPLICAS_GRACE_MS;
    for (size_t i = 0; i < b->replica_count; i++)
        if (b->replicas[i].control >= 0)
            replica_send(b->replicas[i].control, "stop");
}

/* Whether replicas still end. A dead init is not waited for without end: it cannot go before a
 * `tulle exec` that is stopped has taken note of its own child's death. */
static bool is_ending(const struct box *b, uint64_t now_ms)
{
    bool is_any = false;
    for (size_t i = 0; i < b->replica_count; i++) {
        const struct box_replica *r = &b->replicas[i];
        is_any |= r->pid > 0;
        if (r->pid > 0 && now_ms >= b->stop_at_ms)
            kill(r->pid, SIGKILL);
    }
    return is_any && now_ms < b->stop_at_ms + KILL_GRACE_MS;
}

/* Replicas first, so that drains are still seen; then tulled. True: all is over. */
static bool stop_step(struct box *b, uint64_t now_ms)
{
    if (is_ending(b, now_ms))
        return false;
    if (b->tulled_pid == 0)
        return true;
    if (b->kill_at_ms == 0) {
        kill(b->tulled_pid, SIGTERM);
        b->kill_at_ms = now_ms + TULLED_GRACE_MS;
    } else if (now_ms >= b->kill_at_ms) {
        kill(b->tulled_pid, SIGKILL);
    }
    return false;
}

static void reap(struct box *b, uint64_t now_ms)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (box_tulled_on_end(b, pid, status, now_ms))
            continue;
        for (size_t i = 0; i < b->replica_count; i++)
            if (box_replica_on_end(b, &b->replicas[i], pid, status, now_ms))
                break;
    }
}

static void on_signals(struct box *b, uint64_t now_ms)
{
    struct signalfd_siginfo info;
    while (read(b->signals, &info, sizeof info) == (ssize_t)sizeof info)
        if (info.ssi_signo != SIGCHLD)
            stop(b, now_ms);
    reap(b, now_ms);
}

static void on_channel(struct box *b, uint64_t now_ms)
{
    char message[REPLICA_MESSAGE_MAX];
    for (;;) {
        int n = replica_receive(b->channel, message);
        if (n == -ERR_AGAIN)
            return;
        if (n <= 0) {
            close(b->channel);
            b->channel = -1;
            if (!b->is_detached)
                stop(b, now_ms);
            return;
        }
        if (strcmp(message, "go") == 0)
            b->is_go = true;
        else if (strcmp(message, "detach") == 0)
            b->is_detached = true;
        else if (strcmp(message, "stop") == 0)
            stop(b, now_ms);
    }
}

static void do_due(struct box *b, uint64_t now_ms)
{
    if (!b->is_stopping)
        box_tulled_do_due(b, now_ms);
    for (size_t i = 0; i < b->replica_count; i++)
        box_replica_do_due(b, &b->replicas[i], now_ms);
    if (b->is_state_changed) {
        b->is_state_changed = false;
        state_save(&b->state);
        box_tell(b, "change");
    }
}

static uint64_t restart_due(const struct box_restart *r, uint64_t at)
{
    return r->at_ms != 0 ? MIN(at, r->at_ms) : at;
}

static int next_timeout(const struct box *b, uint64_t now_ms)
{
    uint64_t at = now_ms + (b->is_stopping ? 50 : TURN_MS_MAX);
    at = restart_due(&b->tulled_restart, at);
    for (size_t i = 0; i < b->replica_count && !b->is_stopping; i++) {
        const struct box_replica *r = &b->replicas[i];
        at = restart_due(&r->restart, at);
        if (r->is_sidecar_wanted && r->token_job == 0 && b->is_go && b->state.is_tulled_ready)
            at = MIN(at, r->token_at_ms);
    }
    return at > now_ms ? (int)(at - now_ms) : 0;
}

enum { FIXED_FDS = 2, POLL_FDS_MAX = FIXED_FDS + BOX_REPLICAS_MAX + EGRESS_CLIENTS_MAX + 1 };

static size_t collect_fds(const struct box *b, struct pollfd *fds, size_t *ret_egress_at)
{
    size_t n = 0;
    fds[n++] = (struct pollfd){b->signals, POLLIN, 0};
    fds[n++] = (struct pollfd){b->channel, POLLIN, 0}; /* -1 is passed over by poll */
    for (size_t i = 0; i < b->replica_count; i++)
        fds[n++] = (struct pollfd){b->replicas[i].control, POLLIN, 0};
    *ret_egress_at = n;
    return n + egress_fds(b->egress, fds + n, POLL_FDS_MAX - n);
}

static void turn(struct box *b, struct pollfd *fds)
{
    size_t egress_at;
    size_t n = collect_fds(b, fds, &egress_at);
    if (poll(fds, n, next_timeout(b, proc_now_ms())) < 0)
        return;
    uint64_t now_ms = proc_now_ms();
    if (fds[1].revents != 0)
        on_channel(b, now_ms);
    for (size_t i = 0; i < b->replica_count; i++)
        if (fds[FIXED_FDS + i].revents != 0 && b->replicas[i].control >= 0)
            box_replica_on_control(b, &b->replicas[i], now_ms);
    if (fds[0].revents != 0)
        on_signals(b, now_ms);
    for (size_t i = egress_at; i < n; i++)
        if (fds[i].revents != 0)
            egress_on_event(b->egress, fds[i].fd);
}

static int run(struct box *b)
{
    int err = geteuid() == 0 ? 0 : userns_enter();
    if (err == 0)
        err = setup_signals(b);
    if (err == 0)
        err = setup_state(b);
    if (err == 0)
        err = setup_network(b);
    if (err != 0) {
        box_tell(b, "fatal the mesh's own namespace: %s", err_text(err));
        return 1;
    }
    setup_replicas(b);
    box_tulled_start(b, proc_now_ms());
    struct pollfd *fds = mem_zalloc(sizeof *fds * POLL_FDS_MAX);
    for (;;) {
        uint64_t now_ms = proc_now_ms();
        do_due(b, now_ms);
        if (b->is_stopping && stop_step(b, now_ms))
            break;
        turn(b, fds);
    }
    box_remove(b->spec->name);
    box_tell(b, "stopped");
    return 0;
}

/* The supervisor's own session, standard streams and descriptors: lock and channel only. */
static void detach_from_starter(const char *mesh, int *lock, int *channel)
{
    char path[PATH_LEN_MAX];
    setsid();
    prctl(PR_SET_NAME, "tulle-box", 0, 0, 0);
    int log = open(paths_in_mesh(mesh, "supervisor.log", path),
                   O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup2(null, STDIN_FILENO);
    dup2(log >= 0 ? log : null, STDOUT_FILENO);
    dup2(log >= 0 ? log : null, STDERR_FILENO);
    *lock = fcntl(*lock, F_DUPFD_CLOEXEC, 64);
    *channel = fcntl(*channel, F_DUPFD_CLOEXEC, 64);
    dup3(*lock, 3, O_CLOEXEC);
    dup3(*channel, 4, O_CLOEXEC);
    *lock = 3;
    *channel = 4;
    close_range(5, ~0u, 0);
}

int box_start(const struct box_spec *spec, const struct box_programs *programs, int lock,
              int *ret_channel, pid_t *ret_pid)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return err_from_errno(errno);
    pid_t pid = fork();
    if (pid < 0) {
        close(pair[0]);
        close(pair[1]);
        return err_from_errno(errno);
    }
    if (pid > 0) {
        close(pair[1]);
        close(lock);
        *ret_channel = pair[0];
        *ret_pid = pid;
        return 0;
    }
    struct box b = {.spec = spec, .programs = programs, .channel = pair[1]};
    detach_from_starter(spec->name, &lock, &b.channel);
    arena_init(&b.arena, 4096);
    _exit(run(&b));
}
