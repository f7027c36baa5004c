#include "host/capture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"

enum { RULES_LEN_MAX = 256 * 1024 };

/* Ports that a peer may call without the sidecar in between: metrics, health, readiness. */
#define PORTS_OPEN "15020, 15021, 15090"
/* Ports that no peer may reach, whatever listens there: admin, the two capture ports, DNS. */
#define PORTS_CLOSED "15000, 15001, 15006, 15053"

/* `is_ipv6` of a checked range; only hexadecimal digits, dots, colons and one slash may pass into
 * the rules. */
static bool range_parse(const char *text, bool *ret_is_ipv6)
{
    struct str prefix = str_from_c(text);
    struct str addr = str_split(&prefix, '/');
    char buf[INET6_ADDRSTRLEN];
    struct in6_addr parsed;
    uint64_t bits;
    if (addr.len == 0 || addr.len >= sizeof buf)
        return false;
    memcpy(buf, addr.ptr, addr.len);
    buf[addr.len] = '\0';
    bool is_ipv6 = str_find(addr, ':') >= 0;
    if (inet_pton(is_ipv6 ? AF_INET6 : AF_INET, buf, &parsed) != 1)
        return false;
    if (prefix.ptr != NULL && !str_to_u64(prefix, is_ipv6 ? 128 : 32, &bits))
        return false;
    *ret_is_ipv6 = is_ipv6;
    return true;
}

static void add_port_exemption(struct str_buf *out, const uint16_t *ports, size_t count)
{
    if (count == 0)
        return;
    str_buf_add_c(out, "        tcp dport { ");
    for (size_t i = 0; i < count; i++)
        str_buf_printf(out, "%s%u", i > 0 ? ", " : "", ports[i]);
    str_buf_add_c(out, " } return\n");
}

static int add_range_exemptions(struct str_buf *out, const struct box_capture *exclude)
{
    for (size_t i = 0; i < exclude->exclude_ranges_count; i++) {
        bool is_ipv6;
        const char *range = exclude->exclude_outbound_ranges[i];
        if (!range_parse(range, &is_ipv6))
            return -ERR_INVALID;
        str_buf_printf(out, "        %s daddr %s return\n", is_ipv6 ? "ip6" : "ip", range);
    }
    return 0;
}

/* Every chain begins with it while the rules have not been confirmed: once the element of the set
 * has timed out, all packets pass. */
#define UNLESS_ARMED "        meta l4proto != @armed return\n"

static int add_output_chain(struct str_buf *out, const struct box_capture *exclude,
                            const char *gate)
{
    str_buf_printf(out,
                   "    chain output {\n"
                   "        type nat hook output priority -100; policy accept;\n"
                   "%s"
                   "        meta mark 0x%x return\n"
                   "        meta mark 0x%x oifname \"lo\" ip daddr != 127.0.0.0/8 "
                   "meta l4proto tcp redirect to :%d\n"
                   "        meta mark 0x%x oifname \"lo\" ip6 daddr != ::1 "
                   "meta l4proto tcp redirect to :%d\n"
                   "        meta mark 0x%x return\n"
                   "        ct mark " CAPTURE_CT_CANDIDATE
                   " th dport 53 ct mark set " CAPTURE_CT_PAST_OUT " return\n"
                   "        udp dport 53 redirect to :%d\n"
                   "        tcp dport 53 redirect to :%d\n"
                   "        oifname \"lo\" return\n",
                   gate, CAPTURE_MARK_APP, CAPTURE_MARK, CAPTURE_PORT_INBOUND, CAPTURE_MARK,
                   CAPTURE_PORT_INBOUND, CAPTURE_MARK, CAPTURE_PORT_DNS, CAPTURE_PORT_DNS);
    add_port_exemption(out, exclude->exclude_outbound_ports, exclude->exclude_outbound_count);
    int err = add_range_exemptions(out, exclude);
    str_buf_printf(out,
                   "        ct mark " CAPTURE_CT_CANDIDATE " ct mark set " CAPTURE_CT_PAST_OUT
                   " return\n"
                   "        meta l4proto tcp redirect to :%d\n    }\n",
                   CAPTURE_PORT_OUTBOUND);
    return err;
}

