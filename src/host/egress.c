#include "host/egress.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "host/proc.h"

struct egress_client {
    int fd; /* -1: free */
    size_t len;
    char line[EGRESS_LINE_MAX];
};

struct egress {
    int listener;
    size_t client_count;
    struct egress_client clients[EGRESS_CLIENTS_MAX];
};

static bool is_world_v4(struct in_addr a)
{
    uint32_t host = ntohl(a.s_addr);
    uint32_t first = host >> 24;
    /* 0/8 and 127/8 mean this host; 224/4 and above are multicast and reserved; the box's own
     * addresses are meant in the box, even where the host's network has the same. */
    return first != 0 && first != 127 && first < 224 && host >> 16 != (10u << 8 | 77u) &&
           host >> 16 != (169u << 8 | 254u);
}

static bool is_world_v6(const struct in6_addr *a)
{
    if (IN6_IS_ADDR_V4MAPPED(a) || IN6_IS_ADDR_V4COMPAT(a))
        return false;
    static const uint8_t box[8] = {0xfd, 0x77};
    if (memcmp(a->s6_addr, box, sizeof box) == 0)
        return false;
    return !IN6_IS_ADDR_LOOPBACK(a) && !IN6_IS_ADDR_UNSPECIFIED(a) && !IN6_IS_ADDR_MULTICAST(a) &&
           !IN6_IS_ADDR_LINKLOCAL(a);
}

static bool copy_ip(struct str s, char ret_ip[46])
{
    if (s.len == 0 || s.len >= 46 || memchr(s.ptr, '\0', s.len) != NULL)
        return false;
    memcpy(ret_ip, s.ptr, s.len);
    ret_ip[s.len] = '\0';
    return true;
}

int egress_request_parse(struct str line, struct egress_request *ret_request)
{
    struct egress_request r = {0};
    struct in_addr v4;
    struct in6_addr v6;
    uint64_t port;
    if (str_eq(line, STR("UDP-DNS"))) {
        r.is_dns = true;
        *ret_request = r;
        return 0;
    }
    if (!str_eq(str_split(&line, ' '), STR("TCP")) || line.ptr == NULL)
        return -ERR_SYNTAX;
    if (!copy_ip(str_split(&line, ' '), r.ip) || !str_to_u64(line, UINT16_MAX, &port) || port == 0)
        return -ERR_SYNTAX;
    r.port = (uint16_t)port;
    if (inet_pton(AF_INET, r.ip, &v4) == 1) {
        if (!is_world_v4(v4))
            return -ERR_DENIED;
    } else if (inet_pton(AF_INET6, r.ip, &v6) == 1) {
        if (!is_world_v6(&v6))
            return -ERR_DENIED;
    } else {
        return -ERR_SYNTAX;
    }
    *ret_request = r;
    return 0;
}

bool egress_first_nameserver(struct str resolv_conf, char ret_ip[46])
{
    while (resolv_conf.ptr != NULL) {
        struct str line = str_trim(str_split(&resolv_conf, '\n'));
        if (!str_starts_with(line, STR("nameserver")))
            continue;
        struct str value = str_trim(str_skip(line, 10));
        struct in6_addr parsed;
        char ip[46];
        if (!copy_ip(value, ip))
            continue;
        if (inet_pton(AF_INET, ip, &parsed) != 1 && inet_pton(AF_INET6, ip, &parsed) != 1)
            continue;
        memcpy(ret_ip, ip, sizeof ip);
        return true;
    }
    return false;
}

static int open_connected(const char *ip, uint16_t port, int type)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    bool is_ipv6 = inet_pton(AF_INET, ip, &v4.sin_addr) != 1;
    if (is_ipv6 && inet_pton(AF_INET6, ip, &v6.sin6_addr) != 1)
        return -ERR_INVALID;
    int fd = socket(is_ipv6 ? AF_INET6 : AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_from_errno(errno);
    int result = is_ipv6 ? connect(fd, (struct sockaddr *)&v6, sizeof v6)
                         : connect(fd, (struct sockaddr *)&v4, sizeof v4);
    if (result != 0 && errno != EINPROGRESS) {
        int err = err_from_errno(errno);
        close(fd);
        return err;
    }
    return fd;
}

