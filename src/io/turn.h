/* The loop of one thread, and its contract:
 *
 *   poll -> mark -> run list -> flush each dirty connection once -> timers -> mailbox -> graveyard
 *
 * Events only mark: they put a task on the run list. Nobody sends from a handler: writing appends
 * to a connection's chain and marks the connection dirty; the flush makes one TLS record and one
 * send of all that the turn produced. Where all was sent and somebody waited for that
 * (conn_ask_drain: a long body), run list and flush follow once more, up to four rounds. Nothing is
 * freed under its caller's feet: what is closed goes to the graveyard and is freed when the turn
 * ends.
 *
 * Time is read once a turn (turn_now_us). The backend (io/linux: epoll and sockets; io/sim: a clock
 * and byte pipes under a seed) stands behind struct io_ops, so that everything above can be tested
 * without a kernel.
 *
 * Lifetime: made and freed by the thread's owner. Thread: all calls from the loop's own thread,
 * except mailbox_post and turn_stop. */
#pragma once

#include "base/arena.h"
#include "base/chain.h"
#include "base/list.h"
#include "base/random.h"

struct turn;
struct io_ops;

/* A piece of work on the run list. Embedded in its object; queueing twice is harmless. */
struct turn_task;
typedef void turn_task_fn(struct turn_task *task);
struct turn_task {
    struct list link;
    turn_task_fn *run;
};

static inline void turn_task_init(struct turn_task *t, turn_task_fn *run)
{
    list_init(&t->link);
    t->run = run;
}

/* A timer; embedded. Resolution 1 ms, kept in a hierarchical wheel: starting and stopping are O(1).
 */
struct timer;
typedef void timer_fn(struct timer *timer);
struct timer {
    struct list link;
    uint64_t due_us;
    timer_fn *fire;
};

static inline void timer_init(struct timer *t, timer_fn *fire)
{
    list_init(&t->link);
    t->due_us = 0;
    t->fire = fire;
}

static inline bool timer_is_started(const struct timer *t)
{
    return list_is_linked(&t->link);
}

/* Something to be freed at the end of the turn. */
struct grave;
typedef void grave_fn(struct grave *g);
struct grave {
    struct list link;
    grave_fn *free;
};

/* A message from another thread. The receiver's loop calls handle in its mailbox phase. The sender
 * gives up the mail with mailbox_post; handle owns it. */
struct mail;
typedef void mail_fn(struct turn *turn, struct mail *mail);
struct mail {
    struct mail *next;
    mail_fn *handle;
};

struct turn *turn_new_linux(void);
struct turn *turn_free(struct turn *t); /* all connections must be closed; returns NULL */

/* Runs until turn_stop. */
void turn_run(struct turn *t);
/* One turn; waits at most timeout_ms (-1: until something happens). For the simulation and tests.
 */
void turn_once(struct turn *t, int timeout_ms);
void turn_stop(struct turn *t);

uint64_t turn_now_us(const struct turn *t);  /* monotonic, read once a turn */
uint64_t turn_wall_us(const struct turn *t); /* UTC since 1970, read when asked for */
struct random *turn_random(struct turn *t);
struct chunk_pool *turn_chunks(struct turn *t);
struct chain_account *turn_account(struct turn *t); /* bytes of all chains of this thread */

/* What this loop holds for its connections: the chunks of its chains, used or not, and what was
 * charged besides (arenas). */
uint64_t turn_held_bytes(const struct turn *t);
void turn_charge(struct turn *t, int64_t bytes);
/* Memory is short: who moves bytes lets no more in than goes out. Set by who watches the budget. */
bool turn_is_pressed(const struct turn *t);
void turn_set_pressed(struct turn *t, bool is_pressed);
/* Beyond so many bytes held nothing is read at all (handshakes are): the bound of the budget, until
 * who watches it has made room. UINT64_MAX: none. */
void turn_set_bar(struct turn *t, uint64_t held_bytes_max);
/* Called in every turn behind the run list: for who watches the budget. One, or NULL. */
typedef void turn_hook_fn(void *ctx);
void turn_set_hook(struct turn *t, turn_hook_fn *hook, void *ctx);
uint64_t turn_count(const struct turn *t); /* turns so far: tells a busy loop from an idle one */
uint64_t turn_flush_count(
    const struct turn *t); /* tells whether what was written has been flushed */

/* What http/ keeps for each loop (recycled exchanges): one object, NULL until it is set, freed with
 * the loop. */
struct turn_extra {
    void (*free)(struct turn_extra *extra);
};
struct turn_extra **turn_extra(struct turn *t);

void turn_soon(struct turn *t, struct turn_task *task); /* in this turn's run list, or the next's */
void turn_cancel(struct turn_task *task);
void turn_bury(struct turn *t, struct grave *g, grave_fn *free);

void timer_start(struct turn *t, struct timer *timer, uint64_t delay_us); /* restarts if started */
void timer_stop(struct timer *timer);

/* From any thread. Order between two posts of one thread is kept. */
void mailbox_post(struct turn *to, struct mail *mail);

/* A descriptor that is no connection (signalfd, inotify, a child's pidfd, netlink). Linux only. */
struct watch;
typedef void watch_fn(struct watch *w, bool is_readable, bool is_writable);
struct watch {
    struct turn_task task;
    struct turn *turn;
    int fd;
    uint32_t events;
    watch_fn *ready;
};
/* Without want_write: level-triggered, ready comes each turn while there is something to read.
 * With want_write: edge-triggered, read and write until -EAGAIN. A hang-up shows as both. */
int watch_start(struct turn *t, struct watch *w, int fd, bool want_write, watch_fn *ready);
void watch_stop(struct watch *w);
