/* Small translations from the model to io and crypto. Pure. */
#pragma once

#include "crypto/tls.h"
#include "mesh/model/tls.h"

struct addr xds_tls_addr(const struct model_addr *m);
/* The names that a peer may have; at most max; how many. */
size_t xds_tls_sans(const struct common_tls *tls, struct tls_san_match *ret_sans, size_t max);
