#include "host/preflight.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "host/capture.h"
#include "host/netns.h"
#include "host/userns.h"

/* Steps of the trial, in order; the child's exit code names the one that failed. */
enum trial {
    TRIAL_OK,
    TRIAL_USER,
    TRIAL_NAMESPACES,
    TRIAL_BRIDGE,
    TRIAL_VETH,
    TRIAL_NFT,
    TRIAL_TMPFS,
    TRIAL_PROC,
    TRIAL_COUNT,
};

static const char *const trial_texts[TRIAL_COUNT] = {
    [TRIAL_USER] =
        "a mesh in a box needs root (sudo tulle up ...), or user namespaces for plain users, which "
        "are off here (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone=1, "
        "kernel.apparmor_restrict_unprivileged_userns=0; CONFIG_USER_NS)",
    [TRIAL_NAMESPACES] =
        "the kernel refuses network, mount, PID and UTS namespaces (CONFIG_NET_NS, "
        "CONFIG_PID_NS, CONFIG_UTS_NS; in a container: run it privileged)",
    [TRIAL_BRIDGE] = "the kernel has no bridges (modprobe bridge; CONFIG_BRIDGE)",
    [TRIAL_VETH] = "the kernel has no veth links (modprobe veth; CONFIG_VETH)",
    [TRIAL_NFT] =
        "the kernel cannot redirect by nftables (modprobe nf_tables nft_chain_nat "
        "nft_redir nft_reject_inet nft_ct nft_socket; CONFIG_NF_TABLES_INET, CONFIG_NFT_REDIR, "
        "CONFIG_NFT_SOCKET)",
    [TRIAL_TMPFS] = "tmpfs cannot be mounted (CONFIG_TMPFS; in a container: run it privileged)",
    [TRIAL_PROC] = "proc cannot be mounted: parts of /proc are hidden here (in a container: run it "
                   "with an unmasked /proc, or privileged)",
};

static enum trial try_links(void)
{
    struct netlink nl;
    if (netlink_open(&nl) != 0 || netlink_add_bridge(&nl, "br-trial", netlink_mac_of(1)) != 0)
        return TRIAL_BRIDGE;
    int bridge = netlink_link_index(&nl, "br-trial");
    int self = netns_of(getpid());
    struct netlink_veth veth = {"v0", bridge, "v1", self, netlink_mac_of(2)};
    if (bridge < 0 || self < 0 || netlink_add_veth(&nl, &veth) != 0)
        return TRIAL_VETH;
    return TRIAL_OK;
}

/* In the first process of a PID namespace: proc can be mounted for such a one only. */
static enum trial run_inside(void)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", "/run", "tmpfs", 0, "size=4k") != 0)
        return TRIAL_TMPFS;
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0)
        return TRIAL_PROC;
    enum trial t = try_links();
    if (t != TRIAL_OK)
        return t;
    return capture_apply(&(struct box_capture){0}, 0) == 0 ? TRIAL_OK : TRIAL_NFT;
}

static enum trial in_child(enum trial (*run)(void))
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(run());
    int status = 0;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (pid < 0 || !WIFEXITED(status) || WEXITSTATUS(status) >= TRIAL_COUNT)
        return TRIAL_NAMESPACES;
    return (enum trial)WEXITSTATUS(status);
}

static enum trial run_trial(void)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null >= 0)
        dup2(null, STDERR_FILENO); /* the texts above say it better */
    if (geteuid() != 0 && userns_enter() != 0)
        return TRIAL_USER;
    if (unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS) != 0)
        return TRIAL_NAMESPACES;
    return in_child(run_inside);
}

static bool check_program(const char *path, struct str_buf *out)
{
    if (access(path, X_OK) == 0)
        return true;
    str_buf_printf(out, "%s is missing: the three programs of Tulle lie in one folder\n", path);
    return false;
}

bool preflight_check(const char *proxy_program, const char *tulled_program, struct str_buf *out)
{
    bool is_good = check_program(proxy_program, out);
    is_good &= check_program(tulled_program, out);
    if (capture_nft_path() == NULL) {
        str_buf_add_c(out, "nft is not installed (apt-get install nftables)\n");
        return false;
    }
    enum trial t = in_child(run_trial);
    if (t == TRIAL_OK)
        return is_good;
    str_buf_printf(out, "%s\n", trial_texts[t]);
    return false;
}
