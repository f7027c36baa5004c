#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/log_priv.h"

enum { RATE_SLOTS = 256, RATE_PROBES = 8, LINE_TAIL = 64, VALUE_TAIL = 16 };

/* One row per event name; a stranger to a full neighbourhood takes the place of the oldest. */
struct rate {
    const char *event;
    int64_t second;
    uint32_t count;
    uint64_t suppressed_count;
};

/* The log is the process's: it is the one place where state is global. */
static atomic_int level_now = LOG_INFO;
static atomic_bool is_json_now;
static atomic_int fd_now = STDERR_FILENO;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct rate rates[RATE_SLOTS];

static const char *const level_names[] = {
    [LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn",
    [LOG_ERROR] = "error", [LOG_OFF] = "off",
};
static const char *const level_marks[] = {
    [LOG_DEBUG] = "DEBUG", [LOG_INFO] = "INFO", [LOG_WARN] = "WARN",
    [LOG_ERROR] = "ERROR", [LOG_OFF] = "OFF",
};

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&level_now, (int)level, memory_order_relaxed);
}

enum log_level log_level(void)
{
    return (enum log_level)atomic_load_explicit(&level_now, memory_order_relaxed);
}

bool log_level_parse(struct str s, enum log_level *ret_level)
{
    if (str_eq_nocase(s, STR("warning")))
        s = STR("warn");
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
        if (str_eq_nocase(s, str_from_c(level_names[i]))) {
            *ret_level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

void log_set_json(bool is_json)
{
    atomic_store_explicit(&is_json_now, is_json, memory_order_relaxed);
}

void log_set_fd(int fd)
{
    atomic_store_explicit(&fd_now, fd, memory_order_relaxed);
}

static struct rate *rate_slot(const char *event)
{
    uint64_t hash = str_hash(str_from_c(event), 0);
    struct rate *oldest = NULL;

    for (uint64_t i = 0; i < RATE_PROBES; i++) {
        struct rate *r = &rates[(hash + i) % RATE_SLOTS];

        if (r->event == NULL || strcmp(r->event, event) == 0) {
            r->event = event;
            return r;
        }
        if (oldest == NULL || r->second < oldest->second)
            oldest = r;
    }
    *oldest = (struct rate){.event = event};
    return oldest;
}

bool log_rate_allow(const char *event, int64_t time_ms, uint64_t *ret_suppressed)
{
    struct rate *r = rate_slot(event);
    int64_t second = time_ms / 1000;

    if (r->second != second) {
        r->second = second;
        r->count = 0;
    }
    if (r->count >= LOG_RATE_MAX) {
        r->suppressed_count++;
        return false;
    }
    r->count++;
    *ret_suppressed = r->suppressed_count;
    r->suppressed_count = 0;
    return true;
}

struct out {
    char *at, *end;
};

static void put(struct out *o, struct str s)
{
    size_t n = MIN((size_t)(o->end - o->at), s.len);

    if (n > 0)
        memcpy(o->at, s.ptr, n);
    o->at += n;
}

/* Control bytes, quotes and backslashes never reach a terminal or a parser raw. */
static void put_escaped(struct out *o, struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        char text[8];

        if (c == '"' || c == '\\')
            snprintf(text, sizeof(text), "\\%c", c);
        else if (c == '\n')
            snprintf(text, sizeof(text), "\\n");
        else if (c < 0x20 || c == 0x7f)
            snprintf(text, sizeof(text), "\\u%04x", c);
        else
            snprintf(text, sizeof(text), "%c", c);
        if ((size_t)(o->end - o->at) < strlen(text))
            return;
        put(o, str_from_c(text));
    }
}

/* C1 controls (U+0080..U+009F) move cursors on some terminals. */
static bool is_c1_control(struct str s)
{
    return (unsigned char)s.ptr[0] == 0xc2 && (unsigned char)s.ptr[1] < 0xa0;
}

/* As put_escaped, with malformed UTF-8 shown as U+FFFD, so that JSON lines stay JSON. */
static void put_value(struct out *o, struct str s)
{
    bool is_cut = s.len > LOG_VALUE_MAX;

    s = str_sub(s, 0, LOG_VALUE_MAX);
    while (s.len > 0) {
        size_t n = str_utf8_len(s);
        size_t room = (size_t)(o->end - o->at);

        if (room < VALUE_TAIL)
            break;
        if (n == 0 || (n == 2 && is_c1_control(s)))
            put(o, STR("\xef\xbf\xbd"));
        else if (n == 1)
            put_escaped(o, str_sub(s, 0, 1));
        else
            put(o, str_sub(s, 0, n));
        s = str_skip(s, MAX(n, (size_t)1));
    }
    if (is_cut || s.len > 0)
        put(o, STR("..."));
}

static bool is_plain(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] <= ' ' || s.ptr[i] >= 0x7f || strchr("\"\\=", s.ptr[i]) != NULL)
            return false;
    return s.len > 0 && s.len <= LOG_VALUE_MAX;
}

