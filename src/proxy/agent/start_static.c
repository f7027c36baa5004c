/* Start from a bootstrap file of Envoy's form: static resources, and ADS where it says so. */

#include "base/err.h"
#include "mesh/model/cluster.h"
#include "mesh/model/listener.h"
#include "proxy/agent/agent_priv.h"
#include "proxy/agent/file.h"
#include "proxy/upstream/upstream.h"

enum { FILE_BYTES_MAX = 16 << 20 };

static int load(struct agent *a, struct str_buf *why)
{
    const char *path = a->args->bootstrap_file;
    struct str_buf text = STR_BUF_INIT(FILE_BYTES_MAX), reason = STR_BUF_INIT(2048);
    int err = file_read(path, FILE_BYTES_MAX, &text);
    if (err != 0)
        str_buf_add_c(&reason, err_text(err));
    else
        err = bootstrap_parse(str_buf_str(&text), &reason, &a->bootstrap);
    if (err == 0 && a->bootstrap->has_ads && !a->bootstrap->is_delta) {
        str_buf_add_c(&reason, "dynamic_resources.ads_config.api_type: GRPC is not built yet; "
                               "write DELTA_GRPC");
        err = -ERR_UNSUPPORTED;
    }
    if (err != 0)
        str_buf_printf(why, "%s: %.*s", path, STR_FMT(str_buf_str(&reason)));
    str_buf_deinit(&text);
    str_buf_deinit(&reason);
    return err;
}

static const struct cluster *find_cluster(const struct bootstrap *b, struct str name)
{
    for (size_t i = 0; i < b->resource_count; i++) {
        if (b->resources[i]->type == RESOURCE_CLUSTER && str_eq(b->resources[i]->name, name))
            return b->resources[i]->cluster;
    }
    return NULL;
}

/* --- what only the main thread can refuse in time: certificates and keys --- */

static int check_chain_tls(struct agent *a, const struct filter_chain *chain, struct str_buf *why)
{
    struct tls_context *context;
    if (chain == NULL || chain->tls == NULL)
        return 0;
    return tls_store_server(a->tls, chain->tls, why, &context);
}

static int check_resource_tls(struct agent *a, const struct resource *r, struct str_buf *why)
{
    struct tls_context *context;
    int err = 0;
    if (r->type == RESOURCE_CLUSTER && r->cluster->tls != NULL)
        err = tls_store_client(a->tls, r->cluster->tls, NULL, 0, why, &context);
    if (r->type == RESOURCE_LISTENER) {
        for (size_t i = 0; err == 0 && i < r->listener->chain_count; i++)
            err = check_chain_tls(a, &r->listener->chains[i], why);
        if (err == 0)
            err = check_chain_tls(a, r->listener->default_chain, why);
    }
    /* By SDS: it comes later. */
    return err == -ERR_UNAVAILABLE && a->bootstrap->has_ads ? 0 : err;
}

static int check_tls(struct agent *a, struct str_buf *why)
{
    const struct bootstrap *b = a->bootstrap;
    for (size_t i = 0; i < b->resource_count; i++) {
        if (b->resources[i]->type == RESOURCE_SECRET)
            tls_store_set_secret(a->tls, b->resources[i]->name, b->resources[i]);
    }
    for (size_t i = 0; i < b->resource_count; i++) {
        struct str_buf reason = STR_BUF_INIT(1024);
        int err = check_resource_tls(a, b->resources[i], &reason);
        if (err != 0)
            str_buf_printf(why, "%s: %s \"%.*s\": TLS: %.*s", a->args->bootstrap_file,
                           resource_type_name(b->resources[i]->type),
                           STR_FMT(b->resources[i]->name), STR_FMT(str_buf_str(&reason)));
        str_buf_deinit(&reason);
        if (err != 0)
            return err;
    }
    return 0;
}

/* --- ADS --- */

static struct tls_context *ads_context(void *ctx)
{
    struct agent *a = ctx;
    static const struct str alpn[] = {{"h2", 2}};
    struct tls_context *context = NULL;
    struct str_buf why = STR_BUF_INIT(512);
    if (tls_store_client(a->tls, a->ads_tls, alpn, 1, &why, &context) != 0)
        context = NULL;
    str_buf_deinit(&why);
    return context;
}

