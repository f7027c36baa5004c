/* Endpoints of a service port, or of a subset of it. */
#include "control/translate/translate_priv.h"

struct collector {
    struct job *j;
    const struct api_service_port *port;
    const struct api_labels *labels; /* of the subset; NULL: all */
    struct endpoint *items;
    size_t count, cap;
};

/* A subset as its rule defines it; one that no rule defines means the label version (a leniency).
 */
static const struct api_labels *subset_labels(struct job *j, struct str host, struct str subset)
{
    if (subset.len == 0)
        return NULL;
    const struct api_document *rule = job_rule(j, host);
    if (rule != NULL) {
        const struct api_subset *s =
            api_destination_rule_find_subset(rule->spec.destination_rule, subset);
        if (s != NULL)
            return &s->labels;
    }
    struct api_labels *labels = ARENA_NEW(j->a, struct api_labels);
    struct api_label *label = ARENA_NEW(j->a, struct api_label);
    *label = (struct api_label){STR("version"), subset};
    *labels = (struct api_labels){label, 1};
    return labels;
}

static uint16_t target_port(const struct api_service_port *p, const struct api_document *workload)
{
    if (p->target_port != 0)
        return p->target_port;
    if (p->target_port_name.len > 0)
        return api_workload_find_port(workload->spec.workload, p->target_port_name);
    return p->port;
}

static struct workload_info info_of(const struct registry_replica *p)
{
    struct workload_info info = {
        .name = p->workload,
        .namespace_ = p->namespace_,
        .service_account = p->doc->spec.workload->service_account,
        .principal = p->identity,
    };
    api_labels_get(&p->doc->labels, STR("app"), &info.app);
    api_labels_get(&p->doc->labels, STR("version"), &info.version);
    return info;
}

static void push(struct collector *c, struct endpoint e)
{
    if (c->count == c->cap) {
        size_t cap = c->cap == 0 ? 8 : c->cap * 2;
        struct endpoint *items = ARENA_ARRAY(c->j->a, struct endpoint, cap);
        if (c->count > 0)
            memcpy(items, c->items, c->count * sizeof *items);
        c->items = items;
        c->cap = cap;
    }
    c->items[c->count++] = e;
}

static void on_replica(void *ctx, const struct registry_replica *p)
{
    struct collector *c = ctx;
    job_note(c->j, "workload/%.*s/%.*s", STR_FMT(p->namespace_), STR_FMT(p->workload));
    if (c->labels != NULL && !api_labels_match(c->labels, &p->doc->labels))
        return;
    uint16_t port = target_port(c->port, p->doc);
    const struct ip_addr *ip =
        p->addresses[0].family != IP_NONE ? &p->addresses[0] : &p->addresses[1];
    if (port == 0 || ip->family == IP_NONE)
        return;
    bool is_bypassed = registry_is_bypassed(c->j->r, p->namespace_, p->workload, port);
    bool is_mtls = !is_bypassed && mtls_mode(c->j, p->doc, port) != API_MTLS_DISABLE;
    push(c, (struct endpoint){
                .address = {.ip = *ip, .port = port},
                .weight = 1,
                .health = ENDPOINT_HEALTHY,
                .identity = p->identity,
                .match_key = is_mtls ? STR("tlsMode") : STR_NULL,
                .match_value = is_mtls ? STR("istio") : STR_NULL,
                .workload = info_of(p),
                .is_tulle = !is_bypassed && p->doc->spec.workload->proxy == API_PROXY_TULLE,
            });
}

/* False: no such service port. */
static bool collect(struct collector *c, const struct output_name *n)
{
    struct job *j = c->j;
    const struct registry_service *s = job_service(j, n->host);
    c->port = s != NULL ? api_service_find_port(s->doc->spec.service, n->port) : NULL;
    if (c->port == NULL)
        return false;
    c->labels = subset_labels(j, n->host, n->subset);
    job_note(j, "endpoints/%.*s/%.*s", STR_FMT(s->doc->namespace), STR_FMT(s->doc->name));
    registry_service_replicas(j->r, s, on_replica, c);
    return true;
}

/* --- clients of gRPC --- */

static size_t count_tls(const struct collector *c)
{
    size_t count = 0;
    for (size_t i = 0; i < c->count; i++)
        count += c->items[i].match_key.len > 0;
    return count;
}

bool endpoints_speak_tls(struct job *j, const struct output_name *n)
{
    struct collector c = {.j = j};
    return !collect(&c, n) || c.count == 0 || count_tls(&c) > 0;
}

static bool has_rule_for_tls(struct job *j, const struct output_name *n)
{
    const struct api_document *rule = job_rule(j, n->host);
    return rule != NULL &&
           api_destination_rule_policy(rule->spec.destination_rule, n->subset, n->port).tls != NULL;
}

/* In a cluster that speaks TLS, those that do not could be reached by nobody. */
static void keep_tls(struct collector *c)
{
    size_t kept = 0;
    if (count_tls(c) == 0)
        return;
    for (size_t i = 0; i < c->count; i++) {
        if (c->items[i].match_key.len > 0)
            c->items[kept++] = c->items[i];
    }
    c->count = kept;
}

const struct endpoints *output_endpoints(struct job *j, struct str name)
{
    struct output_name n;
    struct collector c = {.j = j};
    if (job_is_grpc(j) && str_eq(name, STR(TRANSLATE_BLACKHOLE)))
        return grpc_nowhere_endpoints(j);
    if (!name_parse(name, &n) || n.is_tcp || !collect(&c, &n))
        return NULL;
    if (job_is_grpc(j) && !has_rule_for_tls(j, &n))
        keep_tls(&c);
    struct endpoints *e = ARENA_NEW(j->a, struct endpoints);
    e->cluster_name = name;
    e->items = c.items;
    e->count = c.count;
    return e;
}
