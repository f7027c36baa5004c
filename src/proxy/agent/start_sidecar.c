/* Start as the sidecar of a mesh workload: everything follows from the flags. */
#include <stdio.h>
#include <sys/prctl.h>

#include "base/err.h"
#include "base/log.h"
#include "codec/json_writer.h"
#include "mesh/model/secret.h"
#include "proxy/agent/agent_priv.h"
#include "proxy/agent/local.h"
#include "proxy/agent/proxyless.h"

enum { PORT_DNS = 15053 };

static const struct {
    uint16_t port;
    bool is_loopback;
    enum admin_face face;
} admin_ports[] = {
    {15000, true, ADMIN_ALL},
    {15020, false, ADMIN_METRICS},
    {15021, false, ADMIN_READY},
    {15090, false, ADMIN_METRICS},
};

/* --- who we are --- */

static void describe(struct agent *a)
{
    const struct agent_args *args = a->args;
    struct str addresses = args->addresses;
    struct str first = str_split(&addresses, ',');
    a->spiffe_id =
        arena_printf(&a->arena, "spiffe://%.*s/ns/%.*s/sa/%.*s", STR_FMT(args->trust_domain),
                     STR_FMT(args->namespace_), STR_FMT(args->service_account));
    a->node_id = arena_printf(&a->arena, "sidecar~%.*s~%.*s-%u.%.*s~%.*s.svc.cluster.local",
                              STR_FMT(first), STR_FMT(args->workload), args->index,
                              STR_FMT(args->namespace_), STR_FMT(args->namespace_));
    a->node_cluster =
        arena_printf(&a->arena, "%.*s.%.*s", STR_FMT(args->workload), STR_FMT(args->namespace_));
}

static void describe_metadata(struct agent *a)
{
    struct json_writer w;
    struct str_buf text = STR_BUF_INIT(16384);
    struct str addresses = a->args->addresses;
    json_writer_init(&w, &text, 0);
    json_writer_object(&w, NULL);
    json_writer_str(&w, "NAMESPACE", a->args->namespace_);
    json_writer_str(&w, "WORKLOAD", a->args->workload);
    json_writer_u64(&w, "INDEX", a->args->index);
    json_writer_array(&w, "ADDRESSES");
    while (addresses.len > 0)
        json_writer_str(&w, NULL, str_split(&addresses, ','));
    json_writer_end(&w);
    json_writer_bool(&w, "READY", false); /* told by reports, which follow on each connection */
    json_writer_str(&w, "DIALECT", STR("tulle"));
    json_writer_end(&w);
    a->metadata = arena_str(&a->arena, str_buf_str(&text));
    str_buf_deinit(&text);
}

static int check_args(const struct agent *a, struct str_buf *why)
{
    struct addr addr;
    struct str addresses = a->args->addresses;
    while (addresses.len > 0) {
        struct str one = str_split(&addresses, ',');
        if (addr_parse_ip(one, 0, &addr))
            continue;
        str_buf_printf(why, "--address: \"%.*s\" is no IP address", STR_FMT(one));
        return -ERR_INVALID;
    }
    return 0;
}

/* --- parts --- */

static struct tls_context *ads_context(void *ctx)
{
    struct agent *a = ctx;
    return identity_tls(a->identity);
}

static uint64_t ads_until_s(void *ctx)
{
    const struct agent *a = ctx;
    return identity_counts(a->identity).not_after_s;
}

/* The roots are the control plane's once it tells them; until then they are our own resource. */
static int take_roots(struct agent *a, const struct ads_update *update)
{
    for (size_t i = 0; i < update->changed_count; i++) {
        const struct resource *r = update->changed[i];
        if (!str_eq(r->name, STR(LOCAL_SECRET_ROOTS)))
            continue;
        int err = r->secret->kind == SECRET_VALIDATION
                      ? identity_set_roots(a->identity, r->secret->roots_pem)
                      : -ERR_CERTIFICATE;
        if (err != 0)
            return err;
        config_set_local(a->config, RESOURCE_SECRET, r->name, NULL);
    }
    return 0;
}

static void on_update(void *ctx, const struct ads_update *update)
{
    struct agent *a = ctx;
    int err = update->type == RESOURCE_SECRET ? take_roots(a, update) : 0;
    if (err != 0) {
        ads_client_done(ads_client_of(a->ads), update->token,
                        STR(LOCAL_SECRET_ROOTS ": not a bundle of CA certificates"));
        return;
    }
    config_update(a->config, update);
    config_pump(a->config);
    agent_look(a);
}

