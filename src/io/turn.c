#include "io/io_priv.h"

#include <stdlib.h>

/* How often tasks that were queued by tasks run in the same turn; the rest waits for the next, so
 * that timers and other connections get their share. */
enum { RUN_PASSES_MAX = 16 };

/* Of run list and flush in one turn. What the kernel took goes on being read while it is at hand:
 * one poll for a long body, and its end is seen before the answer that comes ahead of it. */
enum { ROUNDS_MAX = 4 };

static void on_trim(struct timer *timer)
{
    struct turn *t = CONTAINER_OF(timer, struct turn, trim);
    if (chunk_pool_shrink(&t->chunks, CHUNK_POOL_KEEP))
        timer_start(t, timer, CHUNK_TRIM_US);
}

struct turn *turn_new(const struct io_ops *ops, void *backend)
{
    struct turn *t = NEW(struct turn);
    t->ops = ops;
    t->backend = backend;
    atomic_init(&t->is_stopping, false);
    atomic_init(&t->mailbox, NULL);
    struct list *lists[] = {&t->run,    &t->later, &t->dirty,   &t->barred,
                            &t->graves, &t->conns, &t->listens, &t->conn_pool};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        list_init(lists[i]);
    t->bar_bytes = UINT64_MAX;
    t->now_us = ops->now_us(t);
    timers_init(&t->timers, t->now_us);
    chunk_pool_init(&t->chunks, CHUNK_POOL_MAX);
    timer_init(&t->trim, on_trim);
    return t;
}

static void dig_graves(struct turn *t)
{
    while (!list_is_empty(&t->graves)) {
        struct grave *g = LIST_FIRST(&t->graves, struct grave, link);
        list_remove(&g->link);
        g->free(g);
    }
}

struct turn *turn_free(struct turn *t)
{
    if (t == NULL)
        return NULL;
    dig_graves(t);
    conn_io_free_all(t);
    while (!list_is_empty(&t->listens))
        listen_close(LIST_FIRST(&t->listens, struct listen_socket, link));
    dig_graves(t);
    if (t->extra != NULL)
        t->extra->free(t->extra);
    t->ops->deinit(t);
    chunk_pool_deinit(&t->chunks);
    free(t);
    return NULL;
}

static void run_mailbox(struct turn *t)
{
    if (atomic_load_explicit(&t->mailbox, memory_order_relaxed) == NULL)
        return;
    struct mail *newest = atomic_exchange_explicit(&t->mailbox, NULL, memory_order_acquire);
    struct mail *oldest = NULL;
    while (newest != NULL) {
        struct mail *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        struct mail *mail = oldest;
        oldest = mail->next;
        mail->next = NULL;
        mail->handle(t, mail);
    }
}

void mailbox_post(struct turn *to, struct mail *mail)
{
    struct mail *newest = atomic_load_explicit(&to->mailbox, memory_order_relaxed);
    do {
        mail->next = newest;
    } while (!atomic_compare_exchange_weak_explicit(&to->mailbox, &newest, mail,
                                                    memory_order_release, memory_order_relaxed));
    /* Who makes it non-empty wakes; the others know that somebody has. */
    if (newest == NULL)
        to->ops->wake(to);
}

static void run_tasks(struct turn *t)
{
    for (int pass = 0; pass < RUN_PASSES_MAX && !list_is_empty(&t->run); pass++) {
        struct list batch;
        list_init(&batch);
        list_splice_back(&batch, &t->run);
        while (!list_is_empty(&batch)) {
            struct turn_task *task = LIST_FIRST(&batch, struct turn_task, link);
            list_remove(&task->link);
            task->run(task);
        }
    }
}

static void flush_dirty(struct turn *t)
{
    struct list batch;
    list_init(&batch);
    list_splice_back(&batch, &t->dirty);
    while (!list_is_empty(&batch)) {
        struct conn_io *io = LIST_FIRST(&batch, struct conn_io, dirty_link);
        list_remove(&io->dirty_link);
        conn_io_flush(io);
    }
    t->flush_count++;
}

static void run_rounds(struct turn *t)
{
    list_splice_back(&t->run, &t->later);
    run_tasks(t);
    if (t->hook != NULL)
        t->hook(t->hook_ctx);
    conn_io_lift_bar(t);
#if UTIL_IS_SANITIZED
    conn_io_check_none_forgotten(t);
#endif
    t->is_drain_due = false;
    flush_dirty(t);
    for (int round = 1; round < ROUNDS_MAX && t->is_drain_due; round++) {
        t->is_drain_due = false;
        run_tasks(t);
        flush_dirty(t);
    }
}

