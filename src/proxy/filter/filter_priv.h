/* Inside proxy/filter/ only. */
#pragma once

#include "proxy/filter/request.h"

/* rbac.c: whether the policy lets the exchange's request pass; origin: what decided (may be NULL).
 */
bool rbac_is_allowed(const struct rbac *rbac, struct exchange *x, struct str *ret_origin);

/* filters.c: the model of the filter whose state this is. */
const struct http_filter *filter_model_of(const struct exchange *x, const struct filter_ops *ops,
                                          const void *state);
/* What the request's route says to the filter of that name: its cluster before itself, before its
 * virtual host. NULL: nothing. */
const struct filter_override *override_of(const struct request *r, struct str name);

/* edit.c: all levels of a request's route, the most specific first (Envoy's default order). */
void edit_request(struct request *r, struct http_head *head);
void edit_response(struct request *r, struct http_head *head);
/* Rewrites of path and authority. */
void edit_rewrite(struct request *r, struct http_head *head);

/* hash.c: false: nothing ties the request to a host. May make a cookie, which goes out with the
 * response. */
bool hash_request(struct request *r, uint64_t *ret_hash);
void hash_response(const struct request *r, struct http_head *head);

/* retry.c */
enum retry_verdict {
    RETRY_NO,
    RETRY_YES,
    RETRY_UNSEEN, /* nobody has looked at the request: not of the budget */
    RETRY_REPLAY, /* the keep-alive race: at once, not counted */
};
const struct retry_policy *retry_policy_of(const struct request *r);
enum retry_verdict retry_on_response(const struct retry_policy *p, const struct http_head *head);
enum retry_verdict retry_on_failure(const struct retry_policy *p, const struct http_head *request,
                                    const struct outcome *why);
uint64_t retry_backoff_us(const struct retry_policy *p, uint32_t retry, struct random *random);
