/* What names may look like. */
#pragma once

#include "base/str.h"

bool name_is_dns_label(struct str s);     /* RFC 1123: a-z 0-9 -, at most 63 */
bool name_is_dns_subdomain(struct str s); /* labels with dots, at most 253 */
bool name_is_header(struct str s);        /* RFC 9110 5.6.2: token */
bool name_is_header_value(struct str s);  /* RFC 9110 5.5: no control characters but HTAB */
/* A host name, or with is_wildcard_allowed "*" or "*.example.com". */
bool name_is_host(struct str s, bool is_wildcard_allowed);
bool name_is_label_key(struct str s);   /* Kubernetes: [prefix/]name */
bool name_is_label_value(struct str s); /* Kubernetes: empty, or a name of at most 63 */
