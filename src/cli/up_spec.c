#include "cli/up_spec.h"

#include <libgen.h>
#include <limits.h>
#include <stdlib.h>

#include "control/api/check.h"
#include "control/api/mesh.h"
#include "control/api/workload.h"

static const char *to_c(struct arena *a, struct str s)
{
    return arena_str(a, s).ptr;
}

static const char **to_list(struct arena *a, const struct api_strs *strs)
{
    const char **list = ARENA_ARRAY(a, const char *, strs->len + 1);
    for (size_t i = 0; i < strs->len; i++)
        list[i] = to_c(a, strs->v[i]);
    return list;
}

static const char **to_env(struct arena *a, const struct api_labels *env)
{
    const char **list = ARENA_ARRAY(a, const char *, env->len + 1);
    for (size_t i = 0; i < env->len; i++)
        list[i] =
            arena_printf(a, "%.*s=%.*s", STR_FMT(env->v[i].key), STR_FMT(env->v[i].value)).ptr;
    return list;
}

/* The absolute folder of a document's file. */
static const char *folder_of(struct arena *a, struct str file)
{
    char path[PATH_MAX], real[PATH_MAX];
    snprintf(path, sizeof path, "%.*s", STR_FMT(file));
    const char *folder = dirname(path);
    if (realpath(folder, real) == NULL)
        return to_c(a, str_from_c(folder));
    return to_c(a, str_from_c(real));
}

static struct box_ready to_ready(struct arena *a, const struct api_workload_ready *from)
{
    struct box_ready r = {BOX_READY_NONE, from->port, NULL, NULL};
    switch (from->kind) {
    case API_READY_NONE:
        break;
    case API_READY_HTTP:
        r.kind = BOX_READY_HTTP;
        r.path = to_c(a, from->path.len > 0 ? from->path : STR("/"));
        break;
    case API_READY_TCP:
        r.kind = BOX_READY_TCP;
        break;
    case API_READY_EXEC:
        r.kind = BOX_READY_EXEC;
        r.command = to_list(a, &from->command);
        break;
    }
    return r;
}

static struct box_workload to_workload(struct arena *a, const struct api_document *d)
{
    const struct api_workload *w = d->spec.workload;
    struct box_workload to = {
        .name = to_c(a, d->name),
        .namespace = to_c(a, d->namespace),
        .service_account = to_c(a, w->service_account),
        .folder = folder_of(a, d->file),
        .replicas = w->replicas,
        .is_envoy = w->proxy == API_PROXY_ENVOY,
        .first_port = w->port_count > 0 ? w->ports[0].port : 0,
        .capture = {.exclude_inbound_ports = w->capture.exclude_inbound_ports.v,
                    .exclude_inbound_count = w->capture.exclude_inbound_ports.len,
                    .exclude_outbound_ports = w->capture.exclude_outbound_ports.v,
                    .exclude_outbound_count = w->capture.exclude_outbound_ports.len,
                    .exclude_outbound_ranges = to_list(a, &w->capture.exclude_outbound_ranges),
                    .exclude_ranges_count = w->capture.exclude_outbound_ranges.len},
    };
    if (w->run != NULL) {
        to.command = to_list(a, &w->run->command);
        to.env = to_env(a, &w->run->env);
        to.ready = to_ready(a, &w->run->ready);
    }
    return to;
}

void up_spec_from_documents(const struct api_document_list *list, struct arena *a,
                            struct box_spec *ret_spec)
{
    *ret_spec = (struct box_spec){.trust_domain = to_c(a, api_check_mesh(list)->trust_domain)};
    for (size_t i = 0; i < list->docs.len; i++)
        if (list->docs.ptr[i]->kind == API_KIND_WORKLOAD)
            VEC_PUSH(&ret_spec->workloads, to_workload(a, list->docs.ptr[i]));
}

void up_spec_deinit(struct box_spec *spec)
{
    VEC_DEINIT(&spec->workloads);
}

const char *up_spec_name(const char *dir, struct arena *a)
{
    const char *slash = strrchr(dir, '/');
    struct str base = str_sub(str_from_c(slash != NULL ? slash + 1 : dir), 0, BOX_NAME_LEN_MAX);
    char *name = arena_bytes(a, BOX_NAME_LEN_MAX + 1);
    size_t len = 0;
    for (size_t i = 0; i < base.len; i++) {
        char c = base.ptr[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        bool is_word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!is_word && len == 0)
            continue;
        name[len++] = is_word || c == '_' ? c : '-';
    }
    name[len] = '\0';
    return len > 0 ? name : "mesh";
}
