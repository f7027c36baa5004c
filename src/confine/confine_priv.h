/* Inside confine/ only. */
#pragma once

#include "confine/confine.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CONFINE_IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CONFINE_IS_SANITIZED 1
#endif
#endif
#ifndef CONFINE_IS_SANITIZED
#define CONFINE_IS_SANITIZED 0
#endif

/* What a sanitizer reads to tell where something happened; none in other builds. */
extern const struct confine_path confine_sanitizer_paths[];
extern const size_t confine_sanitizer_path_count;
