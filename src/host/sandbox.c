#include "host/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "host/bypass.h"
#include "host/capture.h"
#include "host/netns.h"
#include "host/paths.h"
#include "host/proc.h"
#include "host/userns.h"

#define CAP_BIT(cap) (1ull << (cap))

/* What an app keeps of root's rights. */
static const uint64_t app_caps =
    CAP_BIT(CAP_CHOWN) | CAP_BIT(CAP_DAC_OVERRIDE) | CAP_BIT(CAP_FOWNER) | CAP_BIT(CAP_FSETID) |
    CAP_BIT(CAP_KILL) | CAP_BIT(CAP_SETGID) | CAP_BIT(CAP_SETUID) | CAP_BIT(CAP_SETPCAP) |
    CAP_BIT(CAP_NET_BIND_SERVICE) | CAP_BIT(CAP_SYS_CHROOT) | CAP_BIT(CAP_AUDIT_WRITE);

static const uint64_t proxy_caps = CAP_BIT(CAP_NET_ADMIN) | CAP_BIT(CAP_NET_BIND_SERVICE);

/* Ways to ask the host's resolver around /etc/resolv.conf (nss-resolve, nscd, mDNS). */
static const char *const masked_dirs[] = {"/run/systemd/resolve", "/run/nscd", "/var/run/nscd",
                                          "/run/dbus", "/run/avahi-daemon"};

static int os_error(int result)
{
    return result == 0 ? 0 : err_from_errno(errno);
}

static int setup_link(const struct sandbox *s, struct netlink *nl)
{
    struct netlink_addr v4, v6, gateway;
    int lo = netlink_link_index(nl, "lo");
    int index = netlink_link_index(nl, SANDBOX_LINK);
    if (lo < 0 || index < 0)
        return -ERR_NOT_FOUND;
    if (!netlink_addr_parse(s->address_v4, &v4) || !netlink_addr_parse(s->gateway_v4, &gateway))
        return -ERR_INVALID;
    int err = netlink_set_up(nl, lo);
    if (err == 0)
        err = netlink_add_addr(nl, index, v4, 16);
    if (err == 0 && s->address_v6 != NULL)
        err = netlink_addr_parse(s->address_v6, &v6) ? netlink_add_addr(nl, index, v6, 64)
                                                     : -ERR_INVALID;
    if (err == 0)
        err = netlink_set_up(nl, index);
    if (err == 0)
        err = netlink_add_default_route(nl, index, gateway);
    if (err == 0 && s->address_v6 != NULL && netlink_addr_parse(s->gateway_v6, &gateway))
        err = netlink_add_default_route(nl, index, gateway);
    return err;
}

static int setup_network(const struct sandbox *s)
{
    struct netlink nl;
    int err = netlink_open(&nl);
    if (err != 0)
        return err;
    netns_set("ipv6/conf/all/accept_ra", "0");
    netns_set("ipv6/conf/default/accept_ra", "0");
    netns_set("ipv6/conf/" SANDBOX_LINK "/accept_ra", "0");
    netns_set("ipv4/ip_forward", "0");
    /* Unprivileged ping for apps, which have no raw sockets; for groups that exist here. */
    if (netns_set("ipv4/ping_group_range", "0 2147483647") != 0)
        netns_set("ipv4/ping_group_range", "0 0");
    err = setup_link(s, &nl);
    netlink_close(&nl);
    return err;
}

static int mount_tmpfs(const char *path, const char *options, unsigned long flags)
{
    return os_error(mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV | flags, options));
}

/* A detached copy of what is at path, to be put elsewhere once path is covered. */
static int clone_tree(const char *path)
{
    int fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    return fd >= 0 ? fd : err_from_errno(errno);
}

static int attach_tree(int tree_fd, const char *path)
{
    int err = os_error(move_mount(tree_fd, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH));
    close(tree_fd);
    return err;
}

static int touch(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return err_from_errno(errno);
    close(fd);
    return 0;
}

char *sandbox_proxy_path(const char *mesh, char *buf, size_t len)
{
    snprintf(buf, len, "%s/%s/bin/tulle-proxy", paths_run_root(), mesh);
    return buf;
}

char *sandbox_envoy_path(const char *mesh, char *buf, size_t len)
{
    snprintf(buf, len, "%s/%s/bin/envoy", paths_run_root(), mesh);
    return buf;
}

static int attach_program(int fd, const char *path)
{
    int err = touch(path);
    return err == 0 ? attach_tree(fd, path) : err;
}

