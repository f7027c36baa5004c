#include "base/chain.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, len) ((void)0)
#define ASAN_UNPOISON_MEMORY_REGION(at, len) ((void)0)
#endif

enum {
    INLINE_CAP = ARRAY_LEN(((struct chain *)NULL)->inline_slices),
    RING_KEEP_CAP = 64, /* an empty chain keeps no larger ring */
};

void chunk_pool_init(struct chunk_pool *p, uint32_t free_count_max)
{
    *p = (struct chunk_pool){.free_count_max = free_count_max};
}

void chunk_pool_deinit(struct chunk_pool *p)
{
    ASSERT(p->live_count == 0 && p->live_bytes == 0);
    while (p->free != NULL) {
        struct chunk *chunk = p->free;

        p->free = chunk->next_free;
        free(chunk);
    }
    p->free_count = 0;
}

bool chunk_pool_shrink(struct chunk_pool *p, uint32_t keep)
{
    uint32_t unused = p->free_count_low;

    for (; unused > 0 && p->free_count > keep; unused--) {
        struct chunk *chunk = p->free;

        p->free = chunk->next_free;
        p->free_count--;
        free(chunk);
    }
    p->free_count_low = p->free_count;
    return p->free_count > keep;
}

static struct chunk *chunk_acquire(struct chunk_pool *pool, size_t len_min)
{
    struct chunk *chunk;
    size_t cap = MAX(len_min, (size_t)CHUNK_LEN);

    ASSERT(cap <= UINT32_MAX);
    if (pool != NULL && pool->free != NULL && cap == CHUNK_LEN) {
        chunk = pool->free;
        pool->free = chunk->next_free;
        pool->free_count--;
        pool->free_count_low = MIN(pool->free_count_low, pool->free_count);
        ASAN_UNPOISON_MEMORY_REGION(chunk->data, CHUNK_LEN);
    } else {
        chunk = mem_alloc(sizeof(*chunk) + cap);
        chunk->cap = (uint32_t)cap;
        chunk->pool = pool;
    }
    if (pool != NULL) {
        pool->live_count++;
        pool->live_bytes += chunk->cap;
    }
    chunk->ref_count = 1;
    chunk->len = 0;
    chunk->next_free = NULL;
    return chunk;
}

static void chunk_unref(struct chunk *chunk)
{
    struct chunk_pool *pool = chunk->pool;

    if (--chunk->ref_count > 0)
        return;
    if (pool == NULL) {
        free(chunk);
        return;
    }
    pool->live_count--;
    pool->live_bytes -= chunk->cap;
    if (chunk->cap != CHUNK_LEN || pool->free_count >= pool->free_count_max) {
        free(chunk);
        return;
    }
    ASAN_POISON_MEMORY_REGION(chunk->data, CHUNK_LEN);
    chunk->next_free = pool->free;
    pool->free = chunk;
    pool->free_count++;
}

static void charge(struct chain *c, size_t len)
{
    c->len += len;
    for (struct chain_account *a = c->account; a != NULL; a = a->parent)
        a->bytes += (int64_t)len;
}

static void discharge(struct chain *c, size_t len)
{
    c->len -= len;
    for (struct chain_account *a = c->account; a != NULL; a = a->parent)
        a->bytes -= (int64_t)len;
}

void chain_init(struct chain *c, struct chunk_pool *pool, struct chain_account *account)
{
    *c = (struct chain){.cap = INLINE_CAP, .pool = pool, .account = account};
    c->slices = c->inline_slices;
}

static void ring_free(struct chain *c)
{
    if (c->slices != c->inline_slices)
        free(c->slices);
    c->slices = c->inline_slices;
    c->cap = INLINE_CAP;
    c->head = 0;
}

void chain_clear(struct chain *c)
{
    discharge(c, c->len);
    for (uint32_t i = 0; i < c->count; i++)
        chunk_unref(c->slices[(c->head + i) & (c->cap - 1)].chunk);
    c->count = c->head = 0;
    if (c->cap > RING_KEEP_CAP)
        ring_free(c);
}

void chain_deinit(struct chain *c)
{
    if (c->slices == NULL) /* never initialised */
        return;
    chain_clear(c);
    ring_free(c);
}

static struct chain_slice *slice_at(const struct chain *c, uint32_t i)
{
    return &c->slices[(c->head + i) & (c->cap - 1)];
}

static struct chain_slice *slice_last(const struct chain *c)
{
    return c->count == 0 ? NULL : slice_at(c, c->count - 1);
}

static size_t slice_len(const struct chain_slice *s)
{
    return s->to - s->from;
}

/* Bytes that may be written behind the last slice: see the header on who may append. */
static size_t room_behind(const struct chain_slice *s)
{
    return s == NULL || s->to != s->chunk->len ? 0 : s->chunk->cap - s->chunk->len;
}

static void ring_grow(struct chain *c)
{
    uint32_t cap = c->cap * 2;
    struct chain_slice *slices = mem_alloc(cap * sizeof(*slices));

    ASSERT(cap > c->cap);
    for (uint32_t i = 0; i < c->count; i++)
        slices[i] = *slice_at(c, i);
    ring_free(c);
    c->slices = slices;
    c->cap = cap;
}

