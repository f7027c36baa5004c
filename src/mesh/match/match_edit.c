/* What routes make of a request's or a response's head: header edits, rewrites of path and
 * authority, the form of paths; and how a cluster speaks to a host. */
#include "codec/regex.h"
#include "mesh/match/match.h"

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

void match_edit(const struct header_edits *edits, struct http_head *head)
{
    /* Most routes have none. */
    if (edits->remove_count + edits->set_count > 0)
        apply(edits, head);
}

/* What the route matched is replaced; the rest, with the query, stays. */
static void rewrite_path(const struct route *route, struct http_head *head)
{
    struct str rest = head->path;
    bool is_whole = route->match.path_kind == PATH_EXACT || route->match.path_kind == PATH_REGEX;
    if (is_whole)
        rest = str_skip(rest, http_head_path_only(head).len);
    else
        rest = str_skip(rest, route->match.path.len);
    http_head_set(head, HTTP_NAME_X_ENVOY_ORIGINAL_PATH, head->path);
    head->path =
        arena_printf(head->arena, "%.*s%.*s", STR_FMT(route->prefix_rewrite), STR_FMT(rest));
}

/* By a regular expression: of the path alone, the query stays. What comes of it begins with a slash
 * again: a request has no other target, and none that its client chose ("http://..."). */
static void rewrite_by_regex(const struct route *route, struct http_head *head)
{
    struct str path = http_head_path_only(head), query = str_skip(head->path, path.len);
    struct str to =
        regex_replace(route->regex_rewrite, path, route->regex_substitution, head->arena);
    http_head_set(head, HTTP_NAME_X_ENVOY_ORIGINAL_PATH, head->path);
    bool is_cut = to.ptr != path.ptr && !str_starts_with(to, STR("/"));
    head->path =
        arena_printf(head->arena, "%s%.*s%.*s", is_cut ? "/" : "", STR_FMT(to), STR_FMT(query));
}

void match_rewrite(const struct route *route, struct http_head *head)
{
    if (route->regex_rewrite != NULL && route->match.path_kind != PATH_CONNECT)
        rewrite_by_regex(route, head);
    if (route->prefix_rewrite.len > 0 && route->match.path_kind != PATH_CONNECT)
        rewrite_path(route, head);
    if (route->host_rewrite.len > 0)
        head->authority = route->host_rewrite;
}

struct url_path_options match_path_options(const struct hcm *hcm)
{
    static const enum url_escaped_slashes slashes[] = {
        [SLASHES_KEEP] = URL_SLASHES_KEEP,
        [SLASHES_REJECT] = URL_SLASHES_REJECT,
        [SLASHES_UNESCAPE_REDIRECT] = URL_SLASHES_UNESCAPE,
        [SLASHES_UNESCAPE_FORWARD] = URL_SLASHES_UNESCAPE,
    };
    return (struct url_path_options){
        .is_normalized = hcm->normalize_path,
        .is_slash_merged = hcm->merge_slashes,
        .escaped_slashes = slashes[hcm->escaped_slashes],
        .backslash = URL_BACKSLASH_TO_SLASH,
    };
}

const struct upstream_tls *match_upstream_tls(const struct cluster *c, const struct endpoint *e)
{
    for (size_t i = 0; i < c->tls_match_count; i++) {
        const struct transport_socket_match *m = &c->tls_matches[i];
        if (m->metadata_key.len == 0 || (e != NULL && str_eq(e->match_key, m->metadata_key) &&
                                         str_eq(e->match_value, m->metadata_value)))
            return m->tls;
    }
    return c->tls;
}
