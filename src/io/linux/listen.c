#include "io/linux/linux_priv.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BACKLOG_DEFAULT = 4096, /* the kernel caps it at net.core.somaxconn */
    ORIGINAL_DST = 80,      /* SO_ORIGINAL_DST, and IP6T_SO_ORIGINAL_DST */
};

static int set_int(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value) == 0 ? 0 : err_from_errno(errno);
}

/* A unix socket that nobody listens on any more keeps its name: it is taken away. */
static bool remove_stale(const struct addr *at)
{
    struct sockaddr_storage sa;
    unsigned len = addr_to_sockaddr(at, &sa);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    bool is_stale = connect(fd, (void *)&sa, len) < 0 && errno == ECONNREFUSED;
    close(fd);
    return is_stale && unlink(addr_path(at)) == 0;
}

static int bind_to(int fd, const struct addr *at)
{
    struct sockaddr_storage sa;
    unsigned len = addr_to_sockaddr(at, &sa);
    if (bind(fd, (void *)&sa, len) == 0)
        return 0;
    int error = errno;
    if (at->family == ADDR_UNIX && addr_path(at)[0] == '/' && error == EADDRINUSE &&
        remove_stale(at) && bind(fd, (void *)&sa, len) == 0)
        return 0;
    return err_from_errno(error);
}

/* Accepted sockets take these from the one that listens. What was sent and is not acknowledged
 * counts, too: keepalive alone says nothing while there is such. */
static int set_keepalive(int fd, uint32_t idle_s)
{
    enum { PROBES = 3, PROBE_S = 10 };
    int err = set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    if (err == 0)
        err = set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)idle_s);
    if (err == 0)
        err = set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, PROBE_S);
    if (err == 0)
        err = set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, PROBES);
    if (err == 0)
        err = set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, ((int)idle_s + PROBES * PROBE_S) * 1000);
    return err;
}

static int open_socket(const struct addr *at, const struct listen_options *options, int *ret_fd)
{
    struct sockaddr_storage sa;
    if (addr_to_sockaddr(at, &sa) == 0)
        return -ERR_INVALID;
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_from_errno(errno);
    int err = 0;
    if (at->family != ADDR_UNIX)
        err = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (err == 0 && at->family == ADDR_IP6)
        err = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, options->is_v6_only);
    /* Accepted sockets, and their SYN-ACK, take the mark of the socket that listens. */
    if (err == 0 && options->mark != 0)
        err = set_int(fd, SOL_SOCKET, SO_MARK, (int)options->mark);
    if (err == 0 && at->family != ADDR_UNIX && options->keepalive_idle_s > 0)
        err = set_keepalive(fd, options->keepalive_idle_s);
    if (err == 0)
        err = bind_to(fd, at);
    if (err == 0 && listen(fd, options->backlog > 0 ? options->backlog : BACKLOG_DEFAULT) < 0)
        err = err_from_errno(errno);
    if (err < 0) {
        close(fd);
        return err;
    }
    *ret_fd = fd;
    return 0;
}

static int check_inherited(int fd)
{
    int is_listening = 0;
    socklen_t len = sizeof is_listening;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &len) < 0 || !is_listening)
        return -ERR_INVALID;
    return linux_prepare_fd(fd);
}

/* Level-triggered: what one turn's budget left in the backlog shows again. */
static int watch_listen(struct listen_socket *s)
{
    return linux_register(s->turn, s->fd, EPOLLIN, s, TAG_LISTEN);
}

int linux_listen(struct listen_socket *s, const struct addr *at,
                 const struct listen_options *options)
{
    int fd = options->inherited_fd;
    int err = fd >= 0 ? check_inherited(fd) : open_socket(at, options, &fd);
    if (err < 0)
        return err;
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    s->addr = *at;
    if (getsockname(fd, (void *)&sa, &len) == 0)
        addr_from_sockaddr(&sa, len, &s->addr);
    s->fd = fd;
    err = watch_listen(s);
    if (err < 0 && options->inherited_fd < 0)
        close(fd);
    return err;
}

/* Where the client wanted to go before netfilter sent it here; nothing when it came by itself. */
static void read_original_dst(int fd, struct conn *c)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    int level = c->local.family == ADDR_IP4 ? SOL_IP : SOL_IPV6;
    struct addr dst;
    if (getsockopt(fd, level, ORIGINAL_DST, &sa, &len) == 0 && addr_from_sockaddr(&sa, len, &dst) &&
        !addr_eq(&dst, &c->local))
        c->original_dst = dst;
}

static int error_of_accept(int error)
{
    switch (error) {
    case EAGAIN:
        return -ERR_AGAIN;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        return -ERR_LIMIT;
    case EBADF:
    case EINVAL:
        return -ERR_AGAIN; /* closed or shut down behind our back: it stays silent */
    default:
        return err_from_errno(error); /* that connection is gone already */
    }
}

int linux_accept(struct listen_socket *s, struct conn_transport *ret_transport)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    int fd = accept4(s->fd, (void *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return error_of_accept(errno);
    addr_from_sockaddr(&sa, len, &ret_transport->remote);
    ret_transport->fd = fd;
    return 0;
}

int linux_adopt_transport(struct conn_io *io, const struct conn_transport *transport)
{
    int err = linux_adopt(io, transport->fd);
    if (err == 0 && transport->is_transparent_dst)
        read_original_dst(transport->fd, io->conn);
    return err;
}

void linux_drop_transport(struct turn *t, const struct conn_transport *transport)
{
    (void)t;
    close(transport->fd);
}

void linux_listen_pause(struct listen_socket *s, bool is_paused)
{
    if (is_paused)
        linux_unregister(s->turn, s->fd);
    else
        (void)watch_listen(s);
}

void linux_listen_close(struct listen_socket *s)
{
    linux_unregister(s->turn, s->fd);
    close(s->fd);
}
