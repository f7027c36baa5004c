/* The control plane: store, registry, translation, CA and REST in one loop; xDS connections on
 * threads of their own; the CA's signer beside it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "control/ca/signer_process.h"
#include "control/server/server.h"
#include "main/tulled_confine.h"
#include "main/tulled_options.h"

#define ROOT_LIFETIME_S (10ull * 365 * 24 * 3600)

enum { WHY_BYTES_MAX = 4096, PATH_LEN_MAX = 4096 };

struct tulled {
    struct turn *turn;
    struct store *store;
    struct registry *registry;
    struct translate *translate;
    struct ca *ca;
    struct push *push;
    struct server *server;
    struct watch signals, signer_end;
    struct ca_signer signer; /* until the CA has it */
    pid_t signer_pid;
    const char *passphrase_file; /* of the CA's key; NULL: none */
    bool is_broken;
    struct str_buf why;
};

static void on_signal(struct watch *w, bool is_readable, bool is_writable)
{
    struct signalfd_siginfo info;
    (void)is_readable;
    (void)is_writable;
    if (read(w->fd, &info, sizeof info) == sizeof info)
        turn_stop(w->turn);
}

static int watch_signals(struct tulled *t)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return fd >= 0 ? watch_start(t->turn, &t->signals, fd, false, on_signal) : -ERR_SYSTEM;
}

static void on_fact(void *ctx, struct str fact)
{
    push_fact_changed(ctx, fact);
}

/* Keys are in this process's memory: no core dumps, no tracing, files for us alone. */
static void harden(void)
{
    struct rlimit files;
    umask(077);
    prctl(PR_SET_DUMPABLE, 0);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
}

/* Two on one state would each believe that theirs is the last word. The lock is the process's, not
 * the descriptor's: it ends with it, however it ends, and the signer has none. */
static int lock_state(const struct tulled_options *o, struct str_buf *why)
{
    char path[PATH_LEN_MAX];
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET}, other = lock;
    snprintf(path, sizeof path, "%s/lock", o->state);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 && fcntl(fd, F_SETLK, &lock) == 0)
        return 0; /* kept until the end */
    if (fd < 0 || (errno != EAGAIN && errno != EACCES))
        str_buf_printf(why, "%s: %s", path, strerror(errno));
    else if (fcntl(fd, F_GETLK, &other) == 0 && other.l_type != F_UNLCK)
        str_buf_printf(why, "%s: a tulled runs on it, pid %d", o->state, (int)other.l_pid);
    else
        str_buf_printf(why, "%s: a tulled runs on it", o->state);
    if (fd >= 0)
        close(fd);
    return -ERR_SYSTEM;
}

static int make_state(const struct tulled_options *o, struct str_buf *why)
{
    if (mkdir(o->state, 0700) == 0 || errno == EEXIST)
        return lock_state(o, why);
    str_buf_printf(why, "%s: %s", o->state, strerror(errno));
    return -ERR_SYSTEM;
}

/* What the operator named, or what systemd hands over (LoadCredential=ca-passphrase:...). */
static void find_passphrase(const struct tulled_options *o, char path[PATH_LEN_MAX],
                            struct ca_signer_options *to)
{
    const char *credentials = getenv("CREDENTIALS_DIRECTORY");
    to->passphrase_file = o->ca_passphrase_file;
    if (to->passphrase_file != NULL || credentials == NULL)
        return;
    int len = snprintf(path, PATH_LEN_MAX, "%s/ca-passphrase", credentials);
    to->is_credential = len > 0 && len < PATH_LEN_MAX && access(path, F_OK) == 0;
    to->passphrase_file = to->is_credential ? path : NULL;
}

static int open_ca(struct tulled *t, const struct tulled_options *o)
{
    struct ca_options ca = {.store = t->store,
                            .state_dir = str_from_c(o->state),
                            .trust_domain = registry_mesh(t->registry)->trust_domain,
                            .root_lifetime_s = ROOT_LIFETIME_S,
                            .signer = t->signer};
    t->signer = (struct ca_signer){0};
    int err = ca_open(&ca, turn_wall_us(t->turn) / 1000000, &t->why, &t->ca);
    if (err == 0 && ca_was_converted(t->ca))
        log_event(LOG_WARN, "ca_key_encrypted", LFC("state", o->state));
    return err;
}

static int open_state(struct tulled *t, const struct tulled_options *o)
{
    char path[PATH_LEN_MAX];
    snprintf(path, sizeof path, "%s/store.db", o->state);
    int err = store_open_sqlite(str_from_c(path), &t->why, &t->store);
    if (err != 0)
        return err;
    store_set_history(t->store, o->history_revisions, o->history_bytes);
    t->registry = registry_new(t->store, &t->why);
    if (t->registry == NULL)
        return -ERR_CORRUPT;
    return open_ca(t, o);
}

