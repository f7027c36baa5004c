#include "host/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"

char *proc_read_file(const char *path, size_t len_max, size_t *ret_len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    struct str_buf b = STR_BUF_INIT(len_max);
    for (;;) {
        char part[4096];
        ssize_t n = read(fd, part, sizeof part);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            if (n < 0)
                b.is_overflown = true;
            break;
        }
        str_buf_add(&b, str_from(part, (size_t)n));
    }
    close(fd);
    if (b.is_overflown) {
        str_buf_deinit(&b);
        return NULL;
    }
    if (ret_len != NULL)
        *ret_len = b.len;
    return str_buf_take(&b);
}

int proc_write_file(const char *path, struct str text, unsigned mode)
{
    return proc_write_file_for(path, text, mode, geteuid());
}

int proc_write_file_for(const char *path, struct str text, unsigned mode, unsigned uid)
{
    char tmp[1024];
    if ((size_t)snprintf(tmp, sizeof tmp, "%s.tmp", path) >= sizeof tmp)
        return -ERR_TOO_LARGE;
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, (mode_t)mode);
    if (fd < 0)
        return err_from_errno(errno);
    int err = uid != geteuid() && fchown(fd, uid, uid) != 0 ? err_from_errno(errno) : 0;
    for (size_t done = 0; err == 0 && done < text.len;) {
        ssize_t n = write(fd, text.ptr + done, text.len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            err = err_from_errno(errno);
        else
            done += (size_t)n;
    }
    close(fd);
    if (err == 0 && rename(tmp, path) != 0)
        err = err_from_errno(errno);
    if (err != 0)
        unlink(tmp);
    return err;
}

int proc_send_fd(int socket, uint8_t data, int fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov = {&data, 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        m.msg_control = control.bytes;
        m.msg_controllen = sizeof control.bytes;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    return sendmsg(socket, &m, MSG_NOSIGNAL) == 1 ? 0 : -ERR_CLOSED;
}

/* The descriptor, or minus the byte that came without one. */
static int receive_fd(int socket)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    uint8_t data = 0;
    int fd = -1;
    struct iovec iov = {&data, 1};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof control.bytes};
    ssize_t n;
    while ((n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
        ;
    if (n != 1)
        return -ERR_CLOSED;
    const struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (c != NULL && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof fd))
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
    return fd >= 0 ? fd : -(int)data;
}

int proc_fd_from_child(proc_make_fd_fn *make, const void *arg)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return err_from_errno(errno);
    pid_t pid = fork();
    if (pid == 0) {
        int made = make(arg);
        _exit(proc_send_fd(pair[1], made < 0 ? (uint8_t)-made : 0, made) == 0 ? 0 : 1);
    }
    int fd = pid < 0 ? err_from_errno(errno) : 0;
    close(pair[1]);
    if (fd == 0)
        fd = receive_fd(pair[0]);
    close(pair[0]);
    /* Where the caller leaves its children to the kernel there is nothing to wait for. */
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return fd;
}

uint64_t proc_now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

bool proc_parse_start_time(struct str stat_text, uint64_t *ret_start_time)
{
    /* The command stands in parentheses and may hold both spaces and parentheses. */
    ptrdiff_t close_at = str_rfind(stat_text, ')');
    if (close_at < 0)
        return false;
    struct str rest = str_skip(stat_text, (size_t)close_at + 2);
    struct str field = STR_NULL;
    for (int i = 3; i <= 22; i++) {
        if (rest.ptr == NULL)
            return false;
        field = str_split(&rest, ' ');
    }
    return str_to_u64(field, UINT64_MAX, ret_start_time);
}

struct proc proc_of(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    size_t len;
    char *text = pid > 0 ? proc_read_file(path, 4096, &len) : NULL;
    if (text == NULL)
        return (struct proc){0};
    struct proc p = {pid, 0};
    if (!proc_parse_start_time(str_from(text, len), &p.start_time))
        p = (struct proc){0};
    free(text);
    return p;
}

bool proc_is_alive(struct proc p)
{
    return p.pid > 0 && proc_of(p.pid).start_time == p.start_time;
}

/* A pidfd of exactly this process, or -1. */
static int open_pidfd(struct proc p)
{
    if (p.pid <= 0)
        return -1;
    int fd = pidfd_open(p.pid, 0);
    if (fd >= 0 && !proc_is_alive(p)) {
        close(fd);
        return -1;
    }
    return fd;
}

void proc_signal(struct proc p, int signal)
{
    int fd = open_pidfd(p);
    if (fd < 0)
        return;
    pidfd_send_signal(fd, signal, NULL, 0);
    close(fd);
}

bool proc_wait_gone(struct proc p, int timeout_ms)
{
    int fd = open_pidfd(p);
    if (fd < 0)
        return true;
    struct pollfd pfd = {fd, POLLIN, 0};
    uint64_t deadline = proc_now_ms() + (uint64_t)timeout_ms;
    int n;
    for (;;) {
        uint64_t now = proc_now_ms();
        n = poll(&pfd, 1, now < deadline ? (int)(deadline - now) : 0);
        if (n >= 0 || errno != EINTR)
            break;
    }
    close(fd);
    return n > 0;
}

/* The last number of the "NSpid:" line of /proc/PID/status: its pid in its own namespace. */
static uint64_t inner_pid(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    size_t len;
    char *text = proc_read_file(path, 65536, &len);
    if (text == NULL)
        return 0;
    uint64_t inner = 0;
    struct str rest = str_from(text, len);
    while (rest.ptr != NULL) {
        struct str line = str_split(&rest, '\n');
        if (!str_starts_with(line, STR("NSpid:")))
            continue;
        ptrdiff_t tab = str_rfind(line, '\t');
        if (tab < 0 || !str_to_u64(str_skip(line, (size_t)tab + 1), INT32_MAX, &inner))
            inner = 0;
        break;
    }
    free(text);
    return inner;
}

pid_t proc_find_inner(pid_t parent, pid_t inner)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
    size_t len;
    char *text = proc_read_file(path, 65536, &len);
    if (text == NULL)
        return 0;
    pid_t found = 0;
    struct str rest = str_from(text, len);
    while (rest.ptr != NULL && found == 0) {
        uint64_t pid;
        struct str word = str_split(&rest, ' ');
        if (str_to_u64(word, INT32_MAX, &pid) && inner_pid((pid_t)pid) == (uint64_t)inner)
            found = (pid_t)pid;
    }
    free(text);
    return found;
}

/* "Rss:      1234 kB" */
static bool parse_kib(struct str line, struct str key, uint64_t *ret_kib)
{
    if (!str_starts_with(line, key) || !str_ends_with(line, STR(" kB")))
        return false;
    struct str number = str_trim(str_sub(line, key.len, line.len - key.len - 3));
    return str_to_u64(number, UINT64_MAX, ret_kib);
}

bool proc_memory_read(pid_t pid, struct proc_memory *ret_memory)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    size_t len;
    char *text = proc_read_file(path, 65536, &len);
    if (text == NULL)
        return false;
    struct proc_memory m = {0};
    bool is_found = false;
    struct str rest = str_from(text, len);
    while (rest.ptr != NULL) {
        struct str line = str_split(&rest, '\n');
        is_found |= parse_kib(line, STR("Rss:"), &m.rss_kib);
        parse_kib(line, STR("Private_Dirty:"), &m.private_dirty_kib);
    }
    free(text);
    if (is_found)
        *ret_memory = m;
    return is_found;
}
