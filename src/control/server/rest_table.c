/* Lists as tables (Kubernetes' meta.k8s.io/v1 Table): what kubectl prints, with the columns that
 * Istio's definitions of the kinds print. */
#include <stdio.h>

#include "codec/duration.h"
#include "control/server/server_priv.h"

struct column {
    enum api_kind kind;
    const char *name, *path; /* "spec.hosts" */
};

static const struct column columns[] = {
    {API_KIND_SERVICE, "Type", "spec.type"},
    {API_KIND_SERVICE, "Selector", "spec.selector"},
    {API_KIND_WORKLOAD, "Replicas", "spec.replicas"},
    {API_KIND_WORKLOAD, "Account", "spec.serviceAccount"},
    {API_KIND_MESH, "Trust Domain", "spec.trustDomain"},
    {API_KIND_VIRTUAL_SERVICE, "Gateways", "spec.gateways"},
    {API_KIND_VIRTUAL_SERVICE, "Hosts", "spec.hosts"},
    {API_KIND_DESTINATION_RULE, "Host", "spec.host"},
    {API_KIND_PEER_AUTHENTICATION, "Mode", "spec.mtls.mode"},
    {API_KIND_AUTHORIZATION_POLICY, "Action", "spec.action"},
};

bool rest_wants_table(const struct rest_call *c)
{
    struct str accept = http_head_get_named(c->head, STR("accept"));
    return str_contains(accept, STR("as=Table")) && str_contains(accept, STR("g=meta.k8s.io"));
}

static void write_column(struct json_writer *w, const char *name, const char *type,
                         const char *format)
{
    json_writer_object(w, NULL);
    json_writer_c(w, "name", name);
    json_writer_c(w, "type", type);
    json_writer_c(w, "format", format);
    json_writer_c(w, "description", "");
    json_writer_u64(w, "priority", 0);
    json_writer_end(w);
}

static void write_columns(struct json_writer *w, const struct api_kind_info *kind)
{
    json_writer_array(w, "columnDefinitions");
    write_column(w, "Name", "string", "name");
    for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
        if (columns[i].kind == kind->kind)
            write_column(w, columns[i].name, "string", "");
    }
    write_column(w, "Age", "string", "");
    json_writer_end(w);
}

static const struct json *at_path(const struct json *v, const char *path)
{
    struct str rest = str_from_c(path);
    while (v != NULL && rest.ptr != NULL)
        v = json_get_str_key(v, str_split(&rest, '.'));
    return v;
}

/* "3d", "2h", "41s", as kubectl says it. */
static struct str age(struct rest_call *c, struct str created_at)
{
    static const struct {
        int64_t seconds;
        char letter;
    } units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
    int64_t then_ms, now_s = (int64_t)(turn_wall_us(c->server->args.turn) / 1000000);
    if (time_parse(created_at, &then_ms) != 0)
        return STR("<unknown>");
    int64_t seconds = MAX(now_s - then_ms / 1000, (int64_t)0);
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (seconds >= 2 * units[i].seconds || units[i].seconds == 1)
            return arena_printf(c->a, "%lld%c", (long long)(seconds / units[i].seconds),
                                units[i].letter);
    }
    return STR("0s");
}

static void write_cell(struct json_writer *w, const struct json *v)
{
    struct str text = STR_NULL;
    if (v == NULL || json_str(v, &text)) {
        json_writer_str(w, NULL, text);
        return;
    }
    struct str_buf out = STR_BUF_INIT(64 * 1024);
    struct json_writer inner;
    json_writer_init(&inner, &out, 0);
    json_writer_tree(&inner, NULL, v);
    json_writer_str(w, NULL, str_buf_str(&out));
    str_buf_deinit(&out);
}

static void write_cells(struct rest_call *c, const struct store_object *o, const struct json *root,
                        struct json_writer *w)
{
    json_writer_array(w, "cells");
    json_writer_str(w, NULL, o->name);
    for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
        if (columns[i].kind == o->kind)
            write_cell(w, at_path(root, columns[i].path));
    }
    json_writer_str(w, NULL, age(c, o->created_at));
    json_writer_end(w);
}

void rest_table_row(struct rest_call *c, const struct store_object *o, struct json_writer *w)
{
    struct arena a;
    const struct json *root = NULL;
    arena_init(&a, 4096);
    (void)json_parse(&a, o->json, o->json.len, &root, NULL);
    json_writer_object(w, NULL);
    write_cells(c, o, root, w);
    json_writer_key(w, STR("object"));
    if (str_eq(rest_query(c, "includeObject"), STR("Object"))) {
        rest_object(c->server, o, w);
    } else {
        json_writer_object(w, NULL);
        json_writer_c(w, "kind", "PartialObjectMetadata");
        json_writer_c(w, "apiVersion", "meta.k8s.io/v1");
        rest_metadata(w, json_get(root, "metadata"), o);
        json_writer_end(w);
    }
    json_writer_end(w);
    arena_deinit(&a);
}

void rest_table_begin(const struct rest_call *c, const struct api_kind_info *kind,
                      struct json_writer *w)
{
    char revision[24];
    snprintf(revision, sizeof revision, "%llu",
             (unsigned long long)store_revision(c->server->args.store));
    json_writer_object(w, NULL);
    json_writer_c(w, "kind", "Table");
    json_writer_c(w, "apiVersion", "meta.k8s.io/v1");
    json_writer_object(w, "metadata");
    json_writer_c(w, "resourceVersion", revision);
    json_writer_end(w);
    write_columns(w, kind);
    json_writer_array(w, "rows");
}

void rest_table_of(struct rest_call *c, const struct api_kind_info *kind,
                   const struct store_object *o, struct json_writer *w)
{
    rest_table_begin(c, kind, w);
    rest_table_row(c, o, w);
    json_writer_end(w);
    json_writer_end(w);
}
