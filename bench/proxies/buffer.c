/* Bytes, the clock, and the end. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proxies.h"

void die(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("proxies: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

void *must(void *ptr)
{
    if (ptr == NULL)
        die("no memory");
    return ptr;
}

uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void buffer_add(struct buffer *b, const void *ptr, size_t len)
{
    if (b->len + len > b->cap) {
        size_t cap = b->cap == 0 ? 512 : b->cap;
        while (cap < b->len + len)
            cap *= 2;
        b->ptr = must(realloc(b->ptr, cap));
        b->cap = cap;
    }
    if (len > 0)
        memcpy(b->ptr + b->len, ptr, len);
    b->len += len;
}

void buffer_free(struct buffer *b)
{
    free(b->ptr);
    *b = (struct buffer){0};
}

void buffer_skip(struct buffer *b, size_t len)
{
    if (len == 0)
        return;
    b->len -= len;
    if (b->len == 0)
        buffer_free(b);
    else
        memmove(b->ptr, b->ptr + len, b->len);
}

static void add_varint(struct buffer *b, uint64_t n)
{
    unsigned char bytes[10];
    size_t len = 0;
    for (; n > 127; n >>= 7)
        bytes[len++] = (unsigned char)(n & 127) | 128;
    bytes[len++] = (unsigned char)n;
    buffer_add(b, bytes, len);
}

void buffer_add_field(struct buffer *b, unsigned field, const void *ptr, size_t len)
{
    add_varint(b, field << 3 | 2);
    add_varint(b, len);
    buffer_add(b, ptr, len);
}
