#include "control/api/workload.h"

#include "control/api/reader_priv.h"

uint16_t api_workload_find_port(const struct api_workload *w, struct str name)
{
    for (size_t i = 0; i < w->port_count; i++)
        if (str_eq(w->ports[i].name, name))
            return w->ports[i].port;
    return 0;
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

static void read_workload_port(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD_MUST("name", read_port_name, struct api_workload_port, name),
        FIELD_MUST("port", read_port, struct api_workload_port, port),
    };
    struct api_workload_port *port = out;
    port->place = in->place;
    IN_OBJECT(in, fields, port);
    port->protocol = api_protocol_of_port(port->name, STR_NULL);
}

static void read_workload_ports(const struct in *in, void *out)
{
    struct api_workload *w = out;
    w->ports = in_array(in, sizeof *w->ports, read_workload_port, &w->port_count);
    for (size_t i = 0; i < w->port_count; i++) {
        struct in item = in_item(in, i);
        for (size_t j = 0; j < i; j++) {
            if (w->ports[i].name.len > 0 && str_eq(w->ports[i].name, w->ports[j].name))
                in_error(&item, NULL, "port name \"%.*s\" is there twice",
                         STR_FMT(w->ports[i].name));
            if (w->ports[i].port != 0 && w->ports[i].port == w->ports[j].port)
                in_error(&item, NULL, "port %u is there twice", w->ports[i].port);
        }
    }
}

static void read_account(const struct in *in, void *out)
{
    struct api_workload *w = out;
    struct str text;
    if (!in_text(in, &text))
        return;
    w->service_account_place = in->place;
    if (name_is_dns_subdomain(text))
        w->service_account = text;
    else
        in_error(in, "a-z, 0-9, - and ., at most 253", "\"%.*s\" is no valid account name",
                 STR_CLIP(text));
}

static void read_replicas(const struct in *in, void *out)
{
    uint64_t value;
    if (in_number(in, 0, API_WORKLOAD_REPLICAS_MAX, &value))
        *(uint32_t *)out = (uint32_t)value;
}

/* --- How to run it -------------------------------------------------------------------------- */

static void read_command(const struct in *in, void *out)
{
    struct api_strs *command = out;
    read_strs(in, command);
    if (in_is_sequence(in) && (command->len == 0 || command->v[0].len == 0)) {
        struct str path = in_path(in);
        in_error(in, NULL, "\"%.*s\" must name a program", STR_FMT(path));
    }
}

static void read_env(const struct in *in, void *out)
{
    struct api_labels *env = out;
    read_labels(in, env);
    for (size_t i = 0; in_is_mapping(in) && i < in_count(in); i++) {
        struct in entry = in_entry(in, i);
        if (entry.key.len == 0 || str_find(entry.key, '=') >= 0 || str_find(entry.key, '\0') >= 0)
            in_error_key(&entry, NULL, "\"%.*s\" is no valid variable name", STR_CLIP(entry.key));
    }
}

/* A probe's port may be named, so the workload's ports are read before it. */
struct ready_input {
    const struct api_workload *workload;
    struct api_workload_ready ready;
    bool has_http, has_tcp, has_exec;
};

static void read_probe_port(const struct in *in, void *out)
{
    struct ready_input *input = out;
    struct str name;
    if (yaml_f64(in->node, &(double){0})) {
        read_port(in, &input->ready.port);
        return;
    }
    if (!in_text(in, &name))
        return;
    input->ready.port = api_workload_find_port(input->workload, name);
    if (input->ready.port == 0)
        in_error(in, NULL, "the workload has no port named \"%.*s\"", STR_CLIP(name));
}

static void read_probe_path(const struct in *in, void *out)
{
    struct ready_input *input = out;
    struct str text;
    if (!in_text(in, &text))
        return;
    if (text.len == 0 || text.ptr[0] != '/' || !name_is_header_value(text) ||
        str_find(text, ' ') >= 0)
        in_error(in, NULL, "a path starts with / and holds no blanks: \"%.*s\"", STR_CLIP(text));
    else
        input->ready.path = text;
}

