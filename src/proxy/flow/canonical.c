/* What the options of the HTTP connection manager make of a request's head before anybody judges
 * it, beyond what the codec has done already (http/target.h): host, names of fields, the redirect
 * to a path without escaped slashes. */
#include "base/err.h"
#include "codec/url.h"
#include "proxy/flow/flow_priv.h"

/* The host alone: brackets stay, as what remains is an authority. */
static struct str without_port(struct str authority)
{
    ptrdiff_t end = str_find(authority, ']');
    ptrdiff_t colon = str_find(str_skip(authority, end < 0 ? 0 : (size_t)end), ':');

    return colon < 0 ? authority
                     : str_sub(authority, 0, (end < 0 ? 0 : (size_t)end) + (size_t)colon);
}

static struct str strip_port(const struct flow_conn *fc, const struct hcm *hcm,
                             struct str authority)
{
    struct url_authority parts;

    if (hcm->strip_port == STRIP_PORT_NONE || url_split_authority(authority, &parts) != URL_OK ||
        parts.port == 0)
        return authority;
    const struct addr *to =
        fc->info.original_dst.family != ADDR_NONE ? &fc->info.original_dst : &fc->info.local;
    if (hcm->strip_port == STRIP_PORT_MATCHING && parts.port != to->port)
        return authority;
    return without_port(authority);
}

static struct str strip_dot(struct arena *a, struct str authority)
{
    struct str host = without_port(authority), port = str_skip(authority, host.len);

    if (host.len < 2 || host.ptr[host.len - 1] != '.')
        return authority;
    host.len--;
    return arena_printf(a, "%.*s%.*s", STR_FMT(host), STR_FMT(port));
}

static bool has_underscore(const struct http_head *head)
{
    for (uint32_t i = 0; i < head->field_count; i++) {
        if (head->fields[i].id == HTTP_NAME_OTHER && str_find(head->fields[i].name, '_') >= 0)
            return true;
    }
    return false;
}

static void drop_underscores(struct request *r, struct http_head *head)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct http_field *f = &head->fields[i];

        if (f->id != HTTP_NAME_OTHER || str_find(f->name, '_') < 0)
            head->fields[kept++] = *f;
    }
    metrics_add(r->metrics, COUNTER_UNDERSCORES_DROPPED, head->field_count - kept);
    head->field_count = kept;
}

static void judge_underscores(struct request *r, struct http_head *head)
{
    if (r->hcm->underscores == UNDERSCORES_ALLOW || !has_underscore(head))
        return;
    if (r->hcm->underscores == UNDERSCORES_DROP) {
        drop_underscores(r, head);
        return;
    }
    metrics_add(r->metrics, COUNTER_BAD_REQUESTS, 1);
    r->early = (struct early_reply){.status = 400, .details = STR("header_name_with_underscore")};
}

/* Trailers are fields, too: they may become headers further on. */
static void on_trailers(struct exchange *x, struct http_head *trailers)
{
    struct request *r = request_of(x);
    if (!has_underscore(trailers))
        return;
    if (r->hcm->underscores == UNDERSCORES_REJECT) {
        metrics_add(r->metrics, COUNTER_BAD_REQUESTS, 1);
        exchange_fail(x, &(struct outcome){.err = -ERR_PROTOCOL,
                                           .fault = FAULT_DOWNSTREAM,
                                           .status = 400,
                                           .details = STR("trailer_name_with_underscore")});
    }
    drop_underscores(r, trailers);
}

static bool has_escaped_slash(struct str target)
{
    struct str path = str_split(&target, '?');

    for (size_t i = 0; i + 2 < path.len; i++) {
        struct str escape = str_sub(path, i, 3);

        if (str_eq_nocase(escape, STR("%2f")) || str_eq_nocase(escape, STR("%5c")))
            return true;
    }
    return false;
}

/* The client is sent to the path as it is meant. One that begins with two slashes would name a host
 * there. */
static void redirect(struct request *r, const struct http_head *head)
{
    struct str path = head->path;

    if (r->hcm->escaped_slashes != SLASHES_UNESCAPE_REDIRECT || r->early.status != 0 ||
        str_is_empty(head->original_path) || !has_escaped_slash(head->original_path))
        return;
    while (path.len > 1 && (path.ptr[1] == '/' || path.ptr[1] == '\\'))
        path = str_skip(path, 1);
    if (path.ptr[0] == '\\')
        path = arena_printf(head->arena, "/%.*s", STR_FMT(str_skip(path, 1)));
    r->early = (struct early_reply){
        .status = 307, .details = STR("path_normalization_redirect"), .location = path};
}

void canonical_request(const struct flow_conn *fc, struct request *r, struct http_head *head)
{
    head->authority = strip_port(fc, r->hcm, head->authority);
    if (r->hcm->strip_trailing_host_dot)
        head->authority = strip_dot(head->arena, head->authority);
    judge_underscores(r, head);
    if (r->hcm->underscores != UNDERSCORES_ALLOW)
        r->x->on_trailers = on_trailers;
    redirect(r, head);
}
