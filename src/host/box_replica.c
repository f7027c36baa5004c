/* One replica, as its supervisor sees it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "host/box_priv.h"
#include "host/netns.h"
#include "host/userns.h"

enum { TOKEN_RETRY_MS = 300 };

static char *arena_c(struct box *b, const char *text)
{
    return (char *)(uintptr_t)arena_str(&b->arena, str_from_c(text)).ptr;
}

static const char *in_dir(struct box *b, const char *dir, const char *leaf)
{
    return arena_printf(&b->arena, "%s/%s", dir, leaf).ptr;
}

void box_replica_init(struct box *b, struct box_replica *r, struct state_replica *state,
                      const struct box_workload *workload)
{
    char path[PATH_LEN_MAX], gateway[STATE_ADDRESS_LEN_MAX];
    *r = (struct box_replica){.state = state, .control = -1};
    state_address_v4(state->address, r->address_v4);
    state_address_v6(state->address, r->address_v6);
    r->args = (struct replica_args){
        .workload = workload,
        .trust_domain = b->spec->trust_domain,
        .discovery = BOX_TULLED_ADDRESS ":" BOX_PORT_XDS,
        .egress_path = arena_c(b, paths_in_mesh(b->spec->name, "egress.sock", path)),
        .index = state->index,
    };
    r->args.sandbox = (struct sandbox){
        .mesh = b->spec->name,
        .slug = arena_str(&b->arena, state->slug).ptr,
        .hostname = arena_printf(&b->arena, "%s-%u", workload->name, state->index).ptr,
        .namespace = workload->namespace,
        .address_v4 = r->address_v4,
        .address_v6 = b->state.has_ipv6 ? r->address_v6 : NULL,
        .gateway_v4 = arena_c(b, state_address_v4(STATE_ADDRESS_GATEWAY, gateway)),
        .gateway_v6 = arena_c(b, state_address_v6(STATE_ADDRESS_GATEWAY, gateway)),
        .proxy_program = b->programs->proxy,
        .envoy_program = workload->is_envoy ? b->programs->envoy : NULL,
        .capture = &workload->capture,
    };
    r->args.sandbox.bypass_file =
        arena_c(b, paths_bypass(b->spec->name, r->args.sandbox.slug, path));
    r->args.state_dir = arena_c(b, paths_replica_dir(b->spec->name, r->args.sandbox.slug, path));
    r->args.root_cert = in_dir(b, r->args.state_dir, "root-cert.pem");
    r->args.token_file = in_dir(b, r->args.state_dir, "token");
    r->restart.at_ms = 1; /* at once */
}

static void set_phase(struct box *b, struct box_replica *r, enum state_phase phase)
{
    r->state->phase = phase;
    b->is_state_changed = true;
}

