/* tulle-proxy: the data plane. Arguments in, agent_run out. */
#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <linux/capability.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "confine/confine.h"
#include "proxy/agent/agent.h"
#include "proxy/agent/file.h"
#include "proxy/agent/join.h"

enum { WORKERS_MAX = 64, EXIT_USAGE = 2 };

static const char usage[] =
    "Usage: tulle-proxy -c FILE [OPTIONS]\n"
    "       tulle-proxy sidecar --mesh-state DIR --discovery IP:PORT --root-cert FILE\n"
    "                   --token-file FILE --workload NAME --namespace NS --index I\n"
    "                   --service-account SA --trust-domain TD --address IP4[,IP6]\n"
    "                   [--app APP] [--workload-version V] [--egress-socket PATH]\n"
    "                   [--envoy PROGRAM | --proxyless] [OPTIONS]\n"
    "       tulle-proxy join --mesh-state DIR [--token TEXT|@FILE --control-plane HOST:PORT]\n"
    "                   [--address IP4[,IP6]] [--proxyless] [OPTIONS]\n"
    "\n"
    "  -c, --config FILE     Envoy's bootstrap, JSON\n"
    "  --envoy PROGRAM       Envoy does the serving; this process its identity, DNS and readiness\n"
    "  --proxyless           the app speaks xDS itself, as gRPC can: DIR/grpc.json is its "
    "bootstrap\n"
    "  join                  the sidecar of a host of one's own; TEXT is what 'tulle token "
    "create'\n"
    "                        prints. DIR keeps what was joined: the next time it is enough\n"
    "\n"
    "Options:\n"
    "  --concurrency N       workers; 0: one for each core (1)\n"
    "  --limit NAME=VALUE    one of the limits of docs/limits.md; may be repeated\n"
    "  --user NAME           started as root: goes on as this user\n"
    "  --confine on|off      capabilities, files, system calls that are not needed are given up "
    "(on)\n"
    "  --log-level LEVEL     debug, info, warn, error, off (info)\n"
    "  --log-format FORMAT   text, json (text)\n"
    "  -l LEVEL, --allow-unknown-static-fields, --drain-time-s N and others of Envoy's\n"
    "                        as Istio's agent gives them (docs/istiod.md)\n"
    "  -V, --version         version\n"
    "  -h, --help            this text\n"
    "\n"
    "Exit status: 0 after SIGTERM and its drain, 1 when it cannot start, 2 for wrong arguments.\n";

/* Options of one value each that goes into struct agent_args as it is. */
static const struct argument {
    const char *name;
    bool is_path; /* const char *, else struct str */
    bool is_needed;
    size_t offset;
} arguments[] = {
    {"config", true, false, offsetof(struct agent_args, bootstrap_file)},
    {"mesh-state", true, true, offsetof(struct agent_args, state_dir)},
    {"discovery", false, true, offsetof(struct agent_args, discovery)},
    {"root-cert", true, true, offsetof(struct agent_args, root_cert_file)},
    {"token-file", true, true, offsetof(struct agent_args, token_file)},
    {"workload", false, true, offsetof(struct agent_args, workload)},
    {"namespace", false, true, offsetof(struct agent_args, namespace_)},
    {"service-account", false, true, offsetof(struct agent_args, service_account)},
    {"trust-domain", false, true, offsetof(struct agent_args, trust_domain)},
    {"address", false, true, offsetof(struct agent_args, addresses)},
    {"egress-socket", true, false, offsetof(struct agent_args, egress_socket)},
    {"envoy", true, false, offsetof(struct agent_args, envoy)},
    {"app", false, false, offsetof(struct agent_args, app)},
    {"workload-version", false, false, offsetof(struct agent_args, version)},
};

enum {
    OPTION_INDEX = 256,
    OPTION_CONCURRENCY,
    OPTION_LIMIT,
    OPTION_LOG_LEVEL,
    OPTION_LOG_FORMAT,
    OPTION_TOKEN,
    OPTION_CONTROL_PLANE,
    OPTION_USER,
    OPTION_CONFINE,
    OPTION_UNKNOWN_FIELDS,
    OPTION_OF_ENVOY,
    OPTION_PROXYLESS,
    OPTION_ARGUMENT
};

static struct join_args join; /* of the command line */
static const char *user;
static struct confine_user new_user;

_Noreturn static void refuse(const char *what, const char *value)
{
    fprintf(stderr, "tulle-proxy: %s%s%s; see tulle-proxy --help\n", what,
            value != NULL ? ": " : "", value != NULL ? value : "");
    exit(EXIT_USAGE);
}

static unsigned number(const char *name, const char *value, unsigned min, unsigned max)
{
    uint64_t n;
    if (!str_to_u64(str_from_c(value), max, &n) || n < min)
        refuse(name, value);
    return (unsigned)n;
}

