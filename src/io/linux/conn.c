#include "io/linux/linux_priv.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    READ_ROOM_MIN = 4096,
    IOVECS_MAX = 64,
    KEEPALIVE_COUNT = 5,
};

static const uint32_t conn_events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

void linux_on_conn_event(struct conn_io *io, uint32_t events)
{
    bool is_hup = (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) != 0;
    if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0)
        conn_io_mark_writable(io);
    if ((events & EPOLLIN) != 0 || is_hup)
        conn_io_mark_readable(io, is_hup);
}

static int set_int(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value) == 0 ? 0 : err_from_errno(errno);
}

static bool is_ip(const struct addr *a)
{
    return a->family == ADDR_IP4 || a->family == ADDR_IP6;
}

static void read_names(struct conn_io *io, int fd)
{
    struct conn *c = io->conn;
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    if (getsockname(fd, (void *)&sa, &len) == 0)
        addr_from_sockaddr(&sa, len, &c->local);
    len = sizeof sa;
    if (c->remote.family == ADDR_NONE && getpeername(fd, (void *)&sa, &len) == 0)
        addr_from_sockaddr(&sa, len, &c->remote);
}

/* Connections carry small messages that must not wait for Nagle. */
static void tune(const struct conn *c, int fd)
{
    if (is_ip(&c->local))
        (void)set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

int linux_adopt(struct conn_io *io, int fd)
{
    read_names(io, fd);
    tune(io->conn, fd);
    int err = linux_register(io->conn->turn, fd, conn_events, io, TAG_CONN);
    if (err < 0) {
        close(fd);
        return err;
    }
    io->fd = fd;
    return 0;
}

static int bind_source(int fd, const struct addr *bind_to)
{
    struct sockaddr_storage sa;
    unsigned len = addr_to_sockaddr(bind_to, &sa);
    if (is_ip(bind_to) && bind_to->port == 0)
        (void)set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    return bind(fd, (void *)&sa, len) == 0 ? 0 : err_from_errno(errno);
}

/* tcp(7): the kernel takes no more than these. */
enum { KEEPALIVE_S_MAX = 32767, KEEPALIVE_PROBES_MAX = 127 };

static void set_keepalive(int fd, const struct conn_options *o)
{
    int idle = (int)MIN(o->keepalive_idle_s, (uint32_t)KEEPALIVE_S_MAX);
    int interval = (int)MIN(o->keepalive_interval_s, (uint32_t)KEEPALIVE_S_MAX);
    int probes = (int)MIN(o->keepalive_probes, (uint32_t)KEEPALIVE_PROBES_MAX);
    (void)set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    (void)set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle);
    (void)set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL,
                  interval > 0 ? interval : MAX(1, idle / KEEPALIVE_COUNT));
    (void)set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, probes > 0 ? probes : KEEPALIVE_COUNT);
}

static int set_options(int fd, const struct addr *to, const struct conn_options *options)
{
    /* Without its mark our own traffic would be captured again: no mark, no connection. */
    if (options->mark != 0) {
        int err = set_int(fd, SOL_SOCKET, SO_MARK, (int)options->mark);
        if (err < 0)
            return err;
    }
    if (is_ip(to))
        (void)set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (is_ip(to) && options->keepalive_idle_s > 0)
        set_keepalive(fd, options);
    return options->bind != NULL ? bind_source(fd, options->bind) : 0;
}

static int start_connect(int fd, const struct addr *to)
{
    struct sockaddr_storage sa;
    unsigned len = addr_to_sockaddr(to, &sa);
    if (connect(fd, (void *)&sa, len) == 0 || errno == EINPROGRESS || errno == EINTR)
        return 0;
    /* A unix socket whose backlog is full. */
    return errno == EAGAIN ? -ERR_REFUSED : err_from_errno(errno);
}

static int adopt_connecting(struct conn_io *io, int fd)
{
    int err = linux_prepare_fd(fd);
    if (err == 0)
        err = linux_register(io->conn->turn, fd, conn_events, io, TAG_CONN);
    if (err < 0) {
        close(fd);
        return err;
    }
    io->fd = fd;
    return 0;
}

int linux_connect(struct conn_io *io, const struct addr *to, const struct conn_options *options)
{
    if (options->connecting_fd > 0)
        return adopt_connecting(io, options->connecting_fd);
    struct sockaddr_storage sa;
    if (addr_to_sockaddr(to, &sa) == 0)
        return -ERR_INVALID;
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_from_errno(errno);
    int err = set_options(fd, to, options);
    if (err == 0)
        err = start_connect(fd, to);
    /* Registered behind connect: a socket that is not connected yet would report a hang-up. */
    if (err == 0)
        err = linux_register(io->conn->turn, fd, conn_events, io, TAG_CONN);
    if (err < 0) {
        close(fd);
        return err;
    }
    io->fd = fd;
    return 0;
}