/* Covers the run root, leaving what the sidecar needs. */
static int narrow_run_root(const struct sandbox *s)
{
    char state[PATH_LEN_MAX], egress[PATH_LEN_MAX], program[PATH_LEN_MAX], bin[PATH_LEN_MAX];
    char envoy[PATH_LEN_MAX];
    paths_replica_dir(s->mesh, s->slug, state);
    paths_in_mesh(s->mesh, "egress.sock", egress);
    paths_in_mesh(s->mesh, "bin", bin);
    sandbox_proxy_path(s->mesh, program, sizeof program);
    int state_fd = clone_tree(state);
    int egress_fd = clone_tree(egress);
    int program_fd = clone_tree(s->proxy_program);
    int envoy_fd = s->envoy_program != NULL ? clone_tree(s->envoy_program) : -1;
    if (state_fd < 0 || egress_fd < 0 || program_fd < 0 ||
        (s->envoy_program != NULL && envoy_fd < 0))
        return -ERR_NOT_FOUND;
    int err = mount_tmpfs(paths_run_root(), "mode=0755,size=4m", 0);
    if (err == 0)
        err = paths_make_dir(state, 0755);
    if (err == 0)
        err = paths_make_dir(bin, 0755);
    if (err == 0)
        err = touch(egress);
    if (err == 0)
        err = attach_tree(state_fd, state);
    if (err == 0)
        err = attach_tree(egress_fd, egress);
    if (err == 0)
        err = attach_program(program_fd, program);
    if (err == 0 && envoy_fd >= 0)
        err = attach_program(envoy_fd, sandbox_envoy_path(s->mesh, envoy, sizeof envoy));
    return err;
}

static void mask_host_resolvers(void)
{
    for (size_t i = 0; i < ARRAY_LEN(masked_dirs); i++) {
        char real[PATH_MAX];
        struct stat st;
        if (realpath(masked_dirs[i], real) != NULL && stat(real, &st) == 0 && S_ISDIR(st.st_mode))
            mount_tmpfs(real, "mode=0755,size=64k", 0);
    }
}

void sandbox_resolv_conf(const char *namespace, struct str_buf *out)
{
    str_buf_printf(out,
                   "nameserver 127.0.0.1\n"
                   "search %s.svc.cluster.local svc.cluster.local cluster.local\n"
                   "options ndots:5\n",
                   namespace);
}

