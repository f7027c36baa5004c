/* tulle up: reads a folder of documents and runs them as a mesh. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/apply.h"
#include "cli/opt.h"
#include "cli/up_spec.h"
#include "cli/up_view.h"
#include "control/api/check.h"
#include "host/box.h"
#include "host/http_call.h"
#include "host/preflight.h"
#include "host/replica.h"

enum { TIMEOUT_MS_DEFAULT = 60000, TABLE_MS = 1000, SYNC_MS_MAX = 5000, SYNC_POLL_MS = 20 };

struct up {
    struct cli *cli;
    const char *mesh;
    const struct api_document_list *list;
    struct up_view view;
    int channel, signals;
    bool is_detach, is_applied, is_up, is_failed, is_stopping;
    uint64_t deadline_ms, table_at_ms;
};

static int read_documents(struct cli *cli, const char *dir, struct api_document_list *list)
{
    struct api_findings findings;
    int code = apply_read(cli, &dir, 1, NULL, list);
    if (code != CLI_OK)
        return code;
    api_findings_init(&findings);
    api_check_documents(list, &findings);
    apply_print_findings(cli, &findings, false);
    if (findings.error_count > 0)
        code = cli_fail(cli, CLI_ERROR, "%zu errors; nothing was started", findings.error_count);
    api_findings_deinit(&findings);
    return code;
}

/* Beside this program. */
static const char *program_path(struct cli *cli, struct arena *a, const char *name)
{
    const char *slash = strrchr(cli->self, '/');
    return arena_printf(a, "%.*s/%s", slash != NULL ? (int)(slash - cli->self) : 1,
                        slash != NULL ? cli->self : ".", name)
        .ptr;
}

static void stop(struct up *u)
{
    u->is_stopping = true;
    replica_send(u->channel, "stop");
}

static void apply(struct up *u)
{
    struct arena a;
    const struct json *root;
    arena_init(&a, 16384);
    int err = apply_documents(u->cli, u->mesh, "prune=true&owner=up", u->list, &a, &root);
    arena_deinit(&a);
    if (err != 0) {
        u->is_failed = true;
        stop(u);
        return;
    }
    u->is_applied = true;
    up_view_note(&u->view, "documents applied");
    replica_send(u->channel, "go");
}

/* Whether tulled says of so many sidecars that they run the present configuration. */
static bool is_synced(const char *mesh, size_t wanted)
{
    char socket[PATH_LEN_MAX];
    struct http_answer answer;
    struct arena a;
    const struct json *root;
    size_t synced = 0;
    struct http_call call = {.unix_path = paths_in_mesh(mesh, "api.sock", socket),
                             .path = "/tulle/v1/status",
                             .timeout_ms = 1000};
    arena_init(&a, 16384);
    if (http_call(&call, &answer) == 0 && answer.status == 200 &&
        json_parse(&a, str_buf_str(&answer.body), HTTP_CALL_BODY_MAX, &root, NULL) == 0) {
        const struct json *proxies = json_get(root, "proxies");
        for (size_t i = 0; i < json_count(proxies); i++) {
            bool is_one = false;
            json_bool(json_get(json_at(proxies, i), "synced"), &is_one);
            synced += is_one;
        }
    }
    http_answer_deinit(&answer);
    arena_deinit(&a);
    return synced >= wanted;
}

/* Ready apps are told a moment before the last configuration is acknowledged. */
static void wait_synced(struct up *u)
{
    size_t wanted = 0;
    uint64_t deadline_ms = MIN(proc_now_ms() + SYNC_MS_MAX, u->deadline_ms);
    for (size_t i = 0; i < u->view.state.replicas.len; i++)
        wanted += u->view.state.replicas.ptr[i].is_wanted;
    while (!is_synced(u->mesh, wanted)) {
        if (proc_now_ms() >= deadline_ms) {
            up_view_trouble(&u->view, "not every sidecar runs the present configuration yet");
            return;
        }
        nanosleep(&(struct timespec){0, SYNC_POLL_MS * 1000000}, NULL);
    }
}

static void on_change(struct up *u)
{
    if (u->is_up || u->is_stopping || !up_view_update(&u->view) || !u->is_applied)
        return;
    u->is_up = true;
    wait_synced(u);
    up_view_done(&u->view);
    if (u->is_detach)
        replica_send(u->channel, "detach");
}

static void on_message(struct up *u, char *message)
{
    if (strcmp(message, "tulled-ready") == 0) {
        if (!u->is_applied && !u->is_stopping)
            apply(u);
    } else if (strcmp(message, "change") == 0) {
        on_change(u);
    } else if (strncmp(message, "note ", 5) == 0) {
        if (!u->is_stopping)
            up_view_trouble(&u->view, message + 5);
    } else if (strncmp(message, "fatal ", 6) == 0) {
        cli_fail(u->cli, CLI_ERROR, "%s", message + 6);
        u->is_failed = true;
    }
}

