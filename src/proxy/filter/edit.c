/* Header edits, path and authority rewrites of routes. */
#include "proxy/filter/filter_priv.h"

static bool is_authority(const struct http_head *head, struct str name)
{
    return head->is_request && (str_eq(name, STR("host")) || str_eq(name, STR(":authority")));
}

/* What frames messages and connections is the codecs' alone. */
static bool is_protected(struct str name)
{
    static const struct str names[] = {
        {"host", 4},    {"content-length", 14}, {"transfer-encoding", 17},
        {"te", 2},      {"connection", 10},     {"keep-alive", 10},
        {"upgrade", 7}, {"trailer", 7},
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (str_eq(names[i], name))
            return true;
    }
    return name.len == 0 || name.ptr[0] == ':';
}

static void edit_one(const struct header_edit *e, struct http_head *head)
{
    if (is_authority(head, e->name)) {
        if (e->action != HEADER_ADD_IF_ABSENT || head->authority.len == 0)
            head->authority = e->value;
        return;
    }
    if (is_protected(e->name))
        return;
    bool exists = http_head_get_named(head, e->name).ptr != NULL;
    switch (e->action) {
    case HEADER_APPEND:
        http_head_add_named(head, e->name, e->value);
        return;
    case HEADER_ADD_IF_ABSENT:
        if (!exists)
            http_head_add_named(head, e->name, e->value);
        return;
    case HEADER_SET:
        http_head_set_named(head, e->name, e->value);
        return;
    case HEADER_SET_IF_EXISTS:
        if (exists)
            http_head_set_named(head, e->name, e->value);
        return;
    }
}

static void apply(const struct header_edits *edits, struct http_head *head)
{
    for (size_t i = 0; i < edits->remove_count; i++) {
        if (!is_protected(edits->remove[i]))
            http_head_remove_named(head, edits->remove[i]);
    }
    for (size_t i = 0; i < edits->set_count; i++)
        edit_one(&edits->set[i], head);
}

void edit_apply(const struct header_edits *edits, struct http_head *head)
{
    /* Most routes have none. */
    if (edits->remove_count + edits->set_count > 0)
        apply(edits, head);
}

void edit_request(struct request *r, struct http_head *head)
{
    if (r->weighted != NULL)
        edit_apply(&r->weighted->request, head);
    if (r->route == NULL)
        return;
    edit_apply(&r->route->request, head);
    edit_apply(&r->vhost->request, head);
    edit_apply(&r->routes->request, head);
}

void edit_response(struct request *r, struct http_head *head)
{
    if (r->weighted != NULL)
        edit_apply(&r->weighted->response, head);
    if (r->route == NULL)
        return;
    edit_apply(&r->route->response, head);
    edit_apply(&r->vhost->response, head);
    edit_apply(&r->routes->response, head);
}

/* What the route matched is replaced; the rest, with the query, stays. */
static void rewrite_path(const struct route *route, struct http_head *head)
{
    struct str rest = head->path;
    if (route->match.path_kind == PATH_EXACT)
        rest = str_skip(rest, http_head_path_only(head).len);
    else
        rest = str_skip(rest, route->match.path.len);
    http_head_set(head, HTTP_NAME_X_ENVOY_ORIGINAL_PATH, head->path);
    head->path =
        arena_printf(head->arena, "%.*s%.*s", STR_FMT(route->prefix_rewrite), STR_FMT(rest));
}

void edit_rewrite(struct request *r, struct http_head *head)
{
    const struct route *route = r->route;
    if (route == NULL)
        return;
    if (route->prefix_rewrite.len > 0 && route->match.path_kind != PATH_CONNECT)
        rewrite_path(route, head);
    if (route->host_rewrite.len > 0)
        head->authority = route->host_rewrite;
}
