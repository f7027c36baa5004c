/* tulle-proxy: the data plane. Arguments in, agent_run out. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "proxy/agent/agent.h"

enum { WORKERS_MAX = 64, EXIT_USAGE = 2 };

static const char usage[] =
    "Usage: tulle-proxy -c FILE [OPTIONS]\n"
    "       tulle-proxy sidecar --mesh-state DIR --discovery IP:PORT --root-cert FILE\n"
    "                   --token-file FILE --workload NAME --namespace NS --index I\n"
    "                   --service-account SA --trust-domain TD --address IP4[,IP6]\n"
    "                   [--app APP] [--workload-version V] [--egress-socket PATH] [OPTIONS]\n"
    "\n"
    "  -c, --config FILE     Envoy's bootstrap, JSON\n"
    "\n"
    "Options:\n"
    "  --concurrency N       workers (1)\n"
    "  --log-level LEVEL     debug, info, warn, error, off (info)\n"
    "  --log-format FORMAT   text, json (text)\n"
    "  -V                    version\n"
    "  -h, --help            this text\n"
    "\n"
    "Exit status: 0 after SIGTERM and its drain, 1 when it cannot start, 2 for wrong arguments.\n";

enum option_id {
    OPTION_STATE = 256,
    OPTION_DISCOVERY,
    OPTION_ROOT_CERT,
    OPTION_TOKEN_FILE,
    OPTION_WORKLOAD,
    OPTION_NAMESPACE,
    OPTION_INDEX,
    OPTION_SERVICE_ACCOUNT,
    OPTION_TRUST_DOMAIN,
    OPTION_ADDRESS,
    OPTION_EGRESS_SOCKET,
    OPTION_APP,
    OPTION_VERSION,
    OPTION_CONCURRENCY,
    OPTION_LOG_LEVEL,
    OPTION_LOG_FORMAT,
};

static const struct option options[] = {
    {"config", required_argument, NULL, 'c'},
    {"help", no_argument, NULL, 'h'},
    {"mesh-state", required_argument, NULL, OPTION_STATE},
    {"state", required_argument, NULL, OPTION_STATE},
    {"discovery", required_argument, NULL, OPTION_DISCOVERY},
    {"root-cert", required_argument, NULL, OPTION_ROOT_CERT},
    {"token-file", required_argument, NULL, OPTION_TOKEN_FILE},
    {"workload", required_argument, NULL, OPTION_WORKLOAD},
    {"namespace", required_argument, NULL, OPTION_NAMESPACE},
    {"index", required_argument, NULL, OPTION_INDEX},
    {"service-account", required_argument, NULL, OPTION_SERVICE_ACCOUNT},
    {"trust-domain", required_argument, NULL, OPTION_TRUST_DOMAIN},
    {"address", required_argument, NULL, OPTION_ADDRESS},
    {"egress-socket", required_argument, NULL, OPTION_EGRESS_SOCKET},
    {"app", required_argument, NULL, OPTION_APP},
    {"workload-version", required_argument, NULL, OPTION_VERSION},
    {"version", no_argument, NULL, 'V'},
    {"concurrency", required_argument, NULL, OPTION_CONCURRENCY},
    {"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
    {"log-format", required_argument, NULL, OPTION_LOG_FORMAT},
    {NULL, 0, NULL, 0},
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

static void take_option(struct agent_args *a, int option, const char *value)
{
    struct str text = str_from_c(value);
    switch (option) {
    case 'c':
        a->bootstrap_file = value;
        break;
    case 'h':
        fputs(usage, stdout);
        exit(0);
    case 'V':
        puts("tulle-proxy " TULLE_VERSION);
        exit(0);
    case OPTION_STATE:
        a->state_dir = value;
        break;
    case OPTION_DISCOVERY:
        a->discovery = text;
        break;
    case OPTION_ROOT_CERT:
        a->root_cert_file = value;
        break;
    case OPTION_TOKEN_FILE:
        a->token_file = value;
        break;
    case OPTION_WORKLOAD:
        a->workload = text;
        break;
    case OPTION_NAMESPACE:
        a->namespace_ = text;
        break;
    case OPTION_INDEX:
        a->index = number("--index", value, 0, 1000000);
        break;
    case OPTION_SERVICE_ACCOUNT:
        a->service_account = text;
        break;
    case OPTION_TRUST_DOMAIN:
        a->trust_domain = text;
        break;
    case OPTION_ADDRESS:
        a->addresses = text;
        break;
    case OPTION_EGRESS_SOCKET:
        a->egress_socket = value;
        break;
    case OPTION_APP:
        a->app = text;
        break;
    case OPTION_VERSION:
        a->version = text;
        break;
    case OPTION_CONCURRENCY:
        a->worker_count = number("--concurrency", value, 1, WORKERS_MAX);
        break;
    case OPTION_LOG_LEVEL:
        set_log_level(value);
        break;
    case OPTION_LOG_FORMAT:
        set_log_format(value);
        break;
    default:
        exit(EXIT_USAGE); /* getopt has said why */
    }
}

static void check_sidecar(const struct agent_args *a)
{
    const struct {
        const char *name;
        bool is_given;
    } needed[] = {
        {"--mesh-state", a->state_dir != NULL},
        {"--discovery", a->discovery.len > 0},
        {"--root-cert", a->root_cert_file != NULL},
        {"--token-file", a->token_file != NULL},
        {"--workload", a->workload.len > 0},
        {"--namespace", a->namespace_.len > 0},
        {"--service-account", a->service_account.len > 0},
        {"--trust-domain", a->trust_domain.len > 0},
        {"--address", a->addresses.len > 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
        if (!needed[i].is_given)
            refuse("this option is needed", needed[i].name);
    }
}

int main(int argc, char **argv)
{
    struct agent_args args = {.worker_count = 1};
    bool is_sidecar = argc > 1 && str_eq(str_from_c(argv[1]), STR("sidecar"));
    if (is_sidecar) {
        argv++;
        argc--;
    }
    for (int option; (option = getopt_long(argc, argv, "c:hV", options, NULL)) >= 0;)
        take_option(&args, option, optarg);
    if (optind < argc)
        refuse("unexpected argument", argv[optind]);
    if (is_sidecar && args.bootstrap_file != NULL)
        refuse("-c and sidecar exclude each other", NULL);
    if (is_sidecar)
        check_sidecar(&args);
    else if (args.bootstrap_file == NULL)
        refuse("-c FILE is needed", NULL);
    return agent_run(&args);
}
