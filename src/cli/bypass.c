/* tulle bypass: a workload is reached past its sidecar, and calls past it, for a while.
 *
 * Two halves. The control plane tells callers that nobody speaks TLS there, keeps the replicas
 * whose sidecar is gone, audits and alarms; it answers for who may do it. The replicas' rules are
 * lifted by entering their networks, as `tulle exec` does, so that it also works when the control
 * plane is what is broken. Each half knows the end by itself. */
#include "cli/bypass.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/mesh.h"
#include "cli/rest.h"
#include "cli/table.h"
#include "codec/duration.h"
#include "codec/json_writer.h"
#include "host/netns.h"

enum { CALL_TIMEOUT_MS = 5000, LINE_MAX_BYTES = 2048 };

/* --- words that both verbs share --- */

const char *bypass_sides_text(unsigned sides)
{
    return sides == HOST_BYPASS_INBOUND    ? "inbound"
           : sides == HOST_BYPASS_OUTBOUND ? "outbound"
                                           : "both";
}

const char *bypass_port_text(uint16_t port, char buf[16])
{
    snprintf(buf, 16, port != 0 ? "port %u" : "all ports", port);
    return buf;
}

bool bypass_options_check(struct cli *cli, struct bypass_options *o)
{
    uint64_t port = 0;
    if (o->port_text != NULL &&
        (!str_to_u64(str_from_c(o->port_text), UINT16_MAX, &port) || port == 0)) {
        cli_fail(cli, CLI_USAGE, "--port takes a port");
        return false;
    }
    if (!o->is_end && !o->is_list &&
        (o->for_text == NULL || !opt_duration_ms(o->for_text, &o->for_ms) || o->for_ms < 1000)) {
        cli_fail(cli, CLI_USAGE, "say for how long: --for 10m (from a second to a day)");
        return false;
    }
    bool is_both = o->is_inbound == o->is_outbound;
    o->rule = (struct bypass_rule){
        .port = (uint16_t)port,
        .sides = (is_both || o->is_inbound ? HOST_BYPASS_INBOUND : 0) |
                 (is_both || o->is_outbound ? HOST_BYPASS_OUTBOUND : 0),
        .until_ms = bypass_now_ms() + o->for_ms,
    };
    return true;
}

bool bypass_change(struct bypass *b, const struct bypass_options *o)
{
    bypass_prune(b, bypass_now_ms());
    if (o->is_end)
        return bypass_drop(b, o->rule.port);
    return bypass_add(b, o->rule) == 0;
}

static const char *origin_of_call(void)
{
    const char *ssh = getenv("SSH_CONNECTION"), *tty = ttyname(STDIN_FILENO);
    return ssh != NULL ? ssh : tty != NULL ? tty : "no terminal";
}

void bypass_audit(const char *path, const struct bypass_options *o, const char *what)
{
    char line[LINE_MAX_BYTES], time[TIME_TEXT_MAX], port[16];
    const char *sudo = getenv("SUDO_USER");
    struct str at = time_format((int64_t)bypass_now_ms(), false, time);
    int len =
        snprintf(line, sizeof line, "%.*s uid %u%s%s, pid %d, from %s: %s %s, %s%s%s: %s\n",
                 STR_FMT(at), getuid(), sudo != NULL ? " for " : "", sudo != NULL ? sudo : "",
                 (int)getpid(), origin_of_call(), what, bypass_port_text(o->rule.port, port),
                 bypass_sides_text(o->rule.sides), o->is_end ? ", ended" : ", for ",
                 o->is_end ? "" : o->for_text, o->message != NULL ? o->message : "no reason given");
    len = MIN(len, (int)sizeof line - 1);
    for (int i = 0; i < len - 1; i++)
        if ((unsigned char)line[i] < ' ')
            line[i] = ' ';
    line[len - 1] = '\n';
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || write(fd, line, (size_t)len) != len)
        fprintf(stderr, "tulle: %s could not be written; it was: %s", path, line);
    if (fd >= 0)
        close(fd);
}

