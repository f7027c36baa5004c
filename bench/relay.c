/* relay PORT UPSTREAM: bytes between clients of 127.0.0.1:PORT and 127.0.0.1:UPSTREAM, one thread.
 *
 * The floor of the benchmark: what a proxy in user space cannot be cheaper than. One read and one
 * write for what epoll reports, one connection upstream for each downstream, nothing is looked at.
 * It waits for a full socket by turning to EPOLLOUT and stops reading meanwhile. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_BYTES = 65536, EVENTS_MAX = 256 };

/* One direction's receiving end: what was read from it and not yet written to `other`. */
struct end {
    int fd;
    struct end *other;
    char *pending;
    size_t pending_len;
    struct end *next_free;
    int is_closed;
};

static int epoll_fd;
static struct end *graveyard;
static char buffer[BUFFER_BYTES];

static struct sockaddr_in loopback(const char *port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)atoi(port)),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void watch(struct end *e, uint32_t events, int op)
{
    struct epoll_event event = {.events = events, .data.ptr = e};
    epoll_ctl(epoll_fd, op, e->fd, &event);
}

static struct end *end_new(int fd)
{
    struct end *e = calloc(1, sizeof *e);
    if (e == NULL)
        die("calloc");
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    e->fd = fd;
    return e;
}

/* Freed after the round of events, which may still name it. */
static void end_close(struct end *e)
{
    if (e->is_closed)
        return;
    close(e->fd);
    e->is_closed = 1;
    e->next_free = graveyard;
    graveyard = e;
}

static void close_both(struct end *e)
{
    end_close(e->other);
    end_close(e);
}

static void keep(struct end *e, const char *data, size_t len)
{
    e->pending = malloc(len);
    if (e->pending == NULL)
        die("malloc");
    memcpy(e->pending, data, len);
    e->pending_len = len;
    watch(e, 0, EPOLL_CTL_MOD);
    watch(e->other, EPOLLOUT, EPOLL_CTL_MOD);
}

static void on_readable(struct end *e)
{
    ssize_t n = read(e->fd, buffer, sizeof buffer);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        close_both(e);
        return;
    }
    ssize_t sent = send(e->other->fd, buffer, (size_t)n, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        close_both(e);
        return;
    }
    sent = sent < 0 ? 0 : sent;
    if (sent < n)
        keep(e, buffer + sent, (size_t)(n - sent));
}

/* `e` takes bytes again: what the other end has kept for it goes out first. */
static void on_writable(struct end *e)
{
    struct end *from = e->other;
    ssize_t sent = send(e->fd, from->pending, from->pending_len, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN)
            close_both(e);
        return;
    }
    from->pending_len -= (size_t)sent;
    if (from->pending_len > 0) {
        memmove(from->pending, from->pending + sent, from->pending_len);
        return;
    }
    free(from->pending);
    from->pending = NULL;
    watch(from, EPOLLIN, EPOLL_CTL_MOD);
    watch(e, EPOLLIN, EPOLL_CTL_MOD);
}

static void on_accept(int listener, const struct sockaddr_in *upstream)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    int up = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* On loopback this is done when it returns. */
    if (up < 0 || connect(up, (const struct sockaddr *)upstream, sizeof *upstream) != 0) {
        close(fd);
        if (up >= 0)
            close(up);
        return;
    }
    fcntl(up, F_SETFL, O_NONBLOCK);
    struct end *down_end = end_new(fd), *up_end = end_new(up);
    down_end->other = up_end;
    up_end->other = down_end;
    watch(down_end, EPOLLIN, EPOLL_CTL_ADD);
    watch(up_end, EPOLLIN, EPOLL_CTL_ADD);
}

static void on_event(const struct epoll_event *event)
{
    struct end *e = event->data.ptr;
    if (e->is_closed)
        return;
    int is_waiting = e->pending != NULL || e->other->pending != NULL;
    if (is_waiting && (event->events & (EPOLLHUP | EPOLLERR)))
        close_both(e);
    else if (is_waiting && (event->events & EPOLLOUT))
        on_writable(e);
    else if (!is_waiting)
        on_readable(e);
}

static void bury(void)
{
    while (graveyard != NULL) {
        struct end *e = graveyard;
        graveyard = e->next_free;
        free(e->pending);
        free(e);
    }
}

static int listen_on(const char *port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in at = loopback(port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 4096) != 0)
        die("listen");
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: relay PORT UPSTREAM\n");
        return 2;
    }
    int listener = listen_on(argv[1]);
    struct sockaddr_in upstream = loopback(argv[2]);
    struct epoll_event events[EVENTS_MAX], accepting = {.events = EPOLLIN};
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &accepting) != 0)
        die("epoll");
    for (;;) {
        int n = epoll_wait(epoll_fd, events, EVENTS_MAX, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL)
                on_accept(listener, &upstream);
            else
                on_event(&events[i]);
        }
        bury();
    }
}