static void on_update(void *ctx, const struct ads_update *update)
{
    struct agent *a = ctx;
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

static int add_ads(struct agent *a, struct str_buf *why)
{
    const struct bootstrap *b = a->bootstrap;
    const struct cluster *c = find_cluster(b, b->ads_cluster);
    if (c == NULL || c->inline_endpoints == NULL || c->inline_endpoints->count == 0) {
        str_buf_printf(why,
                       "%s: dynamic_resources.ads_config: the static cluster \"%.*s\" with "
                       "an endpoint is needed",
                       a->args->bootstrap_file, STR_FMT(b->ads_cluster));
        return -ERR_NOT_FOUND;
    }
    const struct endpoint *e = &c->inline_endpoints->items[0];
    struct ads_args args = {
        .turn = a->turn,
        .limits = &a->limits,
        .authority = b->ads_cluster,
        .node_id = b->node_id,
        .node_cluster = b->node_cluster,
        .node_metadata_json = b->node_metadata_json,
        .tls = ads_context,
        .on_update = on_update,
        .on_connected = on_connected,
        .ctx = a,
    };
    args.to = upstream_addr(&e->address);
    a->ads_tls = c->tls;
    if (c->tls != NULL) {
        args.is_tls = true;
        args.sni = c->tls->sni;
        args.sans = a->ads_sans;
        args.san_count =
            tls_store_sans(a->tls, &c->tls->common, a->ads_sans, ARRAY_LEN(a->ads_sans));
    }
    if (args.san_count > ARRAY_LEN(a->ads_sans)) {
        str_buf_printf(why, "%s: cluster \"%.*s\": too many names of the control plane",
                       a->args->bootstrap_file, STR_FMT(b->ads_cluster));
        return -ERR_LIMIT;
    }
    a->ads = ads_new(&args);
    if (b->lds_by_ads)
        ads_client_subscribe_all(ads_client_of(a->ads), RESOURCE_LISTENER);
    if (b->cds_by_ads)
        ads_client_subscribe_all(ads_client_of(a->ads), RESOURCE_CLUSTER);
    return 0;
}

/* --- limits --- */

/* What the command line says goes before what the file says. */
static void take_limit(struct agent *a, struct str name, uint64_t *to, uint64_t value)
{
    const struct limits_row *row = limits_find(name);
    bool is_said = limits_get(&a->args->limits, row) != row->fallback;
    if (value != 0 && !is_said)
        *to = limits_clamp(name, value);
}

/* overload_manager. A higher rung implies the lower ones: what it does not name comes no earlier.
 */
static void take_limits(struct agent *a)
{
    const struct overload_limits *o = &a->bootstrap->overload;
    struct limits *l = &a->limits;
    take_limit(a, STR("connections_max"), &l->connections_max, o->connections_max);
    take_limit(a, STR("memory_budget_bytes"), &l->memory_budget_bytes, o->heap_bytes_max);
    take_limit(a, STR("overload_accept_percent"), &l->overload_accept_percent, o->accept_percent);
    take_limit(a, STR("overload_shed_percent"), &l->overload_shed_percent, o->shed_percent);
    if (o->accept_percent != 0 && o->shed_percent == 0)
        l->overload_shed_percent = MAX(l->overload_shed_percent, l->overload_accept_percent);
    if (o->accept_percent != 0 || o->shed_percent != 0)
        l->overload_reset_percent = MAX(l->overload_reset_percent, l->overload_shed_percent);
}

/* --- start --- */

static void make_config(struct agent *a)
{
    const struct bootstrap *b = a->bootstrap;
    enum config_supply named = b->has_ads ? CONFIG_BY_NAME : CONFIG_LOCAL;
    struct config_args args = {.ops = &workers_config_ops, .ctx = a};
    args.supply[RESOURCE_LISTENER] = CONFIG_BY_WILDCARD;
    args.supply[RESOURCE_CLUSTER] = b->cds_by_ads ? CONFIG_BY_WILDCARD : CONFIG_LOCAL;
    args.supply[RESOURCE_ROUTE] = named;
    args.supply[RESOURCE_ENDPOINTS] = named;
    args.supply[RESOURCE_SECRET] = named;
    args.supply[RESOURCE_DIRECTORY] = CONFIG_LOCAL;
    a->config = config_new(&args);
}

static int open_admin(struct agent *a, struct str_buf *why)
{
    if (a->bootstrap->admin.ip.family == IP_NONE && a->bootstrap->admin.path.len == 0)
        return 0;
    struct addr at = upstream_addr(&a->bootstrap->admin);
    a->admin = admin_new(a);
    return admin_listen(a->admin, &at, ADMIN_ALL, why);
}

int start_static(struct agent *a, struct str_buf *why)
{
    int err = load(a, why);
    if (err != 0)
        return err;
    const struct bootstrap *b = a->bootstrap;
    take_limits(a);
    a->node_id = b->node_id;
    a->node_cluster = b->node_cluster;
    a->tls = tls_store_new(NULL);
    make_config(a);
    err = check_tls(a, why);
    if (err == 0 && b->has_ads)
        err = add_ads(a, why);
    if (err == 0)
        err = open_admin(a, why);
    if (err != 0)
        return err;
    for (size_t i = 0; i < b->resource_count; i++)
        config_set_local(a->config, b->resources[i]->type, b->resources[i]->name, b->resources[i]);
    struct str_buf missing = STR_BUF_INIT(1024);
    if (!b->has_ads && config_missing(a->config, &missing)) {
        str_buf_printf(why, "%s: %.*s", a->args->bootstrap_file, STR_FMT(str_buf_str(&missing)));
        err = -ERR_NOT_FOUND;
    }
    str_buf_deinit(&missing);
    if (err != 0)
        return err;
    workers_start(a);
    config_pump(a->config);
    if (a->ads != NULL)
        ads_start(a->ads);
    agent_look(a);
    return 0;
}