/* --- the control plane's half --- */

struct target {
    const char *mesh, *namespace, *workload;
    struct state *state; /* NULL: a control plane alone */
};

static bool is_of(const struct target *t, const struct state_replica *r)
{
    return r->is_wanted && str_eq(r->workload, str_from_c(t->workload)) &&
           str_eq(r->namespace, str_from_c(t->namespace));
}

static void write_replicas(const struct target *t, struct json_writer *w)
{
    char text[STATE_ADDRESS_LEN_MAX];
    json_writer_array(w, "replicas");
    for (size_t i = 0; t->state != NULL && i < t->state->replicas.len; i++) {
        const struct state_replica *r = &t->state->replicas.ptr[i];
        if (!is_of(t, r))
            continue;
        json_writer_object(w, NULL);
        json_writer_u64(w, "index", r->index);
        json_writer_array(w, "addresses");
        json_writer_c(w, NULL, state_address_v4(r->address, text));
        if (t->state->has_ipv6)
            json_writer_c(w, NULL, state_address_v6(r->address, text));
        json_writer_end(w);
        json_writer_end(w);
    }
    json_writer_end(w);
}

static void write_wish(const struct target *t, const struct bypass_options *o, struct str_buf *to)
{
    struct json_writer w;
    json_writer_init(&w, to, 0);
    json_writer_object(&w, NULL);
    json_writer_u64(&w, "seconds", (o->for_ms + 999) / 1000);
    json_writer_u64(&w, "port", o->rule.port);
    json_writer_c(&w, "sides", bypass_sides_text(o->rule.sides));
    write_replicas(t, &w);
    json_writer_end(&w);
}

enum told { TOLD, REFUSED, NOT_THERE };

static enum told tell_control(struct cli *cli, const struct target *t,
                              const struct bypass_options *o)
{
    struct str_buf path = STR_BUF_INIT(8192), body = STR_BUF_INIT(1 << 20);
    struct http_answer answer;
    struct arena a;
    const struct json *root = NULL;
    arena_init(&a, 4096);
    str_buf_printf(&path, "/tulle/v1/bypasses/%s/%s?", t->namespace, t->workload);
    rest_add_query(&path, "note", o->message);
    if (o->is_end)
        rest_add_query(&path, "port", o->port_text);
    else
        write_wish(t, o, &body);
    int err = rest_call(cli, t->mesh, o->is_end ? "DELETE" : "POST", path.ptr, str_buf_str(&body),
                        CALL_TIMEOUT_MS, &answer);
    enum told told = err != 0 ? NOT_THERE : answer.status / 100 == 2 ? TOLD : REFUSED;
    if (told == REFUSED) {
        (void)json_parse(&a, str_buf_str(&answer.body), HTTP_CALL_BODY_MAX, &root, NULL);
        struct str why = json_text_at(root, "message");
        cli_fail(cli, CLI_ERROR, "%.*s", STR_FMT(why.len > 0 ? why : STR("refused")));
    }
    http_answer_deinit(&answer);
    str_buf_deinit(&path);
    str_buf_deinit(&body);
    arena_deinit(&a);
    return told;
}

/* --- the replicas' half --- */

static int apply_inside(const void *arg)
{
    return bypass_apply(arg, bypass_now_ms());
}

/* The file first: a replica that is being made anew just now reads it. */
static int lift(const struct target *t, const struct state_replica *r,
                const struct bypass_options *o)
{
    char path[PATH_LEN_MAX], slug[600];
    struct bypass b;
    snprintf(slug, sizeof slug, "%.*s", STR_FMT(r->slug));
    paths_bypass(t->mesh, slug, path);
    bypass_read(path, &b);
    if (!bypass_change(&b, o))
        return o->is_end ? 0 : -ERR_LIMIT;
    int err = bypass_write(path, &b);
    if (err != 0 || !proc_is_alive(r->init))
        return err;
    int netns = netns_of(r->init.pid);
    if (netns < 0)
        return netns;
    err = netns_run(netns, apply_inside, &b);
    close(netns);
    return err;
}

