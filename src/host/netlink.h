/* rtnetlink, as far as a box needs it: links, addresses, routes. A socket acts in the network
 * namespace it was opened in, whatever the process enters later.
 *
 * Sequential: each call sends one request and waits for the kernel's answer. Thread: one. */
#pragma once

#include <netinet/in.h>

#include "base/str.h"

struct netlink {
    int fd;
    uint32_t seq;
};

int netlink_open(struct netlink *nl);               /* in the current namespace; 0 or -ERR_X */
int netlink_open_in(struct netlink *nl, int ns_fd); /* in that of the descriptor */
void netlink_close(struct netlink *nl);

/* An address of either family. */
struct netlink_addr {
    bool is_ipv6;
    union {
        struct in_addr v4;
        struct in6_addr v6;
    };
};

/* "10.77.0.1" or "fd77::1". */
bool netlink_addr_parse(const char *text, struct netlink_addr *ret_addr);

/* Hardware addresses are chosen by us and follow the address plan: who comes back under its old
 * address is found at once, whatever its neighbours remember. */
struct netlink_mac {
    uint8_t bytes[6];
};
struct netlink_mac netlink_mac_of(uint32_t number);

/* A bridge without spanning tree and multicast snooping (both delay the first packets). */
int netlink_add_bridge(struct netlink *nl, const char *name, struct netlink_mac mac);

struct netlink_veth {
    const char *name; /* here, as a port of bridge master_index */
    int master_index;
    const char *peer_name; /* in namespace peer_netns_fd */
    int peer_netns_fd;
    struct netlink_mac peer_mac;
};
int netlink_add_veth(struct netlink *nl, const struct netlink_veth *veth);
int netlink_delete_link(struct netlink *nl, int index);
int netlink_set_up(struct netlink *nl, int index);
/* Without duplicate address detection: the address serves at once. */
int netlink_add_addr(struct netlink *nl, int index, struct netlink_addr addr, unsigned prefix_len);
int netlink_add_default_route(struct netlink *nl, int index, struct netlink_addr gateway);

/* Index of a link of the socket's namespace, or -ERR_NOT_FOUND. */
int netlink_link_index(struct netlink *nl, const char *name);
