/* Memory that is given back all at once: one arena per stream and per configuration resource.
 *
 * Owner: whoever embeds the struct. Thread: one at a time; an arena that is no longer written may
 * be read by all. Running out of memory aborts; who lets a peer fill an arena bounds it with
 * arena_size. */
#pragma once

#include <stddef.h>

#include "base/str.h"

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first */
    char *pos, *end;            /* free part of the newest block */
    uint32_t block_len;         /* size of the next ordinary block */
    bool is_tight;
    size_t size; /* bytes held from the heap */
};

void arena_init(struct arena *a, size_t block_len);
/* Blocks grow with what is held, not by doubling: for what stays, so that little of it is empty. */
void arena_init_tight(struct arena *a, size_t block_len);
void arena_deinit(struct arena *a);
/* Empties the arena, keeping its first block for the next user. */
void arena_reset(struct arena *a);

/* Aligned to 16 bytes; uninitialised / zeroed. */
void *arena_alloc(struct arena *a, size_t len);
void *arena_zalloc(struct arena *a, size_t len);
/* Copies, NUL-terminated behind the last byte (not counted). */
struct str arena_str(struct arena *a, struct str s);
struct str arena_printf(struct arena *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), nonnull(2)));
/* Decimal text of a number, without printf: for the path of requests. */
struct str arena_u64(struct arena *a, uint64_t value);
/* Unaligned bytes for text. */
char *arena_bytes(struct arena *a, size_t len);

static inline size_t arena_size(const struct arena *a)
{
    return a->size;
}

#define ARENA_NEW(a, type) ((type *)arena_zalloc((a), sizeof(type)))
#define ARENA_ARRAY(a, type, n) ((type *)arena_zalloc((a), sizeof(type) * (n)))