static int lift_all(struct cli *cli, const struct target *t, const struct bypass_options *o)
{
    char log[PATH_LEN_MAX], what[600];
    int code = CLI_OK;
    snprintf(what, sizeof what, "bypass of %s/%s,", t->namespace, t->workload);
    bypass_audit(paths_in_mesh(t->mesh, "logs/bypass.log", log), o, what);
    for (size_t i = 0; i < t->state->replicas.len; i++) {
        const struct state_replica *r = &t->state->replicas.ptr[i];
        int err = is_of(t, r) ? lift(t, r, o) : 0;
        if (err != 0)
            code = cli_fail(cli, CLI_ERROR, "%s/%u: its rules were not changed: %s", t->workload,
                            r->index, err_text(err));
    }
    return code;
}

/* --- the verb --- */

static void print_begun(struct cli *cli, const struct target *t, const struct bypass_options *o)
{
    char port[16], time[TIME_TEXT_MAX];
    struct str until = time_format((int64_t)o->rule.until_ms, false, time);
    fprintf(cli->out, "%s/%s, %s, %s, until %.*s: past the sidecar\n", t->namespace, t->workload,
            bypass_port_text(o->rule.port, port), bypass_sides_text(o->rule.sides), STR_FMT(until));
    if ((o->rule.sides & HOST_BYPASS_INBOUND) != 0)
        fprintf(cli->out,
                "  inbound: anybody who reaches it is let in, in clear: no mutual TLS, no "
                "policy, no metrics;\n"
                "    callers whose DestinationRule demands ISTIO_MUTUAL go on with it, and "
                "fail\n");
    if ((o->rule.sides & HOST_BYPASS_OUTBOUND) != 0)
        fprintf(cli->out,
                "  outbound: calls to addresses leave in clear, and STRICT servers refuse "
                "them; services by name stay with the sidecar\n");
    if (t->state == NULL)
        fprintf(cli->out, "  callers know; on each host of it: tulle capture bypass ...\n");
}

static int run(struct cli *cli, const struct target *t, const struct bypass_options *o)
{
    enum told told = tell_control(cli, t, o);
    /* What the control plane does not know of may still be lifted here, and has to end. */
    if (told == REFUSED && !(o->is_end && t->state != NULL))
        return CLI_ERROR;
    if (t->state == NULL)
        return told == TOLD ? CLI_OK : CLI_ERROR;
    if (told == NOT_THERE)
        fprintf(cli->err, "callers are not told: their sidecars go on with mutual TLS, which the "
                          "app does not speak; it is in the box's logs/bypass.log only\n");
    return lift_all(cli, t, o);
}

static int list(struct cli *cli, const char *mesh)
{
    static const char *const head[] = {"NAMESPACE",           "WORKLOAD", "PORT", "SIDES", "LEFT",
                                       "SINCE, BY WHOM, WHY", NULL};
    struct arena a;
    const struct json *root;
    arena_init(&a, 4096);
    int err =
        rest_json(cli, mesh, "GET", "/tulle/v1/bypasses", STR_NULL, CALL_TIMEOUT_MS, &a, &root);
    const struct json *items = err == 0 ? json_get(root, "bypasses") : NULL;
    struct table t;
    table_init(&t, head);
    for (size_t i = 0; i < json_count(items); i++) {
        const struct json *b = json_at(items, i);
        uint64_t left = json_number_at(b, "secondsLeft"), port = json_number_at(b, "port");
        table_cell(&t, "%.*s", STR_FMT(json_text_at(b, "namespace")));
        table_cell(&t, "%.*s", STR_FMT(json_text_at(b, "workload")));
        table_cell(&t, port != 0 ? "%llu" : "all", (unsigned long long)port);
        table_cell(&t, "%.*s", STR_FMT(json_text_at(b, "sides")));
        table_cell(&t, "%llum%02llus", (unsigned long long)left / 60,
                   (unsigned long long)left % 60);
        table_cell(&t, "%.*s", STR_FMT(json_text_at(b, "note")));
    }
    if (json_count(items) > 0)
        table_print(&t, cli->out);
    else if (err == 0)
        fprintf(cli->err, "nothing is reached past its sidecar\n");
    table_deinit(&t);
    arena_deinit(&a);
    return err == 0 ? CLI_OK : CLI_ERROR;
}

