/* Paths to handlers: Kubernetes' paths for documents, /tulle/v1 for what Kubernetes has no word
 * for. */
#include "control/server/server_priv.h"

/* --- simple answers --- */

static void readyz(struct rest *q)
{
    rest_answer(q, 200, STR("{\"ready\":true}"));
}

static void version(struct rest *q)
{
    rest_answer(q, 200,
                STR("{\"gitVersion\":\"v" TULLE_VERSION "\",\"tulle\":\"" TULLE_VERSION "\"}"));
}

static void bundle(struct rest *q)
{
    if (q->stream != NULL)
        service_reply(q->stream, 200, STR("application/x-pem-file"), ca_bundle(q->server->args.ca));
}

struct plain_route {
    const char *method, *path;
    void (*handle)(struct rest *q);
};

static const struct plain_route plain_routes[] = {
    {"GET", "/readyz", readyz},
    {"GET", "/healthz", readyz},
    {"GET", "/version", version},
    {"GET", "/tulle/v1/status", status_handle},
    {"GET", "/tulle/v1/wait", wait_handle},
    {"GET", "/tulle/v1/ca/bundle", bundle},
    {"POST", "/tulle/v1/apply", apply_handle},
};

/* True: the path is one of these (also when the method is another). */
static bool dispatch_plain(struct rest *q)
{
    bool is_known = false;
    for (size_t i = 0; i < ARRAY_LEN(plain_routes); i++) {
        const struct plain_route *r = &plain_routes[i];
        if (!str_eq(q->path, str_from_c(r->path)))
            continue;
        is_known = true;
        if (str_eq(q->method, str_from_c(r->method))) {
            r->handle(q);
            return true;
        }
    }
    if (is_known)
        rest_error(q, 405, "MethodNotAllowed", "%.*s does not take %.*s", STR_FMT(q->path),
                   STR_FMT(q->method));
    return is_known;
}

/* --- POST /tulle/v1/replicas/NS/WORKLOAD/INDEX/gone --- */

static bool dispatch_replica(struct rest *q)
{
    struct str rest = q->path;
    if (!str_starts_with(rest, STR("/tulle/v1/replicas/")))
        return false;
    rest = str_skip(rest, strlen("/tulle/v1/replicas/"));
    struct str namespace_ = str_split(&rest, '/'), workload = str_split(&rest, '/');
    struct str index_text = str_split(&rest, '/');
    uint64_t index;
    if (!str_eq(rest, STR("gone")) || !str_eq(q->method, STR("POST")) ||
        !str_to_u64(index_text, UINT32_MAX, &index))
        rest_error(q, 404, "NotFound", "POST .../NAMESPACE/WORKLOAD/INDEX/gone is meant");
    else if (push_replica_gone(q->server->args.push, namespace_, workload, (uint32_t)index))
        rest_answer(q, 200, STR("{\"gone\":true}"));
    else
        rest_error(q, 404, "NotFound", "no such replica is known");
    return true;
}

/* --- /api/v1/..., /apis/GROUP/VERSION/... --- */

/* [namespaces/NS/]PLURAL[/NAME[/SUBRESOURCE]] behind the group and version. */
static bool parse_target(struct rest *q, struct rest_target *ret_target, struct str *ret_sub)
{
    struct str rest = str_skip(q->path, 1);
    struct str root = str_split(&rest, '/'), group = STR_NULL;
    if (str_eq(root, STR("apis")))
        group = str_split(&rest, '/');
    else if (!str_eq(root, STR("api")))
        return false;
    struct str api_version = str_split(&rest, '/');
    struct str word = str_split(&rest, '/');
    struct rest_target t = {0};
    if (str_eq(word, STR("namespaces")) && rest.len > 0) {
        struct str namespace_ = str_split(&rest, '/');
        if (rest.ptr == NULL) { /* a Namespace itself */
            t.name = namespace_;
        } else {
            t.namespace_ = namespace_;
            word = str_split(&rest, '/');
        }
    }
    t.kind = api_kind_by_path(group, api_version, word);
    if (rest.ptr != NULL)
        t.name = str_split(&rest, '/');
    *ret_sub = rest.ptr != NULL ? rest : STR_NULL;
    *ret_target = t;
    return t.kind != NULL;
}

static void dispatch_one(struct rest *q, const struct rest_target *t)
{
    if (str_eq(q->method, STR("GET")))
        objects_get(q, t);
    else if (str_eq(q->method, STR("PUT")))
        objects_put(q, t, false);
    else if (str_eq(q->method, STR("DELETE")))
        objects_delete(q, t);
    else
        rest_error(q, 405, "MethodNotAllowed", "a document takes GET, PUT and DELETE");
}

static void dispatch_collection(struct rest *q, const struct rest_target *t)
{
    if (str_eq(q->method, STR("GET")))
        objects_list(q, t);
    else if (str_eq(q->method, STR("POST")))
        objects_put(q, t, true);
    else
        rest_error(q, 405, "MethodNotAllowed", "a collection takes GET and POST");
}

static void dispatch_document(struct rest *q)
{
    struct rest_target t;
    struct str sub;
    if (!parse_target(q, &t, &sub)) {
        rest_error(q, 404, "NotFound", "there is nothing at %.*s", STR_FMT(q->path));
        return;
    }
    bool is_single = t.name.len > 0;
    if (is_single && t.kind->is_namespaced && t.namespace_.len == 0) {
        rest_error(q, 404, "NotFound", "a %s lies in a namespace: .../namespaces/NS/%s/NAME",
                   t.kind->name, t.kind->plural);
        return;
    }
    if (sub.len > 0) {
        if (t.kind->kind == API_KIND_WORKLOAD && str_eq(sub, STR("token")) &&
            str_eq(q->method, STR("POST")))
            token_handle(q, &t);
        else
            rest_error(q, 404, "NotFound", "there is nothing at %.*s", STR_FMT(q->path));
        return;
    }
    if (is_single)
        dispatch_one(q, &t);
    else
        dispatch_collection(q, &t);
}

void rest_dispatch(struct rest *q)
{
    if (!dispatch_plain(q) && !dispatch_replica(q))
        dispatch_document(q);
}
