/* The decision first, then the way of the request, a line a step, each with FILE:LINE. */
#include "cli/explain_print.h"

#include "base/vec.h"
#include "cli/origin.h"
#include "codec/json_writer.h"

enum {
    LABEL_WIDTH = 12,
    TEXT_WIDTH_MAX = 84,
    ADDRESSES_SHOWN_MAX = 4,
    RETRY_REASONS_MAX = 32,
    OUTPUT_MAX = 64 * 1024 * 1024,
};

struct row {
    struct str label, text, place;
};

struct rows {
    struct arena arena;
    VEC(struct row) v;
};

/* --- looking --- */

static bool is_true(const struct json *v, const char *key)
{
    bool value = false;
    return json_bool(json_get(v, key), &value) && value;
}

static struct str join(struct arena *a, const struct json *list, size_t shown_max)
{
    struct str text = STR_NULL;
    for (size_t i = 0; i < json_count(list) && i < shown_max; i++)
        text = arena_printf(a, "%.*s%s%.*s", STR_FMT(text), i > 0 ? "," : "",
                            STR_FMT(json_str_or(json_at(list, i), STR_NULL)));
    return json_count(list) > shown_max ? arena_printf(a, "%.*s,...", STR_FMT(text)) : text;
}

/* --- rows --- */

static void add(struct rows *r, struct str label, struct str text, const struct json *origin)
{
    struct row row = {label, text, origin_place(&r->arena, origin)};
    VEC_PUSH(&r->v, row);
}

static size_t text_width(const struct rows *r)
{
    size_t width = 0;
    for (size_t i = 0; i < r->v.len; i++) {
        const struct row *row = &r->v.ptr[i];
        if (row->place.len > 0 && row->text.len <= TEXT_WIDTH_MAX)
            width = MAX(width, row->text.len);
    }
    return width;
}

static void print_rows(const struct rows *r, FILE *f)
{
    int width = (int)text_width(r);
    for (size_t i = 0; i < r->v.len; i++) {
        const struct row *row = &r->v.ptr[i];
        if (row->place.len > 0)
            fprintf(f, "%-*.*s  %-*.*s  %.*s\n", LABEL_WIDTH, STR_FMT(row->label), width,
                    STR_FMT(row->text), STR_FMT(row->place));
        else
            fprintf(f, "%-*.*s  %.*s\n", LABEL_WIDTH, STR_FMT(row->label), STR_FMT(row->text));
    }
}

/* --- steps --- */

static void add_workload(struct rows *r, struct str label, const struct json *w)
{
    struct str identity = json_text_at(w, "identity");
    struct str text =
        arena_printf(&r->arena, "%.*s/%.*s%s%.*s", STR_FMT(json_text_at(w, "namespace")),
                     STR_FMT(json_text_at(w, "name")), identity.len > 0 ? ", " : " (service)",
                     STR_FMT(identity));
    add(r, label, text, json_get(w, "origin"));
}

static void add_question(struct rows *r, const struct json *answer)
{
    const struct json *request = json_get(answer, "request"), *from = json_get(answer, "from");
    const struct json *service = json_get(answer, "service");
    add(r, STR("request"),
        arena_printf(&r->arena, "%.*s %.*s%.*s", STR_FMT(json_text_at(request, "method")),
                     STR_FMT(json_text_at(request, "authority")),
                     STR_FMT(str_eq(json_text_at(request, "method"), STR("TCP"))
                                 ? STR_NULL
                                 : json_text_at(request, "path"))),
        NULL);
    if (json_count(from) > 0)
        add_workload(r, STR("from"), from);
    else
        add(r, STR("from"), STR("a caller without sidecar and identity, in clear"), NULL);
    if (json_count(from) > 0 && !is_true(answer, "sidecar"))
        add(r, STR("  note"), STR("its sidecar does not capture this call: it leaves in clear"),
            json_get(from, "origin"));
    add_workload(r, STR("to"), json_get(answer, "workload"));
    if (json_count(service) > 0)
        add(r, STR("service"),
            arena_printf(&r->arena, "%.*s:%llu%s%.*s", STR_FMT(json_text_at(service, "host")),
                         json_number_at(service, "port"),
                         json_get(service, "protocol") != NULL ? ", " : "",
                         STR_FMT(json_text_at(service, "protocol"))),
            json_get(service, "origin"));
}

