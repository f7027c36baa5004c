/* The question: whom, who, what. Each error says what there is, or what to write instead. */
#include "codec/url.h"
#include "control/api/document.h"
#include "control/explain/explain_priv.h"
#include "http/target.h"

enum { NAMED_MAX = 8, TEXT_LEN_MAX = 300, HTTP_PORT = 80 };

#define CLIP(s) STR_FMT(str_sub((s), 0, TEXT_LEN_MAX))

/* --- workloads --- */

static int fail_unknown(struct explain *e, struct str name, struct str namespace_)
{
    struct registry_docs docs = registry_docs(e->args->registry, API_KIND_WORKLOAD, STR_NULL);
    str_buf_printf(e->why, "there is no Workload \"%.*s\"%s%.*s; there %s", CLIP(name),
                   namespace_.len > 0 ? " in namespace " : "", CLIP(namespace_),
                   docs.len == 0   ? "are none"
                   : docs.len == 1 ? "is: "
                                   : "are: ");
    for (size_t i = 0; i < docs.len && i < NAMED_MAX; i++)
        str_buf_printf(e->why, "%s%.*s/%.*s", i > 0 ? ", " : "", STR_FMT(docs.ptr[i]->namespace),
                       STR_FMT(docs.ptr[i]->name));
    if (docs.len > NAMED_MAX)
        str_buf_printf(e->why, " and %zu more", docs.len - NAMED_MAX);
    return -ERR_NOT_FOUND;
}

static int fail_ambiguous(struct explain *e, struct str name)
{
    struct registry_docs docs = registry_docs(e->args->registry, API_KIND_WORKLOAD, STR_NULL);
    str_buf_printf(e->why, "\"%.*s\" may be any of these; say which:", CLIP(name));
    for (size_t i = 0; i < docs.len; i++) {
        if (str_eq(docs.ptr[i]->name, name))
            str_buf_printf(e->why, " %.*s/%.*s", STR_FMT(docs.ptr[i]->namespace), STR_FMT(name));
    }
    return -ERR_INVALID;
}

/* "NS/NAME" or "NAME" with the namespace, or a name that there is once. */
static int find_document(struct explain *e, enum api_kind kind, struct str name,
                         struct str namespace_, const struct api_document **ret_doc)
{
    struct registry_docs docs;
    ptrdiff_t slash = str_find(name, '/');
    if (slash >= 0) {
        namespace_ = str_sub(name, 0, (size_t)slash);
        name = str_skip(name, (size_t)slash + 1);
    }
    *ret_doc = NULL;
    docs = registry_docs(e->args->registry, kind, namespace_);
    for (size_t i = 0; i < docs.len; i++) {
        if (!str_eq(docs.ptr[i]->name, name))
            continue;
        if (*ret_doc != NULL)
            return fail_ambiguous(e, name);
        *ret_doc = docs.ptr[i];
    }
    return *ret_doc != NULL ? 0 : -ERR_NOT_FOUND;
}

static int find_workloads(struct explain *e)
{
    const struct explain_args *args = e->args;
    int err = find_document(e, API_KIND_WORKLOAD, args->workload, args->namespace_, &e->called);
    if (err == -ERR_NOT_FOUND)
        err = find_document(e, API_KIND_SERVICE, args->workload, args->namespace_,
                            &e->called_service);
    if (err == -ERR_NOT_FOUND)
        return fail_unknown(e, args->workload, args->namespace_);
    if (err == 0 && args->from.len > 0)
        err = find_document(e, API_KIND_WORKLOAD, args->from, STR_NULL, &e->from);
    if (err == -ERR_NOT_FOUND)
        return fail_unknown(e, args->from, STR_NULL);
    return err;
}

/* --- the caller's address --- */

struct address {
    const struct explain *e;
    struct ip_addr ip;
    uint32_t index;
};

static void on_replica(void *ctx, const struct registry_replica *r)
{
    struct address *found = ctx;
    const struct api_document *from = found->e->from;
    if (!str_eq(r->workload, from->name) || !str_eq(r->namespace_, from->namespace) ||
        (found->ip.family != IP_NONE && r->index > found->index))
        return;
    found->ip = r->addresses[r->addresses[0].family != IP_NONE ? 0 : 1];
    found->index = r->index;
}

static int find_source(struct explain *e)
{
    struct address found = {.e = e};
    if (e->args->from_ip.len > 0) {
        if (ip_parse(e->args->from_ip, &e->source))
            return 0;
        str_buf_printf(e->why, "\"%.*s\" is not an IP address", CLIP(e->args->from_ip));
        return -ERR_INVALID;
    }
    if (e->from != NULL && e->args->has_addresses)
        registry_replicas(e->args->registry, on_replica, &found);
    e->source = found.ip;
    return 0;
}

/* --- the method --- */

static bool is_token(struct str s)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_plain && (c == '\0' || strchr(others, c) == NULL))
            return false;
    }
    return s.len > 0;
}