int capture_rules(const struct box_capture *exclude, uint32_t armed_s, struct str_buf *out)
{
    const char *gate = armed_s > 0 ? UNLESS_ARMED : "";
    str_buf_add_c(out, "table inet tulle\ndelete table inet tulle\ntable inet tulle {\n");
    if (armed_s > 0)
        str_buf_printf(out,
                       "    set armed {\n"
                       "        type inet_proto; flags timeout;\n"
                       "        elements = { tcp timeout %us, udp timeout %us }\n"
                       "    }\n",
                       armed_s, armed_s);
    int err = add_output_chain(out, exclude, gate);
    if (err != 0)
        return err;
    /* The sidecar's own connections that are older than the rules: what comes next on them looks
     * like a new one from the peer, and redirected it would be answered with a reset. */
    str_buf_printf(out,
                   "    chain prerouting {\n"
                   "        type nat hook prerouting priority -100; policy accept;\n"
                   "%s"
                   "        iifname \"lo\" return\n"
                   "        meta l4proto tcp socket mark 0x%x return\n"
                   "        tcp dport { " PORTS_OPEN " } return\n",
                   gate, CAPTURE_MARK);
    add_port_exemption(out, exclude->exclude_inbound_ports, exclude->exclude_inbound_count);
    /* The closed ports are not redirected but refused below: what listens there on the loopback
     * only would otherwise be tried on behalf of the peer. */
    str_buf_printf(out,
                   "        tcp dport { " PORTS_CLOSED " } return\n"
                   "        ct mark " CAPTURE_CT_CANDIDATE " ct mark set " CAPTURE_CT_PAST_IN
                   " return\n"
                   "        meta l4proto tcp redirect to :%d\n"
                   "    }\n",
                   CAPTURE_PORT_INBOUND);
    str_buf_printf(out,
                   "    chain input {\n"
                   "        type filter hook input priority 0; policy accept;\n"
                   "%s"
                   "        iifname \"lo\" return\n"
                   "        ct state established,related return\n"
                   "        meta l4proto tcp ct original proto-dst { " PORTS_CLOSED " } "
                   "reject with tcp reset\n"
                   "        udp dport 15053 reject\n"
                   "    }\n"
                   "}\n",
                   gate);
    return out->is_overflown ? -ERR_TOO_LARGE : 0;
}

const char *capture_nft_path(void)
{
    static const char *const paths[] = {"/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft",
                                        "/usr/local/sbin/nft"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        if (access(paths[i], X_OK) == 0)
            return paths[i];
    return NULL;
}

static int write_all(int fd, struct str s)
{
    while (s.len > 0) {
        ssize_t n = write(fd, s.ptr, s.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_from_errno(errno);
        s = str_skip(s, (size_t)n);
    }
    return 0;
}

/* nft with its output to nobody (fd -1) or to a pipe; `rules` on its standard input. */
_Noreturn static void exec_nft(const char *nft, int input_fd, int output_fd, bool is_list)
{
    int nowhere = open("/dev/null", O_RDWR);
    dup2(input_fd >= 0 ? input_fd : nowhere, STDIN_FILENO);
    if (is_list) {
        dup2(output_fd, STDOUT_FILENO);
        dup2(nowhere, STDERR_FILENO); /* that there is no such table is no error */
        execl(nft, "nft", "list", "table", "inet", "tulle", (char *)NULL);
    } else {
        execl(nft, "nft", "-f", "-", (char *)NULL);
    }
    _exit(127);
}

static int wait_for(pid_t pid, int *ret_code)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return err_from_errno(errno);
    }
    *ret_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
    return 0;
}

