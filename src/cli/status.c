/* tulle status: what runs (from the supervisor) and how far its configuration got (from tulled). */
#include "base/err.h"
#include "cli/mesh.h"
#include "cli/opt.h"
#include "cli/rest.h"
#include "cli/table.h"
#include "codec/json_writer.h"

enum { CALL_TIMEOUT_MS = 5000, OUTPUT_MAX = 64 * 1024 * 1024 };

struct view {
    struct cli *cli;
    const struct state *state;
    const struct json *control; /* tulled's answer; NULL: it does not answer */
};

/* What tulled says of a replica's sidecar, from "proxies": [{"namespace", "workload", "replica",
 * "synced", ...}]. */
static const struct json *find_proxy(const struct view *v, const struct state_replica *r)
{
    const struct json *proxies = json_get(v->control, "proxies");
    for (size_t i = 0; i < json_count(proxies); i++) {
        const struct json *p = json_at(proxies, i);
        uint64_t index;
        if (str_eq(json_str_or(json_get(p, "workload"), STR_NULL), r->workload) &&
            str_eq(json_str_or(json_get(p, "namespace"), STR_NULL), r->namespace) &&
            json_u64(json_get(p, "replica"), &index) && index == r->index)
            return p;
    }
    return NULL;
}

static bool is_synced(const struct json *proxy)
{
    bool synced = false;
    return json_bool(json_get(proxy, "synced"), &synced) && synced;
}

static void write_proc(struct json_writer *w, const char *key, struct proc p)
{
    if (proc_is_alive(p))
        json_writer_i64(w, key, p.pid);
    else
        json_writer_null(w, key);
}

static bool has_ended(struct proc p)
{
    return p.pid > 0 && !proc_is_alive(p);
}

/* The supervisor writes a moment after a process ends; nothing is ready that is not alive. */
static enum state_phase phase_now(const struct state_replica *r)
{
    bool is_broken = has_ended(r->init) || has_ended(r->sidecar) || has_ended(r->app);
    return r->phase == STATE_READY && is_broken ? STATE_UNREADY : r->phase;
}

/* The sidecar's process. */
static void write_sidecar(struct json_writer *w, const struct state_replica *r)
{
    struct proc_memory m;
    json_writer_object(w, "proxy");
    write_proc(w, "pid", r->sidecar);
    json_writer_u64(w, "restarts", r->sidecar_restarts);
    if (proc_is_alive(r->sidecar) && proc_memory_read(r->sidecar.pid, &m)) {
        json_writer_u64(w, "rssBytes", m.rss_kib * 1024);
        json_writer_u64(w, "privateDirtyBytes", m.private_dirty_kib * 1024);
    }
    json_writer_end(w);
}