static int check_method(struct explain *e)
{
    struct str method = e->args->method;
    bool is_lower = method.len > 0 && method.ptr[0] >= 'a' && method.ptr[0] <= 'z';
    e->is_tcp_asked = str_eq(method, STR("TCP"));
    if (!is_token(method))
        str_buf_printf(e->why, "\"%.*s\" is not a method (GET, POST, ...; TCP for a connection)",
                       CLIP(method));
    else if (is_lower)
        str_buf_printf(e->why,
                       "method \"%.*s\": methods are told apart by case; write it in "
                       "capitals",
                       CLIP(method));
    else if (str_eq(method, STR("CONNECT")))
        str_buf_add_c(e->why, "CONNECT is not explained; TCP HOST:PORT is for connections");
    else
        return 0;
    return -ERR_INVALID;
}

/* --- the URL --- */

static int fail_url(struct explain *e, const char *what)
{
    str_buf_printf(e->why,
                   "URL \"%.*s\": %s (http://HOST[:PORT]/PATH, HOST[:PORT]/PATH, or /PATH for the "
                   "workload's own service)",
                   CLIP(e->args->url), what);
    return -ERR_INVALID;
}

/* The one service port that a workload is behind, for a URL without a host. */
struct own {
    const struct explain *e;
    const struct registry_service *service;
    size_t port_count;
};

static void on_service(void *ctx, const struct registry_service *s)
{
    struct own *own = ctx;
    const struct api_service *spec = s->doc->spec.service;
    const struct api_document *called = own->e->called;
    bool is_picked = called == NULL
                         ? s->doc == own->e->called_service
                         : str_eq(s->doc->namespace, called->namespace) && spec->selector.len > 0 &&
                               api_labels_match(&spec->selector, &called->labels);
    if (!is_picked)
        return;
    own->service = s;
    own->port_count += spec->port_count;
}

static int take_own_host(struct explain *e)
{
    struct own own = {.e = e};
    struct str namespace_ = e->called != NULL ? e->called->namespace : e->called_service->namespace;
    registry_services(e->args->registry, namespace_, on_service, &own);
    if (own.port_count == 0)
        return fail_url(e, "no Service picks this workload, so that it needs a host");
    if (own.port_count > 1)
        return fail_url(e, "the workload is behind several service ports; say which by HOST:PORT");
    e->host = own.service->host;
    e->port = own.service->doc->spec.service->ports[0].port;
    e->authority = arena_printf(e->a, "%.*s:%u", STR_FMT(e->host), e->port);
    return 0;
}

static int take_host(struct explain *e, struct str authority)
{
    struct url_authority parts;
    enum url_result result = url_split_authority(authority, &parts);
    if (result != URL_OK)
        return fail_url(e, url_result_text(result));
    if (e->is_tcp_asked && parts.port == 0)
        return fail_url(e, "a connection needs a port: HOST:PORT");
    e->host = url_host_canonical(e->a, parts.host);
    e->port = parts.port != 0 ? parts.port : HTTP_PORT;
    e->authority = authority;
    return 0;
}

static int split_url(struct explain *e, struct str *ret_authority)
{
    struct str url = e->args->url;
    if (str_starts_with_nocase(url, STR("https://")))
        return fail_url(e,
                        "a caller's own TLS is not looked into by the mesh; say http:// for what "
                        "it hands its sidecar in clear");
    if (str_starts_with_nocase(url, STR("http://")) || str_starts_with_nocase(url, STR("tcp://")))
        url = str_skip(url, url.ptr[0] == 'h' || url.ptr[0] == 'H' ? 7 : 6);
    else if (str_find(url, '/') > 0 &&
             str_contains(str_sub(url, 0, (size_t)str_find(url, '/') + 2), STR("://")))
        return fail_url(e, "the scheme is neither http nor tcp");
    else if (str_starts_with(url, STR("/"))) {
        *ret_authority = STR_NULL;
        e->target = url;
        return 0;
    }
    ptrdiff_t end = str_find(url, '/');
    ptrdiff_t query = str_find(url, '?');
    if (query >= 0 && (end < 0 || query < end))
        end = query;
    *ret_authority = end < 0 ? url : str_sub(url, 0, (size_t)end);
    e->target = end < 0 ? STR("/") : str_skip(url, (size_t)end);
    if (e->target.ptr[0] == '?')
        e->target = arena_printf(e->a, "/%.*s", STR_FMT(e->target));
    return ret_authority->len > 0 ? 0 : fail_url(e, "it has no host");
}

static int take_url(struct explain *e)
{
    struct str authority, path, query;
    bool has_query;
    int err = split_url(e, &authority);
    if (err != 0)
        return err;
    enum url_result result = url_split_target(e->target, &path, &query, &has_query);
    if (result != URL_OK)
        return fail_url(e, url_result_text(result));
    return authority.len > 0 ? take_host(e, authority) : take_own_host(e);
}

/* --- the service --- */

