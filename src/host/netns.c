#include "host/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"

int netns_of(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/net", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 ? fd : err_from_errno(errno);
}

static int own_netns(void)
{
    int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    return fd >= 0 ? fd : err_from_errno(errno);
}

int netns_enter(int ns_fd, int *ret_back)
{
    int back = own_netns();
    if (back < 0)
        return back;
    if (setns(ns_fd, CLONE_NEWNET) != 0) {
        int err = err_from_errno(errno);
        close(back);
        return err;
    }
    *ret_back = back;
    return 0;
}

void netns_leave(int back)
{
    int result = setns(back, CLONE_NEWNET);
    ASSERT(result == 0); /* going on in a foreign namespace would be worse than ending */
    close(back);
}

int netns_set(const char *name, const char *value)
{
    char path[128];
    snprintf(path, sizeof path, "/proc/sys/net/%s", name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return err_from_errno(errno);
    int err = write(fd, value, strlen(value)) < 0 ? err_from_errno(errno) : 0;
    close(fd);
    return err;
}

bool netns_has_ipv6(void)
{
    return access("/proc/sys/net/ipv6", F_OK) == 0;
}

static int prepare_loopback(void)
{
    struct netlink nl;
    int err = netlink_open(&nl);
    if (err != 0)
        return err;
    err = netlink_link_index(&nl, "lo");
    if (err > 0)
        err = netlink_set_up(&nl, err);
    netlink_close(&nl);
    /* IPv4 inherits the host's settings in a new namespace. */
    netns_set("ipv4/ip_forward", "0");
    netns_set("ipv6/conf/all/forwarding", "0");
    return err;
}

int netns_new(void)
{
    int back = own_netns();
    if (back < 0)
        return back;
    if (unshare(CLONE_NEWNET) != 0) {
        int err = err_from_errno(errno);
        close(back);
        return err;
    }
    int fd = own_netns();
    int err = fd < 0 ? fd : prepare_loopback();
    netns_leave(back);
    if (err != 0 && fd >= 0)
        close(fd);
    return err != 0 ? err : fd;
}

int netns_socket(int ns_fd, int domain, int type)
{
    int back = -1;
    int err = netns_enter(ns_fd, &back);
    if (err != 0)
        return err;
    int fd = socket(domain, type, 0);
    if (fd < 0)
        fd = err_from_errno(errno);
    netns_leave(back);
    return fd;
}