bool turn_is_busy(const struct turn *t)
{
    return !list_is_empty(&t->run) || !list_is_empty(&t->later) || !list_is_empty(&t->dirty) ||
           !list_is_empty(&t->graves) ||
           atomic_load_explicit(&t->mailbox, memory_order_relaxed) != NULL ||
           atomic_load_explicit(&t->is_stopping, memory_order_relaxed);
}

static int64_t wait_us(struct turn *t, int timeout_ms)
{
    if (timeout_ms == 0 || turn_is_busy(t))
        return 0;
    int64_t limit = timeout_ms < 0 ? INT64_MAX : (int64_t)timeout_ms * 1000;
    uint64_t next = timers_bound_us(&t->timers);
    if (next != UINT64_MAX) {
        uint64_t now = t->ops->now_us(t);
        limit = next <= now ? 0 : MIN(limit, (int64_t)(next - now));
    }
    return limit == INT64_MAX ? -1 : limit;
}

void turn_once(struct turn *t, int timeout_ms)
{
    t->ops->poll(t, wait_us(t, timeout_ms));
    t->now_us = t->ops->now_us(t);
    t->count++;
    run_rounds(t);
    if (t->chunks.free_count > CHUNK_POOL_KEEP && !timer_is_started(&t->trim))
        timer_start(t, &t->trim, CHUNK_TRIM_US);
    timers_advance(&t->timers, t->now_us);
    run_mailbox(t);
    dig_graves(t);
}

void turn_run(struct turn *t)
{
    while (!atomic_load_explicit(&t->is_stopping, memory_order_acquire))
        turn_once(t, -1);
    atomic_store_explicit(&t->is_stopping, false, memory_order_relaxed);
}

void turn_stop(struct turn *t)
{
    atomic_store_explicit(&t->is_stopping, true, memory_order_release);
    t->ops->wake(t);
}

uint64_t turn_now_us(const struct turn *t)
{
    return t->now_us;
}

uint64_t turn_wall_us(const struct turn *t)
{
    return t->ops->wall_us(t);
}

struct random *turn_random(struct turn *t)
{
    return &t->random;
}

struct chunk_pool *turn_chunks(struct turn *t)
{
    return &t->chunks;
}

struct chain_account *turn_account(struct turn *t)
{
    return &t->account;
}

uint64_t turn_held_bytes(const struct turn *t)
{
    return t->chunks.live_bytes + (uint64_t)t->charged_bytes;
}

void turn_charge(struct turn *t, int64_t bytes)
{
    t->charged_bytes += bytes;
}

bool turn_is_pressed(const struct turn *t)
{
    return t->is_pressed;
}

void turn_set_pressed(struct turn *t, bool is_pressed)
{
    t->is_pressed = is_pressed;
}

void turn_set_bar(struct turn *t, uint64_t held_bytes_max)
{
    t->bar_bytes = held_bytes_max;
}

void turn_set_hook(struct turn *t, turn_hook_fn *hook, void *ctx)
{
    t->hook = hook;
    t->hook_ctx = ctx;
}

uint64_t turn_count(const struct turn *t)
{
    return t->count;
}

uint64_t turn_flush_count(const struct turn *t)
{
    return t->flush_count;
}

struct turn_extra **turn_extra(struct turn *t)
{
    return &t->extra;
}

void turn_soon(struct turn *t, struct turn_task *task)
{
    if (!list_is_linked(&task->link))
        list_push_back(&t->run, &task->link);
}

void turn_later(struct turn *t, struct turn_task *task)
{
    if (!list_is_linked(&task->link))
        list_push_back(&t->later, &task->link);
}

void turn_cancel(struct turn_task *task)
{
    list_remove(&task->link);
}

void turn_bury(struct turn *t, struct grave *g, grave_fn *free)
{
    g->free = free;
    list_push_back(&t->graves, &g->link);
}

void timer_start(struct turn *t, struct timer *timer, uint64_t delay_us)
{
    timers_start(&t->timers, timer, t->now_us, delay_us);
}

void timer_stop(struct timer *timer)
{
    list_remove(&timer->link);
}
