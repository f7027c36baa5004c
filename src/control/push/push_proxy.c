/* What a proxy runs, what it should, since when, and why not.
 *
 * Versions of many resources are told as one: a sum over the hashes of name and version, the same
 * for all proxies that have the same, whatever the order. What it runs of a resource is what it was
 * sent last, unless that is refused or not answered yet: then what it had before. */
#include <stdio.h>
#include <stdlib.h>

#include "codec/duration.h"
#include "control/push/push_priv.h"

enum { PENDING_MAX = 100, DOCUMENTS_MAX = 8 };

enum sub_state { SUB_RUNS, SUB_REFUSED, SUB_SENT, SUB_DUE, SUB_BROKEN };

/* One resource of a proxy, as it stands. */
struct standing {
    enum sub_state state;
    struct str runs, target; /* versions; empty: nothing */
    uint64_t since_us;       /* SUB_REFUSED, SUB_SENT: of the turn's clock */
    struct str reason;       /* SUB_REFUSED, SUB_BROKEN */
};

struct view {
    const struct push_stream *s;
    struct json_writer *w;
    struct arena *a;
    uint64_t runs, target, since_us;
    struct {
        size_t count;
        uint64_t runs, target;
    } types[RESOURCE_TYPE_COUNT];
    size_t pending_count;
    struct str why; /* of the first that is pending */
};

/* --- one resource --- */

static struct str version_of(const struct push_sub *sub)
{
    return str_from(sub->version, sub->version_len);
}

static const struct push_nack *nack_of(const struct push_stream *s, const struct push_sub *sub)
{
    for (size_t i = 0; i < s->nacks.len; i++) {
        const struct push_nack *n = &s->nacks.ptr[i];
        if (n->type == sub->type && str_eq(str_from_c(n->name), sub->name))
            return n;
    }
    return NULL;
}

void push_proxy_note_sent(struct push_sub *sub)
{
    if (sub->unanswered_count == 0 && nack_of(sub->stream, sub) == NULL) {
        memcpy(sub->before, sub->version, sizeof sub->before);
        sub->before_len = sub->version_len;
    }
    if (sub->unanswered_count < UINT8_MAX)
        sub->unanswered_count++;
}

void push_proxy_note_answered(struct push_stream *s, const struct push_sent *sent)
{
    struct str lines = str_buf_str(&sent->names);
    while (lines.len > 0) {
        struct str name = str_split(&lines, '\n');
        struct push_sub *sub = push_stream_sub(s, sent->type, name);
        if (sub != NULL && sub->unanswered_count > 0)
            sub->unanswered_count--;
    }
    s->answered_us = turn_now_us(s->push->turn);
}

/* The oldest response of the type that is not answered yet. */
static uint64_t sent_since_us(const struct push_stream *s, enum resource_type type)
{
    uint64_t since_us = 0;
    for (size_t i = 0; i < s->sent.len; i++) {
        const struct push_sent *sent = s->sent.ptr[i];
        if (sent->type == type && (since_us == 0 || sent->changed_us < since_us))
            since_us = sent->changed_us;
    }
    return since_us;
}

/* What it is to have by now; it may be long since it was looked at. */
static void look_ahead(struct view *v, const struct push_sub *sub, struct standing *st)
{
    struct translate_output *o = push_sub_output(sub);
    st->target = o != NULL ? arena_str(v->a, o->version) : STR_NULL;
    if (o != NULL && o->version.len == 0) {
        st->state = SUB_BROKEN;
        st->reason = arena_str(v->a, o->error);
        st->target = st->runs;
    }
    translate_output_unref(o);
}

static struct standing standing_of(struct view *v, const struct push_sub *sub)
{
    const struct push_nack *nack = nack_of(v->s, sub);
    bool is_sent = sub->unanswered_count > 0;
    struct standing st = {.runs = version_of(sub), .target = version_of(sub)};
    if (nack != NULL || is_sent)
        st.runs = str_from(sub->before, sub->before_len);
    if (nack != NULL) {
        st.state = SUB_REFUSED;
        st.since_us = nack->at_us;
        st.reason = str_from_c(nack->reason);
    } else if (is_sent) {
        st.state = SUB_SENT;
        st.since_us = sent_since_us(v->s, sub->type);
    } else if (list_is_linked(&sub->link)) {
        look_ahead(v, sub, &st);
        /* What is marked may well be the same again. */
        if (st.state == SUB_RUNS && !str_eq(st.runs, st.target))
            st.state = SUB_DUE;
        st.since_us = v->s->dirty_us;
    } else if (sub->is_broken) {
        look_ahead(v, sub, &st);
    }
    return st;
}

