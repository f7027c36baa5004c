/* The mesh's DNS at a proxy: UDP and TCP on 15053. Names of the mesh are answered from the
 * directories; everything else is forwarded to the resolver that there was before.
 *
 * Owner: the agent. Thread: the main thread's. */
#pragma once

#include "io/turn.h"
#include "mesh/model/resource.h"

struct dns;

struct dns_args {
    struct turn *turn;
    struct str own_namespace;
    uint16_t port;
    struct str egress_socket; /* box: the supervisor opens the way to the resolver; else empty */
    uint32_t mark;            /* SO_MARK of forwarded questions; 0: none */
    struct str resolv_conf;   /* path; its first nameserver is asked when there is no egress */
};

/* -ERR_X with why when the port cannot be had. */
int dns_open(const struct dns_args *args, struct str_buf *why, struct dns **ret_dns);
struct dns *dns_close(struct dns *d); /* accepts NULL, returns NULL */
void dns_set_directory(struct dns *d, struct str name, struct resource *directory);
uint64_t dns_requests(const struct dns *d);
