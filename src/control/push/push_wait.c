/* apply --wait: which streams a commit concerns, and when all of them have answered.
 *
 * An entry is made for every stream that is dirty at the commit, or still owes an answer:
 *   DUE --flushed with bytes--> SENT --all answered--> counted
 *    `--flushed without--> dropped    `--stream gone--> dropped */
#include <stdlib.h>

#include "control/push/push_priv.h"

enum { COMMITS_MAX = 256, NACKS_JSON_MAX = 64 * 1024, LAGGING_NAMED_MAX = 20 };

struct push_entry {
    struct list link, stream_link; /* commit->entries, stream->waits */
    struct push_commit *commit;
    struct push_stream *stream;
    uint64_t until; /* answers up to this response are waited for; 0: none sent yet */
    bool is_due;    /* not flushed since */
    bool is_nacked;
};

struct push_commit {
    uint64_t revision, committed_us, resolved_us;
    bool is_resolved;
    struct list entries;
    size_t entry_count;
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
    size_t count = 0;
    LIST_FOREACH (&c->entries, e, struct push_entry, link) {
        if (count++ < LAGGING_NAMED_MAX)
            json_writer_str(&w, NULL, push_stream_name(e->stream, &a));
    }
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
        r.proxies = c->acked + c->nacked + (unsigned)c->entry_count;
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
    if (c->is_resolved || c->entry_count > 0)
        return;
    c->is_resolved = true;
    c->resolved_us = turn_now_us(p->turn);
    LIST_FOREACH (&p->waiters, w, struct push_waiter, link) {
        if (w->commit == c)
            turn_soon(p->turn, &w->task);
    }
}

static void entry_free(struct push_entry *e)
{
    e->commit->entry_count--;
    list_remove(&e->link);
    list_remove(&e->stream_link);
    free(e);
}

static void commit_free(struct push_commit *c)
{
    LIST_FOREACH (&c->entries, e, struct push_entry, link)
        entry_free(e);
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

static void entry_new(struct push_commit *c, struct push_stream *s)
{
    struct push_entry *e = NEW(struct push_entry);
    e->commit = c;
    e->stream = s;
    e->until = s->sent.len > 0 ? s->last_number : 0;
    e->is_due = s->is_dirty;
    list_push_back(&c->entries, &e->link);
    list_push_back(&s->waits, &e->stream_link);
    c->entry_count++;
}

void push_committed(struct push *p, uint64_t revision)
{
    make_room(p);
    push_settle(p);
    struct push_commit *c = NEW(struct push_commit);
    c->revision = revision;
    c->committed_us = turn_now_us(p->turn);
    c->nacks_json = STR_BUF_INIT(NACKS_JSON_MAX);
    list_init(&c->entries);
    LIST_FOREACH (&p->pending, s, struct push_stream, pending_link) {
        if (!s->is_dirty && s->sent.len == 0)
            list_remove(&s->pending_link);
        else if (!s->is_ended)
            entry_new(c, s);
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
static void settle(struct push *p, struct push_entry *e)
{
    struct push_commit *c = e->commit;
    if (e->is_due || owes(e->stream, e->until))
        return;
    if (e->until > 0) {
        c->acked += !e->is_nacked;
        c->nacked += e->is_nacked;
    }
    entry_free(e);
    resolve_if_done(p, c);
}

void push_wait_flushed(struct push_stream *s)
{
    LIST_FOREACH (&s->waits, e, struct push_entry, stream_link) {
        if (!e->is_due)
            continue;
        e->is_due = false;
        if (s->has_sent)
            e->until = s->last_number;
        settle(s->push, e);
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
    LIST_FOREACH (&s->waits, e, struct push_entry, stream_link) {
        if (is_nack && number <= e->until) {
            e->is_nacked = true;
            add_nack(e->commit, s, type, reason);
        }
        settle(s->push, e);
    }
}

void push_wait_gone(struct push_stream *s)
{
    LIST_FOREACH (&s->waits, e, struct push_entry, stream_link) {
        struct push_commit *c = e->commit;
        entry_free(e);
        resolve_if_done(s->push, c);
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
