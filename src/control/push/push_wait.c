/* apply --wait: which streams a commit concerns, and when all of them have answered.
 *
 * An entry is made for every stream that is dirty at the commit, or still owes an answer:
 *   DUE --flushed with bytes--> SENT --all answered--> counted
 *    `--flushed without--> dropped    `--stream gone--> dropped */
#include <stdlib.h>

#include "control/push/push_priv.h"

enum { COMMITS_MAX = 256, NACKS_JSON_MAX = 64 * 1024, LAGGING_NAMED_MAX = 20 };

struct push_entry {
    struct push_stream *stream;
    uint64_t until; /* answers up to this response are waited for; 0: none sent yet */
    bool is_due;    /* not flushed since */
    bool is_nacked;
};

struct push_commit {
    uint64_t revision, committed_us, resolved_us;
    bool is_resolved;
    VEC(struct push_entry) entries;
    unsigned acked, nacked;
    struct str_buf nacks_json; /* items, without the brackets */
};

struct push_waiter {
    struct push *push;
    struct list link;
    struct push_commit *commit; /* NULL: nothing to wait for */
    uint64_t until_us;
    struct turn_task task;
    struct timer timer;
    push_wait_fn *done;
    void *ctx;
};

/* --- waiters --- */

static void name_lagging(const struct push_commit *c, struct str_buf *to)
{
    struct arena a;
    struct json_writer w;
    arena_init(&a, 512);
    json_writer_init(&w, to, 0);
    json_writer_array(&w, NULL);
    for (size_t i = 0; i < MIN(c->entries.len, (size_t)LAGGING_NAMED_MAX); i++)
        json_writer_str(&w, NULL, push_stream_name(c->entries.ptr[i].stream, &a));
    json_writer_end(&w);
    arena_deinit(&a);
}

void push_wait_cancel(struct push_waiter *w)
{
    list_remove(&w->link);
    timer_stop(&w->timer);
    turn_cancel(&w->task);
    free(w);
}

static void finish(struct push_waiter *w, bool is_timed_out)
{
    const struct push_commit *c = w->commit;
    struct push_wait_result r = {
        .is_timed_out = is_timed_out, .nacks_json = STR("[]"), .lagging_json = STR("[]")};
    struct str_buf nacks = STR_BUF_INIT(NACKS_JSON_MAX + 16),
                   lagging = STR_BUF_INIT(NACKS_JSON_MAX);
    uint64_t now_us = turn_now_us(w->push->turn);
    if (c != NULL) {
        r.acked = c->acked;
        r.nacked = c->nacked;
        r.proxies = c->acked + c->nacked + (unsigned)c->entries.len;
        r.ms = ((c->is_resolved ? c->resolved_us : now_us) - c->committed_us) / 1000;
        str_buf_printf(&nacks, "[%.*s]", STR_FMT(str_buf_str(&c->nacks_json)));
        r.nacks_json = str_buf_str(&nacks);
        name_lagging(c, &lagging);
        r.lagging_json = str_buf_str(&lagging);
    }
    push_wait_fn *done = w->done;
    void *ctx = w->ctx;
    push_wait_cancel(w);
    done(ctx, &r);
    str_buf_deinit(&nacks);
    str_buf_deinit(&lagging);
}

static void on_resolved(struct turn_task *task)
{
    finish(CONTAINER_OF(task, struct push_waiter, task), false);
}

static void on_timeout(struct timer *timer)
{
    finish(CONTAINER_OF(timer, struct push_waiter, timer), true);
}

static struct push_commit *commit_up_to(const struct push *p, uint64_t revision)
{
    for (size_t i = p->commits.len; i-- > 0;) {
        if (p->commits.ptr[i]->revision <= revision)
            return p->commits.ptr[i];
    }
    return NULL;
}

struct push_waiter *push_wait(struct push *p, uint64_t revision, uint64_t timeout_us,
                              push_wait_fn *done, void *ctx)
{
    struct push_waiter *w = NEW(struct push_waiter);
    w->push = p;
    w->commit = commit_up_to(p, revision);
    w->done = done;
    w->ctx = ctx;
    turn_task_init(&w->task, on_resolved);
    timer_init(&w->timer, on_timeout);
    list_push_back(&p->waiters, &w->link);
    if (w->commit == NULL || w->commit->is_resolved)
        turn_soon(p->turn, &w->task);
    else
        timer_start(p->turn, &w->timer, timeout_us);
    return w;
}

/* --- commits --- */

static void resolve_if_done(struct push *p, struct push_commit *c)
{
    if (c->is_resolved || c->entries.len > 0)
        return;
    c->is_resolved = true;
    c->resolved_us = turn_now_us(p->turn);
    LIST_FOREACH (&p->waiters, w, struct push_waiter, link) {
        if (w->commit == c)
            turn_soon(p->turn, &w->task);
    }
}

