/* The control plane's process in a box, and what the supervisor asks of it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "codec/json.h"
#include "host/box_priv.h"
#include "host/http_call.h"
#include "host/netns.h"
#include "host/userns.h"

enum {
    READY_POLL_MS = 10,
    READY_WAIT_MS = 60000,
    TOKEN_TIMEOUT_MS = 3000,
    CERT_BYTES_MAX = 256 * 1024,
};

_Noreturn static void exec_tulled(const struct box *b)
{
    char state[PATH_LEN_MAX], socket[PATH_LEN_MAX];
    const char *mesh = b->spec->name;
    dup2(b->tulled_log.fd, STDOUT_FILENO);
    dup2(b->tulled_log.fd, STDERR_FILENO);
    if (netns_enter(b->netns) != 0)
        _exit(126);
    close_range(3, ~0u, 0);
    execl(b->programs->tulled, "tulled", "--state", paths_in_mesh(mesh, "tulled", state),
          "--socket", paths_in_mesh(mesh, "api.sock", socket), "--xds",
          BOX_TULLED_ADDRESS ":" BOX_PORT_XDS, "--metrics", BOX_TULLED_ADDRESS ":" BOX_PORT_METRICS,
          "--log-format", "text", (char *)NULL);
    dprintf(STDERR_FILENO, "[tulle] cannot start %s: %s\n", b->programs->tulled,
            err_text(err_from_errno(errno)));
    _exit(127);
}

/* Exit code 0 once tulled answers. */
_Noreturn static void wait_until_ready(const char *mesh)
{
    char socket[PATH_LEN_MAX];
    paths_in_mesh(mesh, "api.sock", socket);
    uint64_t deadline = proc_now_ms() + READY_WAIT_MS;
    while (proc_now_ms() < deadline) {
        struct http_answer answer;
        struct http_call call = {.unix_path = socket, .path = "/readyz", .timeout_ms = 1000};
        int err = http_call(&call, &answer);
        http_answer_deinit(&answer);
        if (err == 0 && answer.status == 200)
            _exit(0);
        nanosleep(&(struct timespec){0, READY_POLL_MS * 1000000}, NULL);
    }
    _exit(1);
}

static void start_ready_job(struct box *b)
{
    pid_t pid = box_fork("tulle-wait");
    if (pid == 0)
        wait_until_ready(b->spec->name);
    b->tulled_job = pid > 0 ? pid : 0;
}

void box_tulled_start(struct box *b, uint64_t now_ms)
{
    pid_t pid = box_fork("tulled");
    if (pid == 0)
        exec_tulled(b);
    b->tulled_restart.at_ms = 0;
    b->tulled_restart.started_ms = now_ms;
    if (pid < 0) {
        box_restart_plan(&b->tulled_restart, now_ms);
        return;
    }
    b->tulled_pid = pid;
    b->state.tulled = proc_of(pid);
    b->is_state_changed = true;
    if (b->tulled_job == 0)
        start_ready_job(b);
}

void box_tulled_do_due(struct box *b, uint64_t now_ms)
{
    if (b->tulled_pid == 0 && b->tulled_restart.at_ms != 0 && now_ms >= b->tulled_restart.at_ms)
        box_tulled_start(b, now_ms);
}

static void on_ready(struct box *b, int status)
{
    b->tulled_job = 0;
    bool is_ready = b->tulled_pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!is_ready && b->tulled_pid > 0 && !b->is_stopping) {
        box_tell(b, "note the control plane does not answer (logs/tulled.log)");
        start_ready_job(b);
    }
    if (!is_ready)
        return;
    b->state.is_tulled_ready = true;
    b->is_state_changed = true;
    box_tell(b, "tulled-ready");
}

