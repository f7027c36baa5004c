/* Parts of log.c that its test looks at. */
#pragma once

#include "base/log.h"

enum { LOG_LINE_MAX = 4096, LOG_VALUE_MAX = 1024 };

struct log_line {
    enum log_level level;
    const char *event;
    const struct log_field *fields;
    size_t field_count;
    uint64_t suppressed_count;
    int64_t time_ms; /* since 1970, UTC */
};

/* Renders into buf (LOG_LINE_MAX bytes) with the newline; returns the length. Values are cut at
 * LOG_VALUE_MAX bytes, and fields left out once the line is full. */
size_t log_render(char *buf, bool is_json, const struct log_line *line);

/* Whether a line of that event may be written at that time; then *ret_suppressed is how many were
 * kept back before. Caller holds the lock. */
bool log_rate_allow(const char *event, int64_t time_ms, uint64_t *ret_suppressed);
