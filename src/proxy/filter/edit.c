/* Header edits, path and authority rewrites of a request's route, level by level. */
#include "mesh/match/match.h"
#include "proxy/filter/filter_priv.h"

void edit_request(struct request *r, struct http_head *head)
{
    if (r->weighted != NULL)
        match_edit(&r->weighted->request, head);
    if (r->route == NULL)
        return;
    match_edit(&r->route->request, head);
    match_edit(&r->vhost->request, head);
    match_edit(&r->routes->request, head);
}

void edit_response(struct request *r, struct http_head *head)
{
    if (r->weighted != NULL)
        match_edit(&r->weighted->response, head);
    if (r->route == NULL)
        return;
    match_edit(&r->route->response, head);
    match_edit(&r->vhost->response, head);
    match_edit(&r->routes->response, head);
}

void edit_rewrite(struct request *r, struct http_head *head)
{
    if (r->route != NULL)
        match_rewrite(r->route, head);
}
