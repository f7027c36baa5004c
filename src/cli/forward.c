/* tulle forward: a port of a replica on the host. A process for each connection. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/mesh.h"
#include "cli/opt.h"
#include "host/netns.h"

enum { PART_LEN = 65536, HOST_LEN_MAX = 256 };

/* "[HOST:]PORT"; IPv6 in brackets. */
static bool parse_listen(const char *text, char host[HOST_LEN_MAX], char port[8])
{
    const char *colon = strrchr(text, ':');
    struct str h = colon != NULL ? str_from(text, (size_t)(colon - text)) : STR("127.0.0.1");
    struct str p = str_from_c(colon != NULL ? colon + 1 : text);
    uint64_t number;
    if (h.len >= 2 && h.ptr[0] == '[' && h.ptr[h.len - 1] == ']')
        h = str_sub(h, 1, h.len - 2);
    if (h.len == 0 || h.len >= HOST_LEN_MAX || !str_to_u64(p, UINT16_MAX, &number))
        return false;
    snprintf(host, HOST_LEN_MAX, "%.*s", STR_FMT(h));
    snprintf(port, 8, "%u", (unsigned)number);
    return true;
}

static int open_listener(struct cli *cli, const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
    int failure = getaddrinfo(host, port, &hints, &found);
    if (failure != 0) {
        cli_fail(cli, CLI_ERROR, "%s: %s", host, gai_strerror(failure));
        return -1;
    }
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, 128) != 0) {
        cli_fail(cli, CLI_ERROR, "%s:%s: %s", host, port, strerror(errno));
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    return fd;
}

static uint16_t listening_port(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } addr = {.v6 = {0}};
    socklen_t len = sizeof addr;
    if (getsockname(fd, &addr.any, &len) != 0)
        return 0;
    return ntohs(addr.v4.sin_family == AF_INET6 ? addr.v6.sin6_port : addr.v4.sin_port);
}

static int connect_inside(int netns, uint16_t port)
{
    int fd = netns_socket(netns, AF_INET, SOCK_STREAM | SOCK_CLOEXEC);
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        int err = err_from_errno(errno);
        close(fd);
        return err;
    }
    return fd;
}

/* Moves what `from` has to `to`; false when from has ended (to is told). */
static bool pump(int from, int to)
{
    char part[PART_LEN];
    ssize_t n = read(from, part, sizeof part);
    if (n < 0 && errno == EINTR)
        return true;
    if (n <= 0) {
        shutdown(to, SHUT_WR);
        return false;
    }
    for (ssize_t done = 0; done < n;) {
        ssize_t m = send(to, part + done, (size_t)(n - done), MSG_NOSIGNAL);
        if (m < 0 && errno != EINTR)
            return false;
        done += MAX(m, 0);
    }
    return true;
}

static void relay(int a, int b)
{
    bool is_a_open = true, is_b_open = true;
    while (is_a_open || is_b_open) {
        struct pollfd fds[] = {{is_a_open ? a : -1, POLLIN, 0}, {is_b_open ? b : -1, POLLIN, 0}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return;
        if (fds[0].revents != 0)
            is_a_open = pump(a, b);
        if (fds[1].revents != 0)
            is_b_open = pump(b, a);
    }
}

static void serve(int connection, int netns, uint16_t port)
{
    pid_t parent = getpid();
    if (fork() != 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
    if (getppid() != parent)
        _exit(1);
    int inside = connect_inside(netns, port);
    if (inside < 0) {
        fprintf(stderr, "tulle forward: port %u: %s\n", port, err_text(inside));
        _exit(1);
    }
    relay(connection, inside);
    _exit(0);
}

/* Ctrl-C is how it ends, so it is no failure. */
static void end(int signal)
{
    _exit(CLI_OK);
}

static int forward(struct cli *cli, const struct state_replica *r, uint16_t port, const char *at)
{
    char host[HOST_LEN_MAX], port_text[8];
    if (!parse_listen(at, host, port_text))
        return cli_fail(cli, CLI_USAGE, "'%s' is not [HOST:]PORT", at);
    int netns = netns_of(r->init.pid);
    if (netns < 0 || !proc_is_alive(r->init))
        return cli_fail(cli, CLI_ERROR, "%.*s/%u is not running", STR_FMT(r->workload), r->index);
    int listener = open_listener(cli, host, port_text);
    if (listener < 0)
        return CLI_ERROR;
    uint16_t listening = listening_port(listener);
    if (port == 0)
        port = listening;
    signal(SIGCHLD, SIG_IGN);
    signal(SIGINT, end);
    signal(SIGTERM, end);
    fprintf(cli->out, "%s:%u -> %.*s/%u:%u\n", host, listening, STR_FMT(r->workload), r->index,
            port);
    fflush(cli->out);
    for (;;) {
        int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0 && errno != EINTR && errno != ECONNABORTED)
            return cli_fail(cli, CLI_ERROR, "%s", strerror(errno));
        if (connection < 0)
            continue;
        serve(connection, netns, port);
        close(connection);
        if (!proc_is_alive(r->init))
            return cli_fail(cli, CLI_ERROR, "the replica has ended");
    }
}

int cli_forward(struct cli *cli)
{
    const char *mesh_name = NULL, *namespace = NULL;
    const struct opt opts[] = {
        {"mesh", 0, OPT_VALUE, &mesh_name},
        {"namespace", 'n', OPT_VALUE, &namespace},
    };
    struct opt_result args;
    struct state state;
    struct mesh_target target;
    int code;
    if (!opt_parse_verb(cli, opts, ARRAY_LEN(opts), &args, &code))
        return code;
    if (args.count != 2)
        return cli_fail(cli, CLI_USAGE, "say [HOST:]PORT, then WORKLOAD[/REPLICA][:PORT]");
    struct state_replica *r =
        mesh_open_replica(cli, mesh_name, namespace, args.args[1], &state, &target, &code);
    if (r != NULL)
        code = forward(cli, r, target.port, args.args[0]);
    state_deinit(&state);
    return code;
}
