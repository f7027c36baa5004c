#include "host/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "host/proc.h"

int netns_of(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/net", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 ? fd : err_from_errno(errno);
}

/* To act on a namespace takes rights in the user namespace that owns it: a plain user has them over
 * its own boxes, once it has joined. Root's own are owned by where it is, or by where it cannot
 * see. */
static int join_owner(int ns_fd)
{
    struct stat own, owner;
    int fd = ioctl(ns_fd, NS_GET_USERNS);
    if (fd < 0)
        return 0;
    bool is_other = stat("/proc/self/ns/user", &own) == 0 && fstat(fd, &owner) == 0 &&
                    own.st_ino != owner.st_ino;
    int err = is_other && setns(fd, CLONE_NEWUSER) != 0 ? err_from_errno(errno) : 0;
    close(fd);
    return err;
}

int netns_enter(int ns_fd)
{
    int err = join_owner(ns_fd);
    if (err == 0 && setns(ns_fd, CLONE_NEWNET) != 0)
        err = err_from_errno(errno);
    return err;
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

static int make_new(const void *arg)
{
    if (unshare(CLONE_NEWNET) != 0)
        return err_from_errno(errno);
    int fd = netns_of(getpid());
    int err = fd < 0 ? fd : prepare_loopback();
    return err != 0 ? err : fd;
}

int netns_new(void)
{
    return proc_fd_from_child(make_new, NULL);
}

struct wanted_socket {
    int ns_fd, domain, type;
};

static int make_socket(const void *arg)
{
    const struct wanted_socket *w = arg;
    int err = netns_enter(w->ns_fd);
    if (err != 0)
        return err;
    int fd = socket(w->domain, w->type, 0);
    return fd >= 0 ? fd : err_from_errno(errno);
}

int netns_socket(int ns_fd, int domain, int type)
{
    struct wanted_socket w = {ns_fd, domain, type};
    return proc_fd_from_child(make_socket, &w);
}

int netns_run(int ns_fd, netns_fn *fn, const void *arg)
{
    pid_t pid = fork();
    if (pid == 0) {
        int err = netns_enter(ns_fd);
        _exit(err == 0 ? -fn(arg) : -err);
    }
    int status = 0;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (pid < 0)
        return err_from_errno(errno);
    return WIFEXITED(status) ? -WEXITSTATUS(status) : -ERR_SYSTEM;
}
