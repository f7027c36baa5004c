#include "base/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void util_assert_failed(const char *what, const char *file, int line)
{
    fprintf(stderr, "assertion failed: %s (%s:%d)\n", what, file, line);
    abort();
}

static _Noreturn void die_out_of_memory(size_t len)
{
    fprintf(stderr, "out of memory (%zu bytes)\n", len);
    abort();
}

void mem_free_auto(void *pointer_to_pointer)
{
    void *p;

    memcpy(&p, pointer_to_pointer, sizeof(p));
    free(p);
}

static _Thread_local uint64_t alloc_count;

uint64_t mem_alloc_count(void)
{
    return alloc_count;
}

void *mem_alloc(size_t len)
{
    alloc_count++;
    void *p = malloc(len > 0 ? len : 1);

    if (p == NULL)
        die_out_of_memory(len);
    return p;
}

void *mem_zalloc(size_t len)
{
    alloc_count++;
    void *p = calloc(1, len > 0 ? len : 1);

    if (p == NULL)
        die_out_of_memory(len);
    return p;
}

void *mem_realloc(void *p, size_t len)
{
    alloc_count++;
    void *q = realloc(p, len > 0 ? len : 1);

    if (q == NULL)
        die_out_of_memory(len);
    return q;
}

char *mem_strndup(const char *s, size_t len)
{
    char *copy = mem_alloc(len + 1);

    if (len > 0)
        memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}
