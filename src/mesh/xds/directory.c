#include "base/err.h"
#include "mesh/xds/codec_priv.h"

/* Protocols have the same numbers on both sides. */
_Static_assert((int)PROTOCOL_AUTO == PB__DIRECTORY__PROTOCOL__PROTOCOL_AUTO &&
                   (int)PROTOCOL_HTTP == PB__DIRECTORY__PROTOCOL__PROTOCOL_HTTP &&
                   (int)PROTOCOL_HTTP2 == PB__DIRECTORY__PROTOCOL__PROTOCOL_HTTP2 &&
                   (int)PROTOCOL_GRPC == PB__DIRECTORY__PROTOCOL__PROTOCOL_GRPC &&
                   (int)PROTOCOL_TCP == PB__DIRECTORY__PROTOCOL__PROTOCOL_TCP &&
                   (int)PROTOCOL_TLS == PB__DIRECTORY__PROTOCOL__PROTOCOL_TLS,
               "protocols");

/* --- decoding --- */

static int decode_ip(struct decode *d, const struct pb_path *at, ProtobufCBinaryData bytes,
                     struct ip_addr *ret_ip)
{
    if (bytes.len != 4 && bytes.len != 16)
        return decode_fail(d, at, "an address has 4 or 16 bytes, not %zu", bytes.len);
    *ret_ip = ip_from_bytes(bytes.data, bytes.len);
    return 0;
}

/* v4 first, v6 second. */
static int decode_ips(struct decode *d, const struct pb_path *at, const ProtobufCBinaryData *items,
                      size_t count, struct ip_addr addresses[2])
{
    for (size_t i = 0; i < count; i++) {
        const struct pb_path *here = PB_AT_I(at, "addresses", i);
        struct ip_addr ip = {0};
        if (decode_ip(d, here, items[i], &ip) != 0)
            return -ERR_INVALID;
        struct ip_addr *slot = &addresses[ip.family == IP_V4 ? 0 : 1];
        if (slot->family != IP_NONE)
            return decode_fail(d, here, "two addresses of one family");
        *slot = ip;
    }
    return 0;
}

static bool has_ports(const struct directory_service *s, const struct directory_port *ports,
                      size_t count)
{
    if (s == NULL || s->port_count != count)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (s->ports[i].port != ports[i].port || s->ports[i].protocol != ports[i].protocol)
            return false;
    }
    return true;
}

/* Neighbours often have the same ports: those of the one before are shared then. */
static int decode_ports(struct decode *d, const struct pb_path *at, const Pb__Directory__Service *m,
                        const struct directory_service *before, struct directory_service *s)
{
    struct directory_port *ports = ARENA_ARRAY(d->scratch, struct directory_port, m->n_ports);
    for (size_t i = 0; i < m->n_ports; i++) {
        uint32_t port = m->ports[i]->port;
        if (port == 0 || port > UINT16_MAX)
            return decode_fail(d, PB_AT_I(at, "ports", i), "%u is not a port", port);
        ports[i].port = (uint16_t)port;
        ports[i].protocol = (enum service_protocol)m->ports[i]->protocol;
    }
    s->port_count = (uint32_t)m->n_ports;
    if (has_ports(before, ports, m->n_ports)) {
        s->ports = before->ports;
        return 0;
    }
    struct directory_port *own = ARENA_ARRAY(d->arena, struct directory_port, m->n_ports);
    memcpy(own, ports, sizeof *own * m->n_ports);
    s->ports = own;
    return 0;
}

static bool is_lower(const char *s)
{
    while (*s != 0 && (*s < 'A' || *s > 'Z'))
        s++;
    return *s == 0;
}

static int decode_service(struct decode *d, const struct pb_path *at,
                          const Pb__Directory__Service *m, const struct directory_service *before,
                          struct directory_service *s)
{
    if (!decode_is_set(m->host))
        return decode_fail(d, PB_AT(at, "host"), "a host is needed");
    s->host = is_lower(m->host) ? decode_str_shared(d, m->host) : decode_str_lower(d, m->host);
    if (decode_ports(d, at, m, before, s) != 0)
        return -ERR_INVALID;
    return decode_ips(d, at, m->addresses, m->n_addresses, s->addresses);
}