/* What tulled knows beyond what was written already. */
static void write_known(struct json_writer *w, const struct json *proxy)
{
    static const char *const keys[] = {"state", "connected", "identity", "certNotAfter", "nacks"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (json_get(proxy, keys[i]) != NULL)
            json_writer_tree(w, keys[i], json_get(proxy, keys[i]));
}

static void write_replica(struct json_writer *w, const struct view *v,
                          const struct state_replica *r)
{
    char address[STATE_ADDRESS_LEN_MAX];
    const struct json *proxy = find_proxy(v, r);
    json_writer_object(w, NULL);
    json_writer_str(w, "namespace", r->namespace);
    json_writer_str(w, "name", r->workload);
    json_writer_u64(w, "replica", r->index);
    json_writer_c(w, "phase", state_phase_name(phase_now(r)));
    json_writer_bool(w, "ready", phase_now(r) == STATE_READY);
    json_writer_bool(w, "synced", is_synced(proxy));
    json_writer_c(w, "address", state_address_v4(r->address, address));
    json_writer_array(w, "addresses");
    json_writer_c(w, NULL, address);
    if (v->state->has_ipv6)
        json_writer_c(w, NULL, state_address_v6(r->address, address));
    json_writer_end(w);
    write_proc(w, "pid", r->init);
    write_proc(w, "appPid", r->app);
    json_writer_u64(w, "appRestarts", r->app_restarts);
    write_sidecar(w, r);
    json_writer_c(w, "message", r->message);
    write_known(w, proxy);
    json_writer_end(w);
}

static void write_control(struct json_writer *w, const struct view *v)
{
    json_writer_object(w, "controlPlane");
    write_proc(w, "pid", v->state->tulled);
    json_writer_bool(w, "ready", v->control != NULL);
    json_writer_u64(w, "restarts", v->state->tulled_restarts);
    for (size_t i = 0; v->control != NULL && i < json_count(v->control); i++) {
        json_writer_key(w, v->control->keys[i]);
        json_writer_tree(w, NULL, json_at(v->control, i));
    }
    json_writer_end(w);
}

static void print_json(const struct view *v)
{
    struct str_buf out = STR_BUF_INIT(OUTPUT_MAX);
    struct json_writer w;
    json_writer_init(&w, &out, 2);
    json_writer_object(&w, NULL);
    json_writer_str(&w, "mesh", v->state->name);
    json_writer_str(&w, "dir", v->state->dir);
    json_writer_str(&w, "trustDomain", v->state->trust_domain);
    write_proc(&w, "pid", v->state->supervisor);
    json_writer_array(&w, "workloads");
    for (size_t i = 0; i < v->state->replicas.len; i++)
        if (v->state->replicas.ptr[i].is_wanted)
            write_replica(&w, v, &v->state->replicas.ptr[i]);
    json_writer_end(&w);
    write_control(&w, v);
    json_writer_end(&w);
    fprintf(v->cli->out, "%.*s\n", STR_FMT(str_buf_str(&out)));
    str_buf_deinit(&out);
}

static void add_row(struct table *t, const struct view *v, const struct state_replica *r)
{
    char address[STATE_ADDRESS_LEN_MAX];
    struct proc_memory m;
    const struct json *proxy = find_proxy(v, r);
    table_cell(t, "%.*s", STR_FMT(r->namespace));
    table_cell(t, "%.*s/%u", STR_FMT(r->workload), r->index);
    table_cell(t, "%s", state_phase_name(phase_now(r)));
    table_cell(t, "%s",
               v->control == NULL ? "?"
               : proxy == NULL    ? "away"
               : is_synced(proxy) ? "yes"
                                  : "no");
    table_cell(t, "%s", state_address_v4(r->address, address));
    table_cell(t, "%u/%u", r->sidecar_restarts, r->app_restarts);
    if (proc_is_alive(r->sidecar) && proc_memory_read(r->sidecar.pid, &m))
        table_cell(t, "%.1f/%.1f", (double)m.rss_kib / 1024, (double)m.private_dirty_kib / 1024);
    else
        table_cell(t, "-");
    table_cell(t, "%s", r->message);
}

static void print_warnings(const struct view *v)
{
    const struct json *warnings = json_get(v->control, "warnings");
    for (size_t i = 0; i < json_count(warnings); i++)
        fprintf(v->cli->out, "warning: %.*s\n",
                STR_FMT(json_str_or(json_at(warnings, i), STR_NULL)));
}

static void print_nacks(const struct view *v)
{
    const struct json *proxies = json_get(v->control, "proxies");
    for (size_t i = 0; i < json_count(proxies); i++) {
        const struct json *nacks = json_get(json_at(proxies, i), "nacks");
        for (size_t j = 0; j < json_count(nacks); j++) {
            const struct json *n = json_at(nacks, j);
            fprintf(v->cli->out, "refused by %.*s: %.*s %.*s: %.*s\n",
                    STR_FMT(json_str_or(json_get(json_at(proxies, i), "proxy"), STR("?"))),
                    STR_FMT(json_str_or(json_get(n, "type"), STR_NULL)),
                    STR_FMT(json_str_or(json_get(n, "name"), STR_NULL)),
                    STR_FMT(json_str_or(json_get(n, "reason"), STR_NULL)));
        }
    }
}

static void print_text(const struct view *v)
{
    static const char *const head[] = {"NAMESPACE",    "REPLICA",      "STATE",
                                       "SYNCED",       "ADDRESS",      "RESTARTS",
                                       "RSS/DIRTY MB", "LAST TROUBLE", NULL};
    uint64_t revision = 0;
    struct table t;
    table_init(&t, head);
    for (size_t i = 0; i < v->state->replicas.len; i++)
        if (v->state->replicas.ptr[i].is_wanted)
            add_row(&t, v, &v->state->replicas.ptr[i]);
    fprintf(v->cli->out, "mesh %.*s, trust domain %.*s, from %.*s\n", STR_FMT(v->state->name),
            STR_FMT(v->state->trust_domain), STR_FMT(v->state->dir));
    table_print(&t, v->cli->out);
    table_deinit(&t);
    if (v->control == NULL) {
        fprintf(v->cli->out, "control plane: does not answer (%u restarts)\n",
                v->state->tulled_restarts);
        return;
    }
    json_u64_or_str(json_get(v->control, "revision"), &revision);
    fprintf(v->cli->out, "control plane: pid %d, revision %llu, %u restarts\n",
            (int)v->state->tulled.pid, (unsigned long long)revision, v->state->tulled_restarts);
    print_nacks(v);
    print_warnings(v);
}

/* Without a control plane there is still something to tell. */
static const struct json *ask_control(const char *mesh, struct arena *a)
{
    char socket[PATH_LEN_MAX];
    struct http_answer answer;
    const struct json *root = NULL;
    struct http_call call = {.unix_path = paths_in_mesh(mesh, "api.sock", socket),
                             .path = "/tulle/v1/status",
                             .timeout_ms = CALL_TIMEOUT_MS};
    if (http_call(&call, &answer) != 0 || answer.status != 200 ||
        json_parse(a, str_buf_str(&answer.body), HTTP_CALL_BODY_MAX, &root, NULL) != 0)
        root = NULL;
    http_answer_deinit(&answer);
    return root;
}

int cli_status(struct cli *cli)
{
    const char *mesh_name = NULL, *output_text = NULL;
    const struct opt opts[] = {
        {"mesh", 0, OPT_VALUE, &mesh_name},
        {"output", 'o', OPT_VALUE, &output_text},
    };
    struct opt_result args;
    struct state state;
    struct arena a;
    enum cli_output output;
    int code;
    if (!opt_parse_verb(cli, opts, ARRAY_LEN(opts), &args, &code))
        return code;
    if (!opt_output(cli, output_text, false, &output))
        return CLI_USAGE;
    const char *mesh = mesh_choose(cli, args.count == 1 ? args.args[0] : mesh_name, &code);
    if (mesh == NULL)
        return code;
    arena_init(&a, 65536);
    code = mesh_load(cli, mesh, &state) ? CLI_OK : CLI_ERROR;
    if (code == CLI_OK) {
        struct view v = {cli, &state, ask_control(mesh, &a)};
        if (output == CLI_OUTPUT_JSON)
            print_json(&v);
        else
            print_text(&v);
    }
    arena_deinit(&a);
    state_deinit(&state);
    return code;
}
