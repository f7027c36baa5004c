/* Two replica namespaces on a bridge, with real sockets: what capture redirects, what it leaves
 * alone, what it refuses, in both families. Needs root; skips loudly otherwise. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter_ipv4.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "host/bypass.h"
#include "host/capture.h"
#include "host/netns.h"
#include "host/preflight.h"
#include "host/sandbox.h"
#include "host/userns.h"

enum { IP6T_ORIGINAL_DST = 80, WAIT_MS = 2000, APP_PORT = 8080 };

static int mesh_ns, ns[2];

/* Addresses of replica i: 10.77.0.(16 + i), fd77::1(6 + i). */
static void address(int i, bool is_ipv6, char buf[46])
{
    snprintf(buf, 46, is_ipv6 ? "fd77::1%d" : "10.77.0.1%d", 6 + i);
}

static void enter(int ns_fd, int *back)
{
    *back = netns_of(getpid());
    assert_int_equal(netns_enter(ns_fd), 0);
}

static void leave(int back)
{
    assert_int_equal(netns_enter(back), 0);
    close(back);
}

static void setup_replica(struct netlink *mesh, int bridge, int i)
{
    char name[16], text[46];
    struct netlink nl;
    struct netlink_addr addr;
    int back;
    snprintf(name, sizeof name, "v%d", i);
    ns[i] = netns_new();
    assert_true(ns[i] >= 0);
    struct netlink_veth veth = {name, bridge, "eth0", ns[i], netlink_mac_of(16 + (uint32_t)i)};
    assert_int_equal(netlink_add_veth(mesh, &veth), 0);
    assert_int_equal(netlink_set_up(mesh, netlink_link_index(mesh, name)), 0);
    enter(ns[i], &back);
    assert_int_equal(netlink_open(&nl), 0);
    int index = netlink_link_index(&nl, "eth0");
    for (int is_ipv6 = 0; is_ipv6 < 2; is_ipv6++) {
        address(i, is_ipv6, text);
        assert_true(netlink_addr_parse(text, &addr));
        assert_int_equal(netlink_add_addr(&nl, index, addr, is_ipv6 ? 64 : 16), 0);
    }
    assert_int_equal(netlink_set_up(&nl, index), 0);
    assert_true(netlink_addr_parse("10.77.0.1", &addr));
    assert_int_equal(netlink_add_default_route(&nl, index, addr), 0);
    assert_true(netlink_addr_parse("fd77::1", &addr));
    assert_int_equal(netlink_add_default_route(&nl, index, addr), 0);
    static const uint16_t excluded_in[] = {9001}, excluded_out[] = {9002};
    static const char *ranges[] = {"198.51.100.0/24", "2001:db8::/32"};
    struct box_capture capture = {excluded_in, excluded_out, 1, 1, ranges, 2};
    assert_int_equal(capture_apply(&capture, 0), 0);
    netlink_close(&nl);
    leave(back);
}

static int setup(void **state)
{
    struct netlink nl;
    int back;
    mesh_ns = netns_new();
    assert_true(mesh_ns >= 0);
    enter(mesh_ns, &back);
    assert_int_equal(netlink_open(&nl), 0);
    leave(back);
    assert_int_equal(netlink_add_bridge(&nl, "tulle0", netlink_mac_of(1)), 0);
    int bridge = netlink_link_index(&nl, "tulle0");
    assert_int_equal(netlink_set_up(&nl, bridge), 0);
    for (int i = 0; i < 2; i++)
        setup_replica(&nl, bridge, i);
    netlink_close(&nl);
    return 0;
}

static socklen_t make_addr(bool is_ipv6, const char *ip, uint16_t port,
                           struct sockaddr_storage *ret)
{
    *ret = (struct sockaddr_storage){0};
    if (is_ipv6) {
        struct sockaddr_in6 *a = (struct sockaddr_in6 *)ret;
        a->sin6_family = AF_INET6;
        a->sin6_port = htons(port);
        assert_int_equal(inet_pton(AF_INET6, ip, &a->sin6_addr), 1);
        return sizeof *a;
    }
    struct sockaddr_in *a = (struct sockaddr_in *)ret;
    a->sin_family = AF_INET;
    a->sin_port = htons(port);
    assert_int_equal(inet_pton(AF_INET, ip, &a->sin_addr), 1);
    return sizeof *a;
}