static void commit_free(struct push_commit *c)
{
    VEC_DEINIT(&c->entries);
    str_buf_deinit(&c->nacks_json);
    free(c);
}

/* The oldest goes; who still waits for it is told what is known. */
static void make_room(struct push *p)
{
    if (p->commits.len < COMMITS_MAX)
        return;
    struct push_commit *c = p->commits.ptr[0];
    LIST_FOREACH (&p->waiters, w, struct push_waiter, link) {
        if (w->commit == c)
            finish(w, !c->is_resolved);
    }
    memmove(p->commits.ptr, p->commits.ptr + 1, (p->commits.len - 1) * sizeof *p->commits.ptr);
    p->commits.len--;
    commit_free(c);
}

void push_committed(struct push *p, uint64_t revision)
{
    make_room(p);
    struct push_commit *c = NEW(struct push_commit);
    c->revision = revision;
    c->committed_us = turn_now_us(p->turn);
    c->nacks_json = STR_BUF_INIT(NACKS_JSON_MAX);
    LIST_FOREACH (&p->streams, s, struct push_stream, link) {
        if (s->is_ended || (!s->is_dirty && s->sent.len == 0))
            continue;
        struct push_entry e = {s, s->sent.len > 0 ? s->last_number : 0, s->is_dirty, false};
        VEC_PUSH(&c->entries, e);
    }
    VEC_PUSH(&p->commits, c);
    resolve_if_done(p, c);
}

static bool owes(const struct push_stream *s, uint64_t until)
{
    for (size_t i = 0; i < s->sent.len; i++) {
        if (s->sent.ptr[i]->number <= until)
            return true;
    }
    return false;
}

/* Drops or counts the entry when there is nothing to wait for any more. */
static void settle(struct push_commit *c, size_t i)
{
    const struct push_entry *e = &c->entries.ptr[i];
    if (e->is_due || owes(e->stream, e->until))
        return;
    if (e->until > 0) {
        c->acked += !e->is_nacked;
        c->nacked += e->is_nacked;
    }
    VEC_REMOVE_SWAP(&c->entries, i);
}

void push_wait_flushed(struct push_stream *s)
{
    struct push *p = s->push;
    for (size_t n = 0; n < p->commits.len; n++) {
        struct push_commit *c = p->commits.ptr[n];
        for (size_t i = c->entries.len; i-- > 0;) {
            struct push_entry *e = &c->entries.ptr[i];
            if (e->stream != s || !e->is_due)
                continue;
            e->is_due = false;
            if (s->has_sent)
                e->until = s->last_number;
            settle(c, i);
        }
        resolve_if_done(p, c);
    }
}

static void add_nack(struct push_commit *c, const struct push_stream *s, enum resource_type type,
                     struct str reason)
{
    struct arena a;
    struct json_writer w;
    struct str_buf item = STR_BUF_INIT(8 * PUSH_REASON_LEN_MAX);
    arena_init(&a, 512);
    json_writer_init(&w, &item, 0);
    json_writer_object(&w, NULL);
    json_writer_str(&w, "proxy", push_stream_name(s, &a));
    json_writer_c(&w, "type", resource_type_name(type));
    json_writer_str(&w, "reason", reason);
    json_writer_end(&w);
    if (c->nacks_json.len + item.len + 1 < NACKS_JSON_MAX) {
        if (c->nacks_json.len > 0)
            str_buf_add_char(&c->nacks_json, ',');
        str_buf_add(&c->nacks_json, str_buf_str(&item));
    }
    str_buf_deinit(&item);
    arena_deinit(&a);
}

void push_wait_answered(struct push_stream *s, enum resource_type type, uint64_t number,
                        bool is_nack, struct str reason)
{
    struct push *p = s->push;
    for (size_t n = 0; n < p->commits.len; n++) {
        struct push_commit *c = p->commits.ptr[n];
        for (size_t i = c->entries.len; i-- > 0;) {
            struct push_entry *e = &c->entries.ptr[i];
            if (e->stream != s)
                continue;
            if (is_nack && number <= e->until) {
                e->is_nacked = true;
                add_nack(c, s, type, reason);
            }
            settle(c, i);
        }
        resolve_if_done(p, c);
    }
}

void push_wait_gone(struct push_stream *s)
{
    struct push *p = s->push;
    for (size_t n = 0; n < p->commits.len; n++) {
        struct push_commit *c = p->commits.ptr[n];
        for (size_t i = c->entries.len; i-- > 0;) {
            if (c->entries.ptr[i].stream == s)
                VEC_REMOVE_SWAP(&c->entries, i);
        }
        resolve_if_done(p, c);
    }
}

void push_wait_free(struct push *p)
{
    LIST_FOREACH (&p->waiters, w, struct push_waiter, link)
        finish(w, true);
    for (size_t i = 0; i < p->commits.len; i++)
        commit_free(p->commits.ptr[i]);
    VEC_DEINIT(&p->commits);
}