/* False: the supervisor has ended. */
static bool read_channel(struct up *u)
{
    char message[REPLICA_MESSAGE_MAX];
    for (;;) {
        int n = replica_receive(u->channel, message);
        if (n == -ERR_AGAIN)
            return true;
        if (n <= 0)
            return false;
        on_message(u, message);
    }
}

static void read_signals(struct up *u)
{
    struct signalfd_siginfo info;
    while (read(u->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (!u->is_stopping)
            up_view_note(&u->view, "ending");
        stop(u);
    }
}

static void on_timeout(struct up *u)
{
    u->is_failed = true;
    u->is_up = true; /* as far as it will be told */
    up_view_missing(&u->view);
    if (u->is_detach)
        replica_send(u->channel, "detach");
}

static int next_timeout(const struct up *u, uint64_t now_ms)
{
    uint64_t at = now_ms + 60000;
    if (!u->is_up)
        at = MIN(at, u->deadline_ms);
    else
        at = MIN(at, u->table_at_ms);
    return at > now_ms ? (int)(at - now_ms) : 0;
}

/* Until it is up (detached) or until it has ended. */
static int watch(struct up *u)
{
    for (;;) {
        if (u->is_up && u->is_detach && !u->is_stopping)
            return u->is_failed ? CLI_ERROR : CLI_OK;
        struct pollfd fds[] = {{u->channel, POLLIN, 0}, {u->signals, POLLIN, 0}};
        if (poll(fds, 2, next_timeout(u, proc_now_ms())) < 0 && errno != EINTR)
            return CLI_ERROR;
        uint64_t now_ms = proc_now_ms();
        if (fds[1].revents != 0)
            read_signals(u);
        if (fds[0].revents != 0 && !read_channel(u))
            break;
        if (!u->is_up && !u->is_stopping && now_ms >= u->deadline_ms)
            on_timeout(u);
        if (u->is_up && !u->is_stopping && now_ms >= u->table_at_ms) {
            up_view_table(&u->view);
            u->table_at_ms = now_ms + TABLE_MS;
        }
    }
    if (!u->is_stopping)
        return cli_fail(u->cli, CLI_ERROR, "the supervisor has ended (%s/%s/supervisor.log)",
                        paths_run_root(), u->mesh);
    up_view_note(&u->view, "all has ended");
    return u->is_failed ? CLI_ERROR : CLI_OK;
}

static int take_lock(struct cli *cli, const char *mesh)
{
    int lock = box_lock(mesh);
    if (lock == -ERR_EXISTS)
        cli_fail(
            cli, CLI_ERROR,
            "mesh %s runs already: 'tulle apply -f' changes it, 'tulle down --mesh %s' ends it",
            mesh, mesh);
    else if (lock < 0)
        cli_fail(cli, CLI_ERROR, "%s/%s: %s", paths_run_root(), mesh, err_text(lock));
    return lock;
}

static int run(struct up *u, const struct box_spec *spec, const struct box_programs *programs)
{
    pid_t pid;
    sigset_t set;
    int lock = take_lock(u->cli, u->mesh);
    if (lock < 0)
        return CLI_ERROR;
    box_end_leftovers(u->mesh);
    int err = box_start(spec, programs, lock, &u->channel, &pid);
    if (err != 0)
        return cli_fail(u->cli, CLI_ERROR, "the supervisor cannot be started: %s", err_text(err));
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    u->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    up_view_init(&u->view, u->cli, u->mesh);
    int code = watch(u);
    up_view_deinit(&u->view);
    close(u->signals);
    close(u->channel);
    return code;
}

static int check_machine(struct cli *cli, const struct box_programs *programs)
{
    struct str_buf missing = STR_BUF_INIT(8192);
    bool is_good = preflight_check(programs->proxy, programs->tulled, &missing);
    if (!is_good)
        cli_fail(cli, CLI_ERROR, "this machine lacks something:\n%.*s",
                 STR_FMT(str_trim(str_buf_str(&missing))));
    str_buf_deinit(&missing);
    return is_good ? CLI_OK : CLI_ERROR;
}

/* What a box of a plain user is not, said before somebody looks for it. */
static void say_rootless(struct cli *cli)
{
    struct rlimit files = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    fprintf(cli->err,
            "not root: this box lives in a user namespace of yours, with one uid, which is root "
            "inside\n"
            "  - a program that changes to another user (www-data, postgres) cannot\n"
            "  - sidecar and app have the same uid; marks and capabilities tell them apart\n"
            "  - calls to the outside are yours: the supervisor opens them, as you (TCP, and DNS)\n"
            "  - 'tulle forward' cannot take the host's ports below 1024\n"
            "  - each process has %llu open files at most, your limit\n",
            (unsigned long long)files.rlim_max);
}

/* A program of this name in PATH; NULL: none. */
static const char *in_path(struct arena *a, struct str name)
{
    struct str dirs = str_from_c(getenv("PATH"));
    while (dirs.len > 0) {
        struct str dir = str_split(&dirs, ':');
        const char *path = arena_printf(a, "%.*s/%.*s", STR_FMT(dir), STR_FMT(name)).ptr;
        if (dir.len > 0 && dir.ptr[0] == '/' && access(path, X_OK) == 0)
            return path;
    }
    return NULL;
}

/* For workloads whose sidecar it is to be. */
static int find_envoy(struct cli *cli, const struct box_spec *spec, struct arena *a,
                      struct box_programs *programs)
{
    const struct box_workload *wants = NULL;
    for (size_t i = 0; i < spec->workloads.len && wants == NULL; i++)
        wants = spec->workloads.ptr[i].is_envoy ? &spec->workloads.ptr[i] : NULL;
    if (wants == NULL)
        return CLI_OK;
    const char *named = getenv("TULLE_ENVOY");
    programs->envoy = named != NULL ? named : in_path(a, STR("envoy"));
    if (programs->envoy != NULL && programs->envoy[0] == '/' && access(programs->envoy, X_OK) == 0)
        return CLI_OK;
    return cli_fail(cli, CLI_ERROR,
                    "Workload/%s/%s wants Envoy (spec.proxy): no program \"envoy\" in PATH; "
                    "TULLE_ENVOY=/path/to/envoy names another",
                    wants->namespace, wants->name);
}

static int up_dir(struct cli *cli, const char *dir, const char *name, bool is_detach,
                  uint64_t timeout_ms, struct arena *a)
{
    struct api_document_list list;
    struct box_spec spec;
    struct box_programs programs = {program_path(cli, a, "tulled"),
                                    program_path(cli, a, "tulle-proxy")};
    api_document_list_init(&list);
    int code = read_documents(cli, dir, &list);
    up_spec_from_documents(&list, a, &spec);
    spec.dir = dir;
    spec.name = name != NULL ? name : up_spec_name(dir, a);
    if (code == CLI_OK && !box_name_is_valid(spec.name))
        code =
            cli_fail(cli, CLI_USAGE, "'%s' is no name for a mesh: at most %d of a-z, 0-9, - and _",
                     spec.name, BOX_NAME_LEN_MAX);
    if (code == CLI_OK)
        code = find_envoy(cli, &spec, a, &programs);
    if (code == CLI_OK)
        code = check_machine(cli, &programs);
    if (code == CLI_OK) {
        struct up u = {.cli = cli,
                       .mesh = spec.name,
                       .list = &list,
                       .is_detach = is_detach,
                       .deadline_ms = proc_now_ms() + timeout_ms};
        if (geteuid() != 0)
            say_rootless(cli);
        code = run(&u, &spec, &programs);
    }
    up_spec_deinit(&spec);
    api_document_list_deinit(&list);
    return code;
}

int cli_up(struct cli *cli)
{
    const char *name = NULL, *timeout_text = NULL;
    bool is_detach = false;
    const struct opt opts[] = {
        {"name", 'n', OPT_VALUE, &name},
        {"mesh", 0, OPT_VALUE, &name},
        {"detach", 'd', OPT_FLAG, &is_detach},
        {"timeout", 0, OPT_VALUE, &timeout_text},
    };
    struct opt_result args;
    uint64_t timeout_ms = TIMEOUT_MS_DEFAULT;
    char dir[PATH_MAX];
    int code;
    if (!opt_parse_verb(cli, opts, ARRAY_LEN(opts), &args, &code))
        return code;
    if (args.count != 1)
        return cli_fail(cli, CLI_USAGE, "say which folder holds the documents");
    if (timeout_text != NULL && !opt_duration_ms(timeout_text, &timeout_ms))
        return cli_fail(cli, CLI_USAGE, "--timeout %s is not a time (60s)", timeout_text);
    if (realpath(args.args[0], dir) == NULL)
        return cli_fail(cli, CLI_ERROR, "%s: %s", args.args[0], strerror(errno));
    struct arena a;
    arena_init(&a, 16384);
    code = up_dir(cli, dir, name, is_detach, timeout_ms, &a);
    arena_deinit(&a);
    return code;
}
