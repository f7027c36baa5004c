/* Start from a bootstrap file of Envoy's form: static resources, and ADS where it says so. */

#include "base/err.h"
#include "base/log.h"
#include "mesh/model/cluster.h"
#include "mesh/model/listener.h"
#include "proxy/agent/agent_priv.h"
#include "proxy/agent/file.h"
#include "proxy/upstream/upstream.h"

enum { FILE_BYTES_MAX = 16 << 20, IGNORED_BYTES_MAX = 16 << 10 };

static int parse(struct agent *a, struct str text, struct str_buf *why)
{
    AUTO(str_buf_deinit) struct str_buf ignored = STR_BUF_INIT(IGNORED_BYTES_MAX);
    int err = bootstrap_parse_tolerant(text, a->args->may_ignore_fields ? &ignored : NULL, why,
                                       &a->bootstrap);
    if (err == 0 && ignored.len > 0)
        log_event(LOG_INFO, "bootstrap_fields_ignored", LF("fields", str_buf_str(&ignored)));
    return err;
}

static int load(struct agent *a, struct str_buf *why)
{
    const char *path = a->args->bootstrap_file;
    struct str_buf text = STR_BUF_INIT(FILE_BYTES_MAX), reason = STR_BUF_INIT(2048);
    int err = file_read(path, FILE_BYTES_MAX, &text);
    if (err != 0)
        str_buf_add_c(&reason, err_text(err));
    else
        err = parse(a, str_buf_str(&text), &reason);
    if (err != 0)
        str_buf_printf(why, "%s: %.*s", path, STR_FMT(str_buf_str(&reason)));
    str_buf_deinit(&text);
    str_buf_deinit(&reason);
    return err;
}

static bool has_own_source(const struct resource *r)
{
    for (size_t i = 0; i < r->ref_count_out; i++) {
        if (r->refs[i].source.cluster.len > 0)
            return true;
    }
    return false;
}

/* Whether anything comes by the network. */
static bool is_dynamic(const struct bootstrap *b)
{
    bool is_one = b->ads.is_set || b->lds.is_set || b->cds.is_set;
    for (size_t i = 0; !is_one && i < b->resource_count; i++)
        is_one = has_own_source(b->resources[i]);
    return is_one;
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
    return err == -ERR_UNAVAILABLE && is_dynamic(a->bootstrap) ? 0 : err;
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

/* --- where the rest comes from --- */

static int add_sources(struct agent *a, struct str_buf *why)
{
    AUTO(str_buf_deinit) struct str_buf reason = STR_BUF_INIT(1024);
    int err = sources_new(a, &reason, &a->sources);
    if (err != 0)
        str_buf_printf(why, "%s: dynamic configuration: %.*s", a->args->bootstrap_file,
                       STR_FMT(str_buf_str(&reason)));
    return err;
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
    enum config_supply named = is_dynamic(b) ? CONFIG_BY_NAME : CONFIG_LOCAL;
    struct config_args args = {.answers_cold = true,
                               .is_held_at_first = b->lds.is_set,
                               .ops = &workers_config_ops,
                               .ctx = a};
    args.supply[RESOURCE_LISTENER] = CONFIG_BY_WILDCARD;
    args.supply[RESOURCE_CLUSTER] = b->cds.is_set ? CONFIG_BY_WILDCARD : CONFIG_LOCAL;
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
    if (err == 0 && is_dynamic(b))
        err = add_sources(a, why);
    if (err == 0)
        err = open_admin(a, why);
    if (err != 0)
        return err;
    for (size_t i = 0; i < b->resource_count; i++)
        config_set_local(a->config, b->resources[i]->type, b->resources[i]->name, b->resources[i]);
    struct str_buf missing = STR_BUF_INIT(1024);
    if (a->sources == NULL && config_missing(a->config, &missing)) {
        str_buf_printf(why, "%s: %.*s", a->args->bootstrap_file, STR_FMT(str_buf_str(&missing)));
        err = -ERR_NOT_FOUND;
    }
    str_buf_deinit(&missing);
    if (err != 0)
        return err;
    agent_confine(a);
    workers_start(a);
    config_pump(a->config);
    if (a->sources != NULL)
        sources_start(a->sources);
    agent_look(a);
    return 0;
}