static void set_log_format(const char *value)
{
    struct str s = str_from_c(value);
    if (!str_eq(s, STR("text")) && !str_eq(s, STR("json")))
        refuse("--log-format is text or json", value);
    log_set_json(str_eq(s, STR("json")));
}

static void set_log_level(const char *value)
{
    enum log_level level;
    if (!log_level_parse(str_from_c(value), &level))
        refuse("--log-level is debug, info, warn, error or off", value);
    log_set_level(level);
}

/* -l of Envoy. */
static void set_envoy_level(const char *value)
{
    static const char *const names[][2] = {
        {"trace", "debug"}, {"warning", "warn"}, {"critical", "error"}};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (str_eq(str_from_c(value), str_from_c(names[i][0])))
            value = names[i][1];
    }
    set_log_level(value);
}

static void set_argument(struct agent_args *a, const struct argument *argument, const char *value)
{
    void *at = (char *)a + argument->offset;
    if (argument->is_path)
        *(const char **)at = value;
    else
        *(struct str *)at = str_from_c(value);
}

/* Those that we may run on. */
static unsigned core_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    return (unsigned)MIN(MAX(CPU_COUNT(&set), 1), (int)WORKERS_MAX);
}

static void set_limit(struct agent_args *a, const char *value)
{
    struct str s = str_from_c(value);
    const char *eq = strchr(value, '=');
    struct str name = eq != NULL ? str_sub(s, 0, (size_t)(eq - value)) : s;
    int err = eq != NULL ? limits_set(&a->limits, name, str_from_c(eq + 1)) : -ERR_INVALID;
    if (err == -ERR_NOT_FOUND)
        refuse("--limit: there is no such limit", value);
    if (err != 0)
        refuse("--limit NAME=VALUE: no number, or out of bounds", value);
}

static void take_option(struct agent_args *a, int option, const char *value)
{
    switch (option) {
    case 'h':
        fputs(usage, stdout);
        exit(0);
    case 'V':
        puts("tulle-proxy " TULLE_VERSION);
        exit(0);
    case 'c':
        a->bootstrap_file = value;
        return;
    case OPTION_INDEX:
        a->index = number("--index", value, 0, 1000000);
        return;
    case OPTION_CONCURRENCY:
        a->worker_count = number("--concurrency", value, 0, WORKERS_MAX);
        if (a->worker_count == 0)
            a->worker_count = core_count();
        return;
    case OPTION_LIMIT:
        set_limit(a, value);
        return;
    case OPTION_LOG_LEVEL:
        set_log_level(value);
        return;
    case OPTION_LOG_FORMAT:
        set_log_format(value);
        return;
    case 'l':
        set_envoy_level(value);
        return;
    case OPTION_UNKNOWN_FIELDS:
        a->may_ignore_fields = true;
        return;
    case OPTION_OF_ENVOY:
        return;
    case OPTION_TOKEN:
        join.text = str_from_c(value);
        return;
    case OPTION_PROXYLESS:
        a->is_proxyless = true;
        return;
    case OPTION_CONTROL_PLANE:
        join.control_plane = str_from_c(value);
        return;
    case OPTION_USER:
        user = value;
        return;
    case OPTION_CONFINE:
        if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
            refuse("--confine is on or off", value);
        a->is_unconfined = strcmp(value, "off") == 0;
        return;
    default:
        if (option < OPTION_ARGUMENT)
            exit(EXIT_USAGE); /* getopt has said why */
        set_argument(a, &arguments[option - OPTION_ARGUMENT], value);
    }
}

