/* One look-up of a name: the hosts file, then DNS over UDP, server by server; an answer that was
 * cut off is asked for once more over TCP.
 *
 * Each look-up has a socket, and so a port, of its own; an answer counts only from the server that
 * was asked, with its id and its question. Names are whole: no search domains. Owner: who started
 * it, until it is done or cancelled. Thread: the loop's. */
#pragma once

#include "codec/ip.h"
#include "io/addr.h"
#include "io/turn.h"
#include "mesh/model/cluster.h"
#include "proxy/upstream/host_file.h"

struct lookup;

/* /etc/hosts and /etc/resolv.conf. */
struct lookup_files {
    struct host_file hosts, resolv;
};
void lookup_files_init(struct lookup_files *f);
void lookup_files_deinit(struct lookup_files *f);

enum { LOOKUP_ADDRS_MAX = 32, LOOKUP_SERVERS_MAX = 8 };

struct lookup_result {
    bool is_answered; /* else nobody could tell: nothing is known */
    struct ip_addr addrs[LOOKUP_ADDRS_MAX];
    size_t count; /* 0 with is_answered: there are none */
    uint32_t ttl_s;
};

struct lookup_args {
    struct turn *turn;
    struct lookup_files *files;
    uint32_t mark;   /* SO_MARK of what is asked; 0: none */
    struct str name; /* shorter than DNS_NAME_MAX; the decoder sees to it */
    enum dns_family family;
    const struct model_addr *servers; /* none: those of /etc/resolv.conf */
    size_t server_count;
    /* Once, never inside lookup_start; the look-up is gone afterwards. */
    void (*done)(void *ctx, const struct lookup_result *result);
    void *ctx;
};
struct lookup *lookup_start(const struct lookup_args *args);
struct lookup *lookup_cancel(struct lookup *l); /* accepts NULL; returns NULL; no callback comes */