static int listener(int in, bool is_ipv6, uint16_t port)
{
    struct sockaddr_storage addr;
    int on = 1;
    int fd = netns_socket(ns[in], is_ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM);
    socklen_t len = make_addr(is_ipv6, is_ipv6 ? "::" : "0.0.0.0", port, &addr);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (is_ipv6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

/* 0 or the errno of a connection from a namespace; *ret_fd is open after 0. */
static int dial(int from, bool is_ipv6, const char *ip, uint16_t port, int mark, int *ret_fd)
{
    struct sockaddr_storage addr;
    int failure = 0;
    socklen_t len = make_addr(is_ipv6, ip, port, &addr), failure_len = sizeof failure;
    int fd = netns_socket(ns[from], is_ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK);
    if (mark != 0)
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark), 0);
    if (connect(fd, (struct sockaddr *)&addr, len) != 0) {
        struct pollfd pfd = {fd, POLLOUT, 0};
        if (errno != EINPROGRESS)
            failure = errno;
        else if (poll(&pfd, 1, WAIT_MS) <= 0)
            failure = ETIMEDOUT;
        else
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &failure_len);
    }
    if (failure != 0)
        close(fd);
    else
        *ret_fd = fd;
    return failure;
}

/* Whether the listener got a connection; with its original destination port. */
static bool accepted(int fd, bool is_ipv6, uint16_t *ret_port)
{
    struct sockaddr_storage original = {0};
    socklen_t len = sizeof original;
    struct pollfd pfd = {fd, POLLIN, 0};
    if (poll(&pfd, 1, 100) <= 0)
        return false;
    int connection = accept(fd, NULL, NULL);
    int result = is_ipv6 ? getsockopt(connection, IPPROTO_IPV6, IP6T_ORIGINAL_DST, &original, &len)
                         : getsockopt(connection, IPPROTO_IP, SO_ORIGINAL_DST, &original, &len);
    *ret_port = result != 0 ? 0
                : is_ipv6   ? ntohs(((struct sockaddr_in6 *)&original)->sin6_port)
                            : ntohs(((struct sockaddr_in *)&original)->sin_port);
    close(connection);
    return true;
}

struct trial {
    const char *name;
    int from, mark;
    const char *v4, *v6;
    uint16_t port;
    int listen_in;
    uint16_t listen_port; /* where it has to arrive; 0: it is refused */
    bool is_redirected;
};

static const struct trial trials[] = {
    {"an app's call is captured", 0, 0, "10.77.0.17", "fd77::17", APP_PORT, 0, 15001, true},
    {"a virtual address is captured", 0, 0, "240.240.0.9", "fd77:7e11::9", 80, 0, 15001, true},
    {"its own virtual address too", 1, 0, "240.240.0.9", "fd77:7e11::9", 80, 1, 15001, true},
    {"the world is captured", 0, 0, "192.0.2.1", "2001:4860::1", 443, 0, 15001, true},
    {"a sidecar's call arrives at the peer's", 0, CAPTURE_MARK, "10.77.0.17", "fd77::17", APP_PORT,
     1, 15006, true},
    {"a sidecar's call to its own replica", 0, CAPTURE_MARK, "10.77.0.16", "fd77::16", APP_PORT, 0,
     15006, true},
    {"a sidecar's call to its app", 0, CAPTURE_MARK_APP, "10.77.0.16", "fd77::16", APP_PORT, 0,
     APP_PORT, false},
    {"the loopback is left alone", 0, 0, "127.0.0.1", "::1", APP_PORT, 0, APP_PORT, false},
    {"the own address over the loopback", 0, 0, "10.77.0.16", "fd77::16", APP_PORT, 0, APP_PORT,
     false},
    {"a sidecar on its own loopback", 0, CAPTURE_MARK, "127.0.0.1", "::1", APP_PORT, 0, APP_PORT,
     false},
    {"metrics are open to peers", 0, CAPTURE_MARK, "10.77.0.17", "fd77::17", 15020, 1, 15020,
     false},
    {"an excluded inbound port", 0, CAPTURE_MARK, "10.77.0.17", "fd77::17", 9001, 1, 9001, false},
    {"an excluded outbound port", 0, 0, "10.77.0.17", "fd77::17", 9002, 1, 15006, true},
    {"DNS goes to the sidecar", 0, 0, "127.0.0.1", "::1", 53, 0, 15053, true},
    {"a sidecar's DNS does not", 0, CAPTURE_MARK, "127.0.0.1", "::1", 53, 0, 0, false},
    {"admin is closed to peers", 0, CAPTURE_MARK, "10.77.0.17", "fd77::17", 15000, 1, 0, false},
    {"outbound capture is closed to peers", 0, CAPTURE_MARK, "10.77.0.17", "fd77::17", 15001, 1, 0,
     false},
    {"inbound capture is closed to peers", 0, CAPTURE_MARK, "10.77.0.17", "fd77::17", 15006, 1, 0,
     false},
    {"DNS is closed to peers", 0, CAPTURE_MARK, "10.77.0.17", "fd77::17", 15053, 1, 0, false},
};