/* An empty slice is left behind by a reservation that was not used; only the last one can be. */
static void drop_empty_last(struct chain *c)
{
    struct chain_slice *last = slice_last(c);

    if (last != NULL && last->from == last->to) {
        chunk_unref(last->chunk);
        c->count--;
    }
}

/* The caller's reference to the chunk goes to the chain. */
static struct chain_slice *push(struct chain *c, struct chunk *chunk, uint32_t from, uint32_t to)
{
    drop_empty_last(c);
    if (c->count == c->cap)
        ring_grow(c);
    struct chain_slice *s = slice_at(c, c->count++);
    *s = (struct chain_slice){chunk, from, to};
    return s;
}

/* Forgets the first slice; its reference is the caller's. */
static void drop_first_place(struct chain *c)
{
    c->head = (c->head + 1) & (c->cap - 1);
    if (--c->count == 0 && c->cap > RING_KEEP_CAP)
        ring_free(c);
}

static void pop_first(struct chain *c)
{
    chunk_unref(slice_at(c, 0)->chunk);
    drop_first_place(c);
}

static void append_within(struct chain *c, struct chain_slice *last, const char *bytes, size_t len)
{
    memcpy(last->chunk->data + last->to, bytes, len);
    last->to += (uint32_t)len;
    last->chunk->len = last->to;
    charge(c, len);
}

void chain_add(struct chain *c, struct str s)
{
    while (s.len > 0) {
        struct chain_slice *last = slice_last(c);
        size_t room = room_behind(last);

        if (room == 0) {
            last = push(c, chunk_acquire(c->pool, 0), 0, 0);
            room = last->chunk->cap;
        }
        size_t n = MIN(room, s.len);
        append_within(c, last, s.ptr, n);
        s.ptr += n;
        s.len -= n;
    }
}

void chain_printf(struct chain *c, const char *fmt, ...)
{
    va_list args, again;
    size_t room;
    char *at = chain_reserve(c, 128, &room);
    int len;

    va_start(args, fmt);
    va_copy(again, args);
    len = vsnprintf(at, room, fmt, args);
    va_end(args);
    ASSERT(len >= 0);
    if ((size_t)len >= room) {
        at = chain_reserve(c, (size_t)len + 1, &room);
        vsnprintf(at, room, fmt, again);
    }
    va_end(again);
    chain_commit(c, (size_t)len);
}

char *chain_reserve(struct chain *c, size_t len_min, size_t *ret_len)
{
    struct chain_slice *last = slice_last(c);
    size_t room = room_behind(last);

    if (room == 0 || room < len_min) {
        last = push(c, chunk_acquire(c->pool, len_min), 0, 0);
        room = last->chunk->cap;
    }
    *ret_len = room;
    return last->chunk->data + last->to;
}

void chain_commit(struct chain *c, size_t len)
{
    struct chain_slice *last = slice_last(c);

    if (len == 0) {
        drop_empty_last(c);
        return;
    }
    ASSERT(len <= room_behind(last));
    last->to += (uint32_t)len;
    last->chunk->len = last->to;
    charge(c, len);
}

/* Appends bytes of a chunk by reference; takes over one reference to it. */
static void append_chunk(struct chain *c, struct chunk *chunk, uint32_t from, uint32_t to)
{
    struct chain_slice *last = slice_last(c);

    if (last != NULL && last->chunk == chunk && last->to == from) {
        last->to = to;
        chunk_unref(chunk);
    } else {
        push(c, chunk, from, to);
    }
    charge(c, to - from);
}

/* Copying a small slice pays, except where it is the last user of its chunk and the copy would
 * need a chunk too. */
static bool is_better_copied(const struct chain *to, const struct chain_slice *s, size_t len)
{
    if (len >= CHAIN_COPY_MAX)
        return false;
    return room_behind(slice_last(to)) >= len || len < slice_len(s) || s->chunk->ref_count > 1;
}

/* The first n bytes of the first slice, n at most its length. */
static void move_first(struct chain *to, struct chain *from, size_t n)
{
    struct chain_slice s = *slice_at(from, 0);

    if (is_better_copied(to, &s, n)) {
        chain_add(to, str_from(s.chunk->data + s.from, n));
        chain_skip(from, n);
    } else if (n == slice_len(&s)) {
        discharge(from, n);
        drop_first_place(from);
        append_chunk(to, s.chunk, s.from, s.to);
    } else {
        s.chunk->ref_count++;
        append_chunk(to, s.chunk, s.from, s.from + (uint32_t)n);
        chain_skip(from, n);
    }
}

void chain_move(struct chain *to, struct chain *from, size_t len)
{
    ASSERT(to != from);
    drop_empty_last(from);
    while (len > 0 && from->count > 0) {
        size_t n = MIN(slice_len(slice_at(from, 0)), len);

        move_first(to, from, n);
        len -= n;
    }
}

