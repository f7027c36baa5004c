/* Logging of the programs: event name + key=value, or JSON, on standard error; rate-limited.
 *
 * Library modules return errors and do not log; who handles an error logs it once. Values never
 * hold secrets or payload. Thread: any. */
#pragma once

#include "base/str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF };

struct log_field {
    const char *key;
    struct str value;
};

void log_set_level(enum log_level level);
enum log_level log_level(void);
bool log_level_parse(struct str s, enum log_level *ret_level);
const char *log_level_name(enum log_level level);
void log_set_json(bool is_json);
void log_set_fd(int fd); /* 2 until set; not owned */

enum { LOG_RATE_MAX = 20 };

/* log_event(LOG_WARN, "xds_nack", "type", str, "reason", str): pairs of C string and struct str.
 * At most `LOG_RATE_MAX` lines a second per event name are written; the rest are counted and
 * reported by the next line of that event as suppressed=N. */
#define log_event(level, event, ...)                                                               \
    do {                                                                                           \
        if ((level) >= log_level())                                                                \
            log_write((level), (event), (const struct log_field[]){__VA_ARGS__},                   \
                      sizeof((const struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field)); \
    } while (0)
#define LF(key, str_value)                                                                         \
    {                                                                                              \
        (key), (str_value)                                                                         \
    }
#define LFC(key, c_value)                                                                          \
    {                                                                                              \
        (key), str_from_c(c_value)                                                                 \
    }

void log_write(enum log_level level, const char *event, const struct log_field *fields, size_t n);
