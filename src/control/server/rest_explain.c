/* POST /tulle/v1/explain: what would become of a request, by what holds now.
 *   {"workload", "namespace", "method", "url", "headers": ["name: value"], "from", "fromIp"} */
#include "control/explain/explain.h"
#include "control/server/server_priv.h"

enum { EXPLAIN_BODY_BYTES_MAX = 256 * 1024 };

static struct str text_of(const struct json *root, const char *key)
{
    return json_str_or(json_get(root, key), STR_NULL);
}

static void answer(struct rest_call *c, const struct explain_args *args)
{
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX), why = STR_BUF_INIT(4096);
    struct json_writer w;
    json_writer_init(&w, &out, 0);
    int err = explain(args, &w, &why);
    if (err == 0)
        rest_reply(c, 200, str_buf_str(&out));
    else
        rest_fail(c, err == -ERR_NOT_FOUND ? 404 : 400,
                  err == -ERR_NOT_FOUND ? "NotFound" : "BadRequest", "%.*s",
                  STR_FMT(str_buf_str(&why)));
    str_buf_deinit(&why);
    str_buf_deinit(&out);
}

static void run(struct rest_call *c, const struct json *root)
{
    const struct json *headers = json_get(root, "headers");
    size_t count = json_count(headers);
    struct str *lines = ARENA_ARRAY(c->a, struct str, EXPLAIN_HEADERS_MAX);
    for (size_t i = 0; i < count && i < EXPLAIN_HEADERS_MAX; i++)
        lines[i] = json_str_or(json_at(headers, i), STR_NULL);
    if (count > EXPLAIN_HEADERS_MAX) {
        rest_fail(c, 400, "BadRequest", "%d headers at most", EXPLAIN_HEADERS_MAX);
        return;
    }
    answer(c, &(struct explain_args){
                  .store = c->server->args.store,
                  .registry = c->server->args.registry,
                  .translate = c->server->args.translate,
                  .workload = text_of(root, "workload"),
                  .namespace_ = text_of(root, "namespace"),
                  .method = text_of(root, "method"),
                  .url = text_of(root, "url"),
                  .headers = lines,
                  .header_count = count,
                  .from = text_of(root, "from"),
                  .from_ip = text_of(root, "fromIp"),
                  .has_addresses = true,
              });
}

bool rest_explain(struct rest_call *c)
{
    const struct json *root;
    if (!rest_is_own(c, "explain") || c->path_count != 3)
        return false;
    if (!rest_is_method(c, "POST"))
        rest_fail(c, 405, "MethodNotAllowed", "POST a question here");
    else if (!rest_may(c, ACCESS_LIST, NULL, STR_NULL))
        return true;
    else if (json_parse(c->a, str_buf_str(&c->body), EXPLAIN_BODY_BYTES_MAX, &root, NULL) != 0 ||
             root->type != JSON_OBJECT)
        rest_fail(c, 400, "BadRequest", "the body is not a JSON object");
    else
        run(c, root);
    return true;
}
