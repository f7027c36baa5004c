#include "proxy/upstream/share.h"

#include <stdlib.h>

#include "proxy/upstream/upstream_priv.h"

void upstream_share_init(struct upstream_share *s, unsigned count)
{
    ASSERT(count >= 1 && count <= UPSTREAM_WORKERS_MAX);
    memset(s, 0, sizeof *s);
    s->count = count;
    map_init(&s->clusters);
    pthread_mutex_init(&s->lock, NULL);
}

void upstream_share_deinit(struct upstream_share *s)
{
    ASSERT(map_len(&s->clusters) == 0);
    map_deinit(&s->clusters);
    pthread_mutex_destroy(&s->lock);
}

static struct cluster_share *cluster_share_new(struct upstream_share *all, struct str name)
{
    struct cluster_share *s = NEW(struct cluster_share);
    s->all = all;
    s->name = str_from(str_dup_c(name), name.len);
    map_init(&s->hosts);
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

struct cluster_share *cluster_share_acquire(struct upstream_share *all, struct str name)
{
    pthread_mutex_lock(&all->lock);
    struct cluster_share *s = map_get(&all->clusters, name);
    if (s == NULL) {
        s = cluster_share_new(all, name);
        map_put(&all->clusters, name, s);
    }
    s->ref_count++;
    pthread_mutex_unlock(&all->lock);
    return s;
}

void cluster_share_release(struct cluster_share *s)
{
    struct upstream_share *all = s->all;
    pthread_mutex_lock(&all->lock);
    bool is_last = --s->ref_count == 0;
    if (is_last)
        map_remove(&all->clusters, s->name);
    pthread_mutex_unlock(&all->lock);
    if (!is_last)
        return;
    ASSERT(map_len(&s->hosts) == 0);
    map_deinit(&s->hosts);
    pthread_mutex_destroy(&s->lock);
    free((void *)(uintptr_t)s->name.ptr);
    free(s);
}

bool share_take(atomic_uint *count, uint32_t max)
{
    unsigned now = atomic_load(count);
    do {
        if (now >= max)
            return false;
    } while (!atomic_compare_exchange_weak(count, &now, now + 1));
    return true;
}

/* --- connection slots --- */

struct slot_mail {
    struct mail mail;
    struct cluster_share *share; /* a reference */
    unsigned worker;
};

static void on_slot_mail(struct turn *turn, struct mail *mail)
{
    (void)turn;
    struct slot_mail *m = CONTAINER_OF(mail, struct slot_mail, mail);
    struct cluster_share *s = m->share;
    struct upstream *u = s->all->workers[m->worker].upstream;
    struct upstream_cluster *c = u != NULL ? upstream_find(u, s->name) : NULL;
    if (c != NULL)
        cluster_grant_connection(c);
    else if (share_give_connection(s, m->worker))
        share_give(&s->connections); /* nobody is left here to use it */
    cluster_share_release(s);
    free(m);
}

static void hand_to(struct cluster_share *s, unsigned worker)
{
    struct slot_mail *m = NEW(struct slot_mail);
    m->mail.handle = on_slot_mail;
    m->worker = worker;
    m->share = cluster_share_acquire(s->all, s->name);
    mailbox_post(s->all->workers[worker].turn, &m->mail);
}

/* The first set bit from `from` on, around. */
static unsigned next_bit(unsigned long long bits, unsigned from)
{
    unsigned long long above = from < UPSTREAM_WORKERS_MAX ? bits >> from << from : 0;
    return (unsigned)__builtin_ctzll(above != 0 ? above : bits);
}

/* Each step keeps a wake from being lost: who waits says so, then tries; who gives frees, then
 * looks once more. */
bool share_give_connection(struct cluster_share *s, unsigned own)
{
    for (;;) {
        unsigned long long waiting = atomic_load(&s->waiting);
        unsigned max = atomic_load(&s->connections_max);
        if (waiting == 0 || atomic_load(&s->connections) > max) {
            share_give(&s->connections);
            if (atomic_load(&s->waiting) == 0 || !share_take(&s->connections, max))
                return false;
            continue;
        }
        unsigned worker = next_bit(waiting, atomic_load(&s->next));
        unsigned long long bit = 1ull << worker;
        if ((atomic_fetch_and(&s->waiting, ~bit) & bit) == 0)
            continue;
        atomic_store(&s->next, worker + 1);
        if (worker != own)
            hand_to(s, worker);
        return worker == own;
    }
}

void share_set_waiting(struct cluster_share *s, unsigned worker, bool is_waiting)
{
    unsigned long long bit = 1ull << worker;
    if (is_waiting)
        atomic_fetch_or(&s->waiting, bit);
    else if ((atomic_load(&s->waiting) & bit) != 0)
        atomic_fetch_and(&s->waiting, ~bit);
}
