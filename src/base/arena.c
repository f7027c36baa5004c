#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { ALIGN = 16, BLOCK_LEN_MIN = 256, BLOCK_LEN_MAX = 64 * 1024, TIGHT_BLOCKS = 8 };

struct arena_block {
    struct arena_block *next;
    size_t len; /* bytes of data */
    _Alignas(ALIGN) char data[];
};

void arena_init(struct arena *a, size_t block_len)
{
    *a = (struct arena){
        .block_len = (uint32_t)MIN(MAX(block_len, (size_t)BLOCK_LEN_MIN), (size_t)UINT32_MAX)};
}

void arena_init_tight(struct arena *a, size_t block_len)
{
    arena_init(a, block_len);
    a->is_tight = true;
}

static void block_free_all(struct arena_block *b)
{
    while (b != NULL) {
        struct arena_block *next = b->next;

        free(b);
        b = next;
    }
}

void arena_deinit(struct arena *a)
{
    block_free_all(a->blocks);
    *a = (struct arena){.block_len = a->block_len, .is_tight = a->is_tight};
}

void arena_reset(struct arena *a)
{
    struct arena_block *first = a->blocks;

    if (first == NULL)
        return;
    while (first->next != NULL) {
        struct arena_block *next = first->next;

        free(first);
        first = next;
    }
    a->blocks = first;
    a->pos = first->data;
    a->end = first->data + first->len;
    a->size = sizeof(*first) + first->len;
}

static struct arena_block *block_new(struct arena *a, size_t len)
{
    struct arena_block *b = mem_alloc(sizeof(*b) + len);

    b->len = len;
    a->size += sizeof(*b) + len;
    return b;
}

/* A large item gets a block of its own, put behind the newest, whose free part stays in use. */
static char *alloc_alone(struct arena *a, size_t len)
{
    struct arena_block *b = block_new(a, len);

    if (a->blocks == NULL) {
        b->next = NULL;
        a->blocks = b;
        a->pos = a->end = b->data + len;
    } else {
        b->next = a->blocks->next;
        a->blocks->next = b;
    }
    return b->data;
}

static char *alloc_slow(struct arena *a, size_t len)
{
    ASSERT(len < SIZE_MAX / 2);
    if (len > a->block_len / 2)
        return alloc_alone(a, len);

    struct arena_block *b = block_new(a, a->block_len);
    b->next = a->blocks;
    a->blocks = b;
    a->pos = b->data + len;
    a->end = b->data + b->len;
    if (a->block_len < BLOCK_LEN_MAX && a->size >= a->block_len * (a->is_tight ? TIGHT_BLOCKS : 1))
        a->block_len *= 2;
    return b->data;
}

void *arena_alloc(struct arena *a, size_t len)
{
    size_t pad = -(uintptr_t)a->pos & (ALIGN - 1);
    size_t room = (size_t)(a->end - a->pos);

    if (room < pad || room - pad < len || a->pos == NULL)
        return alloc_slow(a, len);
    char *p = a->pos + pad;
    a->pos = p + len;
    return p;
}

void *arena_zalloc(struct arena *a, size_t len)
{
    return memset(arena_alloc(a, len), 0, len);
}

char *arena_bytes(struct arena *a, size_t len)
{
    if (a->pos == NULL || (size_t)(a->end - a->pos) < len)
        return alloc_slow(a, len);
    char *p = a->pos;
    a->pos += len;
    return p;
}

struct str arena_str(struct arena *a, struct str s)
{
    char *copy = arena_bytes(a, s.len + 1);

    if (s.len > 0)
        memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return str_from(copy, s.len);
}

struct str arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list args, again;
    int len;

    va_start(args, fmt);
    va_copy(again, args);
    len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    ASSERT(len >= 0);
    char *text = arena_bytes(a, (size_t)len + 1);
    vsnprintf(text, (size_t)len + 1, fmt, again);
    va_end(again);
    return str_from(text, (size_t)len);
}

struct str arena_u64(struct arena *a, uint64_t value)
{
    char text[STR_U64_LEN];
    return arena_str(a, str_of_u64(value, text));
}