static int decode_clear_ports(struct decode *d, const struct pb_path *at,
                              const Pb__Directory__Workload *m, struct directory_workload *w)
{
    uint16_t *ports = ARENA_ARRAY(d->arena, uint16_t, m->n_clear_ports);
    for (size_t i = 0; i < m->n_clear_ports; i++) {
        if (m->clear_ports[i] == 0 || m->clear_ports[i] > UINT16_MAX)
            return decode_fail(d, PB_AT_I(at, "clear_ports", i), "no port");
        ports[i] = (uint16_t)m->clear_ports[i];
    }
    w->clear_ports = ports;
    w->clear_port_count = m->n_clear_ports;
    return 0;
}

static int decode_workload(struct decode *d, const struct pb_path *at,
                           const Pb__Directory__Workload *m, struct directory_workload *w)
{
    w->identity = decode_str_shared(d, m->identity);
    w->name = decode_str_shared(d, m->name);
    w->namespace_ = decode_str_shared(d, m->namespace_);
    w->app = decode_str_shared(d, m->app);
    w->version = decode_str_shared(d, m->version);
    w->is_mtls = m->is_mtls != 0;
    if (decode_clear_ports(d, at, m, w) != 0)
        return -ERR_INVALID;
    return decode_ips(d, at, m->addresses, m->n_addresses, w->addresses);
}

static int decode_ranges(struct decode *d, const struct pb_path *at,
                         const Pb__Directory__Directory *m, struct directory *dir)
{
    struct cidr *ranges = ARENA_ARRAY(d->arena, struct cidr, m->n_address_ranges);
    for (size_t i = 0; i < m->n_address_ranges; i++) {
        const struct pb_path *here = PB_AT_I(at, "address_ranges", i);
        struct ip_addr ip = {0};
        if (decode_ip(d, here, m->address_ranges[i]->address, &ip) != 0)
            return -ERR_INVALID;
        if (m->address_ranges[i]->prefix_len > 8 * ip_len(&ip))
            return decode_fail(d, here, "the prefix is longer than the address");
        ranges[i] = cidr_from(&ip, m->address_ranges[i]->prefix_len);
    }
    dir->address_ranges = ranges;
    dir->address_range_count = m->n_address_ranges;
    return 0;
}

int decode_directory(struct decode *d, const struct pb_path *at, const void *message,
                     struct str *ret_name, const void **ret_body)
{
    const Pb__Directory__Directory *m = message;
    if (!decode_is_set(m->namespace_))
        return decode_fail(d, PB_AT(at, "namespace"), "a name is needed");
    struct directory *dir = ARENA_NEW(d->arena, struct directory);
    dir->namespace_ = decode_str(d, m->namespace_);
    dir->dns_suffix = decode_str_lower(d, m->dns_suffix);
    dir->is_registry_only = m->is_registry_only != 0;
    if (decode_ranges(d, at, m, dir) != 0)
        return -ERR_INVALID;
    struct directory_service *services =
        ARENA_ARRAY(d->arena, struct directory_service, m->n_services);
    struct directory_workload *workloads =
        ARENA_ARRAY(d->arena, struct directory_workload, m->n_workloads);
    for (size_t i = 0; i < m->n_services; i++) {
        if (decode_service(d, PB_AT_I(at, "services", i), m->services[i],
                           i > 0 ? &services[i - 1] : NULL, &services[i]) != 0)
            return -ERR_INVALID;
    }
    for (size_t i = 0; i < m->n_workloads; i++) {
        if (decode_workload(d, PB_AT_I(at, "workloads", i), m->workloads[i], &workloads[i]) != 0)
            return -ERR_INVALID;
    }
    dir->services = services;
    dir->service_count = m->n_services;
    dir->workloads = workloads;
    dir->workload_count = m->n_workloads;
    directory_index(dir, d->arena);
    *ret_name = dir->namespace_;
    *ret_body = dir;
    return 0;
}

/* --- encoding --- */

static ProtobufCBinaryData encode_ip(struct encode *e, const struct ip_addr *ip)
{
    ProtobufCBinaryData bytes = {ip_len(ip), arena_alloc(e->arena, sizeof ip->bytes)};
    memcpy(bytes.data, ip->bytes, bytes.len);
    return bytes;
}

