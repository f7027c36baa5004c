/* Interning: label strings once, then numbers. */
#include <stdlib.h>

#include "proxy/telemetry/metrics_priv.h"

/* --- numbers to numbers --- */

static size_t slot_of(const struct key_table *t, uint64_t key)
{
    uint64_t hash = key * 0x9e3779b97f4a7c15ull;
    size_t at = (size_t)(hash ^ (hash >> 32)) & (t->cap - 1);
    while (t->values[at] != 0 && t->keys[at] != key)
        at = (at + 1) & (t->cap - 1);
    return at;
}

static void grow(struct key_table *t)
{
    struct key_table old = *t;
    t->cap = old.cap == 0 ? 64 : old.cap * 2;
    t->keys = mem_zalloc(t->cap * sizeof *t->keys);
    t->values = mem_zalloc(t->cap * sizeof *t->values);
    for (size_t i = 0; i < old.cap; i++) {
        if (old.values[i] == 0)
            continue;
        size_t at = slot_of(t, old.keys[i]);
        t->keys[at] = old.keys[i];
        t->values[at] = old.values[i];
    }
    free(old.keys);
    free(old.values);
}

uint32_t key_table_get(const struct key_table *t, uint64_t key)
{
    return t->cap == 0 ? 0 : t->values[slot_of(t, key)];
}

/* A new key counts as used: the caller sets its value at once. */
uint32_t *key_table_find(struct key_table *t, uint64_t key)
{
    if (t->len * 4 >= t->cap * 3)
        grow(t);
    size_t at = slot_of(t, key);
    if (t->values[at] == 0) {
        t->keys[at] = key;
        t->len++;
    }
    return &t->values[at];
}

void key_table_deinit(struct key_table *t)
{
    free(t->keys);
    free(t->values);
}

/* --- strings to numbers --- */

/* Labels must be UTF-8, and short enough that a series always fits in its line: what a stranger
 * says (Host, a certificate's name) becomes both. */
static struct str tidy(char buf[LABEL_LEN_MAX], struct str s)
{
    bool is_utf8 = s.len <= LABEL_LEN_MAX && str_is_utf8(s);
    size_t len = MIN(s.len, (size_t)LABEL_LEN_MAX);
    for (size_t i = 0; i < len; i++)
        buf[i] = !is_utf8 && (unsigned char)s.ptr[i] >= 0x80 ? '_' : s.ptr[i];
    return str_from(buf, len);
}

static struct str intern(struct metrics *m, struct str given)
{
    char buf[LABEL_LEN_MAX];
    if (given.len == 0)
        return STR_NULL;
    struct str s = tidy(buf, given);
    struct str *known = map_get(&m->strings, s);
    if (known == NULL) {
        known = ARENA_NEW(&m->arena, struct str);
        *known = arena_str(&m->arena, s);
        map_put(&m->strings, *known, known);
    }
    return *known;
}

enum { KEY_TEXT_MAX = 2048, PEER_STRINGS = 6, DESTINATION_STRINGS = 3 };
_Static_assert(PEER_STRINGS *(LABEL_LEN_MAX + 2) <= KEY_TEXT_MAX, "the key holds all strings");

/* The strings with their lengths between them, so that no two sets of strings look alike. */
static struct str key_text(char buf[KEY_TEXT_MAX], const struct str *strings, size_t count)
{
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        size_t take = MIN(strings[i].len, (size_t)LABEL_LEN_MAX);
        buf[len++] = (char)(take & 0xff);
        buf[len++] = (char)(take >> 8);
        if (take > 0)
            memcpy(buf + len, strings[i].ptr, take);
        len += take;
    }
    return str_from(buf, len);
}

metrics_id metrics_intern_peer(struct metrics *m, const struct metrics_peer *p)
{
    char buf[KEY_TEXT_MAX];
    const struct str strings[PEER_STRINGS] = {p->workload, p->namespace_, p->principal,
                                              p->app,      p->version,    p->cluster};
    struct str key = key_text(buf, strings, PEER_STRINGS);
    uintptr_t id = (uintptr_t)map_get(&m->peer_ids, key);
    if (id == 0 && m->peers.len >= m->series_max)
        return METRICS_ID_OVERFLOW;
    if (id == 0) {
        VEC_PUSH(&m->peers, ((struct metrics_peer){
                                .workload = intern(m, p->workload),
                                .namespace_ = intern(m, p->namespace_),
                                .principal = intern(m, p->principal),
                                .app = intern(m, p->app),
                                .version = intern(m, p->version),
                                .cluster = intern(m, p->cluster),
                            }));
        id = m->peers.len;
        map_put(&m->peer_ids, key, (void *)id);
    }
    return (metrics_id)id - 1;
}

metrics_id metrics_intern_destination(struct metrics *m, const struct metrics_destination *d)
{
    char buf[KEY_TEXT_MAX];
    const struct str strings[DESTINATION_STRINGS] = {d->service, d->service_name,
                                                     d->service_namespace};
    struct str key = key_text(buf, strings, DESTINATION_STRINGS);
    uintptr_t id = (uintptr_t)map_get(&m->destination_ids, key);
    if (id == 0 && m->destinations.len >= m->series_max)
        return METRICS_ID_OVERFLOW;
    if (id == 0) {
        VEC_PUSH(&m->destinations, ((struct metrics_destination){
                                       .service = intern(m, d->service),
                                       .service_name = intern(m, d->service_name),
                                       .service_namespace = intern(m, d->service_namespace),
                                   }));
        id = m->destinations.len;
        map_put(&m->destination_ids, key, (void *)id);
    }
    return (metrics_id)id - 1;
}
