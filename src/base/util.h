/* Assertions, ownership helpers and small arithmetic that every module uses.
 *
 * ASSERT is for mistakes of the programmer, never for what a peer, a document or the system can
 * cause. AUTO(x_free) on a local calls x_free on it when the scope ends; TAKE(p) hands it over. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ASSERT(cond) ((cond) ? (void)0 : util_assert_failed(#cond, __FILE__, __LINE__))

/* Built to find mistakes: dearer checks are worth it. */
#if defined(__SANITIZE_ADDRESS__)
#define UTIL_IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UTIL_IS_SANITIZED 1
#endif
#endif
#ifndef UTIL_IS_SANITIZED
#define UTIL_IS_SANITIZED 0
#endif

_Noreturn void util_assert_failed(const char *what, const char *file, int line);

/* AUTO(fn) calls fn(&variable) when the variable leaves its scope. For pointers to heap objects,
 * AUTO_FREE_DEFINE(x, x_free) in the module's header makes AUTO(x_free_auto) call x_free(variable);
 * x_free must accept NULL. */
#define AUTO(fn) __attribute__((cleanup(fn)))
#define AUTO_FREE_DEFINE(type, fn)                                                                 \
    static inline void fn##_auto(type **p)                                                         \
    {                                                                                              \
        (void)fn(*p);                                                                              \
    }                                                                                              \
    _Static_assert(true, "")

void mem_free_auto(void *pointer_to_pointer); /* AUTO(mem_free_auto) char *text: free(3) */

/* Moves a pointer out of its variable, leaving NULL. */
#define TAKE(p)                                                                                    \
    ({                                                                                             \
        __typeof__(p) *take_from_ = &(p);                                                          \
        __typeof__(p) take_value_ = *take_from_;                                                   \
        *take_from_ = NULL;                                                                        \
        take_value_;                                                                               \
    })

#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define MIN(a, b)                                                                                  \
    ({                                                                                             \
        __typeof__(a) min_a_ = (a);                                                                \
        __typeof__(b) min_b_ = (b);                                                                \
        min_a_ < min_b_ ? min_a_ : min_b_;                                                         \
    })
#define MAX(a, b)                                                                                  \
    ({                                                                                             \
        __typeof__(a) max_a_ = (a);                                                                \
        __typeof__(b) max_b_ = (b);                                                                \
        max_a_ > max_b_ ? max_a_ : max_b_;                                                         \
    })

/* Heap that never returns NULL: running out of memory ends the process with a message. Growth that
 * a peer drives is bounded by limits before it gets here. free(3) releases. */
void *mem_alloc(size_t len);  /* uninitialised */
void *mem_zalloc(size_t len); /* zeroed */
void *mem_realloc(void *p, size_t len);
char *mem_strndup(const char *s, size_t len); /* NUL-terminated copy */
/* How often the calling thread has asked the heap by the functions above, since it began. */
uint64_t mem_alloc_count(void);

#define NEW(type) ((type *)mem_zalloc(sizeof(type)))