static void set_message(struct box *b, struct box_replica *r, const char *what, const char *text)
{
    char *clean = r->state->message;
    snprintf(clean, sizeof r->state->message, "%s%s%s", what, text[0] != '\0' ? ": " : "", text);
    for (char *p = clean; *p != '\0'; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
    b->is_state_changed = true;
    box_tell(b, "note %s/%s/%u: %s", r->args.workload->namespace, r->args.workload->name,
             r->args.index, clean);
}

static int open_logs(struct box *b, struct box_replica *r, struct logfile *app_log,
                     struct logfile *proxy_log)
{
    char path[PATH_LEN_MAX];
    int err = logfile_open(app_log, paths_log(b->spec->name, r->args.sandbox.slug, false, path));
    if (err != 0)
        return err;
    err = logfile_open(proxy_log, paths_log(b->spec->name, r->args.sandbox.slug, true, path));
    if (err != 0)
        logfile_close(app_log);
    return err;
}

static int make_state_dir(const struct box_replica *r)
{
    unsigned uid = userns_uid_or_own(SANDBOX_PROXY_UID);
    int err = paths_make_dir(r->args.state_dir, 0700);
    if (err == 0 && chown(r->args.state_dir, uid, uid) != 0)
        err = err_from_errno(errno);
    return err;
}

/* The bridge's end of its link carries the address' number. */
static int connect_link(struct box *b, struct box_replica *r)
{
    char name[16];
    snprintf(name, sizeof name, "v%u", r->state->address);
    /* Of a predecessor whose namespace has not been torn down yet. */
    int old = netlink_link_index(&b->netlink, name);
    if (old > 0)
        netlink_delete_link(&b->netlink, old);
    int netns = netns_of(r->pid);
    if (netns < 0)
        return netns;
    struct netlink_veth veth = {name, b->bridge, SANDBOX_LINK, netns,
                                netlink_mac_of(r->state->address)};
    int err = netlink_add_veth(&b->netlink, &veth);
    close(netns);
    int index = err == 0 ? netlink_link_index(&b->netlink, name) : err;
    if (index < 0)
        return index;
    err = netlink_set_up(&b->netlink, index);
    return err == 0 ? replica_send(r->control, "net") : err;
}

static int start_init(struct box *b, struct box_replica *r)
{
    struct logfile app_log, proxy_log;
    int err = make_state_dir(r);
    if (err == 0)
        err = open_logs(b, r, &app_log, &proxy_log);
    if (err != 0)
        return err;
    int pid = replica_start(&r->args, &app_log, &proxy_log, &r->control);
    logfile_close(&app_log);
    logfile_close(&proxy_log);
    if (pid < 0)
        return pid;
    r->pid = pid;
    r->state->init = proc_of(pid);
    set_phase(b, r, STATE_SETUP);
    err = connect_link(b, r);
    if (err != 0)
        kill(pid, SIGKILL); /* its end is handled as any other */
    return err;
}

static void start(struct box *b, struct box_replica *r, uint64_t now_ms)
{
    r->restart.at_ms = 0;
    r->restart.started_ms = now_ms;
    int err = start_init(b, r);
    if (err == 0)
        return;
    set_message(b, r, "cannot be set up", err_text(err));
    set_phase(b, r, STATE_FAILED);
    if (r->pid == 0)
        box_restart_plan(&r->restart, now_ms);
}

static void let_sidecar_start(struct box_replica *r)
{
    r->is_sidecar_wanted = false;
    if (r->control >= 0)
        replica_send(r->control, "start");
}

/* A sidecar that had an identity once starts by it when there is no control plane. */
static void serve_wanted(struct box *b, struct box_replica *r, uint64_t now_ms)
{
    if ((!r->is_sidecar_wanted && !r->is_token_wanted) || r->token_job != 0 || !b->is_go ||
        b->is_stopping)
        return;
    if (!b->state.is_tulled_ready) {
        if (r->is_sidecar_wanted && r->was_sidecar_ready)
            let_sidecar_start(r);
        return;
    }
    if (now_ms < r->token_at_ms)
        return;
    r->token_at_ms = now_ms + TOKEN_RETRY_MS;
    pid_t job = box_tulled_token_job(b, r);
    r->is_token_wanted = false;
    r->token_job = job > 0 ? job : 0;
}

void box_replica_do_due(struct box *b, struct box_replica *r, uint64_t now_ms)
{
    if (b->is_stopping)
        return;
    if (r->pid == 0 && r->restart.at_ms != 0 && now_ms >= r->restart.at_ms)
        start(b, r, now_ms);
    serve_wanted(b, r, now_ms);
}

static struct proc inner_proc(const struct box_replica *r, const char *text)
{
    uint64_t inner;
    if (!str_to_u64(str_from_c(text), INT32_MAX, &inner))
        return (struct proc){0};
    return proc_of(proc_find_inner(r->pid, (pid_t)inner));
}

static void on_sidecar_started(struct box *b, struct box_replica *r, const char *text)
{
    r->state->sidecar = inner_proc(r, text);
    set_phase(b, r, STATE_SIDECAR);
}

static void on_sidecar_ready(struct box *b, struct box_replica *r, const char *text)
{
    r->was_sidecar_ready = true;
    r->state->message[0] = '\0';
    set_phase(b, r, STATE_APP);
}

static void on_sidecar_ended(struct box *b, struct box_replica *r, const char *text)
{
    r->state->sidecar = (struct proc){0};
    r->state->sidecar_restarts++;
    set_phase(b, r, STATE_UNREADY);
    set_message(b, r, "sidecar ended", text);
}

static void on_app_started(struct box *b, struct box_replica *r, const char *text)
{
    r->state->app = inner_proc(r, text);
    b->is_state_changed = true;
}

static void on_app_ended(struct box *b, struct box_replica *r, const char *text)
{
    r->state->app = (struct proc){0};
    r->state->app_restarts++;
    set_phase(b, r, STATE_UNREADY);
    set_message(b, r, "app ended", text);
}

static void on_ready(struct box *b, struct box_replica *r, const char *text)
{
    r->state->message[0] = '\0';
    set_phase(b, r, STATE_READY);
}

static void on_unready(struct box *b, struct box_replica *r, const char *text)
{
    set_phase(b, r, STATE_UNREADY);
}

static void on_want_sidecar(struct box *b, struct box_replica *r, const char *text)
{
    r->is_sidecar_wanted = true;
}

static void on_want_token(struct box *b, struct box_replica *r, const char *text)
{
    r->is_token_wanted = true;
}

static void on_failed(struct box *b, struct box_replica *r, const char *text)
{
    set_phase(b, r, STATE_FAILED);
    set_message(b, r, "cannot be set up", text);
}

static void on_setup(struct box *b, struct box_replica *r, const char *text)
{
    b->is_state_changed = true;
}

static const struct {
    const char *word;
    void (*handle)(struct box *b, struct box_replica *r, const char *text);
} handlers[] = {
    {"setup", on_setup},
    {"failed", on_failed},
    {"want-sidecar", on_want_sidecar},
    {"want-token", on_want_token},
    {"sidecar", on_sidecar_started},
    {"sidecar-ready", on_sidecar_ready},
    {"sidecar-ended", on_sidecar_ended},
    {"app", on_app_started},
    {"app-ended", on_app_ended},
    {"ready", on_ready},
    {"unready", on_unready},
};

static void on_message(struct box *b, struct box_replica *r, char *message)
{
    char *text = strchr(message, ' ');
    if (text != NULL)
        *text++ = '\0';
    for (size_t i = 0; i < ARRAY_LEN(handlers); i++)
        if (strcmp(handlers[i].word, message) == 0)
            handlers[i].handle(b, r, text != NULL ? text : "");
}

void box_replica_on_control(struct box *b, struct box_replica *r, uint64_t now_ms)
{
    char message[REPLICA_MESSAGE_MAX];
    for (;;) {
        int n = replica_receive(r->control, message);
        if (n == -ERR_AGAIN)
            break;
        if (n <= 0) { /* init ends; its exit status says the rest */
            close(r->control);
            r->control = -1;
            return;
        }
        on_message(b, r, message);
    }
    serve_wanted(b, r, now_ms);
}

static void on_init_end(struct box *b, struct box_replica *r, int status, uint64_t now_ms)
{
    char how[32];
    if (r->control >= 0)
        box_replica_on_control(b, r, now_ms); /* last words */
    if (r->control >= 0)
        close(r->control);
    r->control = -1;
    r->pid = 0;
    r->is_sidecar_wanted = r->is_token_wanted = false;
    /* It took along what ran. */
    r->state->sidecar_restarts += r->state->sidecar.pid > 0;
    r->state->app_restarts += r->state->app.pid > 0;
    r->state->init = r->state->sidecar = r->state->app = (struct proc){0};
    b->is_state_changed = true;
    if (b->is_stopping)
        return;
    box_tulled_gone_job(b, r);
    box_restart_plan(&r->restart, now_ms);
    if (r->state->phase == STATE_FAILED)
        return;
    set_phase(b, r, STATE_UNREADY);
    snprintf(how, sizeof how, "%s %d", WIFSIGNALED(status) ? "signal" : "exit code",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    set_message(b, r, "its init ended", how);
}

bool box_replica_on_end(struct box *b, struct box_replica *r, pid_t pid, int status,
                        uint64_t now_ms)
{
    if (pid == r->token_job) {
        r->token_job = 0;
        bool is_done = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        if (r->is_sidecar_wanted && (is_done || r->was_sidecar_ready))
            let_sidecar_start(r);
        return true;
    }
    if (pid != r->pid)
        return false;
    on_init_end(b, r, status, now_ms);
    return true;
}
