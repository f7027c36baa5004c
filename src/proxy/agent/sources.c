#include "proxy/agent/sources.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/list.h"
#include "base/log.h"
#include "mesh/model/cluster.h"
#include "proxy/agent/agent_priv.h"
#include "proxy/upstream/upstream.h"

enum {
    /* Of an update's token: which link it came by, and its own. */
    TOKEN_BITS = 48,
    SOURCES_MAX = 1 << (64 - TOKEN_BITS - 1),
    SANS_MAX = 16,
};

struct source {
    struct list link;
    struct sources *all;
    uint64_t index;
    struct str cluster; /* own memory */
    bool is_delta, is_single;
    enum resource_type type; /* of a single one */
    struct ads *ads;
    const struct upstream_tls *tls; /* the bootstrap's; NULL: plain text */
    struct tls_san_match sans[SANS_MAX];
};

struct sources {
    struct agent *agent;
    struct list items;
    uint64_t count;
    bool is_started, is_ending;
};

/* --- the service --- */

static const struct cluster *find_cluster(const struct bootstrap *b, struct str name)
{
    for (size_t i = 0; i < b->resource_count; i++) {
        if (b->resources[i]->type == RESOURCE_CLUSTER && str_eq(b->resources[i]->name, name))
            return b->resources[i]->cluster;
    }
    return NULL;
}

/* NULL: it cannot be one. */
static const struct cluster *find_service(const struct sources *s, struct str name)
{
    const struct cluster *c = find_cluster(s->agent->bootstrap, name);
    bool is_usable = c != NULL && c->inline_endpoints != NULL && c->inline_endpoints->count > 0;
    return is_usable ? c : NULL;
}

static int fail_no_service(struct str name, struct str_buf *why)
{
    str_buf_printf(why, "the static cluster \"%.*s\" with an endpoint is needed", STR_FMT(name));
    return -ERR_NOT_FOUND;
}

static struct tls_context *context_of(void *ctx)
{
    struct source *src = ctx;
    static const struct str alpn[] = {{"h2", 2}};
    struct tls_context *context = NULL;
    AUTO(str_buf_deinit) struct str_buf why = STR_BUF_INIT(512);
    if (tls_store_client(src->all->agent->tls, src->tls, alpn, 1, &why, &context) == 0)
        return context;
    log_event(LOG_WARN, "ads_has_no_tls", LF("authority", src->cluster),
              LF("reason", str_buf_str(&why)));
    return NULL;
}

/* --- what comes --- */

static bool check_refs(struct sources *s, const struct ads_update *update, struct str_buf *why)
{
    for (size_t i = 0; i < update->changed_count; i++) {
        if (!sources_has_all(s, update->changed[i], why))
            return false;
    }
    return true;
}

static void on_update(void *ctx, const struct ads_update *update)
{
    struct source *src = ctx;
    struct agent *a = src->all->agent;
    struct ads_update u = *update;
    AUTO(str_buf_deinit) struct str_buf why = STR_BUF_INIT(1024);
    if (src->all->is_ending || !check_refs(src->all, update, &why)) {
        ads_client_done(ads_client_of(src->ads), update->token, str_buf_str(&why));
        return;
    }
    u.token = src->index << TOKEN_BITS | update->token;
    a->updates[update->type]++;
    config_update(a->config, &u);
    config_pump(a->config);
    agent_look(a);
}

static void on_connected(void *ctx, bool is_connected)
{
    struct source *src = ctx;
    (void)is_connected;
    agent_look(src->all->agent);
}

/* --- links --- */

static struct source *find(struct sources *s, bool is_single, enum resource_type type,
                           const struct resource_source *from)
{
    LIST_FOREACH (&s->items, src, struct source, link) {
        if (src->is_single == is_single && (!is_single || src->type == type) &&
            (from == NULL ||
             (str_eq(src->cluster, from->cluster) && src->is_delta == from->is_delta)))
            return src;
    }
    return NULL;
}

static void source_free(struct source *src)
{
    list_remove(&src->link);
    ads_free(src->ads);
    free((void *)(uintptr_t)src->cluster.ptr);
    free(src);
}

static int take_tls(struct source *src, const struct cluster *c, struct ads_args *args,
                    struct str_buf *why)
{
    src->tls = c->tls;
    if (c->tls == NULL)
        return 0;
    args->is_tls = true;
    args->sni = c->tls->sni;
    args->sans = src->sans;
    args->san_count =
        tls_store_sans(src->all->agent->tls, &c->tls->common, src->sans, ARRAY_LEN(src->sans));
    if (args->san_count <= ARRAY_LEN(src->sans))
        return 0;
    str_buf_printf(why, "cluster \"%.*s\": too many names of the control plane",
                   STR_FMT(src->cluster));
    return -ERR_LIMIT;
}

static int open_source(struct sources *s, bool is_single, enum resource_type type,
                       const struct resource_source *from, struct str_buf *why,
                       struct source **ret_source)
{
    const struct cluster *c = find_service(s, from->cluster);
    const struct bootstrap *b = s->agent->bootstrap;
    if (c == NULL)
        return fail_no_service(from->cluster, why);
    if (s->count >= SOURCES_MAX)
        return -ERR_LIMIT;
    struct source *src = NEW(struct source);
    src->all = s;
    src->index = s->count++;
    src->cluster = str_from(str_dup_c(from->cluster), from->cluster.len);
    src->is_delta = from->is_delta;
    src->is_single = is_single;
    src->type = type;
    list_push_back(&s->items, &src->link);
    struct ads_args args = {
        .is_sotw = !from->is_delta,
        .is_single = is_single,
        .type = type,
        .turn = s->agent->turn,
        .limits = &s->agent->limits,
        .to = upstream_addr(&c->inline_endpoints->items[0].address),
        .authority = src->cluster,
        .node_id = b->node_id,
        .node_cluster = b->node_cluster,
        .node_metadata_json = b->node_metadata_json,
        .tls = context_of,
        .on_update = on_update,
        .on_connected = on_connected,
        .ctx = src,
    };
    int err = take_tls(src, c, &args, why);
    if (err != 0) {
        source_free(src);
        return err;
    }
    src->ads = ads_new(&args);
    if (s->is_started)
        ads_start(src->ads);
    *ret_source = src;
    return 0;
}