static void put_text_field(struct out *o, const struct log_field *f)
{
    put(o, STR(" "));
    put(o, str_from_c(f->key));
    put(o, STR("="));
    if (is_plain(f->value)) {
        put(o, f->value);
        return;
    }
    put(o, STR("\""));
    put_value(o, f->value);
    put(o, STR("\""));
}

static void put_json_field(struct out *o, const struct log_field *f)
{
    put(o, STR(",\""));
    put_escaped(o, str_from_c(f->key));
    put(o, STR("\":\""));
    put_value(o, f->value);
    put(o, STR("\""));
}

static void put_time(struct out *o, int64_t time_ms)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm tm;
    char text[40];
    size_t n;

    gmtime_r(&seconds, &tm);
    n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    put(o, str_from(text, n));
    snprintf(text, sizeof(text), ".%03dZ", (int)(time_ms % 1000));
    put(o, str_from_c(text));
}

static void put_start(struct out *o, bool is_json, const struct log_line *line)
{
    if (is_json)
        put(o, STR("{\"time\":\""));
    put_time(o, line->time_ms);
    put(o, is_json ? STR("\",\"level\":\"") : STR(" "));
    put(o, str_from_c(is_json ? level_names[line->level] : level_marks[line->level]));
    put(o, is_json ? STR("\",\"event\":\"") : STR(" "));
    put_escaped(o, str_from_c(line->event));
    if (is_json)
        put(o, STR("\""));
}

size_t log_render(char *buf, bool is_json, const struct log_line *line)
{
    struct out o = {buf, buf + LOG_LINE_MAX - LINE_TAIL};
    char suppressed[LINE_TAIL];

    put_start(&o, is_json, line);
    for (size_t i = 0; i < line->field_count; i++) {
        /* A field goes in whole (its value perhaps cut) or not at all, so lines stay parseable. */
        if ((size_t)(o.end - o.at) < strlen(line->fields[i].key) + 32)
            break;
        (is_json ? put_json_field : put_text_field)(&o, &line->fields[i]);
    }
    o.end = buf + LOG_LINE_MAX;
    if (line->suppressed_count > 0) {
        put(&o, is_json ? STR(",\"suppressed\":") : STR(" suppressed="));
        snprintf(suppressed, sizeof(suppressed), "%llu",
                 (unsigned long long)line->suppressed_count);
        put(&o, str_from_c(suppressed));
    }
    put(&o, is_json ? STR("}\n") : STR("\n"));
    return (size_t)(o.at - buf);
}

/* One write per line, so that lines of several processes on one pipe do not mix. A log that cannot
 * be written is lost: there is nobody left to tell. */
static void write_line(const char *buf, size_t len)
{
    int fd = atomic_load_explicit(&fd_now, memory_order_relaxed);

    while (len > 0) {
        ssize_t n = write(fd, buf, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        buf += n;
        len -= (size_t)n;
    }
}

void log_write(enum log_level level, const char *event, const struct log_field *fields, size_t n)
{
    struct log_line line = {.level = level, .event = event, .fields = fields, .field_count = n};
    char buf[LOG_LINE_MAX];
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    line.time_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    pthread_mutex_lock(&lock);
    if (log_rate_allow(event, line.time_ms, &line.suppressed_count))
        write_line(buf, log_render(buf, atomic_load(&is_json_now), &line));
    pthread_mutex_unlock(&lock);
}
