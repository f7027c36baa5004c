/* tulle status [WORKLOAD[/REPLICA]]: what runs (from the supervisor) and how far its configuration
 * got, and why no further (from tulled). */
#include "cli/status.h"
#include "base/err.h"
#include "cli/mesh.h"
#include "cli/opt.h"
#include "cli/origin.h"
#include "cli/rest.h"
#include "codec/json_writer.h"

enum { CALL_TIMEOUT_MS = 5000, OUTPUT_MAX = 64 * 1024 * 1024 };

/* What tulled says of a replica's sidecar, from "proxies": [{"namespace", "workload", "replica",
 * "synced", ...}]. */
const struct json *status_proxy(const struct status_view *v, const struct state_replica *r)
{
    const struct json *proxies = json_get(v->control, "proxies");
    for (size_t i = 0; i < json_count(proxies); i++) {
        const struct json *p = json_at(proxies, i);
        uint64_t index;
        if (str_eq(json_text_at(p, "workload"), r->workload) &&
            str_eq(json_text_at(p, "namespace"), r->namespace) &&
            json_u64(json_get(p, "replica"), &index) && index == r->index)
            return p;
    }
    return NULL;
}

bool status_is_synced(const struct json *proxy)
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
enum state_phase status_phase(const struct state_replica *r)
{
    bool is_broken = has_ended(r->init) || has_ended(r->sidecar) || has_ended(r->app);
    return r->phase == STATE_READY && is_broken ? STATE_UNREADY : r->phase;
}

bool status_is_asked_for(const struct status_view *v, const struct state_replica *r)
{
    return r->is_wanted &&
           (v->namespace == NULL || str_eq(r->namespace, str_from_c(v->namespace))) &&
           (v->workload.len == 0 || str_eq(r->workload, v->workload)) &&
           (!v->has_index || r->index == v->index);
}

struct str status_why(const struct status_view *v, const struct state_replica *r)
{
    const struct json *proxy = status_proxy(v, r);
    if (proxy != NULL)
        return json_text_at(proxy, "why");
    if (v->control == NULL)
        return STR("the control plane does not answer");
    if (r->phase == STATE_WAITING || r->phase == STATE_SETUP)
        return STR("its sidecar is not started yet");
    if (!v->is_remote && !proc_is_alive(r->sidecar))
        return STR("its sidecar does not run");
    return arena_printf(v->a, "its sidecar has not connected (tulle logs -n %.*s %.*s/%u --proxy)",
                        STR_FMT(r->namespace), STR_FMT(r->workload), r->index);
}

struct str status_address(const struct status_view *v, const struct state_replica *r)
{
    char text[STATE_ADDRESS_LEN_MAX];
    const struct json *addresses = json_get(status_proxy(v, r), "addresses");
    if (v->is_remote)
        return json_str_or(json_at(addresses, 0), STR("-"));
    return arena_str(v->a, str_from_c(state_address_v4(r->address, text)));
}

static void write_addresses(struct json_writer *w, const struct status_view *v,
                            const struct state_replica *r)
{
    char address[STATE_ADDRESS_LEN_MAX];
    const struct json *known = json_get(status_proxy(v, r), "addresses");
    json_writer_str(w, "address", status_address(v, r));
    if (v->is_remote && known != NULL) {
        json_writer_tree(w, "addresses", known);
        return;
    }
    json_writer_array(w, "addresses");
    json_writer_c(w, NULL, state_address_v4(r->address, address));
    if (v->state->has_ipv6)
        json_writer_c(w, NULL, state_address_v6(r->address, address));
    json_writer_end(w);
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
    static const char *const keys[] = {
        "state",  "connected", "connectedSince", "identity", "certNotAfter", "version",
        "target", "since",     "pendingCount",   "pending",  "types",        "nacks",
    };
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (json_get(proxy, keys[i]) != NULL)
            json_writer_tree(w, keys[i], json_get(proxy, keys[i]));
}

static void write_replica(struct json_writer *w, const struct status_view *v,
                          const struct state_replica *r)
{
    const struct json *proxy = status_proxy(v, r);
    json_writer_object(w, NULL);
    json_writer_str(w, "namespace", r->namespace);
    json_writer_str(w, "name", r->workload);
    json_writer_u64(w, "replica", r->index);
    json_writer_c(w, "phase", state_phase_name(status_phase(r)));
    json_writer_bool(w, "ready", status_phase(r) == STATE_READY);
    json_writer_bool(w, "synced", status_is_synced(proxy));
    write_addresses(w, v, r);
    write_proc(w, "pid", r->init);
    write_proc(w, "appPid", r->app);
    json_writer_u64(w, "appRestarts", r->app_restarts);
    write_sidecar(w, r);
    json_writer_c(w, "message", r->message);
    write_known(w, proxy);
    json_writer_str(w, "why", status_why(v, r));
    json_writer_end(w);
}

static void write_control(struct json_writer *w, const struct status_view *v)
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