/* --- documents behind a resource --- */

struct documents {
    struct view *v;
    size_t count;
};

static void on_document(void *ctx, const struct api_document *d)
{
    struct documents *docs = ctx;
    struct json_writer *w = docs->v->w;
    struct store_object o;
    if (docs->count++ >= DOCUMENTS_MAX ||
        store_get(docs->v->s->push->store, d->kind, d->namespace, d->name, docs->v->a, &o) != 0)
        return;
    json_writer_object(w, NULL);
    json_writer_str(w, "document", api_document_subject(docs->v->a, d));
    json_writer_c(w, "path", "");
    json_writer_str(w, "file", o.file);
    json_writer_u64(w, "line", o.line);
    json_writer_str(w, "hash",
                    arena_printf(docs->v->a, "%016llx", (unsigned long long)xds_hash(o.json)));
    json_writer_end(w);
}

static void each_of_namespace(struct documents *docs, enum api_kind kind)
{
    struct registry_docs list =
        registry_docs(docs->v->s->push->registry, kind, docs->v->s->namespace_);
    for (size_t i = 0; i < list.len; i++)
        on_document(docs, list.ptr[i]);
}

static void write_documents(struct view *v, const struct push_sub *sub)
{
    struct documents docs = {.v = v};
    struct str host = sub->name;
    host = str_split(&host, ':');
    json_writer_array(v->w, "documents");
    if (str_eq(sub->name, STR(TRANSLATE_INBOUND))) {
        each_of_namespace(&docs, API_KIND_AUTHORIZATION_POLICY);
        each_of_namespace(&docs, API_KIND_PEER_AUTHENTICATION);
    } else if (sub->type == RESOURCE_ROUTE || sub->type == RESOURCE_LISTENER) {
        registry_routes(v->s->push->registry, host, on_document, &docs);
    } else if (sub->type == RESOURCE_CLUSTER || sub->type == RESOURCE_ENDPOINTS) {
        registry_rules(v->s->push->registry, host, on_document, &docs);
    }
    json_writer_end(v->w);
}

/* --- all resources of a stream --- */

static const char *state_name(enum sub_state state)
{
    static const char *const names[] = {[SUB_RUNS] = "runs",
                                        [SUB_REFUSED] = "refused",
                                        [SUB_SENT] = "sent",
                                        [SUB_DUE] = "due",
                                        [SUB_BROKEN] = "cannotBeMade"};
    return names[state];
}

static struct str reason_of(const struct view *v, const struct standing *st)
{
    switch (st->state) {
    case SUB_RUNS:
        return STR_NULL;
    case SUB_REFUSED:
    case SUB_BROKEN:
        return st->reason;
    case SUB_SENT:
        return STR("not answered yet");
    case SUB_DUE:
        return v->s->ops->has_room(v->s->ctx)
                   ? STR("about to be sent")
                   : STR("the proxy does not read what it was sent before");
    }
    return STR_NULL;
}

static void write_time(const struct view *v, const char *key, uint64_t at_us)
{
    struct turn *turn = v->s->push->turn;
    uint64_t age_us = turn_now_us(turn) - at_us;
    char text[TIME_TEXT_MAX];
    json_writer_str(v->w, key,
                    time_format((int64_t)((turn_wall_us(turn) - age_us) / 1000), true, text));
}

static void write_pending(struct view *v, const struct push_sub *sub, const struct standing *st)
{
    struct str reason = reason_of(v, st);
    if (v->why.ptr == NULL)
        v->why = arena_printf(v->a, "%s %.*s: %.*s", resource_type_name(sub->type),
                              STR_FMT(sub->name), STR_FMT(reason));
    if (st->since_us != 0)
        v->since_us = v->since_us == 0 ? st->since_us : MIN(v->since_us, st->since_us);
    if (v->pending_count++ >= PENDING_MAX)
        return;
    json_writer_object(v->w, NULL);
    json_writer_c(v->w, "type", resource_type_name(sub->type));
    json_writer_str(v->w, "name", sub->name);
    json_writer_c(v->w, "state", state_name(st->state));
    json_writer_str(v->w, "version", st->runs);
    json_writer_str(v->w, "target", st->target);
    if (st->since_us != 0)
        write_time(v, "since", st->since_us);
    json_writer_str(v->w, "reason", reason);
    write_documents(v, sub);
    json_writer_end(v->w);
}