static void run_trial(const struct trial *t, bool is_ipv6)
{
    int fd;
    uint16_t original = 0;
    int l = listener(t->listen_in, is_ipv6, t->listen_port != 0 ? t->listen_port : t->port);
    int failure = dial(t->from, is_ipv6, is_ipv6 ? t->v6 : t->v4, t->port, t->mark, &fd);
    if (t->port == 53 && t->listen_port == 0) { /* not redirected: our listener itself */
        assert_int_equal(failure, 0);
        assert_true(accepted(l, is_ipv6, &original));
        close(fd);
    } else if (t->listen_port == 0) {
        if (failure != ECONNREFUSED)
            fail_msg("%s (IPv%d): not refused but %d", t->name, is_ipv6 ? 6 : 4, failure);
    } else {
        if (failure != 0 || !accepted(l, is_ipv6, &original))
            fail_msg("%s (IPv%d): did not arrive, errno %d", t->name, is_ipv6 ? 6 : 4, failure);
        if (t->is_redirected)
            assert_int_equal(original, t->port);
        close(fd);
    }
    close(l);
}

static void test_capture(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(trials); i++)
        for (int is_ipv6 = 0; is_ipv6 < 2; is_ipv6++)
            run_trial(&trials[i], is_ipv6);
}

/* Fail closed: without a sidecar nothing passes, though the app listens. */
static void test_dead_sidecar(void **state)
{
    for (int is_ipv6 = 0; is_ipv6 < 2; is_ipv6++) {
        int fd, app = listener(1, is_ipv6, APP_PORT);
        const char *peer = is_ipv6 ? "fd77::17" : "10.77.0.17";
        assert_int_equal(dial(0, is_ipv6, peer, APP_PORT, 0, &fd), ECONNREFUSED);
        assert_int_equal(dial(0, is_ipv6, peer, APP_PORT, CAPTURE_MARK, &fd), ECONNREFUSED);
        close(app);
    }
}

/* --- bypass --- */

static int apply_bypass(const void *arg)
{
    return bypass_apply(arg, bypass_now_ms());
}

static void lift(int in, uint16_t port, unsigned sides, uint64_t ms)
{
    struct bypass b = {{{port, sides, bypass_now_ms() + ms}}, 1};
    assert_int_equal(netns_run(ns[in], apply_bypass, &b), 0);
}

/* Whether a connection of an app or sidecar (mark) in 0 arrives at the port of 1 itself. */
static bool reaches_app(bool is_ipv6, int mark, int *ret_fd, int *ret_accepted)
{
    int app = listener(1, is_ipv6, APP_PORT);
    bool is_it = dial(0, is_ipv6, is_ipv6 ? "fd77::17" : "10.77.0.17", APP_PORT, mark, ret_fd) == 0;
    *ret_accepted = is_it ? accept(app, NULL, NULL) : -1;
    close(app);
    return is_it;
}