static int open_requested(struct str line)
{
    struct egress_request r;
    int err = egress_request_parse(line, &r);
    if (err != 0)
        return err;
    if (!r.is_dns)
        return open_connected(r.ip, r.port, SOCK_STREAM);
    size_t len;
    char ip[46];
    char *text = proc_read_file("/etc/resolv.conf", 65536, &len);
    bool is_found = text != NULL && egress_first_nameserver(str_from(text, len), ip);
    free(text);
    return is_found ? open_connected(ip, 53, SOCK_DGRAM) : -ERR_NOT_FOUND;
}

/* False: the client is to be dropped. */
static bool serve_line(struct egress_client *c, struct str line)
{
    int fd = open_requested(line);
    if (fd == -ERR_SYNTAX)
        return false;
    int err = proc_send_fd(c->fd, fd >= 0 ? 0 : (uint8_t)-fd, fd);
    if (fd >= 0)
        close(fd);
    return err == 0;
}

static bool serve_lines(struct egress_client *c)
{
    for (;;) {
        char *lf = memchr(c->line, '\n', c->len);
        if (lf == NULL)
            return c->len < sizeof c->line;
        size_t line_len = (size_t)(lf - c->line);
        if (!serve_line(c, str_from(c->line, line_len)))
            return false;
        c->len -= line_len + 1;
        memmove(c->line, lf + 1, c->len);
    }
}

static void drop(struct egress *e, struct egress_client *c)
{
    close(c->fd);
    *c = (struct egress_client){.fd = -1};
    e->client_count--;
}

static void on_client(struct egress *e, struct egress_client *c)
{
    ssize_t n = recv(c->fd, c->line + c->len, sizeof c->line - c->len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        c->len += (size_t)n;
    if (n <= 0 || !serve_lines(c))
        drop(e, c);
}

static void on_listener(struct egress *e)
{
    int fd = accept4(e->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    for (size_t i = 0; i < EGRESS_CLIENTS_MAX; i++) {
        if (e->clients[i].fd >= 0)
            continue;
        e->clients[i] = (struct egress_client){.fd = fd};
        e->client_count++;
        return;
    }
    proc_send_fd(fd, ERR_LIMIT, -1);
    close(fd);
}

int egress_open(const char *path, unsigned uid, struct egress **ret_egress)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof un.sun_path)
        return -ERR_TOO_LARGE;
    memcpy(un.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_from_errno(errno);
    unlink(path);
    if (bind(fd, (struct sockaddr *)&un, sizeof un) != 0 || chmod(path, 0600) != 0 ||
        chown(path, uid, uid) != 0 || listen(fd, 128) != 0) {
        int err = err_from_errno(errno);
        close(fd);
        return err;
    }
    struct egress *e = NEW(struct egress);
    e->listener = fd;
    for (size_t i = 0; i < EGRESS_CLIENTS_MAX; i++)
        e->clients[i].fd = -1;
    *ret_egress = e;
    return 0;
}

size_t egress_fds(const struct egress *e, struct pollfd *fds, size_t max)
{
    size_t n = 0;
    if (max > 0)
        fds[n++] = (struct pollfd){e->listener, POLLIN, 0};
    for (size_t i = 0; i < EGRESS_CLIENTS_MAX && n < max; i++)
        if (e->clients[i].fd >= 0)
            fds[n++] = (struct pollfd){e->clients[i].fd, POLLIN, 0};
    return n;
}

void egress_on_event(struct egress *e, int fd)
{
    if (fd == e->listener) {
        on_listener(e);
        return;
    }
    for (size_t i = 0; i < EGRESS_CLIENTS_MAX; i++)
        if (e->clients[i].fd == fd)
            on_client(e, &e->clients[i]);
}
