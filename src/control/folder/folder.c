#include "control/folder/folder.h"

#include <stdlib.h>
#include <time.h>

#include "base/err.h"
#include "base/log.h"
#include "control/folder/folder_git.h"
#include "control/folder/folder_watch.h"

enum {
    SLICE_US = 5000,
    GIT_LOOK_US = 100 * 1000,
    FRESH_NS = 20 * 1000 * 1000, /* coarser than any clock of files */
    SKEW_NS = 1000 * 1000 * 1000,
};

enum phase { PHASE_IDLE, PHASE_SETTLING, PHASE_SCANNING, PHASE_READING };

struct folder {
    struct folder_args args;
    char *path, *parent;
    struct timer timer;
    enum phase phase;
    uint64_t stirred_us; /* the first change that is not loaded; 0: none */
    bool is_git_busy, is_git_said;
    struct folder_watch watch;
    bool is_watching, has_scan, has_fresh;
    struct folder_scan scan;
    size_t next; /* of scan.files, to be read */
    struct str_buf text;
    uint64_t scanned_hash; /* of the scan before this one */
    uint64_t loaded_hash;  /* of what is loaded; 0: come again */
};

static void begin(struct folder *f);

static uint64_t clock_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void drop_scan(struct folder *f)
{
    if (f->has_scan)
        folder_scan_deinit(&f->scan);
    f->has_scan = false;
}

/* --- a change is waited out --- */

static bool is_patience_over(const struct folder *f, uint64_t patience_us)
{
    return f->stirred_us > 0 && turn_now_us(f->args.turn) - f->stirred_us >= patience_us;
}

static void settle(struct folder *f)
{
    uint64_t now = turn_now_us(f->args.turn), end = f->stirred_us + FOLDER_PATIENCE_US;
    f->phase = PHASE_SETTLING;
    uint64_t left = end > now ? end - now : 0;
    timer_start(f->args.turn, &f->timer, MIN(left, (uint64_t)FOLDER_SETTLE_US));
}

static void on_stirred(void *ctx)
{
    struct folder *f = ctx;
    uint64_t now = turn_now_us(f->args.turn);
    if (f->phase == PHASE_IDLE || f->stirred_us == 0)
        f->stirred_us = MAX(now, (uint64_t)1);
    /* What is read already when patience is over is used; this change is the next one's. */
    bool is_reading = f->phase == PHASE_SCANNING || f->phase == PHASE_READING;
    if (is_reading && is_patience_over(f, FOLDER_PATIENCE_US))
        return;
    drop_scan(f);
    settle(f);
}

/* A lock that a killed Git left must not stop everything for good. */
static bool must_wait_for_git(struct folder *f)
{
    f->is_git_busy = folder_git_is_busy(f->path);
    if (!f->is_git_busy || is_patience_over(f, FOLDER_GIT_PATIENCE_US)) {
        if (f->is_git_busy && !f->is_git_said)
            log_event(LOG_WARN, "documents_git_lock", LFC("folder", f->path),
                      LFC("reason", "index.lock stays; loading all the same"));
        f->is_git_said = f->is_git_busy;
        return false;
    }
    return true;
}

/* --- looking --- */

static void on_folder(void *ctx, int fd)
{
    struct folder *f = ctx;
    folder_watch_add(&f->watch, fd);
}

/* All watches are made anew: those of folders that moved away go. */
static void start_scan(struct folder *f)
{
    struct str path = str_from_c(f->path);
    struct str name = str_skip(path, (size_t)(str_rfind(path, '/') + 1));
    if (f->is_watching)
        folder_watch_stop(&f->watch);
    folder_watch_start(&f->watch, f->args.turn, f->parent, name, on_stirred, f);
    f->is_watching = true;
    drop_scan(f);
    folder_scan_start(&f->scan, f->path, on_folder, f);
    f->has_scan = true;
    f->phase = PHASE_SCANNING;
}

static uint64_t mix(uint64_t hash, struct str bytes)
{
    return str_hash(bytes, hash);
}

static uint64_t hash_of(const struct folder_scan *s)
{
    uint64_t hash = 1 + s->is_partial + 2u * s->is_too_many;
    for (size_t i = 0; i < s->files.len; i++) {
        const struct folder_file *f = &s->files.ptr[i];
        hash = mix(hash, f->path);
        hash = mix(hash, str_from((const char *)&f->stamp, sizeof f->stamp));
    }
    for (size_t i = 0; i < s->problems.len; i++)
        hash = mix(mix(hash, s->problems.ptr[i].path), s->problems.ptr[i].text);
    return hash == 0 ? 1 : hash;
}

/* Two writes within one tick of the files' clock leave the same stamp: what was written just now is
 * looked at again. */
static void mark_fresh(struct folder *f, bool is_first)
{
    uint64_t now_ns = turn_wall_us(f->args.turn) * 1000;
    f->has_fresh = false;
    for (size_t i = 0; i < f->scan.files.len; i++) {
        struct folder_file *file = &f->scan.files.ptr[i];
        uint64_t changed_ns = file->stamp.changed_ns;
        if (changed_ns > now_ns + SKEW_NS)
            continue; /* another clock's: it tells nothing */
        file->is_fresh = changed_ns + FRESH_NS > now_ns;
        file->is_restless = !is_first && changed_ns + 1000ull * FOLDER_SETTLE_US > now_ns;
        f->has_fresh = f->has_fresh || file->is_fresh || file->is_restless;
    }
}

