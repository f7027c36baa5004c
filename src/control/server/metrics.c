/* GET /metrics: Prometheus' text, under istiod's names where it has the same. */
#include <stdio.h>

#include "control/server/server_priv.h"

static void add_line(struct str_buf *to, const char *name, const char *type, const char *help,
                     uint64_t value)
{
    str_buf_printf(to, "# HELP %s %s\n# TYPE %s %s\n%s %llu\n", name, help, name, type, name,
                   (unsigned long long)value);
}

static void add_counts(const struct server_counts *c, struct str_buf *to)
{
    add_line(to, "tulle_api_requests_total", "counter", "Requests to the API.", c->requests);
    add_line(to, "tulle_api_unauthenticated_total", "counter",
             "Requests without a valid token or certificate.", c->unauthenticated);
    add_line(to, "tulle_api_forbidden_total", "counter",
             "Requests for what their sender may not do.", c->forbidden);
    add_line(to, "tulle_api_limited_total", "counter", "Requests above their sender's rate.",
             c->limited);
    add_line(to, "tulle_api_dropped_total", "counter",
             "Connections that had to go for being too many or too slow.", c->dropped);
}

/* --- documents --- */

static void add_kinds(struct str_buf *to, const char *name, const char *help,
                      const uint64_t counts[API_KIND_COUNT])
{
    str_buf_printf(to, "# HELP %s %s\n# TYPE %s counter\n", name, help, name);
    for (int k = 0; k < API_KIND_COUNT; k++) {
        const struct api_kind_info *kind = api_kind_info((enum api_kind)k);
        str_buf_printf(to, "%s{group=\"%s\",version=\"%s\",resource=\"%s\"} %llu\n", name,
                       kind->group, kind->versions[0], kind->plural, (unsigned long long)counts[k]);
    }
}

static void add_events(const struct server *s, struct str_buf *to)
{
    static const struct {
        enum store_change change;
        const char *name;
    } events[] = {{STORE_CREATED, "add"}, {STORE_CONFIGURED, "update"}, {STORE_DELETED, "delete"}};
    str_buf_add_c(to, "# HELP pilot_k8s_cfg_events Documents that changed.\n"
                      "# TYPE pilot_k8s_cfg_events counter\n");
    for (int k = 0; k < API_KIND_COUNT; k++) {
        for (size_t e = 0; e < ARRAY_LEN(events); e++)
            str_buf_printf(to, "pilot_k8s_cfg_events{type=\"%s\",event=\"%s\"} %llu\n",
                           api_kind_info((enum api_kind)k)->name, events[e].name,
                           (unsigned long long)s->changes[k][events[e].change]);
    }
}

static void add_documents(const struct server *s, struct str_buf *to)
{
    const struct registry *r = s->args.registry;
    add_line(to, "pilot_services", "gauge", "Services.",
             registry_docs(r, API_KIND_SERVICE, STR_NULL).len);
    add_line(to, "pilot_virt_services", "gauge", "VirtualServices.",
             registry_docs(r, API_KIND_VIRTUAL_SERVICE, STR_NULL).len);
    add_events(s, to);
    add_kinds(to, "galley_validation_passed", "Documents that were written and are good.",
              s->passed);
    add_kinds(to, "galley_validation_failed", "Documents that were refused.", s->refused);
}

void server_note_change(struct server *s, enum store_change change, const struct store_object *o)
{
    s->changes[o->kind][change]++;
}

void server_note_passed(struct server *s, const struct change *change)
{
    for (size_t i = 0; i < change->writes.len; i++) {
        if (!change->writes.ptr[i].is_delete)
            s->passed[change->writes.ptr[i].object.kind]++;
    }
}

/* Each document counts once, however much is wrong with it. */
void server_note_refused(struct server *s, const struct api_findings *findings)
{
    struct str before = STR_NULL;
    for (size_t i = 0; i < findings->list.len; i++) {
        const struct api_finding *f = &findings->list.ptr[i];
        struct str rest = f->subject;
        if (f->severity != API_ERROR || str_eq(f->subject, before))
            continue;
        const struct api_kind_info *kind = api_kind_parse(str_split(&rest, '/'));
        before = f->subject;
        if (kind != NULL)
            s->refused[kind->kind]++;
    }
}