int linux_finish_connect(struct conn_io *io)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    if (error == EINPROGRESS || error == EALREADY)
        return -ERR_AGAIN;
    if (error != 0)
        return err_from_errno(error);
    struct sockaddr_storage sa;
    len = sizeof sa;
    if (getpeername(io->fd, (void *)&sa, &len) < 0)
        return errno == ENOTCONN ? -ERR_AGAIN : err_from_errno(errno);
    read_names(io, io->fd);
    return 0;
}

enum io_read linux_read(struct conn_io *io, struct chain *to, size_t len_max, size_t *ret_len,
                        int *ret_err)
{
    size_t room;
    char *at = chain_reserve(to, MIN((size_t)READ_ROOM_MIN, len_max), &room);
    ssize_t n;
    room = MIN(room, len_max);
    do {
        n = linux_recv(io->fd, at, room);
    } while (n < 0 && errno == EINTR);
    int error = errno;
    chain_commit(to, n > 0 ? (size_t)n : 0);
    if (n > 0) {
        *ret_len = (size_t)n;
        return (size_t)n == room || io->is_hup ? IO_READ_MORE : IO_READ_DRAINED;
    }
    if (n == 0)
        return IO_READ_ENDED;
    if (error == EAGAIN)
        return IO_READ_DRAINED;
    *ret_err = err_from_errno(error);
    return IO_READ_FAILED;
}

static ssize_t send_slices(int fd, const struct chain *from, size_t *ret_total)
{
    struct iovec iov[IOVECS_MAX];
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = chain_iovecs(from, iov, IOVECS_MAX)};
    *ret_total = 0;
    for (size_t i = 0; i < msg.msg_iovlen; i++)
        *ret_total += iov[i].iov_len;
    return sendmsg(fd, &msg, MSG_NOSIGNAL);
}

/* Nearly always there is one slice, and the kernel has no vector to read. */
static ssize_t send_front(int fd, const struct chain *from, size_t *ret_total)
{
    struct str first = chain_first(from);
    if (first.len < from->len)
        return send_slices(fd, from, ret_total);
    *ret_total = first.len;
    return linux_send(fd, first.ptr, first.len, MSG_NOSIGNAL);
}

ssize_t linux_write(struct conn_io *io, struct chain *from)
{
    size_t total;
    ssize_t n;
    do {
        n = send_front(io->fd, from, &total);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN)
        return errno == EPIPE ? -ERR_RESET : err_from_errno(errno);
    if (n < 0)
        n = 0;
    io->is_writable = (size_t)n == total;
    chain_skip(from, (size_t)n);
    return n;
}

bool linux_is_drained(struct conn_io *io)
{
    int len = 0;
    return ioctl(io->fd, FIONREAD, &len) < 0 || len == 0;
}

void linux_end(struct conn_io *io)
{
    shutdown(io->fd, SHUT_WR);
}

int linux_peer(const struct conn_io *io, struct conn_peer *ret_peer)
{
    struct ucred who;
    socklen_t len = sizeof who;
    if (io->conn->local.family != ADDR_UNIX)
        return -ERR_UNSUPPORTED;
    if (getsockopt(io->fd, SOL_SOCKET, SO_PEERCRED, &who, &len) != 0)
        return err_from_errno(errno);
    *ret_peer = (struct conn_peer){who.uid, (uint32_t)who.pid};
    return 0;
}

void linux_close(struct conn_io *io, bool is_reset)
{
    if (io->fd < 0)
        return;
    if (is_reset) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(io->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    /* Explicitly, since a copy of the descriptor in another process would keep it registered. */
    linux_unregister(io->conn->turn, io->fd);
    close(io->fd);
    io->fd = -1;
}

struct conn *conn_adopt_fd(struct turn *t, int fd, const struct conn_handler *handler, void *ctx)
{
    ASSERT(turn_is_linux(t));
    struct conn_io *io = conn_io_new(t, CONN_OPEN);
    struct conn *c = io->conn;
    int err = linux_prepare_fd(fd);
    if (err == 0)
        err = linux_adopt(io, fd);
    else
        close(fd);
    conn_set_handler(c, handler, ctx);
    if (err < 0)
        conn_abort(c, err);
    return c;
}
