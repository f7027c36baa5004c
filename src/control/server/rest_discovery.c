/* What is here: readiness, version, groups and their resources. */
#include "control/server/server_priv.h"

static bool is_path(const struct rest_call *c, const char *only)
{
    return c->path_count == 1 && str_eq(c->path[0], str_from_c(only));
}

static void reply_version(struct rest_call *c)
{
    rest_reply(c, 200,
               STR("{\"program\":\"tulled\",\"gitVersion\":\"v" TULLE_VERSION
                   "\",\"version\":\"" TULLE_VERSION "\"}"));
}

static void write_version(struct json_writer *w, const struct api_kind_info *info,
                          const char *version)
{
    struct str_buf text = STR_BUF_INIT(256);
    str_buf_printf(&text, "%s/%s", info->group, version);
    json_writer_str(w, "groupVersion", str_buf_str(&text));
    json_writer_c(w, "version", version);
    str_buf_deinit(&text);
}

static void write_group(struct json_writer *w, const struct api_kind_info *info)
{
    json_writer_object(w, NULL);
    json_writer_c(w, "name", info->group);
    json_writer_array(w, "versions");
    for (const char *const *v = info->versions; *v != NULL; v++) {
        json_writer_object(w, NULL);
        write_version(w, info, *v);
        json_writer_end(w);
    }
    json_writer_end(w);
    json_writer_object(w, "preferredVersion");
    write_version(w, info, info->versions[0]);
    json_writer_end(w);
    json_writer_end(w);
}

static void reply_groups(struct rest_call *c)
{
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    struct json_writer w;
    json_writer_init(&w, &out, 0);
    json_writer_object(&w, NULL);
    json_writer_c(&w, "kind", "APIGroupList");
    json_writer_c(&w, "apiVersion", "v1");
    json_writer_array(&w, "groups");
    for (int k = 0; k < API_KIND_COUNT; k++) {
        const struct api_kind_info *info = api_kind_info((enum api_kind)k);
        if (info->group[0] != '\0' && api_kind_is_first_of_group(info))
            write_group(&w, info);
    }
    json_writer_end(&w);
    json_writer_end(&w);
    rest_reply(c, 200, str_buf_str(&out));
    str_buf_deinit(&out);
}

static size_t write_resources(struct json_writer *w, struct str group, struct str version)
{
    size_t count = 0;
    for (int k = 0; k < API_KIND_COUNT; k++) {
        const struct api_kind_info *info = api_kind_info((enum api_kind)k);
        if (!str_eq(str_from_c(info->group), group) || !api_kind_has_version(info, version))
            continue;
        count++;
        json_writer_object(w, NULL);
        json_writer_c(w, "name", info->plural);
        json_writer_c(w, "singularName", info->singular);
        json_writer_bool(w, "namespaced", info->is_namespaced);
        json_writer_c(w, "kind", info->name);
        json_writer_raw(
            w, "verbs",
            STR("[\"create\",\"delete\",\"deletecollection\",\"get\",\"list\",\"patch\",\"update\","
                "\"watch\"]"));
        json_writer_array(w, "shortNames");
        for (const char *const *s = info->short_names; *s != NULL; s++)
            json_writer_c(w, NULL, *s);
        json_writer_end(w);
        json_writer_end(w);
    }
    return count;
}

static void reply_resources(struct rest_call *c, struct str group, struct str version)
{
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    struct json_writer w;
    json_writer_init(&w, &out, 0);
    json_writer_object(&w, NULL);
    json_writer_c(&w, "kind", "APIResourceList");
    json_writer_str(&w, "groupVersion",
                    arena_printf(c->a, "%.*s%s%.*s", STR_FMT(group), group.len > 0 ? "/" : "",
                                 STR_FMT(version)));
    json_writer_array(&w, "resources");
    size_t count = write_resources(&w, group, version);
    json_writer_end(&w);
    json_writer_end(&w);
    if (count > 0)
        rest_reply(c, 200, str_buf_str(&out));
    else
        rest_fail(c, 404, "NotFound", "no such group and version: %.*s/%.*s", STR_FMT(group),
                  STR_FMT(version));
    str_buf_deinit(&out);
}

static bool reply(struct rest_call *c)
{
    if (is_path(c, "readyz") || is_path(c, "livez") || is_path(c, "healthz"))
        rest_reply(c, 200, STR("{\"status\":\"ok\"}"));
    else if (is_path(c, "version"))
        reply_version(c);
    else if (is_path(c, "api"))
        rest_reply(c, 200, STR("{\"kind\":\"APIVersions\",\"versions\":[\"v1\"]}"));
    else if (is_path(c, "apis"))
        reply_groups(c);
    else if (c->path_count == 2 && str_eq(c->path[0], STR("api")))
        reply_resources(c, STR_NULL, c->path[1]);
    else if (c->path_count == 3 && str_eq(c->path[0], STR("apis")))
        reply_resources(c, c->path[1], c->path[2]);
    else
        return false;
    return true;
}

bool rest_discovery(struct rest_call *c)
{
    return rest_is_method(c, "GET") && reply(c);
}