/* The namespace of the only workload of that name, unless it was said. NULL: said why. */
static const char *find_namespace(struct cli *cli, const struct state *s, const char *workload,
                                  const char *namespace, struct arena *a)
{
    struct str found = STR_NULL;
    for (size_t i = 0; i < s->replicas.len; i++) {
        const struct state_replica *r = &s->replicas.ptr[i];
        if (!r->is_wanted || !str_eq(r->workload, str_from_c(workload)) ||
            (namespace != NULL && !str_eq(r->namespace, str_from_c(namespace))))
            continue;
        if (found.len > 0 && !str_eq(found, r->namespace)) {
            cli_fail(cli, CLI_USAGE, "%s is in several namespaces; say which: -n NAMESPACE",
                     workload);
            return NULL;
        }
        found = r->namespace;
    }
    if (found.len == 0)
        cli_fail(cli, CLI_USAGE, "there is no workload %s here (tulle status)", workload);
    return found.len > 0 ? arena_str(a, found).ptr : NULL;
}

static int run_in_box(struct cli *cli, struct target *t, const struct bypass_options *o)
{
    struct state state;
    struct arena a;
    int code = CLI_USAGE;
    arena_init(&a, 512);
    if (mesh_load(cli, t->mesh, &state)) {
        t->state = &state;
        t->namespace = find_namespace(cli, &state, t->workload, t->namespace, &a);
        if (t->namespace != NULL)
            code = run(cli, t, o);
        if (code == CLI_OK && !o->is_end)
            print_begun(cli, t, o);
    } else {
        code = CLI_ERROR;
    }
    t->state = NULL;
    t->namespace = NULL; /* they go with this function */
    state_deinit(&state);
    arena_deinit(&a);
    return code;
}

static int run_remote(struct cli *cli, struct target *t, const struct bypass_options *o)
{
    t->namespace = t->namespace != NULL ? t->namespace : "default";
    int code = run(cli, t, o);
    if (code == CLI_OK && !o->is_end)
        print_begun(cli, t, o);
    return code;
}

int cli_bypass(struct cli *cli)
{
    struct bypass_options o = {0};
    struct target t = {0};
    const struct opt opts[] = {
        BYPASS_OPTS(o),
        {"namespace", 'n', OPT_VALUE, &t.namespace},
        {"mesh", 0, OPT_VALUE, &t.mesh},
    };
    struct opt_result args;
    int code;
    if (!opt_parse_verb(cli, opts, ARRAY_LEN(opts), &args, &code))
        return code;
    if (args.count != (o.is_list ? 0u : 1u))
        return cli_fail(cli, CLI_USAGE, "say which workload, or --list");
    if (!bypass_options_check(cli, &o))
        return CLI_USAGE;
    t.mesh = mesh_choose(cli, t.mesh, &code);
    if (t.mesh == NULL)
        return code;
    if (o.is_list)
        return list(cli, t.mesh);
    t.workload = args.args[0];
    code = mesh_is_socket(t.mesh) ? run_remote(cli, &t, &o) : run_in_box(cli, &t, &o);
    if (code == CLI_OK && o.is_end)
        fprintf(cli->out, "%s: through its sidecar again\n", t.workload);
    return code;
}
