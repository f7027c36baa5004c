/* `tulle status` for people. */
#include "cli/bypass.h"
#include "cli/origin.h"
#include "cli/status.h"
#include "cli/table.h"
#include "codec/duration.h"

#include <time.h>

enum { VERSION_DIGITS = 8, AGE_LEN_MAX = 24, PENDING_SHOWN_MAX = 10, DOCUMENTS_SHOWN_MAX = 4 };

/* "12s", "3m", "2h", "5d" from a time till now; "-" when there is none. */
static const char *age(struct str since, char text[AGE_LEN_MAX])
{
    int64_t at_ms;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (since.len == 0 || time_parse(since, &at_ms) != 0)
        return "-";
    int64_t s = MAX(now.tv_sec - at_ms / 1000, (int64_t)0);
    if (s < 120)
        snprintf(text, AGE_LEN_MAX, "%llds", (long long)s);
    else if (s < 7200)
        snprintf(text, AGE_LEN_MAX, "%lldm", (long long)(s / 60));
    else if (s < 172800)
        snprintf(text, AGE_LEN_MAX, "%lldh", (long long)(s / 3600));
    else
        snprintf(text, AGE_LEN_MAX, "%lldd", (long long)(s / 86400));
    return text;
}

static struct str short_version(struct str version)
{
    return version.len > 0 ? str_sub(version, 0, VERSION_DIGITS) : STR("-");
}

/* What runs, and where it differs what should. */
static struct str versions(struct arena *a, const struct json *v)
{
    struct str runs = short_version(json_text_at(v, "version"));
    struct str target = short_version(json_text_at(v, "target"));
    return str_eq(runs, target) ? runs
                                : arena_printf(a, "%.*s, not %.*s", STR_FMT(runs), STR_FMT(target));
}

/* --- the table --- */

static void add_row(struct table *t, const struct status_view *v, const struct state_replica *r)
{
    char text[AGE_LEN_MAX];
    struct proc_memory m;
    const struct json *proxy = status_proxy(v, r);
    table_cell(t, "%.*s", STR_FMT(r->namespace));
    table_cell(t, "%.*s/%u", STR_FMT(r->workload), r->index);
    table_cell(t, "%s", state_phase_name(status_phase(r)));
    table_cell(t, "%s",
               v->control == NULL        ? "?"
               : proxy == NULL           ? "away"
               : status_is_synced(proxy) ? "yes"
                                         : "no");
    table_cell(t, "%.*s", STR_FMT(versions(v->a, proxy)));
    table_cell(t, "%s", age(json_text_at(proxy, "since"), text));
    table_cell(t, "%.*s", STR_FMT(status_address(v, r)));
    if (v->is_remote)
        table_cell(t, "-");
    else
        table_cell(t, "%u/%u", r->sidecar_restarts, r->app_restarts);
    if (proc_is_alive(r->sidecar) && proc_memory_read(r->sidecar.pid, &m))
        table_cell(t, "%.1f/%.1f", (double)m.rss_kib / 1024, (double)m.private_dirty_kib / 1024);
    else
        table_cell(t, "-");
    table_cell(t, "%s", r->message);
}

static void print_table(const struct status_view *v)
{
    static const char *const head[] = {"NAMESPACE",    "REPLICA",      "STATE",   "SYNCED",
                                       "VERSION",      "SINCE",        "ADDRESS", "RESTARTS",
                                       "RSS/DIRTY MB", "LAST TROUBLE", NULL};
    struct table t;
    table_init(&t, head);
    for (size_t i = 0; i < v->state->replicas.len; i++) {
        if (status_is_asked_for(v, &v->state->replicas.ptr[i]))
            add_row(&t, v, &v->state->replicas.ptr[i]);
    }
    table_print(&t, v->cli->out);
    table_deinit(&t);
}

/* --- why not --- */

static void print_documents(const struct status_view *v, const struct json *documents)
{
    for (size_t i = 0; i < json_count(documents) && i < DOCUMENTS_SHOWN_MAX; i++) {
        const struct json *d = json_at(documents, i);
        fprintf(v->cli->out, "      %.*s  %.*s\n", STR_FMT(json_text_at(d, "document")),
                STR_FMT(origin_place(v->a, d)));
    }
}

static void print_pending(const struct status_view *v, const struct json *p)
{
    char text[AGE_LEN_MAX];
    struct str state = json_text_at(p, "state");
    fprintf(v->cli->out, "    %.*s %.*s runs %.*s: %.*s", STR_FMT(json_text_at(p, "type")),
            STR_FMT(json_text_at(p, "name")), STR_FMT(versions(v->a, p)), STR_FMT(state));
    if (json_text_at(p, "since").len > 0)
        fprintf(v->cli->out, " %s ago", age(json_text_at(p, "since"), text));
    fprintf(v->cli->out, ": %.*s\n", STR_FMT(json_text_at(p, "reason")));
    print_documents(v, json_get(p, "documents"));
}

static void print_why(const struct status_view *v, const struct state_replica *r)
{
    const struct json *proxy = status_proxy(v, r), *pending = json_get(proxy, "pending");
    struct str why = status_why(v, r);
    if (v->control == NULL || (why.len == 0 && json_count(pending) == 0))
        return;
    fprintf(v->cli->out, "  %.*s/%.*s/%u", STR_FMT(r->namespace), STR_FMT(r->workload), r->index);
    if (json_count(pending) == 0)
        fprintf(v->cli->out, ": %.*s\n", STR_FMT(why));
    else
        fprintf(v->cli->out, " lacks %llu resource%s\n", json_number_at(proxy, "pendingCount"),
                json_number_at(proxy, "pendingCount") == 1 ? "" : "s");
    for (size_t i = 0; i < json_count(pending) && i < PENDING_SHOWN_MAX; i++)
        print_pending(v, json_at(pending, i));
}

