#include "host/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "host/netns.h"

enum { REQUEST_LEN_MAX = 1024, ANSWER_LEN_MAX = 16384 };

/* A request under construction: header, family header, attributes. */
struct request {
    union {
        struct nlmsghdr head;
        char bytes[REQUEST_LEN_MAX];
    };
};

/* Takes over the descriptor, an error being passed on. */
static int open_with(struct netlink *nl, int fd)
{
    if (fd < 0)
        return fd;
    struct sockaddr_nl local = {.nl_family = AF_NETLINK};
    if (bind(fd, (struct sockaddr *)&local, sizeof local) != 0) {
        int err = err_from_errno(errno);
        close(fd);
        return err;
    }
    *nl = (struct netlink){fd, 0};
    return 0;
}

int netlink_open(struct netlink *nl)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    return open_with(nl, fd >= 0 ? fd : err_from_errno(errno));
}

int netlink_open_in(struct netlink *nl, int ns_fd)
{
    return open_with(nl, netns_socket(ns_fd, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC));
}

void netlink_close(struct netlink *nl)
{
    if (nl->fd >= 0)
        close(nl->fd);
    nl->fd = -1;
}

bool netlink_addr_parse(const char *text, struct netlink_addr *ret_addr)
{
    struct netlink_addr a = {0};
    a.is_ipv6 = strchr(text, ':') != NULL;
    if (inet_pton(a.is_ipv6 ? AF_INET6 : AF_INET, text,
                  a.is_ipv6 ? (void *)&a.v6 : (void *)&a.v4) != 1)
        return false;
    *ret_addr = a;
    return true;
}

static void *request_extend(struct request *r, size_t len)
{
    size_t at = NLMSG_ALIGN(r->head.nlmsg_len);
    ASSERT(at + NLMSG_ALIGN(len) <= sizeof r->bytes);
    r->head.nlmsg_len = (uint32_t)(at + len);
    return r->bytes + at;
}

static void *request_init(struct request *r, uint16_t type, uint16_t flags, size_t body_len)
{
    memset(r, 0, sizeof *r);
    r->head.nlmsg_len = NLMSG_HDRLEN;
    r->head.nlmsg_type = type;
    r->head.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    return request_extend(r, body_len);
}

static struct rtattr *add_attr(struct request *r, unsigned type, const void *data, size_t len)
{
    struct rtattr *a = request_extend(r, RTA_LENGTH(len));
    a->rta_type = (uint16_t)type;
    a->rta_len = (uint16_t)RTA_LENGTH(len);
    if (len > 0)
        memcpy(RTA_DATA(a), data, len);
    return a;
}

static void add_text(struct request *r, unsigned type, const char *text)
{
    add_attr(r, type, text, strlen(text) + 1);
}

static void end_nest(struct request *r, struct rtattr *nest)
{
    nest->rta_len = (uint16_t)(r->bytes + r->head.nlmsg_len - (char *)nest);
}

/* Sends and reads answers until the acknowledgement; the first message of another type is left in
 * `answer` for the caller. */
