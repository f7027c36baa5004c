/* PATCH: the present document with what the body changes. */
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

static bool is_known_type(const struct rest_call *c)
{
    return is_strategic(c) || str_starts_with(http_head_get(c->head, HTTP_NAME_CONTENT_TYPE),
                                              STR("application/merge-patch+json"));
}

bool rest_patch(struct rest_call *c, const struct store_object *present, struct str *ret_text)
{
    const struct json *patch, *result, *target = shown(c, present);
    struct json_error why = {0};
    if (!is_known_type(c)) {
        rest_fail(c, 415, "UnsupportedMediaType",
                  "patches are application/merge-patch+json or "
                  "application/strategic-merge-patch+json (kubectl patch --type=merge)");
        return false;
    }
    if (json_parse(c->a, str_buf_str(&c->body), REST_BODY_BYTES_MAX, &patch, &why) != 0 ||
        patch->type != JSON_OBJECT || target == NULL) {
        rest_fail(c, 400, "BadRequest", "the patch is no JSON object: %s", why.text);
        return false;
    }
    if (!is_strategic(c)) {
        result = merge_patch(c->a, target, patch);
    } else if (merge_strategic(c->a, target, patch, &result) != 0) {
        rest_fail(c, 400, "BadRequest", "the patch has a directive that is not known");
        return false;
    }
    struct str_buf out = STR_BUF_INIT(REST_BODY_BYTES_MAX);
    struct json_writer w;
    json_writer_init(&w, &out, 0);
    json_writer_tree(&w, NULL, result);
    *ret_text = arena_str(c->a, str_buf_str(&out));
    str_buf_deinit(&out);
    return true;
}
