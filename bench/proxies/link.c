/* Sockets: to a unix socket in plain, or to 127.0.0.1 with mutual TLS. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proxies.h"

static unsigned char input[256 * 1024];

static void watch(struct proxy *p, int op)
{
    struct epoll_event e = {.events = EPOLLIN | (p->link.wants_write ? EPOLLOUT : 0u),
                            .data.ptr = p};
    if (epoll_ctl(world.epoll, op, p->link.fd, &e) != 0)
        die("epoll_ctl: %s", strerror(errno));
}

static void want_write(struct proxy *p, bool wants)
{
    if (p->link.wants_write == wants)
        return;
    p->link.wants_write = wants;
    watch(p, EPOLL_CTL_MOD);
}

static int connect_unix(int fd)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%s", world.socket);
    return connect(fd, (struct sockaddr *)&to, sizeof to);
}

static int connect_tcp(int fd)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)world.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return connect(fd, (struct sockaddr *)&to, sizeof to);
}

static void start_tls(struct proxy *p)
{
    struct link *l = &p->link;
    l->ssl = must(SSL_new(world.tls));
    if (SSL_set_fd(l->ssl, l->fd) != 1 || SSL_use_certificate(l->ssl, p->identity->cert) != 1 ||
        SSL_use_PrivateKey(l->ssl, p->identity->key) != 1)
        die("TLS cannot be set up");
    SSL_set_connect_state(l->ssl);
}

void link_open(struct proxy *p)
{
    struct link *l = &p->link;
    bool is_unix = world.socket != NULL;
    l->fd = socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fd < 0)
        die("socket: %s", strerror(errno));
    int rc = is_unix ? connect_unix(l->fd) : connect_tcp(l->fd);
    if (rc != 0 && errno != EINPROGRESS) {
        close(l->fd);
        l->fd = -1;
        proxy_lost(p);
        return;
    }
    l->is_open = false;
    l->wants_write = true;
    if (!is_unix)
        start_tls(p);
    watch(p, EPOLL_CTL_ADD);
}

void link_close(struct proxy *p)
{
    struct link *l = &p->link;
    if (l->fd < 0)
        return;
    SSL_free(l->ssl);
    close(l->fd);
    buffer_free(&l->out);
    *l = (struct link){.fd = -1};
}

/* Bytes; 0: not now; -1: it is over. */
static long take(struct link *l)
{
    if (l->ssl == NULL) {
        ssize_t n = read(l->fd, input, sizeof input);
        return n > 0 ? n : n < 0 && errno == EAGAIN ? 0 : -1;
    }
    int n = SSL_read(l->ssl, input, sizeof input);
    if (n > 0)
        return n;
    int error = SSL_get_error(l->ssl, n);
    ERR_clear_error();
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static long give(struct link *l, size_t len)
{
    if (l->ssl == NULL) {
        ssize_t n = send(l->fd, l->out.ptr, len, MSG_NOSIGNAL);
        return n >= 0 ? n : errno == EAGAIN ? 0 : -1;
    }
    int n = SSL_write(l->ssl, l->out.ptr, (int)len);
    if (n > 0)
        return n;
    int error = SSL_get_error(l->ssl, n);
    ERR_clear_error();
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

/* What cannot be sent is noticed by the next reading. */
void link_flush(struct proxy *p)
{
    struct link *l = &p->link;
    if (l->fd < 0 || !l->is_open)
        return;
    while (l->out.len > 0) {
        long n = give(l, l->out.len);
        if (n <= 0)
            break;
        buffer_skip(&l->out, (size_t)n);
    }
    want_write(p, l->out.len > 0);
}

/* Connected, and over TLS shaken hands. */
static bool open_further(struct proxy *p)
{
    struct link *l = &p->link;
    int error = 0;
    socklen_t len = sizeof error;
    getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error != 0)
        return false;
    if (l->ssl != NULL) {
        int rc = SSL_do_handshake(l->ssl);
        int why = SSL_get_error(l->ssl, rc);
        if (rc != 1 && why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
            world.counts.handshakes_failed++;
            ERR_clear_error();
            return false;
        }
        want_write(p, rc != 1 && why == SSL_ERROR_WANT_WRITE);
        if (rc != 1)
            return true;
    }
    l->is_open = true;
    world.counts.connects++;
    p->failures = 0;
    http2_start(p);
    return true;
}

static bool read_all(struct proxy *p)
{
    for (;;) {
        long n = take(&p->link);
        if (n == 0)
            return true;
        if (n < 0)
            return false;
        world.counts.bytes += (uint64_t)n;
        if (!http2_recv(p, input, (size_t)n))
            return false;
        /* Another reading of a socket only finds that nothing is there. */
        if (p->link.ssl == NULL && (size_t)n < sizeof input)
            return true;
    }
}

void link_event(struct proxy *p, uint32_t events)
{
    struct link *l = &p->link;
    bool is_good = l->is_open || open_further(p);
    if (is_good && l->is_open && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        is_good = read_all(p);
    if (!is_good) {
        world.counts.closed++;
        proxy_lost(p);
        return;
    }
    link_flush(p);
}