static void print_json(const struct status_view *v)
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
        if (status_is_asked_for(v, &v->state->replicas.ptr[i]))
            write_replica(&w, v, &v->state->replicas.ptr[i]);
    json_writer_end(&w);
    write_control(&w, v);
    json_writer_end(&w);
    fprintf(v->cli->out, "%.*s\n", STR_FMT(str_buf_str(&out)));
    str_buf_deinit(&out);
}

/* Without a control plane there is still something to tell. Origins are looked for in files only
 * where there are any. */
static const struct json *ask_control(const char *mesh, bool is_detailed, struct arena *a)
{
    char socket[PATH_LEN_MAX];
    struct http_answer answer;
    const struct json *root = NULL;
    struct http_call call = {
        .unix_path = mesh_is_socket(mesh) ? mesh : paths_in_mesh(mesh, "api.sock", socket),
        .path = is_detailed ? "/tulle/v1/status?detail=true" : "/tulle/v1/status",
        .timeout_ms = CALL_TIMEOUT_MS,
    };
    if (http_call(&call, &answer) != 0 || answer.status != 200 ||
        json_parse(a, str_buf_str(&answer.body), HTTP_CALL_BODY_MAX, &root, NULL) != 0)
        root = NULL;
    if (root != NULL && str_contains(str_buf_str(&answer.body), STR("\"hash\""))) {
        struct api_document_list none;
        api_document_list_init(&none);
        root = origin_refine(a, root, &none);
        api_document_list_deinit(&none);
    }
    http_answer_deinit(&answer);
    return root;
}

/* True: the view is narrowed to what the argument names, and there is such a replica. */
static bool narrow(struct status_view *v, const char *text)
{
    struct mesh_target target;
    if (!mesh_target_parse(text, &target) || target.port != 0) {
        cli_fail(v->cli, CLI_USAGE, "'%s' is not WORKLOAD[/REPLICA]", text);
        return false;
    }
    v->workload = target.workload;
    v->has_index = target.has_index;
    v->index = target.index;
    for (size_t i = 0; i < v->state->replicas.len; i++) {
        if (status_is_asked_for(v, &v->state->replicas.ptr[i]))
            return true;
    }
    cli_fail(v->cli, CLI_USAGE, "no such replica: %s (tulle status shows all)", text);
    return false;
}

static int show(struct status_view *v, const char *mesh, const char *target, enum cli_output output)
{
    bool is_detailed = target != NULL || output == CLI_OUTPUT_JSON;
    if (target != NULL && !narrow(v, target))
        return CLI_USAGE;
    if (!v->is_remote)
        v->control = ask_control(mesh, is_detailed, v->a);
    if (output == CLI_OUTPUT_JSON)
        print_json(v);
    else
        status_print_text(v);
    return CLI_OK;
}

/* --- a control plane that no `tulle up` started: what it says is all there is --- */

static void add_remote(struct state *s, const struct json *proxy)
{
    uint64_t index = 0;
    bool is_ready = false;
    json_u64(json_get(proxy, "replica"), &index);
    json_bool(json_get(proxy, "ready"), &is_ready);
    struct state_replica r = {
        .namespace = json_text_at(proxy, "namespace"),
        .workload = json_text_at(proxy, "workload"),
        .index = (uint32_t)index,
        .is_wanted = true,
        .phase = is_ready ? STATE_READY : STATE_UNREADY,
    };
    VEC_PUSH(&s->replicas, r);
}

static int load_remote(struct status_view *v, struct state *s, const char *socket)
{
    v->is_remote = true;
    v->control = ask_control(socket, true, v->a);
    if (v->control == NULL)
        return cli_fail(v->cli, CLI_ERROR, "no control plane answers at %s", socket);
    const struct json *proxies = json_get(v->control, "proxies");
    s->name = json_text_at(v->control, "mesh");
    s->dir = str_from_c(socket);
    s->trust_domain = json_text_at(v->control, "trustDomain");
    for (size_t i = 0; i < json_count(proxies); i++)
        add_remote(s, json_at(proxies, i));
    return CLI_OK;
}

static int load(struct status_view *v, struct state *s, const char *mesh)
{
    if (!mesh_is_socket(mesh))
        return mesh_load(v->cli, mesh, s) ? CLI_OK : CLI_ERROR;
    state_init(s);
    return load_remote(v, s, mesh);
}

int cli_status(struct cli *cli)
{
    const char *mesh_name = NULL, *output_text = NULL, *namespace = NULL;
    const struct opt opts[] = {
        {"mesh", 0, OPT_VALUE, &mesh_name},
        {"namespace", 'n', OPT_VALUE, &namespace},
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
    if (args.count > 1)
        return cli_fail(cli, CLI_USAGE, "one WORKLOAD[/REPLICA] at most");
    const char *mesh = mesh_choose(cli, mesh_name, &code);
    if (mesh == NULL)
        return code;
    arena_init(&a, 65536);
    struct status_view v = {.cli = cli, .state = &state, .a = &a, .namespace = namespace};
    code = load(&v, &state, mesh);
    if (code == CLI_OK)
        code = show(&v, mesh, args.count == 1 ? args.args[0] : NULL, output);
    arena_deinit(&a);
    state_deinit(&state);
    return code;
}