static void read_http_get(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD_WHOLE_MUST("port", read_probe_port),
        FIELD_WHOLE("path", read_probe_path),
        FIELD_NOT_YET("host"),
        FIELD_NOT_YET("scheme"),
        FIELD_NOT_YET("httpHeaders"),
    };
    struct ready_input *input = out;
    input->has_http = true;
    input->ready.path = STR("/");
    IN_OBJECT(in, fields, input);
}

static void read_tcp_socket(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD_WHOLE_MUST("port", read_probe_port),
        FIELD_NOT_YET("host"),
    };
    struct ready_input *input = out;
    input->has_tcp = true;
    IN_OBJECT(in, fields, input);
}

static void read_exec(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD_MUST("command", read_command, struct ready_input, ready.command),
    };
    struct ready_input *input = out;
    input->has_exec = true;
    IN_OBJECT(in, fields, input);
}

static void read_ready(const struct in *in, const struct api_workload *w,
                       struct api_workload_ready *ret)
{
    static const struct field fields[] = {
        FIELD_WHOLE("httpGet", read_http_get), FIELD_WHOLE("tcpSocket", read_tcp_socket),
        FIELD_WHOLE("exec", read_exec),        FIELD_NOT_YET("grpc"),
        FIELD_NOT_YET("initialDelaySeconds"),  FIELD_NOT_YET("periodSeconds"),
        FIELD_NOT_YET("timeoutSeconds"),       FIELD_NOT_YET("successThreshold"),
        FIELD_NOT_YET("failureThreshold"),
    };
    struct ready_input input = {.workload = w};
    if (!IN_OBJECT(in, fields, &input))
        return;
    if (input.has_http + input.has_tcp + input.has_exec != 1) {
        struct str path = in_path(in);
        in_error(in, NULL, "\"%.*s\" must have one of httpGet, tcpSocket and exec", STR_FMT(path));
        return;
    }
    input.ready.kind = input.has_http  ? API_READY_HTTP
                       : input.has_tcp ? API_READY_TCP
                                       : API_READY_EXEC;
    *ret = input.ready;
}

static void read_nothing(const struct in *in, void *out)
{
    (void)in;
    (void)out;
}

static void read_run(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD_MUST("command", read_command, struct api_workload_run, command),
        FIELD("env", read_env, struct api_workload_run, env),
        FIELD_WHOLE("ready", read_nothing), /* by workload_read, when the ports are known */
    };
    struct api_workload *w = out;
    struct api_workload_run *run = ARENA_NEW(in->reader->arena, struct api_workload_run);
    if (IN_OBJECT(in, fields, run))
        w->run = run;
}

static void read_capture(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD("excludeInboundPorts", read_ports, struct api_workload_capture,
              exclude_inbound_ports),
        FIELD("excludeOutboundPorts", read_ports, struct api_workload_capture,
              exclude_outbound_ports),
        FIELD("excludeOutboundRanges", read_cidrs, struct api_workload_capture,
              exclude_outbound_ranges),
    };
    IN_OBJECT(in, fields, out);
}

static void read_proxy(const struct in *in, void *out)
{
    static const char *const names[] = {"tulle", "envoy", NULL};
    int index = in_enum(in, names, NULL);
    if (index >= 0)
        *(enum api_proxy *)out = (enum api_proxy)index;
}

void workload_read(const struct in *spec, struct api_document *d)
{
    static const struct field fields[] = {
        FIELD_WHOLE("serviceAccount", read_account),
        FIELD("replicas", read_replicas, struct api_workload, replicas),
        FIELD_WHOLE("ports", read_workload_ports),
        FIELD_WHOLE("run", read_run),
        FIELD("capture", read_capture, struct api_workload, capture),
        FIELD("proxy", read_proxy, struct api_workload, proxy),
    };
    struct api_workload *w = ARENA_NEW(&d->arena, struct api_workload);
    w->service_account = STR("default");
    w->service_account_place = spec->place;
    w->replicas = 1;
    d->spec.workload = w;
    if (!IN_OBJECT(spec, fields, w) || w->run == NULL)
        return;
    struct in run, ready;
    struct api_workload_run *with_ready = ARENA_NEW(&d->arena, struct api_workload_run);
    *with_ready = *w->run;
    if (in_get(spec, "run", &run) && in_get(&run, "ready", &ready))
        read_ready(&ready, w, &with_ready->ready);
    w->run = with_ready;
}