static uint64_t pause_us(const struct folder *f)
{
    if (f->watch.is_blind || f->scan.root < 0 || f->has_fresh)
        return FOLDER_LOOK_OFTEN_US;
    return f->loaded_hash == 0 ? FOLDER_RETRY_US : FOLDER_LOOK_US;
}

static void rest(struct folder *f)
{
    uint64_t us = pause_us(f);
    f->phase = PHASE_IDLE;
    drop_scan(f);
    timer_start(f->args.turn, &f->timer, us);
}

/* --- reading --- */

static void finish(struct folder *f, uint64_t hash)
{
    f->stirred_us = 0;
    f->loaded_hash = f->args.ops->done(f->args.ctx) && !f->has_fresh ? hash : 0;
    rest(f);
}

/* Of all that was found, what shall be read; false: nothing is new. */
static bool choose(struct folder *f, bool is_first)
{
    uint64_t hash = hash_of(&f->scan), before = f->scanned_hash;
    f->scanned_hash = hash;
    if (hash == f->loaded_hash) {
        f->stirred_us = 0;
        rest(f);
        return false;
    }
    /* Where nobody tells, it has come to rest when it looks the same twice. */
    if (!is_first && f->watch.is_blind && hash != before &&
        !is_patience_over(f, FOLDER_PATIENCE_US)) {
        on_stirred(f);
        return false;
    }
    mark_fresh(f, is_first);
    f->args.ops->scanned(f->args.ctx, &f->scan);
    f->next = 0;
    f->phase = PHASE_READING;
    return true;
}

/* False: it changed under our eyes. The first load is over at once: it says so of the file. */
static bool read_next(struct folder *f, bool is_first)
{
    const struct folder_file *file = &f->scan.files.ptr[f->next++];
    if (!file->is_wanted)
        return true;
    str_buf_reset(&f->text);
    f->text.is_overflown = false;
    int err = folder_scan_read(&f->scan, file, &f->text);
    if (err == -ERR_AGAIN && !is_first && !is_patience_over(f, FOLDER_PATIENCE_US))
        return false;
    f->args.ops->text(f->args.ctx, file, err == 0 ? str_buf_str(&f->text) : STR_NULL, err);
    return true;
}

/* One slice; false: no more to do, or it begins anew. */
static bool work(struct folder *f, bool is_first)
{
    if (f->phase == PHASE_SCANNING)
        return folder_scan_step(&f->scan) || choose(f, is_first);
    if (f->next < f->scan.files.len) {
        bool is_steady = read_next(f, is_first);
        if (!is_steady)
            on_stirred(f);
        return is_steady;
    }
    finish(f, f->scanned_hash);
    return false;
}

static void on_timer(struct timer *timer)
{
    struct folder *f = CONTAINER_OF(timer, struct folder, timer);
    if (f->phase == PHASE_IDLE || f->phase == PHASE_SETTLING) {
        begin(f);
        return;
    }
    uint64_t end_us = clock_us() + SLICE_US;
    bool is_going_on = true;
    while (is_going_on && clock_us() < end_us)
        is_going_on = work(f, false);
    if (is_going_on)
        timer_start(f->args.turn, &f->timer, 1000);
}

static void begin(struct folder *f)
{
    if (must_wait_for_git(f)) {
        if (f->stirred_us == 0)
            f->stirred_us = MAX(turn_now_us(f->args.turn), (uint64_t)1);
        f->phase = PHASE_SETTLING;
        timer_start(f->args.turn, &f->timer, GIT_LOOK_US);
        return;
    }
    start_scan(f);
    timer_start(f->args.turn, &f->timer, 1000);
}

/* --- life --- */

struct folder *folder_new(const struct folder_args *args)
{
    struct folder *f = NEW(struct folder);
    f->args = *args;
    f->path = str_dup_c(args->path);
    f->args.path = str_from_c(f->path);
    ptrdiff_t slash = str_rfind(args->path, '/');
    f->parent = str_dup_c(slash > 0 ? str_sub(args->path, 0, (size_t)slash) : STR("/"));
    f->text = STR_BUF_INIT(args->file_bytes_max);
    timer_init(&f->timer, on_timer);
    return f;
}

struct folder *folder_free(struct folder *f)
{
    if (f == NULL)
        return NULL;
    timer_stop(&f->timer);
    drop_scan(f);
    if (f->is_watching)
        folder_watch_stop(&f->watch);
    str_buf_deinit(&f->text);
    free(f->path);
    free(f->parent);
    free(f);
    return NULL;
}

void folder_start(struct folder *f)
{
    begin(f);
    while (f->phase == PHASE_SCANNING || f->phase == PHASE_READING)
        (void)work(f, true);
}

struct folder_view folder_view(const struct folder *f)
{
    static const char *const names[] = {
        [PHASE_IDLE] = "idle",
        [PHASE_SETTLING] = "settling",
        [PHASE_SCANNING] = "loading",
        [PHASE_READING] = "loading",
    };
    return (struct folder_view){
        .state = f->phase == PHASE_SETTLING && f->is_git_busy ? "waiting for git" : names[f->phase],
        .is_told = f->is_watching && !f->watch.is_blind,
        .changed_since = f->stirred_us,
    };
}