static int listen_at(struct tulled *t, const struct tulled_options *o)
{
    struct addr xds, metrics, api;
    if (!addr_parse(str_from_c(o->xds), &xds) ||
        (o->metrics != NULL && !addr_parse(str_from_c(o->metrics), &metrics)) ||
        (o->api != NULL && !addr_parse(str_from_c(o->api), &api))) {
        str_buf_add_c(&t->why, "--xds, --metrics and --api take ADDRESS:PORT");
        return -ERR_INVALID;
    }
    int err = push_listen(t->push, &xds, (unsigned)o->edge_count, &t->why);
    if (err == 0 && o->xds_local != NULL)
        err = push_listen_local(t->push, str_from_c(o->xds_local), &t->why);
    if (err == 0 && o->metrics != NULL)
        err = server_listen_metrics(t->server, &metrics, &t->why);
    if (err == 0 && o->api != NULL)
        err = server_listen_remote(t->server, &api, &t->why);
    return err != 0 ? err : server_listen_api(t->server, str_from_c(o->socket), &t->why);
}

/* Before anything else is opened or known: the signer is a copy of this process. */
static int start_signer(struct tulled *t, const struct tulled_options *o)
{
    static char path[PATH_LEN_MAX]; /* the signer's for good */
    struct ca_signer_options signer = {.dir = o->state,
                                       .is_confined = strcmp(o->confine, "on") == 0};
    int err = make_state(o, &t->why);
    if (err == 0)
        err = store_restore_finish(str_from_c(o->state), &t->why);
    if (err != 0)
        return err;
    find_passphrase(o, path, &signer);
    t->passphrase_file = signer.passphrase_file;
    return ca_signer_process_start(&signer, &t->why, &t->signer, &t->signer_pid);
}

static void on_signer_end(struct watch *w, bool is_readable, bool is_writable)
{
    struct tulled *t = CONTAINER_OF(w, struct tulled, signer_end);
    (void)is_readable;
    (void)is_writable;
    log_event(LOG_ERROR, "ca_signer_gone", LFC("what", "no certificate can be made: ending"));
    t->is_broken = true;
    watch_stop(w);
    turn_stop(t->turn);
}

/* A signer that dies has a successor; whoever looks after that has none. */
static int watch_signer(struct tulled *t)
{
    int fd = (int)syscall(SYS_pidfd_open, t->signer_pid, 0);
    return fd >= 0 ? watch_start(t->turn, &t->signer_end, fd, false, on_signer_end) : -ERR_SYSTEM;
}

static int start(struct tulled *t, const struct tulled_options *o)
{
    int err = start_signer(t, o);
    if (err != 0)
        return err;
    t->turn = turn_new_linux();
    err = watch_signals(t);
    if (err == 0)
        err = watch_signer(t);
    if (err == 0)
        err = open_state(t, o);
    if (err != 0)
        return err;
    t->translate = translate_new(t->registry);
    t->push = push_new(&(struct push_args){t->turn, t->store, t->registry, t->translate, t->ca});
    registry_watch(t->registry, on_fact, t->push);
    t->server =
        server_new(&(struct server_args){t->turn, t->store, t->registry, t->translate, t->push,
                                         t->ca, str_from_c(o->mesh), str_from_c(o->state)});
    if (o->documents != NULL)
        err = server_follow(t->server, str_from_c(o->documents), &t->why);
    if (err == 0)
        err = listen_at(t, o);
    if (err == 0)
        err = tulled_confine(o, t->passphrase_file, &t->why);
    return err != 0 ? err : push_serve(t->push);
}

static void stop(struct tulled *t)
{
    server_free(t->server);
    push_free(t->push);
    translate_free(t->translate);
    registry_free(t->registry);
    ca_free(t->ca);
    store_close(t->store);
    if (t->signer.ops != NULL)
        t->signer.ops->free(t->signer.signer);
    if (t->signals.turn != NULL)
        watch_stop(&t->signals);
    if (t->signer_end.turn != NULL)
        watch_stop(&t->signer_end);
    if (t->turn != NULL)
        turn_free(t->turn);
    str_buf_deinit(&t->why);
}

/* What a backup holds becomes the state of a tulled that is started next. */
static int restore(const struct tulled_options *o)
{
    struct str_buf why = STR_BUF_INIT(WHY_BYTES_MAX);
    int err = make_state(o, &why);
    if (err == 0)
        err = store_restore_sqlite(str_from_c(o->restore), str_from_c(o->state), &why);
    if (err == 0)
        printf("%s holds what %s held\n", o->state, o->restore);
    else
        fprintf(stderr, "tulled: cannot restore: %.*s (%s)\n", STR_FMT(str_buf_str(&why)),
                err_text(err));
    str_buf_deinit(&why);
    return err == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    static struct tulled_options o; /* texts of its file are kept for good */
    int code;
    if (!tulled_options_read(argc, argv, &o, &code))
        return code;
    harden();
    if (o.restore != NULL)
        return restore(&o);
    struct tulled t = {.why = STR_BUF_INIT(WHY_BYTES_MAX)};
    int err = start(&t, &o);
    if (err == 0) {
        log_event(LOG_INFO, "tulled_started", LFC("version", TULLE_VERSION), LFC("xds", o.xds));
        turn_run(t.turn);
        log_event(LOG_INFO, "tulled_stopped", LFC("mesh", o.mesh));
    } else {
        log_event(LOG_ERROR, "tulled_cannot_start", LFC("error", err_text(err)),
                  LF("reason", str_buf_str(&t.why)));
    }
    stop(&t);
    return err == 0 && !t.is_broken ? 0 : 1;
}