static size_t encode_ips(struct encode *e, const struct ip_addr addresses[2],
                         ProtobufCBinaryData **ret_items)
{
    size_t count = 0;
    *ret_items = ARENA_ARRAY(e->arena, ProtobufCBinaryData, 2);
    for (size_t i = 0; i < 2; i++) {
        if (addresses[i].family != IP_NONE)
            (*ret_items)[count++] = encode_ip(e, &addresses[i]);
    }
    return count;
}

static Pb__Directory__Service *encode_service(struct encode *e, const struct directory_service *s)
{
    Pb__Directory__Service *m = PB_NEW(e, Pb__Directory__Service, pb__directory__service);
    m->host = encode_str(e, s->host);
    m->n_addresses = encode_ips(e, s->addresses, &m->addresses);
    m->n_ports = s->port_count;
    m->ports = PB_PTRS(e, Pb__Directory__Port, s->port_count);
    for (size_t i = 0; i < s->port_count; i++) {
        m->ports[i] = PB_NEW(e, Pb__Directory__Port, pb__directory__port);
        m->ports[i]->has_port = true;
        m->ports[i]->port = s->ports[i].port;
        m->ports[i]->has_protocol = s->ports[i].protocol != PROTOCOL_AUTO;
        m->ports[i]->protocol = (Pb__Directory__Protocol)s->ports[i].protocol;
    }
    return m;
}

static Pb__Directory__Workload *encode_workload(struct encode *e,
                                                const struct directory_workload *w)
{
    Pb__Directory__Workload *m = PB_NEW(e, Pb__Directory__Workload, pb__directory__workload);
    m->n_addresses = encode_ips(e, w->addresses, &m->addresses);
    m->identity = encode_str(e, w->identity);
    m->name = encode_str(e, w->name);
    m->namespace_ = encode_str(e, w->namespace_);
    m->app = encode_str(e, w->app);
    m->version = encode_str(e, w->version);
    m->has_is_mtls = m->is_mtls = w->is_mtls;
    m->n_clear_ports = w->clear_port_count;
    m->clear_ports = ARENA_ARRAY(e->arena, uint32_t, w->clear_port_count);
    for (size_t i = 0; i < w->clear_port_count; i++)
        m->clear_ports[i] = w->clear_ports[i];
    return m;
}

static Pb__Directory__Range *encode_range(struct encode *e, const struct cidr *c)
{
    struct ip_addr ip = {.family = c->family};
    memcpy(ip.bytes, c->addr, sizeof ip.bytes);
    Pb__Directory__Range *m = PB_NEW(e, Pb__Directory__Range, pb__directory__range);
    m->has_address = true;
    m->address = encode_ip(e, &ip);
    m->has_prefix_len = true;
    m->prefix_len = c->prefix;
    return m;
}

ProtobufCMessage *encode_directory(struct encode *e, struct str name, const void *body)
{
    const struct directory *in = body;
    Pb__Directory__Directory *m = PB_NEW(e, Pb__Directory__Directory, pb__directory__directory);
    m->namespace_ = encode_str(e, name);
    m->dns_suffix = encode_str(e, in->dns_suffix);
    m->has_is_registry_only = m->is_registry_only = in->is_registry_only;
    m->n_address_ranges = in->address_range_count;
    m->address_ranges = PB_PTRS(e, Pb__Directory__Range, in->address_range_count);
    for (size_t i = 0; i < in->address_range_count; i++)
        m->address_ranges[i] = encode_range(e, &in->address_ranges[i]);
    m->n_services = in->service_count;
    m->services = PB_PTRS(e, Pb__Directory__Service, in->service_count);
    for (size_t i = 0; i < in->service_count; i++)
        m->services[i] = encode_service(e, &in->services[i]);
    m->n_workloads = in->workload_count;
    m->workloads = PB_PTRS(e, Pb__Directory__Workload, in->workload_count);
    for (size_t i = 0; i < in->workload_count; i++)
        m->workloads[i] = encode_workload(e, &in->workloads[i]);
    return &m->base;
}
