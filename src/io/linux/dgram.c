#include "io/linux/linux_priv.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RECEIVE_BUDGET = 64 }; /* datagrams of one socket in one turn */

static bool receive_one(struct dgram *d)
{
    char buf[DGRAM_LEN_MAX];
    struct sockaddr_storage sa;
    struct iovec iov = {buf, sizeof buf};
    struct msghdr msg = {
        .msg_name = &sa, .msg_namelen = sizeof sa, .msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n = recvmsg(d->fd, &msg, 0);
    /* A connected socket tells of an ICMP refusal here: nothing arrived, but more may. */
    if (n < 0)
        return errno == ECONNREFUSED || errno == EINTR;
    struct addr from = {0};
    addr_from_sockaddr(&sa, msg.msg_namelen, &from);
    if ((msg.msg_flags & MSG_TRUNC) == 0)
        d->receive(d->ctx, &from, str_from(buf, (size_t)n));
    return true;
}

static void run_dgram(struct turn_task *task)
{
    struct dgram *d = CONTAINER_OF(task, struct dgram, task);
    for (int i = 0; i < RECEIVE_BUDGET; i++) {
        if (d->is_closed || !receive_one(d))
            return;
    }
    if (!d->is_closed)
        turn_later(d->turn, &d->task);
}

static struct dgram *adopt(struct turn *t, int fd, dgram_fn *receive, void *ctx)
{
    struct dgram *d = NEW(struct dgram);
    d->turn = t;
    d->receive = receive;
    d->ctx = ctx;
    d->fd = fd;
    turn_task_init(&d->task, run_dgram);
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    if (getsockname(fd, (void *)&sa, &len) == 0)
        addr_from_sockaddr(&sa, len, &d->addr);
    if (linux_prepare_fd(fd) == 0 && linux_register(t, fd, EPOLLIN | EPOLLET, d, TAG_DGRAM) == 0)
        return d;
    free(d);
    return NULL;
}

/* Without its mark our own traffic would be captured again. */
static int open_bound(const struct addr *at, uint32_t mark, int *ret_fd)
{
    struct sockaddr_storage sa;
    unsigned len = addr_to_sockaddr(at, &sa);
    if (len == 0)
        return -ERR_INVALID;
    int fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_from_errno(errno);
    bool is_marked = mark == 0 || setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0;
    if (!is_marked || bind(fd, (void *)&sa, len) < 0) {
        int err = err_from_errno(errno);
        close(fd);
        return err;
    }
    *ret_fd = fd;
    return 0;
}

int dgram_open(struct turn *t, const struct addr *at, uint32_t mark, dgram_fn *receive, void *ctx,
               struct dgram **ret_dgram)
{
    if (!turn_is_linux(t))
        return -ERR_UNSUPPORTED;
    int fd = -1;
    int err = open_bound(at, mark, &fd);
    if (err < 0)
        return err;
    struct dgram *d = adopt(t, fd, receive, ctx);
    if (d == NULL) {
        close(fd);
        return -ERR_SYSTEM;
    }
    *ret_dgram = d;
    return 0;
}

struct dgram *dgram_adopt_fd(struct turn *t, int fd, dgram_fn *receive, void *ctx)
{
    ASSERT(turn_is_linux(t));
    struct dgram *d = adopt(t, fd, receive, ctx);
    if (d == NULL)
        close(fd);
    return d;
}

int dgram_send(struct dgram *d, const struct addr *to, struct str payload)
{
    struct sockaddr_storage sa;
    unsigned len = to != NULL ? addr_to_sockaddr(to, &sa) : 0;
    struct sockaddr *at = to != NULL ? (void *)&sa : NULL;
    ssize_t n = sendto(d->fd, payload.ptr, payload.len, MSG_NOSIGNAL, at, len);
    if (n < 0 && errno != EAGAIN && errno != ENOBUFS)
        return err_from_errno(errno);
    return 0;
}

static void free_buried(struct grave *g)
{
    free(CONTAINER_OF(g, struct dgram, grave));
}

void dgram_close(struct dgram *d)
{
    if (d == NULL || d->is_closed)
        return;
    d->is_closed = true;
    turn_cancel(&d->task);
    linux_unregister(d->turn, d->fd);
    close(d->fd);
    turn_bury(d->turn, &d->grave, free_buried);
}

const struct addr *dgram_addr(const struct dgram *d)
{
    return &d->addr;
}