/* Either end finds out once it sends. */
static bool is_cut(int fd)
{
    char byte = 'x';
    for (int i = 0; i < 200; i++) {
        if (send(fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN)
            return true;
        poll(NULL, 0, 20);
    }
    return false;
}

static void test_bypass_inbound_ends_by_itself(void **state)
{
    int fd, accepted;
    for (int is_ipv6 = 0; is_ipv6 < 2; is_ipv6++) {
        assert_false(reaches_app(is_ipv6, CAPTURE_MARK, &fd, &accepted));
        lift(1, APP_PORT + 1, HOST_BYPASS_INBOUND, 60000);
        assert_false(reaches_app(is_ipv6, CAPTURE_MARK, &fd, &accepted));
        lift(1, APP_PORT, HOST_BYPASS_OUTBOUND, 60000);
        assert_false(reaches_app(is_ipv6, CAPTURE_MARK, &fd, &accepted));
        lift(1, APP_PORT, HOST_BYPASS_INBOUND, 1500);
        assert_true(reaches_app(is_ipv6, CAPTURE_MARK, &fd, &accepted));
        assert_true(is_cut(accepted));
        close(fd);
        close(accepted);
        assert_false(reaches_app(is_ipv6, CAPTURE_MARK, &fd, &accepted));
        /* All ports, but those of the sidecar. */
        lift(1, 0, HOST_BYPASS_INBOUND, 60000);
        assert_true(reaches_app(is_ipv6, CAPTURE_MARK, &fd, &accepted));
        close(fd);
        close(accepted);
        int admin = listener(1, is_ipv6, 15000);
        assert_int_equal(
            dial(0, is_ipv6, is_ipv6 ? "fd77::17" : "10.77.0.17", 15000, CAPTURE_MARK, &fd),
            ECONNREFUSED);
        close(admin);
        struct bypass none = {.count = 0};
        assert_int_equal(netns_run(ns[1], apply_bypass, &none), 0);
        assert_false(reaches_app(is_ipv6, CAPTURE_MARK, &fd, &accepted));
    }
}

static void test_bypass_outbound_keeps_what_only_the_sidecar_serves(void **state)
{
    int fd, accepted;
    struct bypass none = {.count = 0};
    lift(1, APP_PORT, HOST_BYPASS_INBOUND, 60000);
    assert_false(reaches_app(false, 0, &fd, &accepted)); /* captured where it leaves */
    lift(0, 0, HOST_BYPASS_OUTBOUND, 60000);
    assert_true(reaches_app(false, 0, &fd, &accepted));
    /* Excluded ones were never led through the sidecar, and do not end with the bypass. */
    close(accepted);
    close(fd);
    static const struct trial kept[] = {
        {"a virtual address", 0, 0, "240.240.0.9", "fd77:7e11::9", 80, 0, 15001, true},
        {"DNS of this host", 0, 0, "127.0.0.1", "::1", 53, 0, 15053, true},
        {"the loopback", 0, 0, "127.0.0.1", "::1", APP_PORT, 0, APP_PORT, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        for (int is_ipv6 = 0; is_ipv6 < 2; is_ipv6++)
            run_trial(&kept[i], is_ipv6);
    assert_true(reaches_app(false, 0, &fd, &accepted));
    int loopback = listener(0, false, APP_PORT), kept_fd;
    assert_int_equal(dial(0, false, "127.0.0.1", APP_PORT, 0, &kept_fd), 0);
    assert_int_equal(netns_run(ns[0], apply_bypass, &none), 0);
    assert_true(is_cut(fd));
    char byte = 'x';
    assert_int_equal(send(kept_fd, &byte, 1, MSG_NOSIGNAL), 1);
    assert_int_equal(send(kept_fd, &byte, 1, MSG_NOSIGNAL), 1);
    close(kept_fd);
    close(loopback);
    close(fd);
    close(accepted);
    assert_int_equal(netns_run(ns[1], apply_bypass, &none), 0);
}

/* Exit code 0: nothing of what would undo capture is left to root without its rights. */
_Noreturn static void try_as_app(const char *run)
{
    static const char *const settings[] = {"/proc/sys/net/ipv4/tcp_fwmark_accept",
                                           "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger"};
    int mark = CAPTURE_MARK;
    if (unshare(CLONE_NEWNS | CLONE_NEWNET) != 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 || setenv("TULLE_RUN", run, 1) != 0)
        _exit(1);
    if (sandbox_become_app() != 0)
        _exit(2);
    for (size_t i = 0; i < ARRAY_LEN(settings); i++)
        if (open(settings[i], O_WRONLY | O_CLOEXEC) >= 0)
            _exit(3);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0)
        _exit(4);
    if (socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP) >= 0 ||
        socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0) >= 0)
        _exit(5);
    _exit(umount("/proc/sys") == 0 || umount(run) == 0 ? 6 : 0);
}

static void test_app_cannot_undo_capture(void **state)
{
    char run[] = "/tmp/tulle-run-XXXXXX";
    int status = -1;
    (void)state;
    assert_non_null(mkdtemp(run));
    pid_t pid = fork();
    if (pid == 0)
        try_as_app(run);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    rmdir(run);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    /* A plain user has all that is tested here in namespaces of its own. */
    if (geteuid() != 0 && userns_enter() == 0 && unshare(CLONE_NEWNET) != 0)
        return 77;
    if (geteuid() != 0 || capture_nft_path() == NULL || !netns_has_ipv6()) {
        fprintf(stderr,
                "SKIPPED: needs root or user namespaces, nft and IPv6: capture is NOT tested\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_capture),
        cmocka_unit_test(test_dead_sidecar),
        cmocka_unit_test(test_bypass_inbound_ends_by_itself),
        cmocka_unit_test(test_bypass_outbound_keeps_what_only_the_sidecar_serves),
        cmocka_unit_test(test_app_cannot_undo_capture),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
