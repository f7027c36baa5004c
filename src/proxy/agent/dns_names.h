/* Names of the mesh: what a DNS question for one of them is answered. Pure, over the directories.
 *
 * Owner: dns.c. Thread: the main thread's. */
#pragma once

#include "codec/ip.h"
#include "mesh/model/resource.h"

struct dns_names;

struct dns_names *dns_names_new(struct str own_namespace);
struct dns_names *dns_names_free(struct dns_names *n);
/* Takes a reference; NULL removes. */
void dns_names_set(struct dns_names *n, struct str directory_name, struct resource *directory);

enum dns_names_result {
    DNS_NAMES_FOUND,   /* addresses may be of the other family only: "no data" */
    DNS_NAMES_UNKNOWN, /* below the mesh's suffix: it does not exist */
    DNS_NAMES_FOREIGN, /* not ours: ask the resolver */
};

/* name: lower case, without trailing dot. Forms: SERVICE (of the own namespace), SERVICE.NS,
 * SERVICE.NS.svc, SERVICE.NS.svc.cluster.local. */
enum dns_names_result dns_names_find(const struct dns_names *n, struct str name,
                                     struct ip_addr ret_addrs[2], size_t *ret_count);