bool box_tulled_on_end(struct box *b, pid_t pid, int status, uint64_t now_ms)
{
    if (pid == b->tulled_job) {
        on_ready(b, status);
        return true;
    }
    if (pid != b->tulled_pid)
        return false;
    b->tulled_pid = 0;
    b->state.tulled = (struct proc){0};
    b->state.is_tulled_ready = false;
    b->is_state_changed = true;
    if (!b->is_stopping) {
        b->state.tulled_restarts++;
        box_restart_plan(&b->tulled_restart, now_ms);
        box_tell(b, "note tulled ended (%s %d); again in %u ms",
                 WIFSIGNALED(status) ? "signal" : "exit code",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
                 b->tulled_restart.backoff_ms);
        logfile_rotate(&b->tulled_log, LOGFILE_BYTES_MAX);
    }
    return true;
}

/* {"token": "..."} */
static int parse_token(struct str body, struct arena *a, struct str *ret_token)
{
    const struct json *root;
    int err = json_parse(a, body, HTTP_CALL_HEAD_MAX, &root, NULL);
    if (err != 0)
        return err;
    return json_str(json_get(root, "token"), ret_token) && ret_token->len > 0 ? 0 : -ERR_PROTOCOL;
}

static int fetch_token(const struct box *b, const struct box_replica *r)
{
    char socket[PATH_LEN_MAX], path[512], body[32];
    const struct box_workload *w = r->args.workload;
    snprintf(path, sizeof path, "/apis/tulle.dev/v1/namespaces/%s/workloads/%s/token", w->namespace,
             w->name);
    int body_len = snprintf(body, sizeof body, "{\"replica\":%u}", r->args.index);
    struct http_call call = {
        .unix_path = paths_in_mesh(b->spec->name, "api.sock", socket),
        .method = "POST",
        .path = path,
        .content_type = "application/json",
        .body = str_from(body, (size_t)body_len),
        .timeout_ms = TOKEN_TIMEOUT_MS,
    };
    struct http_answer answer;
    struct arena arena;
    struct str token;
    arena_init(&arena, 1024);
    int err = http_call(&call, &answer);
    if (err == 0 && answer.status / 100 != 2)
        err = -ERR_DENIED;
    if (err == 0)
        err = parse_token(str_buf_str(&answer.body), &arena, &token);
    if (err == 0)
        err = proc_write_file_for(r->args.token_file, token, 0400,
                                  userns_uid_or_own(SANDBOX_PROXY_UID));
    if (err != 0)
        fprintf(stderr, "no token for %s: %s (status %d)\n", r->args.sandbox.slug, err_text(err),
                answer.status);
    http_answer_deinit(&answer);
    arena_deinit(&arena);
    return err;
}

void box_tulled_gone_job(const struct box *b, const struct box_replica *r)
{
    char socket[PATH_LEN_MAX], path[512];
    const struct box_workload *w = r->args.workload;
    if (!b->state.is_tulled_ready || box_fork("tulle-gone") != 0)
        return;
    snprintf(path, sizeof path, "/tulle/v1/replicas/%s/%s/%u/gone", w->namespace, w->name,
             r->args.index);
    struct http_call call = {.unix_path = paths_in_mesh(b->spec->name, "api.sock", socket),
                             .method = "POST",
                             .path = path,
                             .timeout_ms = TOKEN_TIMEOUT_MS};
    struct http_answer answer;
    int err = http_call(&call, &answer);
    http_answer_deinit(&answer);
    _exit(err == 0 ? 0 : 1);
}

/* All roots: while one is being replaced either may be what the control plane shows. */
static int copy_root_cert(const struct box *b, const struct box_replica *r)
{
    char path[PATH_LEN_MAX];
    size_t len;
    char *pem = proc_read_file(paths_in_mesh(b->spec->name, "tulled/ca-bundle.pem", path),
                               CERT_BYTES_MAX, &len);
    if (pem == NULL)
        return -ERR_NOT_FOUND;
    int err = proc_write_file_for(r->args.root_cert, str_from(pem, len), 0444,
                                  userns_uid_or_own(SANDBOX_PROXY_UID));
    free(pem);
    return err;
}

pid_t box_tulled_token_job(const struct box *b, const struct box_replica *r)
{
    pid_t pid = box_fork("tulle-token");
    if (pid != 0)
        return pid;
    int err = copy_root_cert(b, r);
    if (err == 0)
        err = fetch_token(b, r);
    _exit(err == 0 ? 0 : 1);
}