void sandbox_hosts(const struct sandbox *s, struct str_buf *out)
{
    str_buf_add_c(out, "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    str_buf_printf(out, "%s %s\n", s->address_v4, s->hostname);
    if (s->address_v6 != NULL)
        str_buf_printf(out, "%s %s\n", s->address_v6, s->hostname);
}

/* Binds a file of ours over what `target` really is; `real` was resolved before anything was
 * masked and is created where the mask took it away. */
static int bind_file(const char *mesh, const char *leaf, const char *real, struct str text)
{
    char path[PATH_LEN_MAX];
    int err = proc_write_file(paths_in_mesh(mesh, leaf, path), text, 0644);
    if (err == 0 && access(real, F_OK) != 0)
        err = touch(real);
    if (err == 0)
        err = os_error(mount(path, real, NULL, MS_BIND, NULL));
    return err;
}

static int setup_resolver(const struct sandbox *s)
{
    char resolv_conf[PATH_MAX], hosts[PATH_MAX];
    bool has_resolv_conf = realpath("/etc/resolv.conf", resolv_conf) != NULL;
    bool has_hosts = realpath("/etc/hosts", hosts) != NULL;
    mask_host_resolvers();
    struct str_buf text = STR_BUF_INIT(4096);
    int err = 0;
    if (has_resolv_conf) {
        sandbox_resolv_conf(s->namespace, &text);
        err = bind_file(s->mesh, "resolv.conf", resolv_conf, str_buf_str(&text));
    }
    str_buf_reset(&text);
    if (err == 0 && has_hosts) {
        sandbox_hosts(s, &text);
        err = bind_file(s->mesh, "hosts", hosts, str_buf_str(&text));
    }
    str_buf_deinit(&text);
    return err;
}

static int setup_mounts(const struct sandbox *s)
{
    int err = os_error(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    if (err == 0)
        err = os_error(mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
    return err;
}

/* A namespace that is made anew gets the rest of the time. */
static int restore_bypass(const struct sandbox *s)
{
    struct bypass b;
    uint64_t now_ms = bypass_now_ms();
    bypass_read(s->bypass_file, &b);
    bypass_prune(&b, now_ms);
    return b.count > 0 ? bypass_apply(&b, now_ms) : 0;
}

int sandbox_setup(const struct sandbox *s, const char **ret_what)
{
    *ret_what = "network";
    int err = setup_network(s);
    if (err == 0) {
        *ret_what = "capture rules (nft)";
        err = capture_apply(s->capture, 0);
    }
    if (err == 0)
        err = restore_bypass(s);
    if (err == 0) {
        *ret_what = "mounts";
        err = setup_mounts(s);
    }
    if (err == 0) {
        *ret_what = "private state directory";
        err = narrow_run_root(s);
    }
    if (err == 0) {
        *ret_what = "resolver files";
        err = setup_resolver(s);
    }
    if (err == 0) {
        *ret_what = "host name";
        err = os_error(sethostname(s->hostname, strlen(s->hostname)));
    }
    return err;
}

static int set_caps(uint64_t permitted, uint64_t inheritable)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {
        {(uint32_t)permitted, (uint32_t)permitted, (uint32_t)inheritable},
        {(uint32_t)(permitted >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32)},
    };
    return os_error((int)syscall(SYS_capset, &head, data));
}

/* After this, no program that is executed can have more than `keep`. */
static int drop_bounding(uint64_t keep)
{
    for (int cap = 0; cap < 64; cap++) {
        if ((keep >> cap & 1) != 0)
            continue;
        int is_there = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);
        if (is_there < 0)
            return 0; /* beyond the last capability of this kernel */
        if (is_there > 0 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0)
            return err_from_errno(errno);
    }
    return 0;
}

static int raise_ambient(uint64_t caps)
{
    for (int cap = 0; cap < 64; cap++)
        if ((caps >> cap & 1) != 0 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) != 0)
            return err_from_errno(errno);
    return 0;
}

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Where there is no such uid, the sidecar stays what it is: its capabilities, which the app lacks,
 * keep its memory and files from the app. */
static int become_uid(unsigned uid)
{
    if (!userns_has_uid(uid))
        return 0;
    int err = os_error(setgroups(0, NULL));
    if (err == 0)
        err = os_error(setresgid(uid, uid, uid));
    return err == 0 ? os_error(setresuid(uid, uid, uid)) : err;
}

int sandbox_become_proxy(void)
{
    raise_file_limit();
    int err = drop_bounding(proxy_caps);
    if (err == 0)
        err = os_error(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
    if (err == 0)
        err = become_uid(SANDBOX_PROXY_UID);
    if (err == 0)
        err = set_caps(proxy_caps, proxy_caps);
    if (err == 0)
        err = raise_ambient(proxy_caps);
    if (err == 0)
        err = os_error(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    return err;
}

/* Settings of the kernel belong to root's uid, whatever rights it has left: tcp_fwmark_accept alone
 * would hand the app a socket with the sidecar's mark, core_pattern a program of its choice
 * outside. What is covered so cannot be had by another mount of proc either, in a user namespace of
 * its own.
 */
static int make_settings_readonly(void)
{
    static const char *const paths[] = {"/proc/sys", "/proc/sysrq-trigger", "/proc/irq",
                                        "/proc/bus"};
    static const unsigned long flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        if (access(paths[i], F_OK) != 0)
            continue;
        int err = os_error(mount(paths[i], paths[i], NULL, MS_BIND | MS_REC, NULL));
        if (err == 0)
            err = os_error(mount(NULL, paths[i], NULL, MS_REMOUNT | MS_BIND | flags, NULL));
        if (err != 0)
            return err;
    }
    /* -1: not mounted at all, or a kernel before 5.12. */
    struct mount_attr readonly = {.attr_set = MOUNT_ATTR_RDONLY};
    (void)mount_setattr(AT_FDCWD, "/sys", AT_RECURSIVE, &readonly, sizeof readonly);
    return 0;
}

int sandbox_become_app(void)
{
    int err = os_error(unshare(CLONE_NEWNS));
    if (err == 0)
        err = make_settings_readonly();
    if (err == 0)
        err = mount_tmpfs(paths_run_root(), "mode=0755,size=4k", MS_RDONLY);
    if (err == 0)
        err = drop_bounding(app_caps);
    if (err == 0)
        err = os_error(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
    if (err == 0)
        err = set_caps(app_caps, 0);
    return err;
}
