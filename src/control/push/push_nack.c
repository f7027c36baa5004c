/* Answers of clients: what was accepted, what was refused and why. */
#include <stdlib.h>

#include "base/log.h"
#include "codec/json_writer.h"
#include "control/push/push_priv.h"

void push_sent_free(struct push_sent *sent)
{
    str_buf_deinit(&sent->names);
    free(sent);
}

static void nack_deinit(struct push_nack *n)
{
    free(n->name);
    free(n->reason);
}

void push_nacks_free(struct push_stream *s)
{
    for (size_t i = 0; i < s->nacks.len; i++)
        nack_deinit(&s->nacks.ptr[i]);
    VEC_DEINIT(&s->nacks);
}

/* --- on the documents' status, best effort --- */

struct status {
    struct push *push;
    struct str json;
};

static void on_document(void *ctx, const struct api_document *d)
{
    const struct status *status = ctx;
    int err = store_set_status(status->push->store, d->kind, d->namespace, d->name, status->json);
    if (err != 0)
        log_event(LOG_WARN, "status_not_kept", LF("name", d->name), LFC("reason", err_text(err)));
}

/* The documents that a resource of a host is made of. reason empty: it is fine again. */
static void set_document_status(struct push *p, enum resource_type type, struct str name,
                                struct str reason)
{
    struct str host = str_split(&name, ':');
    struct str_buf json = STR_BUF_INIT(4 * PUSH_REASON_LEN_MAX + 512);
    if (reason.len > 0) {
        struct json_writer w;
        json_writer_init(&w, &json, 0);
        json_writer_object(&w, NULL);
        json_writer_array(&w, "conditions");
        json_writer_object(&w, NULL);
        json_writer_c(&w, "type", "Programmed");
        json_writer_c(&w, "status", "False");
        json_writer_c(&w, "reason", "Refused");
        json_writer_str(&w, "message", reason);
        json_writer_end(&w);
        json_writer_end(&w);
        json_writer_end(&w);
    }
    struct status status = {p, str_buf_str(&json)};
    if (type == RESOURCE_ROUTE || type == RESOURCE_LISTENER)
        registry_routes(p->registry, host, on_document, &status);
    else if (type == RESOURCE_CLUSTER || type == RESOURCE_ENDPOINTS)
        registry_rules(p->registry, host, on_document, &status);
    str_buf_deinit(&json);
}

/* --- a stream's refusals --- */

static struct push_nack *find(struct push_stream *s, enum resource_type type, struct str name)
{
    for (size_t i = 0; i < s->nacks.len; i++) {
        if (s->nacks.ptr[i].type == type && str_eq(str_from_c(s->nacks.ptr[i].name), name))
            return &s->nacks.ptr[i];
    }
    return NULL;
}

static void forget(struct push_stream *s, enum resource_type type, struct str name)
{
    struct push_nack *n = find(s, type, name);
    if (n == NULL)
        return;
    if (n->is_told)
        set_document_status(s->push, type, name, STR_NULL);
    nack_deinit(n);
    VEC_REMOVE_SWAP(&s->nacks, (size_t)(n - s->nacks.ptr));
}

/* The store is written for it: not as often as a client likes, and not twice for the same. */
static void note(struct push_stream *s, enum resource_type type, struct str name, struct str reason)
{
    uint64_t now_us = turn_now_us(s->push->turn);
    struct push_nack *same = find(s, type, name);
    if (same != NULL && str_eq(str_from_c(same->reason), reason)) {
        same->at_us = now_us;
        return;
    }
    forget(s, type, name);
    if (s->nacks.len >= PUSH_NACKS_MAX)
        return;
    struct push_nack n = {type, str_dup_c(name), str_dup_c(reason), now_us, false};
    n.is_told = name.len > 0 && pace_take(&s->push->refusals, s->identity, now_us);
    VEC_PUSH(&s->nacks, n);
    if (n.is_told)
        set_document_status(s->push, type, name, reason);
}

/* Refused resources are named in the reason; when none is, it is about the response. */
static void on_refused(struct push_stream *s, const struct push_sent *sent, struct str reason)
{
    struct str rest = str_buf_str(&sent->names);
    bool is_any = false;
    reason = str_sub(reason, 0, PUSH_REASON_LEN_MAX);
    while (rest.len > 0) {
        struct str name = str_split(&rest, '\n');
        if (!str_contains(reason, name))
            continue;
        is_any = true;
        note(s, sent->type, name, reason);
    }
    if (!is_any)
        note(s, sent->type, STR_NULL, reason);
}

static void on_accepted(struct push_stream *s, const struct push_sent *sent)
{
    struct str rest = str_buf_str(&sent->names);
    while (s->nacks.len > 0 && rest.len > 0)
        forget(s, sent->type, str_split(&rest, '\n'));
    forget(s, sent->type, STR_NULL);
}

void push_answered(struct push_stream *s, enum resource_type type, uint64_t number, bool is_nack,
                   struct str reason)
{
    struct push *p = s->push;
    for (size_t i = 0; i < s->sent.len; i++) {
        struct push_sent *sent = s->sent.ptr[i];
        if (sent->number != number)
            continue;
        VEC_REMOVE_SWAP(&s->sent, i);
        push_proxy_note_answered(s, sent);
        if (is_nack) {
            p->counters.nacks++;
            log_event(LOG_WARN, "xds_nack", LF("identity", s->identity),
                      LF("workload", s->workload), LFC("type", resource_type_name(type)),
                      LF("reason", str_sub(reason, 0, PUSH_REASON_LEN_MAX)));
            on_refused(s, sent, reason);
        } else {
            p->counters.acks++;
            on_accepted(s, sent);
            push_times_note(&p->counters.convergence, PUSH_TIMES_CONVERGENCE,
                            turn_now_us(p->turn) - sent->changed_us);
        }
        push_warm_answered(s, type, str_buf_str(&sent->names), is_nack);
        push_sent_free(sent);
        /* Something may have waited for just this answer. */
        if (s->is_dirty)
            push_stream_mark(s);
        break;
    }
    push_wait_answered(s, type, number, is_nack, str_sub(reason, 0, PUSH_REASON_LEN_MAX));
}