static void on_connected(void *ctx, bool is_connected)
{
    struct agent *a = ctx;
    (void)is_connected;
    agent_look(a);
}

static struct proxyless_args proxyless_args_of(const struct agent *a, const struct addr *discovery)
{
    return (struct proxyless_args){.state_dir = str_from_c(a->args->state_dir),
                                   .node_id = a->node_id,
                                   .node_cluster = a->node_cluster,
                                   .namespace_ = a->args->namespace_,
                                   .workload = a->args->workload,
                                   .server_name = STR(AGENT_SERVER_NAME),
                                   .index = a->args->index,
                                   .discovery = *discovery};
}

static void on_secrets(void *ctx, struct resource *own, struct resource *roots)
{
    struct agent *a = ctx;
    config_set_local(a->config, RESOURCE_SECRET, STR(LOCAL_SECRET_OWN), own);
    if (roots != NULL)
        config_set_local(a->config, RESOURCE_SECRET, STR(LOCAL_SECRET_ROOTS), roots);
    config_pump(a->config);
    ads_start(a->ads);
    ads_tls_changed(a->ads);
    if (a->envoy != NULL)
        envoy_start(a->envoy);
    agent_look(a);
}

static void set_own(struct agent *a, struct resource **own, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        ASSERT(own[i] != NULL);
        config_set_local(a->config, own[i]->type, own[i]->name, own[i]);
        resource_unref(own[i]);
    }
}

static void make_config(struct agent *a, const struct addr *discovery)
{
    struct resource *own[LOCAL_COUNT];
    struct proxyless_args proxyless = proxyless_args_of(a, discovery);
    struct config_args args = {
        .supply =
            {
                [RESOURCE_LISTENER] = CONFIG_MIXED,
                [RESOURCE_CLUSTER] = CONFIG_MIXED,
                [RESOURCE_ROUTE] = CONFIG_BY_NAME,
                [RESOURCE_ENDPOINTS] = CONFIG_BY_NAME,
                [RESOURCE_SECRET] = CONFIG_LOCAL,
                [RESOURCE_DIRECTORY] = CONFIG_LOCAL,
            },
        .ops = &workers_config_ops,
        .ctx = a,
    };
    a->config = config_new(&args);
    if (a->args->envoy != NULL)
        return; /* nothing listens here */
    if (a->args->is_proxyless) {
        proxyless_resources(&proxyless, own);
        set_own(a, own, PROXYLESS_COUNT);
        return;
    }
    local_resources(a->args->trust_domain, own);
    set_own(a, own, LOCAL_COUNT);
}

static int make_identity(struct agent *a, const struct addr *discovery, struct str_buf *why)
{
    return identity_new(&(struct identity_args){.turn = a->turn,
                                                .limits = &a->limits,
                                                .state_dir = str_from_c(a->args->state_dir),
                                                .root_cert_file = a->args->root_cert_file,
                                                .token_file = a->args->token_file,
                                                .spiffe_id = a->spiffe_id,
                                                .discovery = *discovery,
                                                .server_name = STR(AGENT_SERVER_NAME),
                                                .mark = agent_mark(a->args, AGENT_MARK_OUTBOUND),
                                                .on_secrets = on_secrets,
                                                .ctx = a},
                        why, &a->identity);
}

static void make_ads(struct agent *a, const struct addr *discovery)
{
    a->ads_sans[0] = (struct tls_san_match){TLS_SAN_DNS, TLS_MATCH_EXACT, STR(AGENT_SERVER_NAME)};
    a->ads = ads_new(&(struct ads_args){.turn = a->turn,
                                        .limits = &a->limits,
                                        .to = *discovery,
                                        .authority = STR(AGENT_SERVER_NAME),
                                        .is_tls = true,
                                        .sni = STR(AGENT_SERVER_NAME),
                                        .sans = a->ads_sans,
                                        .san_count = 1,
                                        .mark = agent_mark(a->args, AGENT_MARK_OUTBOUND),
                                        .node_id = a->node_id,
                                        .node_cluster = a->node_cluster,
                                        .node_metadata_json = a->metadata,
                                        .tls = ads_context,
                                        .tls_until_s = ads_until_s,
                                        .on_update = on_update,
                                        .on_connected = on_connected,
                                        .ctx = a});
    struct ads_client *client = ads_client_of(a->ads);
    ads_client_subscribe_all(client, RESOURCE_DIRECTORY);
    ads_client_subscribe(client, RESOURCE_SECRET, STR(LOCAL_SECRET_ROOTS));
    if (a->args->envoy != NULL || a->args->is_proxyless)
        return; /* it has a stream of its own */
    ads_client_subscribe_all(client, RESOURCE_LISTENER);
    ads_client_subscribe_all(client, RESOURCE_CLUSTER);
}

