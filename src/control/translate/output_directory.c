/* The directory of a namespace. */
#include <stdlib.h>

#include "control/translate/translate_priv.h"

struct collector {
    struct job *j;
    struct directory_service *services;
    size_t service_count, service_cap;
    struct directory_workload *workloads;
    size_t workload_count, workload_cap;
};

static enum service_protocol protocol_of(enum api_protocol p)
{
    static const enum service_protocol protocols[] = {
        [API_PROTOCOL_AUTO] = PROTOCOL_AUTO,   [API_PROTOCOL_HTTP] = PROTOCOL_HTTP,
        [API_PROTOCOL_HTTP2] = PROTOCOL_HTTP2, [API_PROTOCOL_GRPC] = PROTOCOL_GRPC,
        [API_PROTOCOL_TCP] = PROTOCOL_TCP,     [API_PROTOCOL_TLS] = PROTOCOL_TLS,
    };
    return protocols[p];
}

static void *grow(struct arena *a, const void *old, size_t len, size_t *cap, size_t item)
{
    size_t next = *cap == 0 ? 16 : *cap * 2;
    void *ptr = arena_zalloc(a, next * item);
    if (len > 0)
        memcpy(ptr, old, len * item);
    *cap = next;
    return ptr;
}

static void on_service(void *ctx, const struct registry_service *s)
{
    struct collector *c = ctx;
    struct arena *a = c->j->a;
    const struct api_service *spec = s->doc->spec.service;
    if (c->service_count == c->service_cap)
        c->services = grow(a, c->services, c->service_count, &c->service_cap, sizeof *c->services);
    struct directory_port *ports = ARENA_ARRAY(a, struct directory_port, spec->port_count + 1);
    for (size_t i = 0; i < spec->port_count; i++)
        ports[i] =
            (struct directory_port){spec->ports[i].port, protocol_of(spec->ports[i].protocol)};
    c->services[c->service_count++] = (struct directory_service){
        .host = s->host,
        .addresses = {s->addresses[0], s->addresses[1]},
        .ports = ports,
        .port_count = (uint32_t)spec->port_count,
    };
}

static struct str label_or(const struct api_document *d, struct str key)
{
    struct str value = STR_NULL;
    api_labels_get(&d->labels, key, &value);
    return value;
}

static void on_replica(void *ctx, const struct registry_replica *p)
{
    struct collector *c = ctx;
    const struct api_ports *clear = &p->doc->spec.workload->capture.exclude_inbound_ports;
    if (c->workload_count == c->workload_cap)
        c->workloads =
            grow(c->j->a, c->workloads, c->workload_count, &c->workload_cap, sizeof *c->workloads);
    c->workloads[c->workload_count++] = (struct directory_workload){
        .addresses = {p->addresses[0], p->addresses[1]},
        .identity = p->identity,
        .name = p->workload,
        .namespace_ = p->namespace_,
        .app = label_or(p->doc, STR("app")),
        .version = label_or(p->doc, STR("version")),
        .is_mtls = mtls_mode(c->j, p->doc, 0) != API_MTLS_DISABLE &&
                   !registry_is_bypassed(c->j->r, p->namespace_, p->workload, 0),
        .clear_ports = clear->v,
        .clear_port_count = clear->len,
    };
}

static int by_address(const void *a, const void *b)
{
    const struct directory_workload *p = a, *q = b;
    int order = ip_cmp(&p->addresses[0], &q->addresses[0]);
    if (order == 0)
        order = ip_cmp(&p->addresses[1], &q->addresses[1]);
    return order != 0 ? order : str_cmp(p->name, q->name);
}

const struct cidr *mesh_ranges(struct job *j, size_t *ret_count)
{
    static const struct str texts[] = {{"240.240.0.0/16", 14}, {"fd77:7e11::/32", 14}};
    struct cidr *ranges = ARENA_ARRAY(j->a, struct cidr, ARRAY_LEN(texts));
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        (void)cidr_parse(texts[i], &ranges[i], NULL);
    *ret_count = ARRAY_LEN(texts);
    return ranges;
}

const struct directory *output_directory(struct job *j, struct str name)
{
    struct collector c = {.j = j};
    job_note(j, "services/%.*s", STR_FMT(name));
    job_note(j, "replicas/%.*s", STR_FMT(name));
    registry_services(j->r, name, on_service, &c);
    registry_replicas_in(j->r, name, on_replica, &c);
    if (c.service_count == 0) {
        job_note(j, "namespaces");
        if (registry_docs(j->r, API_KIND_WORKLOAD, name).len == 0)
            return NULL;
    }
    if (c.workload_count > 1)
        qsort(c.workloads, c.workload_count, sizeof *c.workloads, by_address);
    struct directory *d = ARENA_NEW(j->a, struct directory);
    d->namespace_ = name;
    d->dns_suffix = STR(API_DNS_SUFFIX);
    d->is_registry_only = job_mesh(j)->outbound_mode == API_OUTBOUND_REGISTRY_ONLY;
    d->address_ranges = mesh_ranges(j, &d->address_range_count);
    d->services = c.services;
    d->service_count = c.service_count;
    d->workloads = c.workloads;
    d->workload_count = c.workload_count;
    return d;
}
