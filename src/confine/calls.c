/* seccomp: a program for the kernel that looks at the number of each call, and at the arguments of
 * a few. Where it looks at the number alone, the kernel knows the answer beforehand (since 5.11)
 * and runs nothing: calls of the path of requests are all of that kind. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "confine/confine.h"
#include "confine/confine_priv.h"

#if defined(__x86_64__)
#define CALL_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define CALL_ARCH AUDIT_ARCH_AARCH64
#endif

#ifdef CALL_ARCH

enum {
    PROXY = 1 << CONFINE_PROXY,
    SEALED = 1 << CONFINE_PROXY_SEALED,
    CONTROL = 1 << CONFINE_CONTROL,
    SIGNER = 1 << CONFINE_SIGNER,
    PROXIES = PROXY | SEALED,
    SPEAKERS = PROXIES | CONTROL,
    ALL = SPEAKERS | SIGNER,
    SANITIZED = CONFINE_IS_SANITIZED ? ALL : 0,

    INSNS_MAX = 1024,
    CALL_NUMBER_MAX = 470, /* later ones are not there as far as we know: the library has a way */
    X32_BIT = 0x40000000,
};

struct call {
    uint32_t number;
    unsigned roles;
};

#define CALL(name, roles)                                                                          \
    {                                                                                              \
        SYS_##name, (roles)                                                                        \
    }

/* Whatever their arguments. */
static const struct call calls[] = {
    CALL(read, ALL),
    CALL(write, ALL),
    CALL(readv, ALL),
    CALL(writev, ALL),
    CALL(pread64, ALL),
    CALL(pwrite64, ALL),
    CALL(close, ALL),
    CALL(close_range, ALL),
    CALL(fstat, ALL),
    CALL(newfstatat, ALL),
    CALL(statx, ALL),
    CALL(lseek, ALL),
    CALL(fcntl, ALL),
    CALL(openat, ALL),
    CALL(faccessat, ALL),
    CALL(faccessat2, ALL),
    CALL(readlinkat, ALL),
    CALL(getcwd, ALL),
    CALL(getdents64, ALL),
    CALL(fsync, ALL),
    CALL(fdatasync, ALL),
    CALL(ftruncate, ALL),
    CALL(fallocate, ALL),
    CALL(renameat, ALL),
    CALL(renameat2, ALL),
    CALL(unlinkat, ALL),
    CALL(mkdirat, ALL),
    CALL(fchmod, ALL),
    CALL(fchmodat, ALL),
    CALL(fchown, ALL),
    CALL(flock, ALL),
    CALL(fstatfs, ALL),
    CALL(statfs, ALL),
    CALL(umask, ALL),
    CALL(dup, ALL),
    CALL(dup3, ALL),
    CALL(munmap, ALL),
    CALL(mremap, ALL),
    CALL(madvise, ALL),
    CALL(brk, ALL),
    CALL(futex, ALL),
    CALL(rt_sigaction, ALL),
    CALL(rt_sigprocmask, ALL),
    CALL(rt_sigreturn, ALL),
    CALL(sigaltstack, ALL),
    CALL(restart_syscall, ALL),
    CALL(getpid, ALL),
    CALL(getppid, ALL),
    CALL(gettid, ALL),
    CALL(getuid, ALL),
    CALL(geteuid, ALL),
    CALL(getgid, ALL),
    CALL(getegid, ALL),
    CALL(clock_gettime, ALL),
    CALL(clock_getres, ALL),
    CALL(clock_nanosleep, ALL),
    CALL(nanosleep, ALL),
    CALL(gettimeofday, ALL),
    CALL(getrandom, ALL),
    CALL(getrusage, ALL),
    CALL(getrlimit, ALL),
    CALL(uname, ALL),
    CALL(sysinfo, ALL),
    CALL(exit, ALL),
    CALL(exit_group, ALL),
    CALL(sched_yield, ALL),
    CALL(sched_getaffinity, ALL),
    CALL(getcpu, ALL),
    CALL(set_robust_list, ALL),
    CALL(get_robust_list, SANITIZED),
    CALL(rseq, ALL),
    CALL(set_tid_address, ALL),
    CALL(membarrier, ALL),
    CALL(ppoll, ALL),
    CALL(seccomp, ALL), /* narrows only */
    CALL(wait4, CONTROL | SANITIZED),
    CALL(recvfrom, ALL),
    CALL(recvmsg, ALL),
    CALL(sendto, ALL),
    CALL(sendmsg, ALL),
    CALL(accept4, SPEAKERS),
    CALL(getsockname, SPEAKERS),
    CALL(getpeername, SPEAKERS),
    CALL(getsockopt, SPEAKERS),
    CALL(setsockopt, SPEAKERS),
    CALL(shutdown, SPEAKERS),
    CALL(recvmmsg, SPEAKERS),
    CALL(sendmmsg, SPEAKERS),
    CALL(connect, PROXIES),
    CALL(bind, PROXIES),
    CALL(listen, PROXY),
    CALL(epoll_create1, SPEAKERS),
    CALL(epoll_ctl, SPEAKERS),
    CALL(epoll_pwait, SPEAKERS),
    CALL(eventfd2, SPEAKERS),
    CALL(signalfd4, SPEAKERS),
    CALL(timerfd_create, SPEAKERS),
    CALL(timerfd_settime, SPEAKERS),
    CALL(pipe2, SPEAKERS),
    CALL(splice, PROXIES),
    CALL(openat2, CONTROL),
    CALL(inotify_init1, CONTROL),
    CALL(inotify_add_watch, CONTROL),
    CALL(inotify_rm_watch, CONTROL),
#ifdef __x86_64__ /* the older names, which others have not */
    CALL(open, ALL),
    CALL(stat, ALL),
    CALL(lstat, ALL),
    CALL(access, ALL),
    CALL(readlink, ALL),
    CALL(rename, ALL),
    CALL(unlink, ALL),
    CALL(mkdir, ALL),
    CALL(chmod, ALL),
    CALL(dup2, ALL),
    CALL(poll, ALL),
    CALL(time, ALL),
    CALL(epoll_wait, SPEAKERS),
    CALL(pipe, SANITIZED),
    CALL(getdents, SANITIZED),
    CALL(arch_prctl, SANITIZED),
#endif
    /* A sanitizer's leak check at the end stops all threads by a process of its own. */
    CALL(clone, SANITIZED),
    CALL(ptrace, SANITIZED),
    CALL(prctl, SANITIZED),
    CALL(kill, SANITIZED),
    CALL(tkill, SANITIZED),
    CALL(prlimit64, SANITIZED),
    CALL(mmap, SANITIZED),
    CALL(mprotect, SANITIZED),
    CALL(mincore, SANITIZED),
    CALL(process_vm_readv, SANITIZED),
};

