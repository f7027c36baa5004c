/* PATCH: the present document with what the body changes. */
#include "control/server/json_patch.h"
#include "control/server/merge.h"
#include "control/server/server_priv.h"

/* The document as a client saw it: a patch may name the resourceVersion that it is for. */
static const struct json *shown(struct rest_call *c, const struct store_object *o)
{
    struct str_buf text = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    const struct json *root = NULL;
    struct json_writer w;
    json_writer_init(&w, &text, 0);
    rest_object(c->server, o, &w);
    (void)json_parse(c->a, str_buf_str(&text), REST_ANSWER_BYTES_MAX, &root, NULL);
    str_buf_deinit(&text);
    return root;
}

static bool is_strategic(const struct rest_call *c)
{
    return str_starts_with(http_head_get(c->head, HTTP_NAME_CONTENT_TYPE),
                           STR("application/strategic-merge-patch+json"));
}

static bool is_list_of_acts(const struct rest_call *c)
{
    return str_starts_with(http_head_get(c->head, HTTP_NAME_CONTENT_TYPE),
                           STR("application/json-patch+json"));
}

static bool is_server_side(const struct rest_call *c)
{
    return str_starts_with(http_head_get(c->head, HTTP_NAME_CONTENT_TYPE),
                           STR("application/apply-patch"));
}

static bool is_known_type(const struct rest_call *c)
{
    return is_strategic(c) || is_list_of_acts(c) ||
           str_starts_with(http_head_get(c->head, HTTP_NAME_CONTENT_TYPE),
                           STR("application/merge-patch+json"));
}

/* PATCH with a list of acts; NULL: answered. */
static const struct json *act(struct rest_call *c, const struct json *target,
                              const struct json *acts)
{
    const struct json *result = NULL;
    const char *why = "";
    if (json_patch(c->a, target, acts, &result, &why) != 0)
        rest_fail(c, 422, "Invalid", "the patch cannot be applied: %s", why);
    return result;
}

static const struct json *merge(struct rest_call *c, const struct json *target,
                                const struct json *patch)
{
    const struct json *result = NULL;
    if (!is_strategic(c))
        return merge_patch(c->a, target, patch);
    if (merge_strategic(c->a, target, patch, &result) != 0)
        rest_fail(c, 400, "BadRequest", "the patch has a directive that is not known");
    return result;
}

static bool write_text(struct rest_call *c, const struct json *result, struct str *ret_text)
{
    struct str_buf out = STR_BUF_INIT(REST_BODY_BYTES_MAX);
    struct json_writer w;
    json_writer_init(&w, &out, 0);
    json_writer_tree(&w, NULL, result);
    bool is_whole = !out.is_overflown;
    if (is_whole)
        *ret_text = arena_str(c->a, str_buf_str(&out));
    else
        rest_fail(c, 413, "RequestEntityTooLarge", "the document would be too large");
    str_buf_deinit(&out);
    return is_whole;
}

static void refuse_type(struct rest_call *c)
{
    rest_fail(c, 415, "UnsupportedMediaType", "%s",
              is_server_side(c)
                  ? "server-side apply is not supported: apply without --server-side"
                  : "patches are application/merge-patch+json, application/json-patch+json or "
                    "application/strategic-merge-patch+json");
}

bool rest_patch(struct rest_call *c, const struct store_object *present, struct str *ret_text)
{
    const struct json *patch, *target = shown(c, present);
    struct json_error why = {0};
    if (!is_known_type(c)) {
        refuse_type(c);
        return false;
    }
    enum json_type wanted = is_list_of_acts(c) ? JSON_ARRAY : JSON_OBJECT;
    if (json_parse(c->a, str_buf_str(&c->body), REST_BODY_BYTES_MAX, &patch, &why) != 0 ||
        patch->type != wanted || target == NULL) {
        rest_fail(c, 400, "BadRequest", "the patch is no JSON %s: %s",
                  wanted == JSON_ARRAY ? "list" : "object", why.text);
        return false;
    }
    const struct json *result =
        wanted == JSON_ARRAY ? act(c, target, patch) : merge(c, target, patch);
    return result != NULL && write_text(c, result, ret_text);
}