/* As the resolver of a replica does: the search list of its namespace first. */
static void find_service(struct explain *e)
{
    const struct registry *r = e->args->registry;
    const struct api_document *who = e->from != NULL     ? e->from
                                     : e->called != NULL ? e->called
                                                         : e->called_service;
    struct str namespace_ = who->namespace;
    struct str names[] = {
        arena_printf(e->a, "%.*s.%.*s.svc.cluster.local", STR_FMT(e->host), STR_FMT(namespace_)),
        arena_printf(e->a, "%.*s.svc.cluster.local", STR_FMT(e->host)),
        arena_printf(e->a, "%.*s.cluster.local", STR_FMT(e->host)),
        e->host,
    };
    for (size_t i = 0; i < ARRAY_LEN(names) && e->service == NULL; i++)
        e->service = registry_service_by_host(r, names[i]);
    if (e->service == NULL)
        return;
    e->host = e->service->host;
    e->service_origin = explain_origin_of(e, e->service->doc);
    e->service_port = api_service_find_port(e->service->doc->spec.service, e->port);
}

/* --- headers --- */

/* What the sidecars alone write, or what frames a message. */
static bool is_reserved(struct str name)
{
    static const struct str names[] = {
        {"connection", 10},       {"content-length", 14},
        {"keep-alive", 10},       {"http2-settings", 14},
        {"proxy-connection", 16}, {"te", 2},
        {"trailer", 7},           {"transfer-encoding", 17},
        {"upgrade", 7},           {"x-forwarded-client-cert", 23},
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (str_eq(names[i], name))
            return true;
    }
    return str_starts_with(name, STR("x-tulle-")) || str_starts_with(name, STR("x-envoy-"));
}

static bool is_value(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static int take_header(struct explain *e, struct str line)
{
    struct str value = line, name = str_split(&value, ':');
    char *lower = arena_bytes(e->a, name.len + 1);
    for (size_t i = 0; i < name.len; i++)
        lower[i] =
            (char)(name.ptr[i] >= 'A' && name.ptr[i] <= 'Z' ? name.ptr[i] + 32 : name.ptr[i]);
    name = str_from(lower, name.len);
    value = str_trim(value);
    if (value.ptr == NULL || !is_token(name) || !is_value(value)) {
        str_buf_printf(e->why, "header \"%.*s\" is not NAME: VALUE", CLIP(line));
        return -ERR_INVALID;
    }
    if (is_reserved(name)) {
        str_buf_printf(e->why,
                       "header \"%.*s\" is written by the proxies themselves; what a caller "
                       "says there does not count",
                       CLIP(name));
        return -ERR_INVALID;
    }
    if (str_eq(name, STR("host")))
        e->authority = value;
    else
        http_head_add_named(e->head, name, arena_str(e->a, value));
    return 0;
}

static int take_headers(struct explain *e)
{
    e->head = ARENA_NEW(e->a, struct http_head);
    http_head_init(e->head, e->a, true);
    e->head->method = e->args->method;
    e->head->scheme = STR("http");
    for (size_t i = 0; i < e->args->header_count; i++) {
        int err = take_header(e, e->args->headers[i]);
        if (err != 0)
            return err;
    }
    e->given_count = e->head->field_count;
    e->head->is_grpc = http_is_grpc_type(http_head_get(e->head, HTTP_NAME_CONTENT_TYPE));
    if (http_authority_set(e->head, e->authority))
        return 0;
    str_buf_printf(e->why, "header \"host: %.*s\" is not HOST or HOST:PORT", CLIP(e->authority));
    return -ERR_INVALID;
}

/* A caller's document may leave ports and addresses to the app itself. */
static bool is_captured(const struct explain *e)
{
    const struct api_workload_capture *c = &e->from->spec.workload->capture;
    struct cidr range;
    for (size_t i = 0; i < c->exclude_outbound_ports.len; i++) {
        if (c->exclude_outbound_ports.v[i] == e->port)
            return false;
    }
    for (size_t i = 0; e->service != NULL && i < c->exclude_outbound_ranges.len; i++) {
        if (cidr_parse(c->exclude_outbound_ranges.v[i], &range, NULL) &&
            cidr_match(&range, &e->service->addresses[0]))
            return false;
    }
    return true;
}

static void add_missing(struct http_head *head, enum http_name id, const char *value)
{
    if (http_head_get(head, id).ptr == NULL)
        http_head_add(head, id, str_from_c(value));
}

void explain_add_own(struct http_head *head)
{
    static const char made[] = "(made by the sidecar)";
    bool has_trace = http_head_get(head, HTTP_NAME_B3).ptr != NULL ||
                     http_head_get(head, HTTP_NAME_X_B3_TRACEID).ptr != NULL;
    add_missing(head, HTTP_NAME_X_REQUEST_ID, made);
    if (!has_trace)
        add_missing(head, HTTP_NAME_TRACEPARENT, made);
    add_missing(head, HTTP_NAME_X_FORWARDED_PROTO, "http");
}

bool explain_make_head(struct explain *e, const struct url_path_options *options)
{
    e->head->original_path = STR_NULL;
    return http_target_set(e->head, e->target, options);
}

int explain_ask(struct explain *e)
{
    int err = find_workloads(e);
    if (err == 0)
        err = check_method(e);
    if (err == 0)
        err = take_url(e);
    if (err == 0)
        err = take_headers(e);
    if (err == 0)
        err = find_source(e);
    if (err != 0)
        return err;
    find_service(e);
    e->has_sidecar = e->from != NULL && is_captured(e);
    return 0;
}