static void on_envoy(void *ctx)
{
    agent_look(ctx);
}

static void make_envoy(struct agent *a, const struct addr *discovery)
{
    a->envoy = envoy_new(&(struct envoy_args){.turn = a->turn,
                                              .program = a->args->envoy,
                                              .state_dir = str_from_c(a->args->state_dir),
                                              .node_id = a->node_id,
                                              .node_cluster = a->node_cluster,
                                              .namespace_ = a->args->namespace_,
                                              .workload = a->args->workload,
                                              .index = a->args->index,
                                              .addresses = a->args->addresses,
                                              .discovery = *discovery,
                                              .server_name = STR(AGENT_SERVER_NAME),
                                              .mark = AGENT_MARK_OUTBOUND,
                                              .mark_app = AGENT_MARK_INBOUND,
                                              .on_change = on_envoy,
                                              .ctx = a});
}

static int write_bootstrap(const struct agent *a, const struct addr *discovery, struct str_buf *why)
{
    struct proxyless_args args = proxyless_args_of(a, discovery);
    int err = proxyless_write(&args);
    if (err != 0)
        str_buf_printf(why, "%s/" PROXYLESS_FILE_BOOTSTRAP ": %s", a->args->state_dir,
                       err_text(err));
    return err;
}

static int open_admin(struct agent *a, struct str_buf *why)
{
    a->admin = admin_new(a);
    for (size_t i = 0; i < ARRAY_LEN(admin_ports); i++) {
        struct addr at;
        struct str ip = admin_ports[i].is_loopback ? STR("127.0.0.1") : STR("0.0.0.0");
        addr_parse_ip(ip, admin_ports[i].port, &at);
        int err = admin_listen(a->admin, &at, admin_ports[i].face, why);
        if (err != 0)
            return err;
        if (admin_ports[i].is_loopback)
            continue;
        struct str_buf ignored = STR_BUF_INIT(256); /* machines without IPv6 exist */
        addr_parse_ip(STR("::"), admin_ports[i].port, &at);
        (void)admin_listen(a->admin, &at, admin_ports[i].face, &ignored);
        str_buf_deinit(&ignored);
    }
    return 0;
}

int start_sidecar(struct agent *a, struct str_buf *why)
{
    struct addr discovery;
    if (!addr_parse(a->args->discovery, &discovery)) {
        str_buf_printf(why, "--discovery: \"%.*s\" is not IP:PORT", STR_FMT(a->args->discovery));
        return -ERR_INVALID;
    }
    int err = check_args(a, why);
    if (err != 0)
        return err;
    describe(a);
    describe_metadata(a);
    make_config(a, &discovery);
    make_ads(a, &discovery);
    err = make_identity(a, &discovery, why);
    if (err != 0)
        return err;
    if (a->args->envoy != NULL)
        make_envoy(a, &discovery);
    if (a->args->is_proxyless)
        err = write_bootstrap(a, &discovery, why);
    if (err != 0)
        return err;
    /* The key is in memory: no core dump, no tracing by the workload's uid. */
    prctl(PR_SET_DUMPABLE, 0);
    err = open_admin(a, why);
    if (err == 0)
        err = dns_open(&(struct dns_args){.turn = a->turn,
                                          .own_namespace = a->args->namespace_,
                                          .port = PORT_DNS,
                                          .egress_socket = str_from_c(a->args->egress_socket),
                                          .mark = agent_mark(a->args, AGENT_MARK_OUTBOUND),
                                          .resolv_conf = STR("/etc/resolv.conf")},
                       why, &a->dns);
    if (err != 0)
        return err;
    agent_confine(a);
    workers_start(a);
    a->cache = cache_new(a->turn, str_from_c(a->args->state_dir), a->config);
    size_t cached = cache_load(a->cache, ads_client_of(a->ads));
    if (cached > 0) {
        char text[32];
        snprintf(text, sizeof text, "%zu", cached);
        log_event(LOG_INFO, "config_from_cache", LFC("resources", text));
    }
    config_pump(a->config);
    identity_start(a->identity);
    agent_look(a);
    return 0;
}