static void add_retries(struct rows *r, const struct json *retries)
{
    unsigned long long timeout = json_number_at(retries, "perTryTimeoutMs");
    if (json_count(retries) == 0) {
        add(r, STR("retries"), STR("none"), NULL);
        return;
    }
    struct str on = join(&r->arena, json_get(retries, "on"), RETRY_REASONS_MAX);
    struct str text =
        arena_printf(&r->arena, "%llu on %.*s", json_number_at(retries, "attempts"), STR_FMT(on));
    if (timeout > 0)
        text = arena_printf(&r->arena, "%.*s; %llu ms a try", STR_FMT(text), timeout);
    add(r, STR("retries"), text, json_get(retries, "origin"));
}

static void add_route(struct rows *r, const struct json *answer)
{
    const struct json *route = json_get(answer, "route"), *skipped;
    skipped = json_get(answer, "skippedRoutes");
    for (size_t i = 0; i < json_count(skipped); i++)
        add(r, STR("not route"), json_text_at(json_at(skipped, i), "why"),
            json_get(json_at(skipped, i), "origin"));
    if (json_count(route) == 0)
        return;
    unsigned long long timeout = json_number_at(route, "timeoutMs");
    bool is_default = json_count(json_get(route, "origin")) == 0;
    struct str text =
        is_default ? STR("no VirtualService: the service itself") : json_text_at(route, "match");
    struct str path = json_text_at(route, "pathRewrite"), host = json_text_at(route, "hostRewrite");
    if (path.len > 0)
        text = arena_printf(&r->arena, "%.*s; path becomes %.*s", STR_FMT(text), STR_FMT(path));
    if (host.len > 0)
        text = arena_printf(&r->arena, "%.*s; host becomes %.*s", STR_FMT(text), STR_FMT(host));
    if (timeout > 0)
        text = arena_printf(&r->arena, "%.*s; timeout %llu ms", STR_FMT(text), timeout);
    add(r, STR("route"), text, json_get(route, "origin"));
    if (str_eq(json_text_at(route, "action"), STR("forward")))
        add_retries(r, json_get(route, "retries"));
}

/* What is wanted stands below what is there. */
static struct str split_wanted(struct str *why)
{
    for (size_t i = 0; i < why->len; i++) {
        if (!str_starts_with(str_skip(*why, i), STR("; wanted: ")))
            continue;
        struct str wanted = str_skip(*why, i + 2);
        *why = str_sub(*why, 0, i);
        return wanted;
    }
    return STR_NULL;
}

static void add_policy(struct rows *r, const struct json *p)
{
    struct str why = json_text_at(p, "why"), rule = json_text_at(p, "rule");
    bool is_matched = is_true(p, "matched");
    struct str wanted = split_wanted(&why);
    (void)str_split(&rule, '/'); /* the kind */
    struct str text = arena_printf(&r->arena, "%.*s %.*s %s: %.*s",
                                   STR_FMT(json_text_at(p, "action")), STR_FMT(rule),
                                   is_true(p, "decides") ? "MATCHES"
                                   : is_matched          ? "matches too"
                                                         : "does not match",
                                   STR_FMT(is_matched ? json_text_at(p, "wants") : why));
    add(r, STR("  policy"), text, json_get(p, "origin"));
    if (wanted.len > 0)
        add(r, STR_NULL, wanted, NULL);
}

static struct str mtls_text(struct rows *r, const struct json *mtls)
{
    struct str caller = json_text_at(mtls, "caller");
    struct str mode = json_text_at(mtls, "mode");
    if (caller.len > 0)
        return arena_printf(&r->arena, "%.*s; the caller proves %.*s", STR_FMT(mode),
                            STR_FMT(caller));
    return arena_printf(&r->arena, "%.*s; the caller %s", STR_FMT(mode),
                        is_true(mtls, "used") ? "proves no identity" : "comes in clear");
}

static void add_arrival(struct rows *r, const struct json *w)
{
    const struct json *policies = json_get(w, "policies"), *addresses = json_get(w, "addresses");
    struct str at = join(&r->arena, addresses, ADDRESSES_SHOWN_MAX);
    if (at.len > 0)
        at = arena_printf(&r->arena, " at %.*s", STR_FMT(at));
    add(r, STR("  workload"),
        arena_printf(&r->arena, "%.*s/%.*s:%llu %.*s: %.*s%.*s",
                     STR_FMT(json_text_at(w, "namespace")), STR_FMT(json_text_at(w, "name")),
                     json_number_at(w, "port"), STR_FMT(json_text_at(w, "decision")),
                     STR_FMT(json_text_at(w, "reason")), STR_FMT(at)),
        NULL);
    if (!is_true(w, "captured"))
        return;
    add(r, STR("  mTLS"), mtls_text(r, json_get(w, "mtls")),
        json_get(json_get(w, "mtls"), "origin"));
    for (size_t i = 0; i < json_count(policies); i++)
        add_policy(r, json_at(policies, i));
    if (is_true(w, "addressUnknown"))
        add(r, STR("  note"),
            STR("the caller's address is not known: rules on addresses match nobody "
                "(--from-ip)"),
            NULL);
}

