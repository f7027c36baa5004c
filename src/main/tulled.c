/* tulled: the control plane. Only wires; see ARCHITECTURE.md for who does what. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "control/server/server.h"

enum { ROOT_LIFETIME_S = 10 * 365 * 24 * 3600, END_TURNS = 100 };

struct options {
    const char *state, *socket, *xds, *metrics;
};

struct daemon {
    struct turn *turn;
    struct store *store;
    struct registry *registry;
    struct translate *translate;
    struct ca *ca;
    struct push *push;
    struct server *server;
    struct watch signals;
};

static const char usage[] =
    "Usage: tulled --state DIR --socket PATH --xds ADDRESS:PORT [--metrics ADDRESS:PORT]\n"
    "              [--log-level debug|info|warn|error] [--log-format text|json]\n"
    "\n"
    "The control plane of a mesh.\n"
    "  --state DIR       store, CA key and certificate; only this user may read it\n"
    "  --socket PATH     REST API on a unix socket, for root and this user\n"
    "  --xds ADDR        xDS and certificates for proxies, gRPC over TLS\n"
    "  --metrics ADDR    Prometheus metrics at /metrics\n";

static int fail(const char *what, struct str why)
{
    fprintf(stderr, "tulled: %s: %.*s\n", what, STR_FMT(why));
    return 1;
}

static bool take_option(int c, const char *value, struct options *o)
{
    const char **const slots[] = {&o->state, &o->socket, &o->xds, &o->metrics};
    enum log_level level;
    if (c >= 0 && (size_t)c < ARRAY_LEN(slots)) {
        *slots[c] = value;
        return true;
    }
    if (c == 'f') {
        log_set_json(strcmp(value, "json") == 0);
        return true;
    }
    if (c != 'l' || !log_level_parse(str_from_c(value), &level))
        return false;
    log_set_level(level);
    return true;
}

static bool parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"state", required_argument, NULL, 0},
        {"socket", required_argument, NULL, 1},
        {"xds", required_argument, NULL, 2},
        {"metrics", required_argument, NULL, 3},
        {"log-level", required_argument, NULL, 'l'},
        {"log-format", required_argument, NULL, 'f'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "hv", longs, NULL)) != -1) {
        if (c == 'v' || c == 'h') {
            fputs(c == 'v' ? "tulled " TULLE_VERSION "\n" : usage, stdout);
            exit(0);
        }
        if (!take_option(c, optarg, o))
            return false;
    }
    return optind == argc && o->state != NULL && o->socket != NULL && o->xds != NULL;
}

static void on_fact(void *ctx, struct str fact)
{
    struct daemon *d = ctx;
    push_fact_changed(d->push, fact);
}

static int open_parts(struct daemon *d, const struct options *o, struct str_buf *why)
{
    struct str_buf path = STR_BUF_INIT(4096);
    str_buf_printf(&path, "%s/store.db", o->state);
    int err = store_open_sqlite(str_buf_str(&path), why, &d->store);
    if (err == 0 && (d->registry = registry_new(d->store, why)) == NULL)
        err = -1;
    if (err == 0) {
        struct ca_options ca = {
            .state_dir = str_from_c(o->state), /* ca-cert.pem there is what sidecars trust */
            .trust_domain = registry_mesh(d->registry)->trust_domain,
            .root_lifetime_s = ROOT_LIFETIME_S,
        };
        err = ca_open(&ca, (uint64_t)time(NULL), why, &d->ca);
    }
    str_buf_deinit(&path);
    return err;
}

static int listen_all(struct daemon *d, const struct options *o, struct str_buf *why)
{
    struct addr xds, metrics;
    if (!addr_parse(str_from_c(o->xds), &xds) ||
        (o->metrics != NULL && !addr_parse(str_from_c(o->metrics), &metrics))) {
        str_buf_add_c(why, "an address is ADDRESS:PORT");
        return -1;
    }
    int err = push_listen(d->push, &xds, why);
    if (err == 0 && o->metrics != NULL)
        err = server_listen_metrics(d->server, &metrics, why);
    /* Last: who sees the socket answer may use everything. */
    return err != 0 ? err : server_listen_api(d->server, str_from_c(o->socket), why);
}

static void on_signal(struct watch *w, bool is_readable, bool is_writable)
{
    struct daemon *d = CONTAINER_OF(w, struct daemon, signals);
    (void)is_readable;
    (void)is_writable;
    turn_stop(d->turn);
}

static void watch_signals(struct daemon *d)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd >= 0)
        (void)watch_start(d->turn, &d->signals, fd, false, on_signal);
}

static void close_all(struct daemon *d)
{
    watch_stop(&d->signals);
    server_stop(d->server);
    d->push = push_free(d->push);
    for (int i = 0; i < END_TURNS; i++)
        turn_once(d->turn, 0);
    server_free(d->server);
    translate_free(d->translate);
    registry_free(d->registry);
    ca_free(d->ca);
    store_close(d->store);
    turn_free(d->turn);
}

int main(int argc, char **argv)
{
    struct options o = {0};
    struct daemon d = {0};
    struct str_buf why = STR_BUF_INIT(4096);
    struct rlimit files;
    if (!parse(argc, argv, &o)) {
        fputs(usage, stderr);
        return 2;
    }
    umask(077);
    prctl(PR_SET_DUMPABLE, 0);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    if (mkdir(o.state, 0700) != 0 && errno != EEXIST)
        return fail(o.state, str_from_c(strerror(errno)));
    if (open_parts(&d, &o, &why) != 0)
        return fail("start", str_buf_str(&why));
    d.turn = turn_new_linux();
    watch_signals(&d);
    d.translate = translate_new(d.registry);
    d.push = push_new(&(struct push_args){d.turn, d.store, d.registry, d.translate, d.ca});
    registry_watch(d.registry, on_fact, &d);
    d.server =
        server_new(&(struct server_args){d.turn, d.store, d.registry, d.translate, d.push, d.ca});
    if (listen_all(&d, &o, &why) != 0)
        return fail("listen", str_buf_str(&why));
    log_event(LOG_INFO, "started", LFC("xds", o.xds), LFC("socket", o.socket));
    turn_run(d.turn);
    log_event(LOG_INFO, "ends", LFC("reason", "signal"));
    close_all(&d);
    str_buf_deinit(&why);
    return 0;
}