/* --- the CA --- */

static void add_expiry(struct str_buf *to, const char *what, const char *help, uint64_t end_s,
                       uint64_t now_s)
{
    str_buf_printf(to,
                   "# HELP citadel_server_%s_expiry_timestamp When %s, in seconds since 1970.\n"
                   "# TYPE citadel_server_%s_expiry_timestamp gauge\n"
                   "citadel_server_%s_expiry_timestamp %llu\n"
                   "# HELP citadel_server_%s_expiry_seconds Seconds until %s.\n"
                   "# TYPE citadel_server_%s_expiry_seconds gauge\n"
                   "citadel_server_%s_expiry_seconds %lld\n",
                   what, help, what, what, (unsigned long long)end_s, what, help, what, what,
                   (long long)(end_s - now_s));
}

static void add_ca(const struct server *s, struct str_buf *to)
{
    uint64_t now_s = turn_wall_us(s->args.turn) / 1000000;
    uint64_t end_s = ca_root_not_after_s(s->args.ca);
    add_expiry(to, "root_cert", "the root that signs is over", end_s, now_s);
    /* There is nothing between a root and its leaves. */
    add_expiry(to, "cert_chain", "the chain that signs is over", end_s, now_s);
}

static void add_info(struct str_buf *to)
{
    str_buf_add_c(to, "# HELP pilot_info The control plane that answers.\n"
                      "# TYPE pilot_info gauge\n"
                      "pilot_info{version=\"" TULLE_VERSION "\"} 1\n");
}

void server_render_metrics(struct server *s, struct str_buf *to)
{
    push_render_metrics(s->args.push, to);
    add_info(to);
    add_documents(s, to);
    add_ca(s, to);
    add_counts(&s->counts, to);
    documents_render_metrics(s->documents, to);
    rest_bypass_metrics(s, to);
}

/* --- the port that is open to everybody --- */

/* What names workloads and their addresses is for who sits on this machine; for others it is in the
 * API, which knows who asks. */
static bool is_local(const struct service_stream *stream)
{
    const struct exchange *x = service_exchange(stream);
    return addr_is_loopback(&x->info->remote);
}

/* Who is not local costs no page. */
static void reply_debug(const struct server *s, struct service_stream *stream, struct str path)
{
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    if (!server_has_debug(path))
        service_reply(stream, 404, STR("text/plain"),
                      STR("there is /metrics, and from this "
                          "machine /debug/syncz, endpointz\n"));
    else if (!is_local(stream))
        service_reply(stream, 403, STR("text/plain"),
                      STR("from this machine only; others ask the API, with a token\n"));
    else if (server_debug(s, path, &out))
        service_reply(stream, 200, STR("application/json"), str_buf_str(&out));
    else
        service_reply(stream, 500, STR("text/plain"), STR("the page is too large\n"));
    str_buf_deinit(&out);
}

static void on_head(void *service, struct service_stream *stream, const struct http_head *head)
{
    const struct server_face *face = service;
    struct str path = http_head_path_only(head);
    if (!str_eq(head->method, STR("GET"))) {
        service_reply(stream, 405, STR("text/plain"), STR("GET only\n"));
        return;
    }
    if (!str_eq(path, STR("/metrics"))) {
        reply_debug(face->server, stream, path);
        return;
    }
    struct str_buf text = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    server_render_metrics(face->server, &text);
    service_reply(stream, 200, STR("text/plain; version=0.0.4; charset=utf-8"), str_buf_str(&text));
    str_buf_deinit(&text);
}

static void on_end(void *service, struct service_stream *stream, int err)
{
    (void)service;
    (void)stream;
    (void)err;
}

const struct service_ops server_metrics_ops = {
    .on_head = on_head,
    .on_end = on_end,
};