static uint64_t mix(const struct push_sub *sub, struct str version)
{
    if (version.len == 0)
        return 0;
    return str_hash(sub->name, str_hash(version, (uint64_t)sub->type));
}

static void look_at_stream(struct view *v)
{
    size_t iter = 0;
    const struct push_sub *sub;
    while ((sub = push_subs_next(&v->s->subs, &iter)) != NULL) {
        struct standing st = standing_of(v, sub);
        uint64_t runs = mix(sub, st.runs), target = mix(sub, st.target);
        v->runs += runs;
        v->target += target;
        v->types[sub->type].count += st.runs.len > 0;
        v->types[sub->type].runs += runs;
        v->types[sub->type].target += target;
        if (st.state != SUB_RUNS)
            write_pending(v, sub, &st);
    }
}

/* Of all streams of the replica. */
static void look_at_all(struct view *v)
{
    const struct push_stream *s = v->s;
    json_writer_array(v->w, "pending");
    do {
        look_at_stream(v);
        v->s = PUSH_GROUP_NEXT(v->s);
    } while (v->s != s);
    json_writer_end(v->w);
}

static void write_version(struct json_writer *w, const char *key, uint64_t version)
{
    char text[20];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)version);
    json_writer_c(w, key, text);
}

static void write_types(const struct view *v)
{
    json_writer_object(v->w, "types");
    for (int type = 0; type < RESOURCE_TYPE_COUNT; type++) {
        json_writer_object(v->w, resource_type_name((enum resource_type)type));
        json_writer_u64(v->w, "resources", v->types[type].count);
        write_version(v->w, "version", v->types[type].runs);
        write_version(v->w, "target", v->types[type].target);
        json_writer_end(v->w);
    }
    json_writer_end(v->w);
}

/* A refusal that names no resource of ours is about the response as a whole. */
static void note_nameless(struct view *v)
{
    for (size_t i = 0; i < v->s->nacks.len && v->why.ptr == NULL; i++)
        v->why = arena_printf(v->a, "%s: %s", resource_type_name(v->s->nacks.ptr[i].type),
                              v->s->nacks.ptr[i].reason);
}

static void render_stream(const struct push_stream *s, bool is_detailed, struct json_writer *w,
                          struct arena *a)
{
    struct view v = {.s = s, .w = w, .a = a};
    look_at_all(&v);
    note_nameless(&v);
    write_version(w, "version", v.runs);
    write_version(w, "target", v.target);
    json_writer_u64(w, "pendingCount", v.pending_count);
    write_time(&v, "connectedSince", s->connected_us);
    write_time(&v, "since",
               v.since_us != 0 ? v.since_us
                               : MAX(s->connected_us, v.pending_count == 0 ? s->answered_us : 0));
    json_writer_str(w, "why", v.why);
    if (is_detailed)
        write_types(&v);
}

/* --- those that are not connected --- */

static void render_away(const struct push *p, const struct registry_replica *r,
                        struct json_writer *w, struct arena *a)
{
    uint64_t now_us = turn_now_us(p->turn);
    char text[TIME_TEXT_MAX];
    if (r->lost_us == 0) {
        json_writer_c(w, "why", "not connected since the control plane started");
        return;
    }
    uint64_t left_us = r->lease_until_us > now_us ? r->lease_until_us - now_us : 0;
    int64_t lost_ms = (int64_t)((turn_wall_us(p->turn) - (now_us - r->lost_us)) / 1000);
    json_writer_str(w, "since", time_format(lost_ms, true, text));
    json_writer_str(w, "why",
                    arena_printf(a, "not connected; its endpoints stay for another %llu s",
                                 (unsigned long long)(left_us / 1000000)));
}

void push_proxy_render(const struct push *p, const struct registry_replica *r, bool is_detailed,
                       struct json_writer *w, struct arena *a)
{
    if (r->node != NULL)
        render_stream(r->node, is_detailed, w, a);
    else
        render_away(p, r, w, a);
}