static int transact(struct netlink *nl, struct request *r, char *answer, size_t *answer_len)
{
    r->head.nlmsg_seq = ++nl->seq;
    if (send(nl->fd, r->bytes, r->head.nlmsg_len, 0) < 0)
        return err_from_errno(errno);
    _Alignas(struct nlmsghdr) char buf[ANSWER_LEN_MAX];
    for (;;) {
        ssize_t n = recv(nl->fd, buf, sizeof buf, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_from_errno(errno);
        size_t left = (size_t)n;
        for (struct nlmsghdr *h = (struct nlmsghdr *)buf; NLMSG_OK(h, left);
             h = NLMSG_NEXT(h, left)) {
            if (h->nlmsg_seq != nl->seq)
                continue;
            if (h->nlmsg_type == NLMSG_ERROR) {
                const struct nlmsgerr *e = NLMSG_DATA(h);
                return e->error == 0 ? 0 : err_from_errno(-e->error);
            }
            if (answer != NULL && h->nlmsg_len <= ANSWER_LEN_MAX) {
                memcpy(answer, h, h->nlmsg_len);
                *answer_len = h->nlmsg_len;
            }
        }
    }
}

static int request_send(struct netlink *nl, struct request *r)
{
    return transact(nl, r, NULL, NULL);
}

struct netlink_mac netlink_mac_of(uint32_t number)
{
    /* 02: locally administered. */
    return (struct netlink_mac){{0x02, 0x77, (uint8_t)(number >> 24), (uint8_t)(number >> 16),
                                 (uint8_t)(number >> 8), (uint8_t)number}};
}

int netlink_add_bridge(struct netlink *nl, const char *name, struct netlink_mac mac)
{
    struct request r;
    struct ifinfomsg *info = request_init(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof *info);
    info->ifi_family = AF_UNSPEC;
    add_text(&r, IFLA_IFNAME, name);
    add_attr(&r, IFLA_ADDRESS, mac.bytes, sizeof mac.bytes);
    struct rtattr *link_info = add_attr(&r, IFLA_LINKINFO, NULL, 0);
    add_text(&r, IFLA_INFO_KIND, "bridge");
    struct rtattr *data = add_attr(&r, IFLA_INFO_DATA, NULL, 0);
    add_attr(&r, IFLA_BR_STP_STATE, &(uint32_t){0}, sizeof(uint32_t));
    add_attr(&r, IFLA_BR_MCAST_SNOOPING, &(uint8_t){0}, sizeof(uint8_t));
    end_nest(&r, data);
    end_nest(&r, link_info);
    return request_send(nl, &r);
}

int netlink_add_veth(struct netlink *nl, const struct netlink_veth *veth)
{
    struct request r;
    struct ifinfomsg *info = request_init(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof *info);
    info->ifi_family = AF_UNSPEC;
    add_text(&r, IFLA_IFNAME, veth->name);
    add_attr(&r, IFLA_MASTER, &veth->master_index, sizeof veth->master_index);
    struct rtattr *link_info = add_attr(&r, IFLA_LINKINFO, NULL, 0);
    add_text(&r, IFLA_INFO_KIND, "veth");
    struct rtattr *data = add_attr(&r, IFLA_INFO_DATA, NULL, 0);
    struct rtattr *peer = add_attr(&r, VETH_INFO_PEER, NULL, 0);
    memset(request_extend(&r, sizeof(struct ifinfomsg)), 0, sizeof(struct ifinfomsg));
    add_text(&r, IFLA_IFNAME, veth->peer_name);
    add_attr(&r, IFLA_NET_NS_FD, &veth->peer_netns_fd, sizeof veth->peer_netns_fd);
    add_attr(&r, IFLA_ADDRESS, veth->peer_mac.bytes, sizeof veth->peer_mac.bytes);
    end_nest(&r, peer);
    end_nest(&r, data);
    end_nest(&r, link_info);
    return request_send(nl, &r);
}

int netlink_delete_link(struct netlink *nl, int index)
{
    struct request r;
    struct ifinfomsg *info = request_init(&r, RTM_DELLINK, 0, sizeof *info);
    info->ifi_index = index;
    return request_send(nl, &r);
}

int netlink_set_up(struct netlink *nl, int index)
{
    struct request r;
    struct ifinfomsg *info = request_init(&r, RTM_NEWLINK, 0, sizeof *info);
    info->ifi_index = index;
    info->ifi_flags = IFF_UP;
    info->ifi_change = IFF_UP;
    return request_send(nl, &r);
}

static size_t addr_len(const struct netlink_addr *a)
{
    return a->is_ipv6 ? sizeof a->v6 : sizeof a->v4;
}

int netlink_add_addr(struct netlink *nl, int index, struct netlink_addr addr, unsigned prefix_len)
{
    struct request r;
    struct ifaddrmsg *m = request_init(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof *m);
    m->ifa_family = addr.is_ipv6 ? AF_INET6 : AF_INET;
    m->ifa_prefixlen = (uint8_t)prefix_len;
    m->ifa_flags = addr.is_ipv6 ? IFA_F_NODAD : 0;
    m->ifa_index = (uint32_t)index;
    add_attr(&r, IFA_LOCAL, &addr.v4, addr_len(&addr));
    add_attr(&r, IFA_ADDRESS, &addr.v4, addr_len(&addr));
    return request_send(nl, &r);
}

int netlink_add_default_route(struct netlink *nl, int index, struct netlink_addr gateway)
{
    struct request r;
    struct rtmsg *m = request_init(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof *m);
    m->rtm_family = gateway.is_ipv6 ? AF_INET6 : AF_INET;
    m->rtm_table = RT_TABLE_MAIN;
    m->rtm_protocol = RTPROT_STATIC;
    m->rtm_scope = RT_SCOPE_UNIVERSE;
    m->rtm_type = RTN_UNICAST;
    add_attr(&r, RTA_GATEWAY, &gateway.v4, addr_len(&gateway));
    add_attr(&r, RTA_OIF, &index, sizeof index);
    return request_send(nl, &r);
}

int netlink_link_index(struct netlink *nl, const char *name)
{
    struct request r;
    struct ifinfomsg *info = request_init(&r, RTM_GETLINK, 0, sizeof *info);
    info->ifi_family = AF_UNSPEC;
    add_text(&r, IFLA_IFNAME, name);
    _Alignas(struct nlmsghdr) char answer[ANSWER_LEN_MAX];
    size_t len = 0;
    int err = transact(nl, &r, answer, &len);
    if (err != 0)
        return -ERR_NOT_FOUND;
    if (len < NLMSG_LENGTH(sizeof(struct ifinfomsg)))
        return -ERR_PROTOCOL;
    struct ifinfomsg found;
    memcpy(&found, NLMSG_DATA((struct nlmsghdr *)answer), sizeof found);
    return found.ifi_index;
}
