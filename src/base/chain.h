/* Chains of bytes: the currency of every connection. A chain is a queue of slices of shared,
 * reference-counted chunks; moving bytes from one chain to another moves slices and copies nothing.
 *
 * Lifetime: a chunk lives until the last slice of it goes. Owner: whoever embeds the struct.
 * Thread: a chain, its chunks and its pool belong to one thread; counts are not atomic.
 *
 * A chunk has one writer at a time without keeping track: bytes behind chunk->len were never handed
 * out, so whoever's last slice ends exactly at chunk->len may append there, shared or not;
 * from then on the other holders' slices end before chunk->len and they take a new chunk.
 *
 * A chain must not be moved in memory (memcpy, struct assignment): it may point into itself.
 *
 * Accounting: every chain may point to a `struct chain_account`; the bytes of all slices in it are
 * charged there, so that a connection, and the sum of a worker, know what they hold. */
#pragma once

#include "base/str.h"

struct chunk {
    uint32_t ref_count;
    uint32_t cap;
    uint32_t len; /* bytes written so far; only the newest slice may grow into the rest */
    struct chunk_pool *pool;
    struct chunk *next_free;
    char data[];
};

/* Keeps free chunks of CHUNK_LEN bytes for reuse. One per thread; NULL means the heap. Four of
 * them, which is what a stream may hold (CHAIN_STREAM_BYTES), and an arena of 8 KiB are 64 KiB. */
enum { CHUNK_LEN = 14 * 1024 - 64, CHAIN_STREAM_BYTES = 4 * CHUNK_LEN };

struct chunk_pool {
    struct chunk *free;
    uint32_t free_count, free_count_max;
    uint32_t free_count_low; /* the fewest since the last trim */
    uint64_t live_count;     /* chunks handed out and not yet returned */
    uint64_t live_bytes;     /* what they take */
};

void chunk_pool_init(struct chunk_pool *p, uint32_t free_count_max);
void chunk_pool_deinit(struct chunk_pool *p); /* all chunks must have come back */
/* Gives back to the heap what nobody needed since the last call, but for `keep` chunks; called from
 * time to time. False: there is nothing left to give. */
bool chunk_pool_shrink(struct chunk_pool *p, uint32_t keep);

struct chain_account {
    struct chain_account *parent; /* charged too; NULL at the top */
    int64_t bytes;
};

struct chain_slice {
    struct chunk *chunk;
    uint32_t from, to; /* chunk->data[from, to) */
};

struct chain {
    struct chain_slice *slices; /* ring of cap (a power of two) slices */
    uint32_t cap, head, count;
    size_t len; /* bytes in all */
    struct chunk_pool *pool;
    struct chain_account *account;
    struct chain_slice inline_slices[2];
};

void chain_init(struct chain *c, struct chunk_pool *pool, struct chain_account *account);
void chain_deinit(struct chain *c);
void chain_clear(struct chain *c);

static inline bool chain_is_empty(const struct chain *c)
{
    return c->len == 0;
}

/* Appends a copy. */
void chain_add(struct chain *c, struct str s);
void chain_printf(struct chain *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Contiguous room of at least len_min bytes behind the last byte, to be filled by the caller
 * and then confirmed by chain_commit(n <= *ret_len). In between nothing else may touch the chain,
 * nor a chain that shares chunks with it. chain_commit(c, 0) gives an unused chunk back. */
char *chain_reserve(struct chain *c, size_t len_min, size_t *ret_len);
void chain_commit(struct chain *c, size_t len);

/* Moves the first len bytes (or all, when fewer) of `from` to the end of `to`; to != from. Slices
 * below CHAIN_COPY_MAX bytes are copied, so that small messages do not pin whole chunks. */
enum { CHAIN_COPY_MAX = 1024 };
void chain_move(struct chain *to, struct chain *from, size_t len);

/* Appends the same bytes to `to` without taking them from `from` (shares chunks;
 * slices below CHAIN_COPY_MAX bytes are copied); to != from. from_offset and len are clamped. */
void chain_share(struct chain *to, const struct chain *from, size_t from_offset, size_t len);

/* What keeps the chain's bytes: its chunks, each as a whole. */
size_t chain_held_bytes(const struct chain *c);
/* For bytes that have to wait: when their chunks take more than held_max, though full ones would
 * not (or by more than an eighth and a chunk), they are copied into full ones. Slices of a chain
 * that moves on are not worth it. */
void chain_tighten(struct chain *c, size_t held_max);

/* Drops the first len bytes. */
void chain_skip(struct chain *c, size_t len);

/* The first contiguous bytes; empty when the chain is. */
struct str chain_first(const struct chain *c);
/* Copies up to len bytes from offset on; returns how many. */
size_t chain_peek(const struct chain *c, size_t offset, void *buf, size_t len);
/* Makes the first len bytes contiguous and returns them; len <= c->len. */
struct str chain_pullup(struct chain *c, size_t len);

/* Fills up to max iovecs with the slices from the front; returns the number. */
struct iovec;
unsigned chain_iovecs(const struct chain *c, struct iovec *iov, unsigned max);

/* Walk: the i-th slice as bytes. */
static inline struct str chain_slice_str(const struct chain *c, uint32_t i)
{
    const struct chain_slice *s = &c->slices[(c->head + i) & (c->cap - 1)];
    return (struct str){s->chunk->data + s->from, s->to - s->from};
}
