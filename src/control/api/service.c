#include "control/api/service.h"

#include "control/api/reader_priv.h"

const struct api_service_port *api_service_find_port(const struct api_service *s, uint16_t port)
{
    for (size_t i = 0; i < s->port_count; i++)
        if (s->ports[i].port == port)
            return &s->ports[i];
    return NULL;
}

/* A port of the document: protocol is known once all fields were read. */
struct port_input {
    struct api_service_port port;
    struct str app_protocol;
};

static void read_target_port(const struct in *in, void *out)
{
    struct api_service_port *port = out;
    if (in->node->kind == YAML_SCALAR && !in->node->is_quoted && yaml_f64(in->node, &(double){0})) {
        read_port(in, &port->target_port);
        return;
    }
    struct str text;
    if (!in_text(in, &text))
        return;
    if (name_is_dns_label(text))
        port->target_port_name = text;
    else
        in_error(in, "write a number or the name of a workload's port",
                 "\"%.*s\" is no valid port name", STR_CLIP(text));
}

static void read_port_name(const struct in *in, void *out)
{
    struct str text;
    if (!in_text(in, &text))
        return;
    if (name_is_dns_label(text))
        *(struct str *)out = text;
    else
        in_error(in, "a-z, 0-9 and -, at most 63", "\"%.*s\" is no valid port name",
                 STR_CLIP(text));
}

static void read_protocol(const struct in *in, void *out)
{
    static const char *const names[] = {"TCP", NULL}, *const not_yet[] = {"UDP", "SCTP", NULL};
    (void)out;
    in_enum(in, names, not_yet);
}

static void read_service_port(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD("name", read_port_name, struct port_input, port.name),
        FIELD_MUST("port", read_port, struct port_input, port.port),
        FIELD("targetPort", read_target_port, struct port_input, port),
        FIELD_WHOLE("protocol", read_protocol),
        FIELD("appProtocol", read_str, struct port_input, app_protocol),
        FIELD_NOT_YET("nodePort"),
    };
    struct port_input input = {.port.place = in->place};
    struct api_service_port *port = out;
    if (!IN_OBJECT(in, fields, &input))
        return;
    *port = input.port;
    if (port->target_port == 0 && port->target_port_name.len == 0)
        port->target_port = port->port;
    port->protocol = api_protocol_of_port(port->name, input.app_protocol);
}

static void check_ports(const struct in *in, const struct api_service *s)
{
    for (size_t i = 0; i < s->port_count; i++) {
        struct in item = in_item(in, i);
        if (s->port_count > 1 && s->ports[i].name.len == 0)
            in_error(&item, NULL, "a service with several ports must name each of them");
        for (size_t j = 0; j < i; j++) {
            if (s->ports[i].port == s->ports[j].port && s->ports[i].port != 0)
                in_error(&item, NULL, "port %u is there twice", s->ports[i].port);
            if (s->ports[i].name.len > 0 && str_eq(s->ports[i].name, s->ports[j].name))
                in_error(&item, NULL, "port name \"%.*s\" is there twice",
                         STR_FMT(s->ports[i].name));
        }
    }
}

static void read_ports_of_service(const struct in *in, void *out)
{
    struct api_service *s = out;
    s->ports = in_array(in, sizeof *s->ports, read_service_port, &s->port_count);
    if (s->port_count == 0 && in_is_sequence(in))
        in_error(in, NULL, "a service needs at least one port");
    check_ports(in, s);
}

static void read_type(const struct in *in, void *out)
{
    static const char *const names[] = {"ClusterIP", NULL};
    static const char *const not_yet[] = {"NodePort", "LoadBalancer", "ExternalName", NULL};
    (void)out;
    in_enum(in, names, not_yet);
}

/* Addresses are given by the registry. */
static void read_cluster_ip(const struct in *in, void *out)
{
    struct str text;
    (void)out;
    if (!in_text(in, &text) || text.len == 0)
        return;
    if (str_eq(text, STR("None")))
        in_error(in, NULL, "headless services (clusterIP: None) are not supported yet");
    else
        in_error(in, "leave it out: the mesh gives the service an address",
                 "a given clusterIP is not supported yet");
}

static void read_affinity(const struct in *in, void *out)
{
    static const char *const names[] = {"None", NULL}, *const not_yet[] = {"ClientIP", NULL};
    (void)out;
    in_enum(in, names, not_yet);
}

static void read_traffic_policy(const struct in *in, void *out)
{
    static const char *const names[] = {"Cluster", NULL}, *const not_yet[] = {"Local", NULL};
    (void)out;
    in_enum(in, names, not_yet);
}

void service_read(const struct in *spec, struct api_document *d)
{
    static const struct field fields[] = {
        FIELD("selector", read_k8s_labels, struct api_service, selector),
        FIELD_WHOLE_MUST("ports", read_ports_of_service),
        FIELD_WHOLE("type", read_type),
        FIELD_WHOLE("clusterIP", read_cluster_ip),
        FIELD_WHOLE("sessionAffinity", read_affinity),
        FIELD_WHOLE("internalTrafficPolicy", read_traffic_policy),
        FIELD_WHOLE("publishNotReadyAddresses", read_false_only),
        FIELD_NO_MATTER("ipFamilies"), /* every service has an address of both families */
        FIELD_NO_MATTER("ipFamilyPolicy"),
        FIELD_NOT_YET("clusterIPs"),
        FIELD_NOT_YET("externalIPs"),
        FIELD_NOT_YET("externalName"),
        FIELD_NOT_YET("externalTrafficPolicy"),
        FIELD_NOT_YET("allocateLoadBalancerNodePorts"),
        FIELD_NOT_YET("healthCheckNodePort"),
        FIELD_NOT_YET("loadBalancerClass"),
        FIELD_NOT_YET("loadBalancerIP"),
        FIELD_NOT_YET("loadBalancerSourceRanges"),
        FIELD_NOT_YET("sessionAffinityConfig"),
        FIELD_NOT_YET("trafficDistribution"),
    };
    struct api_service *s = ARENA_NEW(&d->arena, struct api_service);
    IN_OBJECT(spec, fields, s);
    d->spec.service = s;
}
