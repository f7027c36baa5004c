/* The signer in a process of its own, as the one that asks sees it: a request is sent, its reply is
 * waited for. */
#include "control/ca/signer_process.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "control/ca/signer_child.h"
#include "control/ca/signer_wire.h"
#include "crypto/digest.h"

enum { REPLY_WAIT_MS = 10000, ATTEMPTS_MAX = 3, SEND_BUFFER_BYTES = 2 * SIGNER_WIRE_MAX };

struct process {
    int fd;
    pid_t pid;
    uint32_t number; /* of the last request; a reply names the one that it is for */
    char *buffer;    /* SIGNER_WIRE_MAX bytes */
};

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int receive(const struct process *p, int flags, struct str *ret_bytes)
{
    ssize_t n;
    do
        n = recv(p->fd, p->buffer, SIGNER_WIRE_MAX, flags);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n < 0 && errno == EAGAIN ? -ERR_AGAIN : -ERR_CLOSED;
    *ret_bytes = str_from(p->buffer, (size_t)n);
    return 0;
}

/* Replies that nobody waited for any longer, and notes that a signer had died meanwhile. */
static void forget_old(const struct process *p)
{
    struct str bytes;
    while (receive(p, MSG_DONTWAIT, &bytes) == 0)
        ;
}

static int send_request(struct process *p, const struct ca_signer_request *r)
{
    struct str_buf out = STR_BUF_INIT(SIGNER_WIRE_MAX);
    ssize_t n;
    signer_wire_put_request(&out, ++p->number, r);
    if (out.is_overflown) {
        str_buf_deinit(&out);
        return -ERR_TOO_LARGE;
    }
    do
        n = send(p->fd, out.ptr, out.len, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    int err = n >= 0 ? 0 : errno == EPIPE ? -ERR_CLOSED : err_from_errno(errno);
    str_buf_deinit(&out);
    return err;
}

/* -ERR_UNAVAILABLE: the signer died with the request; another one has taken its place. */
static int wait_reply(const struct process *p, int *ret_err, struct ca_signer_reply *ret_reply)
{
    uint64_t until_ms = now_ms() + REPLY_WAIT_MS;
    for (;;) {
        uint32_t number;
        struct str bytes;
        struct pollfd ready = {.fd = p->fd, .events = POLLIN};
        uint64_t at_ms = now_ms();
        if (at_ms >= until_ms)
            return -ERR_TIMEOUT;
        int n = poll(&ready, 1, (int)(until_ms - at_ms));
        if (n < 0 && errno != EINTR)
            return err_from_errno(errno);
        int err = n > 0 ? receive(p, MSG_DONTWAIT, &bytes) : -ERR_AGAIN;
        if (err == -ERR_AGAIN)
            continue;
        if (err == 0)
            err = signer_wire_get_reply(bytes, &number, ret_err, ret_reply);
        if (err != 0)
            return err;
        if (number == SIGNER_CHILD_DIED)
            return -ERR_UNAVAILABLE;
        if (number == p->number)
            return 0;
    }
}

/* Making a root twice would be refused, or would make another one. */
static bool is_repeatable(enum ca_signer_verb verb)
{
    return verb != CA_SIGNER_MAKE;
}

static int call(void *signer, const struct ca_signer_request *request, struct arena *a,
                struct ca_signer_reply *ret_reply)
{
    struct process *p = signer;
    struct ca_signer_reply reply = {0};
    int err = -ERR_UNAVAILABLE, said = 0;
    for (int i = 0; err == -ERR_UNAVAILABLE && i < ATTEMPTS_MAX; i++) {
        forget_old(p);
        err = send_request(p, request);
        if (err == 0)
            err = wait_reply(p, &said, &reply);
        if (!is_repeatable(request->verb))
            break;
    }
    *ret_reply = (struct ca_signer_reply){0};
    if (err != 0) {
        ret_reply->why = arena_printf(a, "the CA's signer: %s", err_text(err));
        return err;
    }
    *ret_reply = reply;
    ret_reply->text = arena_str(a, reply.text);
    ret_reply->why = arena_str(a, reply.why);
    if (request->verb == CA_SIGNER_EXPORT) /* may be a key in the clear */
        secret_wipe(p->buffer, SIGNER_WIRE_MAX);
    return said;
}

static void process_free(void *signer)
{
    struct process *p = signer;
    close(p->fd); /* it ends by itself */
    (void)waitpid(p->pid, NULL, 0);
    free(p->buffer);
    free(p);
}

static const struct ca_signer_ops process_ops = {
    .call = call,
    .free = process_free,
};

int ca_signer_process_start(const struct ca_signer_options *o, struct str_buf *why,
                            struct ca_signer *ret_signer, pid_t *ret_pid)
{
    int fds[2], size = SEND_BUFFER_BYTES;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0) {
        str_buf_add_c(why, "the CA's signer: no sockets");
        return err_from_errno(errno);
    }
    for (int i = 0; i < 2; i++)
        (void)setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        signer_child_guard(fds[1], o);
    }
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
        str_buf_add_c(why, "the CA's signer: no process");
        return -ERR_SYSTEM;
    }
    struct process *p = NEW(struct process);
    *p = (struct process){.fd = fds[0], .pid = pid, .buffer = mem_alloc(SIGNER_WIRE_MAX)};
    *ret_signer = (struct ca_signer){&process_ops, p};
    *ret_pid = pid;
    return 0;
}