static void take_options(struct agent_args *a, int argc, char **argv)
{
    enum { OWN_COUNT = 22 };
    struct option options[ARRAY_LEN(arguments) + OWN_COUNT + 1] = {
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {"index", required_argument, NULL, OPTION_INDEX},
        {"concurrency", required_argument, NULL, OPTION_CONCURRENCY},
        {"limit", required_argument, NULL, OPTION_LIMIT},
        {"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
        {"log-format", required_argument, NULL, OPTION_LOG_FORMAT},
        {"token", required_argument, NULL, OPTION_TOKEN},
        {"control-plane", required_argument, NULL, OPTION_CONTROL_PLANE},
        {"user", required_argument, NULL, OPTION_USER},
        {"confine", required_argument, NULL, OPTION_CONFINE},
        {"config-path", required_argument, NULL, 'c'},
        {"allow-unknown-static-fields", no_argument, NULL, OPTION_UNKNOWN_FIELDS},
        /* What Istio's agent starts Envoy with, and what is so here anyway, or has no meaning. */
        {"drain-time-s", required_argument, NULL, OPTION_OF_ENVOY},
        {"drain-strategy", required_argument, NULL, OPTION_OF_ENVOY},
        {"local-address-ip-version", required_argument, NULL, OPTION_OF_ENVOY},
        {"file-flush-interval-msec", required_argument, NULL, OPTION_OF_ENVOY},
        {"disable-hot-restart", no_argument, NULL, OPTION_OF_ENVOY},
        {"component-log-level", required_argument, NULL, OPTION_OF_ENVOY},
        {"skip-deprecated-logs", no_argument, NULL, OPTION_OF_ENVOY},
        {"parent-shutdown-time-s", required_argument, NULL, OPTION_OF_ENVOY},
        {"proxyless", no_argument, NULL, OPTION_PROXYLESS},
    };
    for (size_t i = 0; i < ARRAY_LEN(arguments); i++)
        options[OWN_COUNT + i] =
            (struct option){arguments[i].name, required_argument, NULL, OPTION_ARGUMENT + (int)i};
    for (int option; (option = getopt_long(argc, argv, "c:l:hV", options, NULL)) >= 0;)
        take_option(a, option, optarg);
    if (optind < argc)
        refuse("unexpected argument", argv[optind]);
}

static void check_sidecar(const struct agent_args *a)
{
    for (size_t i = 0; i < ARRAY_LEN(arguments); i++) {
        const void *at = (const char *)a + arguments[i].offset;
        bool is_given = arguments[i].is_path ? *(const char *const *)at != NULL
                                             : ((const struct str *)at)->len > 0;
        if (!arguments[i].is_needed || is_given)
            continue;
        char name[64];
        snprintf(name, sizeof name, "--%s", arguments[i].name);
        refuse("this option is needed", name);
    }
}

/* --- the user --- */

static int give(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return lchown(path, new_user.uid, new_user.gid);
}

/* Before anything is open. The state directory was root's, from a join by hand. */
static void change_user(const struct agent_args *a)
{
    if (user == NULL || geteuid() != 0)
        return;
    uint64_t keep = CONFINE_CAP(CAP_NET_ADMIN) | CONFINE_CAP(CAP_NET_BIND_SERVICE);
    int err = confine_find_user(user, &new_user);
    if (err == 0 && a->state_dir != NULL && nftw(a->state_dir, give, 8, FTW_PHYS) != 0 &&
        errno != ENOENT)
        err = err_from_errno(errno);
    if (err == 0)
        err = confine_become(&new_user, keep);
    if (err != 0)
        refuse(err_text(err), user);
}

static int run(const struct agent_args *a)
{
    change_user(a);
    return agent_run(a);
}

/* --- join --- */

static void read_token(const char *path, struct arena *a)
{
    struct str_buf text = STR_BUF_INIT(JOIN_TEXT_MAX);
    int err = file_read(path, JOIN_TEXT_MAX, &text);
    if (err != 0)
        refuse(err_text(err), path);
    join.text = arena_str(a, str_buf_str(&text));
    str_buf_deinit(&text);
}

/* Command lines can be read by everybody on the machine. */
static void hide_token(struct arena *a)
{
    char *argument = (char *)(uintptr_t)join.text.ptr;
    size_t len = join.text.len;
    join.text = arena_str(a, join.text);
    if (argument != NULL)
        explicit_bzero(argument, len);
}

static int run_join(struct agent_args *args)
{
    struct arena a;
    struct str_buf why = STR_BUF_INIT(4096);
    arena_init(&a, 4096);
    join.state_dir = args->state_dir;
    join.addresses = args->addresses;
    join.is_proxyless = args->is_proxyless;
    if (join.state_dir == NULL)
        refuse("this option is needed", "--mesh-state");
    if ((join.text.len > 0) != (join.control_plane.len > 0))
        refuse("--token and --control-plane belong together", NULL);
    if (join.text.len > 0 && join.text.ptr[0] == '@')
        read_token(join.text.ptr + 1, &a);
    else
        hide_token(&a);
    int err = join_prepare(&join, &a, args, &why);
    if (err != 0)
        fprintf(stderr, "tulle-proxy: cannot join: %.*s\n", STR_FMT(str_buf_str(&why)));
    int code = err == 0 ? run(args) : 1;
    str_buf_deinit(&why);
    arena_deinit(&a);
    return code;
}

int main(int argc, char **argv)
{
    struct agent_args args = {.worker_count = 1};
    limits_init(&args.limits);
    bool is_sidecar = argc > 1 && str_eq(str_from_c(argv[1]), STR("sidecar"));
    bool is_join = argc > 1 && str_eq(str_from_c(argv[1]), STR("join"));
    if (is_sidecar || is_join) {
        argv++;
        argc--;
    }
    take_options(&args, argc, argv);
    if (args.is_proxyless && (args.envoy != NULL || args.bootstrap_file != NULL))
        refuse("--proxyless excludes --envoy and -c", NULL);
    if ((is_sidecar || is_join) && args.bootstrap_file != NULL)
        refuse("-c excludes sidecar and join", NULL);
    if (is_join)
        return run_join(&args);
    if (is_sidecar)
        check_sidecar(&args);
    else if (args.bootstrap_file == NULL)
        refuse("-c FILE is needed", NULL);
    return run(&args);
}