/* --- the program --- */

struct program {
    struct sock_filter insns[INSNS_MAX];
    unsigned short len;
};

static void add(struct program *p, uint16_t code, uint8_t yes, uint8_t no, uint32_t k)
{
    ASSERT(p->len < INSNS_MAX);
    p->insns[p->len++] = (struct sock_filter){code, yes, no, k};
}

static void add_load(struct program *p, size_t offset)
{
    add(p, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

/* The low half of an argument: what the calls below look at is an int, or bits of its low half. */
static void add_load_argument(struct program *p, unsigned index)
{
    add_load(p, offsetof(struct seccomp_data, args) + 8 * index);
}

static void add_end(struct program *p, uint32_t verdict)
{
    add(p, BPF_RET | BPF_K, 0, 0, verdict);
}

static const uint32_t allowed = SECCOMP_RET_ALLOW;
static const uint32_t refused = SECCOMP_RET_ERRNO | EPERM;
static const uint32_t not_there = SECCOMP_RET_ERRNO | ENOSYS;

/* If it is this call, what follows until the patched end decides about it. */
static unsigned add_case(struct program *p, uint32_t number)
{
    add(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, number);
    return p->len - 1u;
}

static void end_case(struct program *p, unsigned at)
{
    p->insns[at].jf = (uint8_t)(p->len - at - 1);
}

static void add_plain(struct program *p, uint32_t number, uint32_t verdict)
{
    unsigned at = add_case(p, number);
    add_end(p, verdict);
    end_case(p, at);
}

/* Allowed when the argument, behind a mask, is one of these. */
static void add_one_of(struct program *p, unsigned index, uint32_t mask, const uint32_t *values,
                       size_t count)
{
    add_load_argument(p, index);
    add(p, BPF_ALU | BPF_AND | BPF_K, 0, 0, mask);
    for (size_t i = 0; i < count; i++) {
        add(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, values[i]);
        add_end(p, allowed);
    }
    add_end(p, refused);
}

static void add_case_one_of(struct program *p, uint32_t number, unsigned index, uint32_t mask,
                            const uint32_t *values, size_t count)
{
    unsigned at = add_case(p, number);
    add_one_of(p, index, mask, values, count);
    end_case(p, at);
}

/* TCP and UDP over IP, and unix: no netlink (routes, rules), no raw packets. */
static void add_socket(struct program *p)
{
    static const uint32_t families[] = {AF_INET, AF_INET6, AF_UNIX};
    static const uint32_t types[] = {SOCK_STREAM, SOCK_DGRAM};
    enum { TYPE_MASK = 0xff };
    unsigned at = add_case(p, SYS_socket);
    add_load_argument(p, 1);
    add(p, BPF_ALU | BPF_AND | BPF_K, 0, 0, TYPE_MASK);
    add(p, BPF_JMP | BPF_JEQ | BPF_K, 2, 0, types[0]);
    add(p, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, types[1]);
    add_end(p, refused);
    add_one_of(p, 0, UINT32_MAX, families, ARRAY_LEN(families));
    end_case(p, at);
}

/* Memory is written or executed, never what was written before. */
static void add_memory(struct program *p)
{
    static const uint32_t none[] = {0};
    add_case_one_of(p, SYS_mmap, 2, PROT_EXEC, none, 1);
    add_case_one_of(p, SYS_mprotect, 2, PROT_EXEC, none, 1);
}

static void add_threads(struct program *p, unsigned role)
{
    static const uint32_t thread[] = {CLONE_THREAD};
    if ((role & (PROXY | CONTROL)) != 0)
        add_case_one_of(p, SYS_clone, 0, CLONE_THREAD, thread, 1);
    /* Its flags lie in memory, which a filter cannot see: the library takes clone instead. */
    add_plain(p, SYS_clone3, not_there);
}

static void add_rest(struct program *p)
{
    enum { SET_VMA = 0x53564d41 };
    static const uint32_t settings[] = {PR_SET_NAME, PR_GET_NAME, SET_VMA, PR_SET_NO_NEW_PRIVS};
    static const uint32_t controls[] = {0x5401 /* TCGETS */, 0x541b /* FIONREAD */,
                                        0x5411 /* TIOCOUTQ */};
    static const uint32_t self[] = {0};
    const uint32_t own[] = {(uint32_t)getpid()};
    add_case_one_of(p, SYS_prctl, 0, UINT32_MAX, settings, ARRAY_LEN(settings));
    add_case_one_of(p, SYS_ioctl, 1, UINT32_MAX, controls, ARRAY_LEN(controls));
    add_case_one_of(p, SYS_tgkill, 0, UINT32_MAX, own, 1);
    add_case_one_of(p, SYS_prlimit64, 0, UINT32_MAX, self, 1);
}

static void build(struct program *p, unsigned role)
{
    add_load(p, offsetof(struct seccomp_data, arch));
    add(p, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, CALL_ARCH);
    add_end(p, SECCOMP_RET_KILL_PROCESS);
    add_load(p, offsetof(struct seccomp_data, nr));
    add(p, BPF_JMP | BPF_JGE | BPF_K, 0, 1, X32_BIT);
    add_end(p, refused);
    add(p, BPF_JMP | BPF_JGT | BPF_K, 0, 1, CALL_NUMBER_MAX);
    add_end(p, not_there);
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        if ((calls[i].roles & role) != 0)
            add_plain(p, calls[i].number, allowed);
    }
    if ((role & PROXIES) != 0)
        add_socket(p);
    add_memory(p);
    add_threads(p, role);
    add_rest(p);
    add_end(p, refused);
}

int confine_calls(enum confine_role role)
{
    struct program p = {.len = 0};
    unsigned flags = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG;
    build(&p, 1u << role);
    struct sock_fprog program = {p.len, p.insns};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return err_from_errno(errno);
    long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    if (result == 0)
        return 0;
    return result < 0 && (errno == ENOSYS || errno == EINVAL) ? -ERR_UNSUPPORTED : -ERR_SYSTEM;
}

#else

int confine_calls(enum confine_role role)
{
    (void)role;
    return -ERR_UNSUPPORTED;
}

#endif

const struct confine_path confine_sanitizer_paths[] = {
    {CONFINE_IS_SANITIZED ? "/proc" : NULL, CONFINE_READ},
    {CONFINE_IS_SANITIZED ? "/proc/self/exe" : NULL, CONFINE_READ},
};
const size_t confine_sanitizer_path_count = ARRAY_LEN(confine_sanitizer_paths);
