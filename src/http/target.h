/* What a request is about, in its one canonical form (design decision 17): path and authority.
 *
 * Pure. Strings are borrowed from the arguments or lie in the head's arena. */
#pragma once

#include "codec/url.h"
#include "http/head.h"

/* Sets path (and original_path) from a target in origin-form, or "*" for OPTIONS. False: refused.
 */
bool http_target_set(struct http_head *h, struct str target,
                     const struct url_path_options *options);
/* Sets the authority, in lower case. False: it is none. */
bool http_authority_set(struct http_head *h, struct str authority);
/* Do both name the same host and port? Scheme tells the default port. */
bool http_authority_eq(struct str a, struct str b, struct str scheme);
