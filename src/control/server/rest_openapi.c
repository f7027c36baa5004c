/* What clients ask before they write: that fields are checked here (fieldValidation), so that
 * kubectl leaves it to us. Schemas are open: what a document may hold is said by docs/documents.md
 * and found out by dryRun. */
#include "control/server/server_priv.h"

/* "api/v1", "apis/GROUP/VERSION" */
static struct str group_path(struct rest_call *c, const struct api_kind_info *info,
                             const char *version)
{
    return info->group[0] == '\0' ? arena_printf(c->a, "api/%s", version)
                                  : arena_printf(c->a, "apis/%s/%s", info->group, version);
}

static void write_path(struct rest_call *c, struct json_writer *w, struct str path)
{
    json_writer_key(w, path);
    json_writer_object(w, NULL);
    json_writer_str(w, "serverRelativeURL",
                    arena_printf(c->a, "/openapi/v3/%.*s?hash=" TULLE_VERSION, STR_FMT(path)));
    json_writer_end(w);
}

static void write_paths(struct rest_call *c, struct json_writer *w)
{
    json_writer_object(w, "paths");
    for (int k = 0; k < API_KIND_COUNT; k++) {
        const struct api_kind_info *info = api_kind_info((enum api_kind)k);
        for (const char *const *v = info->versions; api_kind_is_first_of_group(info) && *v != NULL;
             v++)
            write_path(c, w, group_path(c, info, *v));
    }
    json_writer_end(w);
}

static void write_gvk(struct json_writer *w, const struct api_kind_info *info, struct str version)
{
    json_writer_c(w, "group", info->group);
    json_writer_c(w, "kind", info->name);
    json_writer_str(w, "version", version);
}

static void write_patch(struct rest_call *c, struct json_writer *w,
                        const struct api_kind_info *info, struct str version)
{
    struct str base = group_path(c, info, arena_str(c->a, version).ptr);
    json_writer_key(w, arena_printf(c->a, "/%.*s/%s%s/{name}", STR_FMT(base),
                                    info->is_namespaced ? "namespaces/{namespace}/" : "",
                                    info->plural));
    json_writer_object(w, NULL);
    json_writer_object(w, "patch");
    json_writer_raw(w, "parameters",
                    STR("[{\"name\":\"fieldValidation\",\"in\":\"query\","
                        "\"schema\":{\"type\":\"string\"}},"
                        "{\"name\":\"dryRun\",\"in\":\"query\","
                        "\"schema\":{\"type\":\"string\"}}]"));
    json_writer_raw(w, "responses", STR("{\"200\":{\"description\":\"OK\"}}"));
    json_writer_c(w, "x-kubernetes-action", "patch");
    json_writer_object(w, "x-kubernetes-group-version-kind");
    write_gvk(w, info, version);
    json_writer_end(w);
    json_writer_end(w);
    json_writer_end(w);
}

static void write_schema(struct rest_call *c, struct json_writer *w,
                         const struct api_kind_info *info, struct str version)
{
    json_writer_key(w,
                    arena_printf(c->a, "%s.%.*s.%s", info->group[0] != '\0' ? info->group : "core",
                                 STR_FMT(version), info->name));
    json_writer_object(w, NULL);
    json_writer_c(w, "type", "object");
    json_writer_bool(w, "x-kubernetes-preserve-unknown-fields", true);
    json_writer_array(w, "x-kubernetes-group-version-kind");
    json_writer_object(w, NULL);
    write_gvk(w, info, version);
    json_writer_end(w);
    json_writer_end(w);
    json_writer_end(w);
}

typedef void write_kind_fn(struct rest_call *c, struct json_writer *w,
                           const struct api_kind_info *info, struct str version);

/* How many kinds of that group and version there are. */
static size_t each_kind(struct rest_call *c, struct json_writer *w, struct str group,
                        struct str version, write_kind_fn *write)
{
    size_t count = 0;
    for (int k = 0; k < API_KIND_COUNT; k++) {
        const struct api_kind_info *info = api_kind_info((enum api_kind)k);
        if (!str_eq(str_from_c(info->group), group) || !api_kind_has_version(info, version))
            continue;
        write(c, w, info, version);
        count++;
    }
    return count;
}

static size_t write_group(struct rest_call *c, struct json_writer *w, struct str group,
                          struct str version)
{
    json_writer_c(w, "openapi", "3.0.0");
    json_writer_raw(w, "info", STR("{\"title\":\"Tulle\",\"version\":\"" TULLE_VERSION "\"}"));
    json_writer_object(w, "paths");
    size_t count = each_kind(c, w, group, version, write_patch);
    json_writer_end(w);
    json_writer_object(w, "components");
    json_writer_object(w, "schemas");
    (void)each_kind(c, w, group, version, write_schema);
    json_writer_end(w);
    json_writer_end(w);
    return count;
}

static void reply(struct rest_call *c)
{
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    struct json_writer w;
    size_t count = 1;
    json_writer_init(&w, &out, 0);
    json_writer_object(&w, NULL);
    if (c->path_count == 2)
        write_paths(c, &w);
    else if (c->path_count == 4 && str_eq(c->path[2], STR("api")))
        count = write_group(c, &w, STR_NULL, c->path[3]);
    else
        count = write_group(c, &w, c->path[3], c->path[4]);
    json_writer_end(&w);
    if (count > 0)
        rest_reply(c, 200, str_buf_str(&out));
    else
        rest_fail(c, 404, "NotFound", "no such group and version");
    str_buf_deinit(&out);
}

bool rest_openapi(struct rest_call *c)
{
    bool is_ours = c->path_count >= 2 && str_eq(c->path[0], STR("openapi")) &&
                   str_eq(c->path[1], STR("v3")) && rest_is_method(c, "GET");
    bool is_known = c->path_count == 2 || (c->path_count == 4 && str_eq(c->path[2], STR("api"))) ||
                    (c->path_count == 5 && str_eq(c->path[2], STR("apis")));
    if (!is_ours || !is_known)
        return false;
    reply(c);
    return true;
}