static const char *tls_text(const struct json *d)
{
    struct str tls = json_text_at(d, "tls");
    return str_eq(tls, STR("mTLS"))    ? ", by mutual TLS"
           : str_eq(tls, STR("plain")) ? ", in clear"
                                       : "";
}

static void add_destination(struct rows *r, const struct json *d, bool has_sidecar)
{
    double percent = 0;
    json_f64(json_get(d, "percent"), &percent);
    struct str label = has_sidecar ? arena_printf(&r->arena, "to %.4g %%", percent) : STR("to");
    unsigned long long count = json_number_at(d, "endpoints");
    struct str labels = json_text_at(d, "labels");
    struct str text =
        !is_true(d, "exists")
            ? arena_printf(&r->arena, "%.*s, which does not exist",
                           STR_FMT(json_text_at(d, "cluster")))
            : arena_printf(&r->arena, "%.*s%s%.*s%s, %llu endpoint%s%s",
                           STR_FMT(json_text_at(d, "cluster")), labels.len > 0 ? " (" : "",
                           STR_FMT(labels), labels.len > 0 ? ")" : "", count, count == 1 ? "" : "s",
                           has_sidecar ? tls_text(d) : "");
    add(r, label, text, json_get(d, "origin"));
    const struct json *workloads = json_get(d, "workloads");
    for (size_t i = 0; i < json_count(workloads); i++)
        add_arrival(r, json_at(workloads, i));
}

/* The answer is what holds; a sidecar may not have got it yet. */
static void add_lagging(struct rows *r, const struct json *lagging)
{
    for (size_t i = 0; i < json_count(lagging); i++) {
        const struct json *p = json_at(lagging, i);
        add(r, STR("not yet"),
            arena_printf(&r->arena, "%.*s does not run this yet: %.*s",
                         STR_FMT(json_text_at(p, "proxy")), STR_FMT(json_text_at(p, "why"))),
            NULL);
    }
}

/* --- the head --- */

static void print_decision(struct cli *cli, struct arena *a, const struct json *answer)
{
    struct str decision = json_text_at(answer, "decision");
    struct str by = json_text_at(answer, "decidedBy");
    struct str place = origin_place(a, json_get(answer, "origin"));
    unsigned long long status = json_number_at(answer, "status");
    bool is_good = str_eq(decision, STR("ALLOWED"));
    const char *color = !cli->is_color ? "" : is_good ? "\033[1;32m" : "\033[1;31m";
    fprintf(cli->out, "%s%.*s%s", color, STR_FMT(decision), cli->is_color ? "\033[0m" : "");
    if (status > 0)
        fprintf(cli->out, " %llu", status);
    fprintf(cli->out, ": %.*s\n", STR_FMT(json_text_at(answer, "reason")));
    if (by.len > 0 || place.len > 0)
        fprintf(cli->out, "  by %.*s%s%.*s\n", STR_FMT(by), by.len > 0 ? "  " : "", STR_FMT(place));
    fputc('\n', cli->out);
}

void explain_print_text(struct cli *cli, const struct json *answer)
{
    struct rows rows = {0};
    arena_init(&rows.arena, 16384);
    const struct json *destinations = json_get(answer, "destinations");
    bool has_sidecar = is_true(answer, "sidecar");
    print_decision(cli, &rows.arena, answer);
    add_question(&rows, answer);
    add_route(&rows, answer);
    for (size_t i = 0; i < json_count(destinations); i++)
        add_destination(&rows, json_at(destinations, i), has_sidecar);
    add_lagging(&rows, json_get(answer, "notInSync"));
    print_rows(&rows, cli->out);
    VEC_DEINIT(&rows.v);
    arena_deinit(&rows.arena);
}

void explain_print_json(struct cli *cli, const struct json *answer)
{
    struct str_buf out = STR_BUF_INIT(OUTPUT_MAX);
    struct json_writer w;
    json_writer_init(&w, &out, 2);
    json_writer_tree(&w, NULL, answer);
    fprintf(cli->out, "%.*s\n", STR_FMT(str_buf_str(&out)));
    str_buf_deinit(&out);
}