void chain_share(struct chain *to, const struct chain *from, size_t from_offset, size_t len)
{
    ASSERT(to != from);
    for (uint32_t i = 0; i < from->count && len > 0; i++) {
        const struct chain_slice *s = slice_at(from, i);

        if (from_offset >= slice_len(s)) {
            from_offset -= slice_len(s);
            continue;
        }
        uint32_t start = s->from + (uint32_t)from_offset;
        size_t n = MIN((size_t)(s->to - start), len);
        if (n < CHAIN_COPY_MAX) {
            chain_add(to, str_from(s->chunk->data + start, n));
        } else {
            s->chunk->ref_count++;
            append_chunk(to, s->chunk, start, start + (uint32_t)n);
        }
        from_offset = 0;
        len -= n;
    }
}

/* Chunks follow one another, so one that several slices lie in is seen by its neighbours. */
static size_t held_of(const struct chain *c, uint32_t i)
{
    const struct chunk *chunk = slice_at(c, i)->chunk;

    return i > 0 && slice_at(c, i - 1)->chunk == chunk ? 0 : chunk->cap;
}

size_t chain_held_bytes(const struct chain *c)
{
    size_t held = 0;

    for (uint32_t i = 0; i < c->count; i++)
        held += held_of(c, i);
    return held;
}

/* How many slices at the front lie in chunks that are full but for a little: frame heads. */
static uint32_t count_tight(const struct chain *c)
{
    enum { LOST_BYTES_MAX = 128 };
    size_t held = 0, len = 0;
    uint32_t tight = 0;

    for (uint32_t i = 0; i < c->count; i++) {
        size_t more = held_of(c, i);

        if (more > 0 && held > len + LOST_BYTES_MAX)
            break;
        tight = more > 0 ? i : tight;
        held += more;
        len += slice_len(slice_at(c, i));
    }
    return tight;
}

static void drop_behind(struct chain *c, uint32_t count)
{
    size_t len = 0;

    for (uint32_t i = count; i < c->count; i++) {
        len += slice_len(slice_at(c, i));
        chunk_unref(slice_at(c, i)->chunk);
    }
    c->count = count;
    discharge(c, len);
}

/* Copies the slices from `first` on into chunks of their own. */
static void repack(struct chain *c, uint32_t first)
{
    struct chain packed;

    chain_init(&packed, c->pool, NULL);
    for (uint32_t i = first; i < c->count; i++)
        chain_add(&packed, chain_slice_str(c, i));
    drop_behind(c, first);
    for (uint32_t i = 0; i < packed.count; i++) {
        const struct chain_slice *s = slice_at(&packed, i);

        s->chunk->ref_count++;
        append_chunk(c, s->chunk, s->from, s->to);
    }
    chain_deinit(&packed);
}

void chain_tighten(struct chain *c, size_t held_max)
{
    size_t full = (c->len + CHUNK_LEN - 1) / CHUNK_LEN * CHUNK_LEN;

    if (c->count <= held_max / CHUNK_LEN)
        return;
    if (full > held_max)
        held_max = full + full / 8 + CHUNK_LEN;
    if (chain_held_bytes(c) > held_max)
        repack(c, count_tight(c));
}

void chain_skip(struct chain *c, size_t len)
{
    ASSERT(len <= c->len);
    discharge(c, len);
    while (len > 0) {
        struct chain_slice *s = slice_at(c, 0);

        if (len < slice_len(s)) {
            s->from += (uint32_t)len;
            return;
        }
        len -= slice_len(s);
        pop_first(c);
    }
}

struct str chain_first(const struct chain *c)
{
    return c->len == 0 ? STR_NULL : chain_slice_str(c, 0);
}

size_t chain_peek(const struct chain *c, size_t offset, void *buf, size_t len)
{
    char *out = buf;
    size_t done = 0;

    for (uint32_t i = 0; i < c->count && done < len; i++) {
        struct str s = chain_slice_str(c, i);

        if (offset >= s.len) {
            offset -= s.len;
            continue;
        }
        s = str_sub(s, offset, len - done);
        memcpy(out + done, s.ptr, s.len);
        done += s.len;
        offset = 0;
    }
    return done;
}

struct str chain_pullup(struct chain *c, size_t len)
{
    ASSERT(len <= c->len);
    if (len == 0)
        return STR_NULL;
    if (slice_len(slice_at(c, 0)) >= len)
        return str_from(chain_first(c).ptr, len);

    struct chunk *chunk = chunk_acquire(c->pool, len);
    chain_peek(c, 0, chunk->data, len);
    chunk->len = (uint32_t)len;
    chain_skip(c, len);
    drop_empty_last(c);
    if (c->count == c->cap)
        ring_grow(c);
    c->head = (c->head - 1) & (c->cap - 1);
    c->count++;
    *slice_at(c, 0) = (struct chain_slice){chunk, 0, (uint32_t)len};
    charge(c, len);
    return chain_first(c);
}

unsigned chain_iovecs(const struct chain *c, struct iovec *iov, unsigned max)
{
    unsigned n = 0;

    for (uint32_t i = 0; i < c->count && n < max; i++) {
        const struct chain_slice *s = slice_at(c, i);

        if (slice_len(s) > 0)
            iov[n++] = (struct iovec){s->chunk->data + s->from, slice_len(s)};
    }
    return n;
}