static void print_troubles(const struct status_view *v)
{
    for (size_t i = 0; i < v->state->replicas.len; i++) {
        if (status_is_asked_for(v, &v->state->replicas.ptr[i]))
            print_why(v, &v->state->replicas.ptr[i]);
    }
}

/* --- the control plane --- */

/* A folder that is followed (tulled --documents), and what is wrong in it. */
static void print_folder(const struct status_view *v)
{
    const struct json *folder = json_get(v->control, "documents"),
                      *errors = json_get(folder, "errors");
    FILE *out = v->cli->out;
    if (folder == NULL)
        return;
    unsigned long long wrong = json_number_at(folder, "errorCount"),
                       others = json_number_at(folder, "othersCount");
    fprintf(out, "documents: %.*s, %llu files, %llu documents, %llu errors (%.*s)\n",
            STR_FMT(json_text_at(folder, "folder")), json_number_at(folder, "files"),
            json_number_at(folder, "documents"), wrong, STR_FMT(json_text_at(folder, "state")));
    for (size_t i = 0; i < json_count(errors); i++) {
        const struct json *e = json_at(errors, i);
        fprintf(out, "  error: %.*s:%llu: %.*s\n", STR_FMT(json_text_at(e, "file")),
                json_number_at(e, "line"), STR_FMT(json_text_at(e, "text")));
    }
    if (wrong > json_count(errors))
        fprintf(out, "  and %llu more\n", wrong - json_count(errors));
    if (others > 0)
        fprintf(out, "  not from the folder, %llu: %.*s (tulle delete ends them)\n", others,
                STR_FMT(json_text_at(folder, "others")));
}

static void print_bypasses(const struct status_view *v)
{
    const struct json *all = json_get(v->control, "bypasses");
    for (size_t i = 0; i < json_count(all); i++) {
        const struct json *b = json_at(all, i);
        uint64_t left_s = json_number_at(b, "secondsLeft");
        char port[16];
        fprintf(v->cli->out,
                "ALARM: %.*s/%.*s, %s, %.*s, is past its sidecar for %llum%02llus more: %.*s\n",
                STR_FMT(json_text_at(b, "namespace")), STR_FMT(json_text_at(b, "workload")),
                bypass_port_text((uint16_t)json_number_at(b, "port"), port),
                STR_FMT(json_text_at(b, "sides")), (unsigned long long)left_s / 60,
                (unsigned long long)left_s % 60, STR_FMT(json_text_at(b, "note")));
    }
}

static void print_control(const struct status_view *v)
{
    const struct json *warnings = json_get(v->control, "warnings");
    if (v->control == NULL) {
        fprintf(v->cli->out, "control plane: does not answer (%u restarts)\n",
                v->state->tulled_restarts);
        return;
    }
    if (v->is_remote)
        fprintf(v->cli->out, "control plane: revision %llu\n",
                json_number_at(v->control, "revision"));
    else
        fprintf(v->cli->out, "control plane: pid %d, revision %llu, %u restarts\n",
                (int)v->state->tulled.pid, json_number_at(v->control, "revision"),
                v->state->tulled_restarts);
    print_bypasses(v);
    for (size_t i = 0; i < json_count(warnings); i++)
        fprintf(v->cli->out, "warning: %.*s\n",
                STR_FMT(json_str_or(json_at(warnings, i), STR_NULL)));
}

/* --- one workload, in detail --- */

static void print_types(const struct status_view *v, const struct json *types)
{
    for (size_t i = 0; i < json_count(types); i++) {
        const struct json *t = json_at(types, i);
        if (json_number_at(t, "resources") > 0 || json_text_at(t, "target").len == 0)
            fprintf(v->cli->out, "  %-12.*s %llu, version %.*s\n", STR_FMT(types->keys[i]),
                    json_number_at(t, "resources"), STR_FMT(versions(v->a, t)));
    }
}

static void print_detail(const struct status_view *v, const struct state_replica *r)
{
    char text[AGE_LEN_MAX];
    const struct json *proxy = status_proxy(v, r);
    fprintf(v->cli->out, "\n%.*s/%.*s/%u\n", STR_FMT(r->namespace), STR_FMT(r->workload), r->index);
    if (proxy == NULL)
        return;
    fprintf(v->cli->out, "  identity     %.*s, until %.*s\n",
            STR_FMT(json_text_at(proxy, "identity")), STR_FMT(json_text_at(proxy, "certNotAfter")));
    fprintf(v->cli->out, "  app          %.*s\n", STR_FMT(json_text_at(proxy, "state")));
    fprintf(v->cli->out, "  connected    %s\n", age(json_text_at(proxy, "connectedSince"), text));
    print_types(v, json_get(proxy, "types"));
}

static void print_details(const struct status_view *v)
{
    for (size_t i = 0; i < v->state->replicas.len; i++) {
        if (!status_is_asked_for(v, &v->state->replicas.ptr[i]))
            continue;
        print_detail(v, &v->state->replicas.ptr[i]);
        print_why(v, &v->state->replicas.ptr[i]);
    }
}

void status_print_text(const struct status_view *v)
{
    fprintf(v->cli->out, "mesh %.*s, trust domain %.*s, from %.*s\n", STR_FMT(v->state->name),
            STR_FMT(v->state->trust_domain), STR_FMT(v->state->dir));
    print_table(v);
    if (v->workload.len > 0) {
        print_details(v);
        return;
    }
    print_control(v);
    print_folder(v);
    print_troubles(v);
}