/* The link by which a type comes; made where it is not there. NULL: there is no such service. */
static struct source *source_of(struct sources *s, enum resource_type type,
                                const struct resource_source *from, struct str_buf *why)
{
    bool is_single = from->cluster.len > 0;
    struct source *src = find(s, is_single, type, is_single ? from : NULL);
    if (src == NULL && is_single && open_source(s, true, type, from, why, &src) != 0)
        return NULL;
    return src;
}

bool sources_has_all(struct sources *s, const struct resource *r, struct str_buf *why)
{
    for (size_t i = 0; i < r->ref_count_out; i++) {
        struct str cluster = r->refs[i].source.cluster;
        if (cluster.len == 0 || find_service(s, cluster) != NULL)
            continue;
        str_buf_printf(why, "%.*s: ", STR_FMT(r->name));
        (void)fail_no_service(cluster, why);
        return false;
    }
    return true;
}

void sources_subscribe(struct sources *s, enum resource_type type, struct str name,
                       const struct resource_source *from)
{
    AUTO(str_buf_deinit) struct str_buf why = STR_BUF_INIT(1024);
    if (s->is_ending)
        return;
    struct source *src = source_of(s, type, from, &why);
    if (src != NULL)
        ads_client_subscribe(ads_client_of(src->ads), type, name);
    else if (why.len > 0)
        log_event(LOG_ERROR, "resource_has_no_source", LFC("type", resource_type_name(type)),
                  LF("name", name), LF("reason", str_buf_str(&why)));
}

void sources_unsubscribe(struct sources *s, enum resource_type type, struct str name)
{
    LIST_FOREACH (&s->items, src, struct source, link) {
        if (!src->is_single || src->type == type)
            ads_client_unsubscribe(ads_client_of(src->ads), type, name);
    }
}

void sources_done(struct sources *s, uint64_t token, struct str why)
{
    LIST_FOREACH (&s->items, src, struct source, link) {
        if (src->index == token >> TOKEN_BITS)
            ads_client_done(ads_client_of(src->ads), token & ((1ull << TOKEN_BITS) - 1), why);
    }
}

void sources_flush(struct sources *s)
{
    LIST_FOREACH (&s->items, src, struct source, link)
        ads_client_flush(ads_client_of(src->ads));
}

bool sources_is_connected(const struct sources *s)
{
    LIST_FOREACH (&s->items, src, struct source, link) {
        if (!ads_is_connected(src->ads))
            return false;
    }
    return true;
}

struct ads_counts sources_counts(const struct sources *s)
{
    struct ads_counts sum = {0};
    LIST_FOREACH (&s->items, src, struct source, link) {
        struct ads_counts c = ads_counts(src->ads);
        sum.accepted += c.accepted;
        sum.refused += c.refused;
        sum.ignored += c.ignored;
    }
    return sum;
}

struct str sources_refusal(const struct sources *s, enum resource_type type)
{
    LIST_FOREACH (&s->items, src, struct source, link) {
        struct str why = ads_refusal(src->ads, type);
        if (why.len > 0)
            return why;
    }
    return STR_NULL;
}

/* --- life --- */

static int subscribe_all(struct sources *s, enum resource_type type,
                         const struct bootstrap_source *from, struct str_buf *why)
{
    if (!from->is_set)
        return 0;
    struct source *src = source_of(s, type, &from->source, why);
    if (src == NULL)
        return -ERR_NOT_FOUND;
    ads_client_subscribe_all(ads_client_of(src->ads), type);
    return 0;
}

int sources_new(struct agent *a, struct str_buf *why, struct sources **ret_sources)
{
    const struct bootstrap *b = a->bootstrap;
    struct source *ignored;
    struct sources *s = NEW(struct sources);
    s->agent = a;
    list_init(&s->items);
    int err = 0;
    if (b->ads.is_set)
        err = open_source(s, false, RESOURCE_LISTENER, &b->ads.source, why, &ignored);
    if (err == 0)
        err = subscribe_all(s, RESOURCE_LISTENER, &b->lds, why);
    if (err == 0)
        err = subscribe_all(s, RESOURCE_CLUSTER, &b->cds, why);
    for (size_t i = 0; err == 0 && i < b->resource_count; i++)
        err = sources_has_all(s, b->resources[i], why) ? 0 : -ERR_NOT_FOUND;
    if (err != 0) {
        sources_free(s);
        return err;
    }
    *ret_sources = s;
    return 0;
}

struct sources *sources_free(struct sources *s)
{
    if (s == NULL)
        return NULL;
    s->is_ending = true;
    LIST_FOREACH (&s->items, src, struct source, link)
        source_free(src);
    free(s);
    return NULL;
}

void sources_start(struct sources *s)
{
    s->is_started = true;
    LIST_FOREACH (&s->items, src, struct source, link)
        ads_start(src->ads);
}
