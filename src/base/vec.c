#include "base/vec.h"

void *vec_grow(void *ptr, size_t *cap, size_t len_min, size_t item_len)
{
    size_t cap_new = MAX(*cap + *cap / 2, len_min);
    size_t bytes;

    cap_new = MAX(cap_new, (size_t)4);
    ASSERT(!__builtin_mul_overflow(cap_new, item_len, &bytes));
    *cap = cap_new;
    return mem_realloc(ptr, bytes);
}