/* Runs nft with `rules` on its standard input. */
static int run_nft(const char *nft, struct str rules)
{
    int pipe_fds[2], code = 0;
    if (pipe2(pipe_fds, O_CLOEXEC) != 0)
        return err_from_errno(errno);
    pid_t pid = fork();
    if (pid == 0)
        exec_nft(nft, pipe_fds[0], -1, false);
    close(pipe_fds[0]);
    int err = pid < 0 ? err_from_errno(errno) : write_all(pipe_fds[1], rules);
    close(pipe_fds[1]);
    int waited = pid > 0 ? wait_for(pid, &code) : 0;
    if (err == 0)
        err = waited != 0 ? waited : code != 0 ? -ERR_SYSTEM : 0;
    return err;
}

int capture_run_nft(struct str commands)
{
    const char *nft = capture_nft_path();
    return nft == NULL ? -ERR_NOT_FOUND : run_nft(nft, commands);
}

int capture_apply(const struct box_capture *exclude, uint32_t armed_s)
{
    struct str_buf rules = STR_BUF_INIT(RULES_LEN_MAX);
    int err = capture_rules(exclude, armed_s, &rules);
    if (err == 0)
        err = capture_run_nft(str_buf_str(&rules));
    str_buf_deinit(&rules);
    return err;
}

int capture_confirm(void)
{
    /* Deleting what has timed out is an error, and undoes the whole: too late is too late. */
    return capture_run_nft(STR("delete element inet tulle armed { tcp, udp }\n"
                               "add element inet tulle armed { tcp, udp }\n"));
}

int capture_remove(void)
{
    /* Declared first, so that a table that is not there is no error. */
    return capture_run_nft(STR("table inet tulle\ndelete table inet tulle\n"
                               "table inet tulle_bypass\ndelete table inet tulle_bypass\n"));
}

/* --- looking --- */

static int read_all(int fd, struct str_buf *to)
{
    char block[4096];
    ssize_t n;
    while ((n = read(fd, block, sizeof block)) > 0 || (n < 0 && errno == EINTR)) {
        if (n > 0)
            str_buf_add(to, str_from(block, (size_t)n));
    }
    return n < 0 ? err_from_errno(errno) : 0;
}

/* The listing; empty when there is no such table. */
static int list_table(const char *nft, struct str_buf *to)
{
    int pipe_fds[2], code = 0;
    if (pipe2(pipe_fds, O_CLOEXEC) != 0)
        return err_from_errno(errno);
    pid_t pid = fork();
    if (pid == 0)
        exec_nft(nft, -1, pipe_fds[1], true);
    close(pipe_fds[1]);
    int err = pid < 0 ? err_from_errno(errno) : read_all(pipe_fds[0], to);
    close(pipe_fds[0]);
    int waited = pid > 0 ? wait_for(pid, &code) : 0;
    if (code != 0)
        str_buf_reset(to);
    return err != 0 ? err : waited;
}

int capture_look(enum capture_state *ret_state, struct str_buf *ret_listing)
{
    const char *nft = capture_nft_path();
    struct str_buf all = STR_BUF_INIT(RULES_LEN_MAX);
    int err = nft != NULL ? list_table(nft, &all) : -ERR_NOT_FOUND;
    bool has_set = false, is_armed = false, is_kept = false;
    for (struct str rest = str_buf_str(&all); err == 0 && rest.len > 0;) {
        struct str line = str_split(&rest, '\n');
        has_set = has_set || str_contains(line, STR("set armed"));
        bool is_arming = str_contains(line, STR("expires"));
        bool is_elements = str_contains(line, STR("elements = "));
        is_armed = is_armed || is_arming;
        is_kept = is_kept || (is_elements && !is_arming);
        if (!is_arming && !is_elements)
            str_buf_printf(ret_listing, "%.*s\n", STR_FMT(line));
    }
    if (err == 0)
        *ret_state = all.len == 0          ? CAPTURE_NONE
                     : is_armed            ? CAPTURE_ARMED
                     : is_kept || !has_set ? CAPTURE_KEPT
                                           : CAPTURE_LAPSED;
    str_buf_deinit(&all);
    return err;
}
