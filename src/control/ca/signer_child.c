/* The guard and the signer. The guard opens no file and reads no message; the signer reads
 * messages, and opens no file but the CA's. */
#include "control/ca/signer_child.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "confine/confine.h"
#include "control/ca/signer_wire.h"
#include "control/ca/vault.h"
#include "crypto/digest.h"

enum { FD = 3, PAUSE_MS = 100, WHY_LEN_MAX = 1024 };

/* --- the signer --- */

struct signer {
    struct vault vault;
    int err; /* of its start: what each request is answered with */
    struct str_buf why;
    char buffer[SIGNER_WIRE_MAX];
};

static uint64_t clock_s(void)
{
    return (uint64_t)time(NULL);
}

static bool reply(uint32_t number, int err, const struct ca_signer_reply *r, int flags)
{
    struct str_buf out = STR_BUF_INIT(SIGNER_WIRE_MAX);
    ssize_t n;
    signer_wire_put_reply(&out, number, err, r);
    do
        n = send(FD, out.ptr, out.len, MSG_NOSIGNAL | flags);
    while (n < 0 && errno == EINTR);
    secret_wipe(out.ptr, out.cap);
    str_buf_deinit(&out);
    return n >= 0;
}

/* What is no message comes from a program that is not ours any more: it is not answered. */
static bool serve(struct signer *s, struct str bytes)
{
    struct arena a;
    uint32_t number;
    struct ca_signer_request request;
    struct ca_signer_reply r = {0};
    if (signer_wire_get_request(bytes, &number, &request) != 0)
        return true;
    arena_init(&a, 4096);
    int err = s->err;
    if (err == 0)
        err = vault_call(&s->vault, &request, &a, &r);
    else
        r.why = str_buf_str(&s->why);
    bool is_sent = reply(number, err, &r, 0);
    if (request.verb == CA_SIGNER_EXPORT && r.text.len > 0)
        secret_wipe((char *)(uintptr_t)r.text.ptr, r.text.len); /* the arena's */
    arena_deinit(&a);
    return is_sent;
}

/* The passphrase is read; what is left is the CA's folder and the socket. Where the kernel has no
 * such means the log says so, once for the whole program: tulled's own are the same. */
static void confine(const struct ca_signer_options *o)
{
    const struct confine_path folder = {o->dir, CONFINE_FOLDER};
    (void)confine_files(CONFINE_SCOPE_STRICT, &folder, 1);
    (void)confine_calls(CONFINE_SIGNER);
}

_Noreturn static void run_signer(const struct ca_signer_options *o, struct vault_memory *memory)
{
    struct signer *s = NEW(struct signer);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "tulled-signer");
    s->why = STR_BUF_INIT(WHY_LEN_MAX);
    s->err = vault_init(&s->vault, o, memory, &s->why);
    s->vault.clock_s = clock_s;
    if (o->is_confined)
        confine(o);
    for (;;) {
        ssize_t n = recv(FD, s->buffer, sizeof s->buffer, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || !serve(s, str_from(s->buffer, (size_t)n)))
            break;
    }
    vault_deinit(&s->vault);
    _exit(0);
}

/* --- the guard --- */

static bool is_other_end_closed(int wait_ms)
{
    struct pollfd p = {.fd = FD, .events = POLLRDHUP};
    return poll(&p, 1, wait_ms) > 0;
}

static int wait_for(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

static void tell_death(int status)
{
    struct ca_signer_reply none = {0};
    char how[32];
    snprintf(how, sizeof how, "%s %d", WIFSIGNALED(status) ? "signal" : "code",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    log_event(LOG_ERROR, "ca_signer_died", LFC("by", how));
    (void)reply(SIGNER_CHILD_DIED, -ERR_UNAVAILABLE, &none, MSG_DONTWAIT);
}

/* For itself and the signer: no files but the three and the socket, no core with a key in it, and
 * the end comes by the socket alone. */
static void settle(int fd)
{
    static const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGQUIT};
    if (fd != FD) {
        dup2(fd, FD);
        close(fd);
    }
    close_range(FD + 1, ~0u, 0);
    for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
        signal(ignored[i], SIG_IGN);
    umask(077);
    prctl(PR_SET_DUMPABLE, 0);
    (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    prctl(PR_SET_NAME, "tulled-guard");
}

_Noreturn void signer_child_guard(int fd, const struct ca_signer_options *o)
{
    settle(fd);
    if (o->is_confined && confine_rights(0) != 0)
        _exit(1); /* seen as the end of the signer, by tulled's start */
    struct vault_memory *memory =
        mmap(NULL, sizeof *memory, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT(memory != MAP_FAILED);
    for (;;) {
        pid_t pid = fork();
        if (pid == 0)
            run_signer(o, memory);
        int status = pid > 0 ? wait_for(pid) : -1;
        if (pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
            _exit(0);
        if (pid > 0)
            tell_death(status);
        if (is_other_end_closed(PAUSE_MS))
            _exit(0);
    }
}
