/* tulle-proxy: the data plane. Arguments in, agent_run out. */
#include <getopt.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/log.h"
#include "proxy/agent/agent.h"

enum { WORKERS_MAX = 64, EXIT_USAGE = 2 };

static const char usage[] =
    "Usage: tulle-proxy -c FILE [OPTIONS]\n"
    "       tulle-proxy sidecar --mesh-state DIR --discovery IP:PORT --root-cert FILE\n"
    "                   --token-file FILE --workload NAME --namespace NS --index I\n"
    "                   --service-account SA --trust-domain TD --address IP4[,IP6]\n"
    "                   [--app APP] [--workload-version V] [--egress-socket PATH]\n"
    "                   [--envoy PROGRAM] [OPTIONS]\n"
    "\n"
    "  -c, --config FILE     Envoy's bootstrap, JSON\n"
    "  --envoy PROGRAM       Envoy does the serving; this process its identity, DNS and readiness\n"
    "\n"
    "Options:\n"
    "  --concurrency N       workers; 0: one for each core (1)\n"
    "  --limit NAME=VALUE    one of the limits of docs/limits.md; may be repeated\n"
    "  --log-level LEVEL     debug, info, warn, error, off (info)\n"
    "  --log-format FORMAT   text, json (text)\n"
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
    OPTION_ARGUMENT
};

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
    default:
        if (option < OPTION_ARGUMENT)
            exit(EXIT_USAGE); /* getopt has said why */
        set_argument(a, &arguments[option - OPTION_ARGUMENT], value);
    }
}

static void take_options(struct agent_args *a, int argc, char **argv)
{
    struct option options[ARRAY_LEN(arguments) + 8] = {
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {"index", required_argument, NULL, OPTION_INDEX},
        {"concurrency", required_argument, NULL, OPTION_CONCURRENCY},
        {"limit", required_argument, NULL, OPTION_LIMIT},
        {"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
        {"log-format", required_argument, NULL, OPTION_LOG_FORMAT},
    };
    for (size_t i = 0; i < ARRAY_LEN(arguments); i++)
        options[7 + i] =
            (struct option){arguments[i].name, required_argument, NULL, OPTION_ARGUMENT + (int)i};
    for (int option; (option = getopt_long(argc, argv, "c:hV", options, NULL)) >= 0;)
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

int main(int argc, char **argv)
{
    struct agent_args args = {.worker_count = 1};
    limits_init(&args.limits);
    bool is_sidecar = argc > 1 && str_eq(str_from_c(argv[1]), STR("sidecar"));
    if (is_sidecar) {
        argv++;
        argc--;
    }
    take_options(&args, argc, argv);
    if (is_sidecar && args.bootstrap_file != NULL)
        refuse("-c and sidecar exclude each other", NULL);
    if (is_sidecar)
        check_sidecar(&args);
    else if (args.bootstrap_file == NULL)
        refuse("-c FILE is needed", NULL);
    return agent_run(&args);
}
