/* The way out of the box (host/egress.h states the protocol): one kept unix connection per worker.
 *
 * The call waits for the supervisor, which answers at once, for it only begins the connect; should
 * it hang, the wait ends after a second and the connection is made anew next time. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "proxy/worker/egress.h"

struct egress_client {
    char path[108];
    int fd; /* -1: not connected */
};

struct egress_client *egress_client_new(struct str path)
{
    struct egress_client *e = NEW(struct egress_client);
    ASSERT(path.len < sizeof e->path);
    memcpy(e->path, path.ptr, path.len);
    e->fd = -1;
    return e;
}

static void disconnect(struct egress_client *e)
{
    if (e->fd >= 0)
        close(e->fd);
    e->fd = -1;
}

struct egress_client *egress_client_free(struct egress_client *e)
{
    if (e == NULL)
        return NULL;
    disconnect(e);
    free(e);
    return NULL;
}

static int open_unix(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    static const struct timeval wait = {.tv_sec = 1};
    memcpy(sa.sun_path, path, sizeof sa.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_from_errno(errno);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    if (connect(fd, (const void *)&sa, sizeof sa) != 0) {
        int err = err_from_errno(errno);
        close(fd);
        return err;
    }
    return fd;
}

/* The answer: a status byte, and with 0 a descriptor. */
static int receive(int fd)
{
    char status = 1;
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {&status, 1};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof control.bytes,
    };
    ssize_t n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
    if (n <= 0)
        return n == 0 ? -ERR_CLOSED : err_from_errno(errno);
    if (status != 0)
        return status > 0 && status < ERR_COUNT ? -status : -ERR_PROTOCOL;
    const struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    if (c == NULL || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
        return -ERR_PROTOCOL;
    int passed;
    memcpy(&passed, CMSG_DATA(c), sizeof passed);
    return passed;
}

static int ask(struct egress_client *e, struct str line)
{
    if (e->fd < 0)
        e->fd = open_unix(e->path);
    if (e->fd < 0) {
        int err = e->fd;
        e->fd = -1;
        return err;
    }
    if (send(e->fd, line.ptr, line.len, MSG_NOSIGNAL) != (ssize_t)line.len) {
        disconnect(e);
        return -ERR_CLOSED;
    }
    int fd = receive(e->fd);
    bool is_refusal = fd == -ERR_DENIED || fd == -ERR_UNREACHABLE || fd == -ERR_REFUSED;
    if (fd < 0 && !is_refusal)
        disconnect(e);
    return fd;
}

/* A supervisor that was restarted has closed the kept connection. */
static int ask_twice(struct egress_client *e, struct str request)
{
    int fd = ask(e, request);
    return fd == -ERR_CLOSED || fd == -ERR_RESET ? ask(e, request) : fd;
}

int egress_client_dns(struct egress_client *e)
{
    return ask_twice(e, STR("UDP-DNS\n"));
}

int egress_client_connect(struct egress_client *e, const struct addr *to)
{
    char ip[ADDR_TEXT_LEN], line[ADDR_TEXT_LEN + 16];
    struct str text = addr_format_ip(to, ip);
    int len = snprintf(line, sizeof line, "TCP %.*s %u\n", STR_FMT(text), to->port);
    return ask_twice(e, str_from(line, (size_t)len));
}
