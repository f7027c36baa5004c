/* Growable arrays: VEC(type) name; zero-initialised is empty. Owner: whoever holds the struct. */
#pragma once

#include <stdlib.h>

#include "base/util.h"

#define VEC(type)                                                                                  \
    struct {                                                                                       \
        type *ptr;                                                                                 \
        size_t len, cap;                                                                           \
    }

void *vec_grow(void *ptr, size_t *cap, size_t len_min, size_t item_len);

#define VEC_PUSH(v, item)                                                                          \
    ({                                                                                             \
        if ((v)->len == (v)->cap)                                                                  \
            (v)->ptr = vec_grow((v)->ptr, &(v)->cap, (v)->len + 1, sizeof(__typeof__(*(v)->ptr))); \
        (v)->ptr[(v)->len++] = (item);                                                             \
    })
#define VEC_DEINIT(v) (free((v)->ptr), (v)->ptr = NULL, (v)->len = (v)->cap = 0)
/* Removes item i by moving the last into its place. */
#define VEC_REMOVE_SWAP(v, i) ((v)->ptr[i] = (v)->ptr[--(v)->len])
