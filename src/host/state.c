#include "host/state.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"

enum { STATE_FILE_LEN_MAX = 4 * 1024 * 1024 };

static const char *const phase_names[STATE_PHASE_COUNT] = {
    [STATE_WAITING] = "waiting", [STATE_SETUP] = "setup", [STATE_SIDECAR] = "sidecar",
    [STATE_APP] = "app",         [STATE_READY] = "ready", [STATE_UNREADY] = "unready",
    [STATE_FAILED] = "failed",
};

const char *state_phase_name(enum state_phase phase)
{
    return phase_names[phase];
}

void state_init(struct state *s)
{
    *s = (struct state){0};
    arena_init(&s->arena, 4096);
}

void state_deinit(struct state *s)
{
    VEC_DEINIT(&s->replicas);
    arena_deinit(&s->arena);
}

char *state_address_v4(uint32_t number, char buf[STATE_ADDRESS_LEN_MAX])
{
    snprintf(buf, STATE_ADDRESS_LEN_MAX, "10.77.%u.%u", (number >> 8) & 255, number & 255);
    return buf;
}

char *state_address_v6(uint32_t number, char buf[STATE_ADDRESS_LEN_MAX])
{
    snprintf(buf, STATE_ADDRESS_LEN_MAX, "fd77::%x", number);
    return buf;
}

static void format_proc(struct str_buf *out, struct proc p)
{
    str_buf_printf(out, " %d %llu", (int)p.pid, (unsigned long long)p.start_time);
}

static void format_replica(struct str_buf *out, const struct state_replica *r)
{
    str_buf_printf(out, "replica %.*s %.*s %u %.*s %d %d %s %u", STR_FMT(r->namespace),
                   STR_FMT(r->workload), r->index, STR_FMT(r->slug), r->is_self_ready, r->is_wanted,
                   state_phase_name(r->phase), r->address);
    format_proc(out, r->init);
    format_proc(out, r->sidecar);
    format_proc(out, r->app);
    str_buf_printf(out, " %u %u %s\n", r->sidecar_restarts, r->app_restarts, r->message);
}

void state_format(const struct state *s, struct str_buf *out)
{
    str_buf_printf(out, "tulle-box 1\nname %.*s\ndir %.*s\ntrust-domain %.*s\nsupervisor",
                   STR_FMT(s->name), STR_FMT(s->dir), STR_FMT(s->trust_domain));
    format_proc(out, s->supervisor);
    str_buf_add_c(out, "\ntulled");
    format_proc(out, s->tulled);
    str_buf_printf(out, " %d %u\nipv6 %d\n", s->is_tulled_ready, s->tulled_restarts, s->has_ipv6);
    for (size_t i = 0; i < s->replicas.len; i++)
        format_replica(out, &s->replicas.ptr[i]);
    str_buf_add_c(out, "end\n");
}

/* Reads one line's fields; the first that is missing or malformed marks it bad. */
struct line {
    struct str rest;
    bool is_bad;
};

static struct str take_word(struct line *l)
{
    if (l->rest.ptr == NULL) {
        l->is_bad = true;
        return STR_NULL;
    }
    return str_split(&l->rest, ' ');
}

static uint64_t take_number(struct line *l, uint64_t max)
{
    uint64_t value = 0;
    if (!str_to_u64(take_word(l), max, &value))
        l->is_bad = true;
    return value;
}

static struct proc take_proc(struct line *l)
{
    struct proc p;
    p.pid = (pid_t)take_number(l, INT32_MAX);
    p.start_time = take_number(l, UINT64_MAX);
    return p;
}

static enum state_phase take_phase(struct line *l)
{
    struct str word = take_word(l);
    for (int i = 0; i < STATE_PHASE_COUNT; i++)
        if (str_eq(word, str_from_c(phase_names[i])))
            return (enum state_phase)i;
    l->is_bad = true;
    return STATE_FAILED;
}

static void take_replica(struct state *s, struct line *l)
{
    struct state_replica r = {0};
    r.namespace = arena_str(&s->arena, take_word(l));
    r.workload = arena_str(&s->arena, take_word(l));
    r.index = (uint32_t)take_number(l, BOX_REPLICAS_MAX);
    r.slug = arena_str(&s->arena, take_word(l));
    r.is_self_ready = take_number(l, 1) != 0;
    r.is_wanted = take_number(l, 1) != 0;
    r.phase = take_phase(l);
    r.address = (uint32_t)take_number(l, UINT16_MAX - 1);
    r.init = take_proc(l);
    r.sidecar = take_proc(l);
    r.app = take_proc(l);
    r.sidecar_restarts = (uint32_t)take_number(l, UINT32_MAX);
    r.app_restarts = (uint32_t)take_number(l, UINT32_MAX);
    snprintf(r.message, sizeof r.message, "%.*s", STR_FMT(l->rest));
    /* The slug becomes part of paths. */
    if (str_find(r.slug, '/') >= 0 || str_is_empty(r.slug) || r.slug.ptr[0] == '.')
        l->is_bad = true;
    if (!l->is_bad)
        VEC_PUSH(&s->replicas, r);
}

static void take_item(struct state *s, struct str key, struct line *l)
{
    if (str_eq(key, STR("name")))
        s->name = arena_str(&s->arena, l->rest);
    else if (str_eq(key, STR("dir")))
        s->dir = arena_str(&s->arena, l->rest);
    else if (str_eq(key, STR("trust-domain")))
        s->trust_domain = arena_str(&s->arena, l->rest);
    else if (str_eq(key, STR("supervisor")))
        s->supervisor = take_proc(l);
    else if (str_eq(key, STR("ipv6")))
        s->has_ipv6 = take_number(l, 1) != 0;
    else if (str_eq(key, STR("replica")))
        take_replica(s, l);
    else if (str_eq(key, STR("tulled"))) {
        s->tulled = take_proc(l);
        s->is_tulled_ready = take_number(l, 1) != 0;
        s->tulled_restarts = (uint32_t)take_number(l, UINT32_MAX);
    } else
        l->is_bad = true;
}

int state_parse(struct str text, struct state *ret_state)
{
    state_init(ret_state);
    if (!str_eq(str_split(&text, '\n'), STR("tulle-box 1")))
        return -ERR_CORRUPT;
    while (text.ptr != NULL) {
        struct line l = {str_split(&text, '\n'), false};
        struct str key = take_word(&l);
        if (str_eq(key, STR("end")))
            return str_is_empty(text) ? 0 : -ERR_CORRUPT;
        take_item(ret_state, key, &l);
        if (l.is_bad)
            return -ERR_CORRUPT;
    }
    return -ERR_CORRUPT;
}

int state_load(const char *mesh, struct state *ret_state)
{
    char path[PATH_LEN_MAX];
    size_t len;
    char *text = proc_read_file(paths_in_mesh(mesh, "box.state", path), STATE_FILE_LEN_MAX, &len);
    if (text == NULL) {
        state_init(ret_state);
        return -ERR_NOT_FOUND;
    }
    int err = state_parse(str_from(text, len), ret_state);
    free(text);
    return err;
}

int state_save(const struct state *s)
{
    char path[PATH_LEN_MAX], name[BOX_NAME_LEN_MAX + 1];
    snprintf(name, sizeof name, "%.*s", STR_FMT(s->name));
    struct str_buf text = STR_BUF_INIT(STATE_FILE_LEN_MAX);
    state_format(s, &text);
    int err = text.is_overflown ? -ERR_TOO_LARGE
                                : proc_write_file(paths_in_mesh(name, "box.state", path),
                                                  str_buf_str(&text), 0600);
    str_buf_deinit(&text);
    return err;
}

struct state_replica *state_find(struct state *s, struct str namespace, struct str workload,
                                 uint32_t index)
{
    for (size_t i = 0; i < s->replicas.len; i++) {
        struct state_replica *r = &s->replicas.ptr[i];
        if (r->index == index && str_eq(r->workload, workload) && str_eq(r->namespace, namespace))
            return r;
    }
    return NULL;
}

static bool is_slug_taken(const struct state *s, struct str slug)
{
    for (size_t i = 0; i < s->replicas.len; i++)
        if (str_eq(s->replicas.ptr[i].slug, slug))
            return true;
    return false;
}

/* NAMESPACE-WORKLOAD-INDEX; the names may hold '-' themselves, so two can meet. */
static struct str make_slug(struct state *s, const struct box_workload *w, uint32_t index)
{
    struct str slug = arena_printf(&s->arena, "%s-%s-%u", w->namespace, w->name, index);
    while (is_slug_taken(s, slug))
        slug = arena_printf(&s->arena, "%.*s~", STR_FMT(slug));
    return slug;
}

static uint32_t free_address(const struct state *s)
{
    for (uint32_t number = STATE_ADDRESS_FIRST;; number++) {
        bool is_taken = false;
        for (size_t i = 0; i < s->replicas.len && !is_taken; i++)
            is_taken = s->replicas.ptr[i].address == number;
        if (!is_taken)
            return number;
    }
}

static struct state_replica *add_replica(struct state *s, const struct box_workload *w,
                                         uint32_t index)
{
    struct state_replica r = {
        .namespace = arena_str(&s->arena, str_from_c(w->namespace)),
        .workload = arena_str(&s->arena, str_from_c(w->name)),
        .index = index,
        .slug = make_slug(s, w, index),
        .address = free_address(s),
    };
    VEC_PUSH(&s->replicas, r);
    return &s->replicas.ptr[s->replicas.len - 1];
}

static void forget_processes(struct state *s)
{
    for (size_t i = 0; i < s->replicas.len; i++) {
        struct state_replica *r = &s->replicas.ptr[i];
        r->is_wanted = false;
        r->phase = STATE_WAITING;
        r->init = r->sidecar = r->app = (struct proc){0};
        r->sidecar_restarts = r->app_restarts = 0;
        r->message[0] = '\0';
    }
    s->tulled = (struct proc){0};
    s->is_tulled_ready = false;
    s->tulled_restarts = 0;
}

int state_plan(struct state *s, const struct box_spec *spec)
{
    size_t wanted = 0;
    forget_processes(s);
    s->name = arena_str(&s->arena, str_from_c(spec->name));
    s->dir = arena_str(&s->arena, str_from_c(spec->dir));
    s->trust_domain = arena_str(&s->arena, str_from_c(spec->trust_domain));
    for (size_t i = 0; i < spec->workloads.len; i++) {
        const struct box_workload *w = &spec->workloads.ptr[i];
        wanted += w->replicas;
        if (wanted > BOX_REPLICAS_MAX)
            return -ERR_LIMIT;
        for (uint32_t index = 0; index < w->replicas; index++) {
            struct state_replica *r =
                state_find(s, str_from_c(w->namespace), str_from_c(w->name), index);
            if (r == NULL)
                r = add_replica(s, w, index);
            r->is_wanted = true;
            r->is_self_ready = w->command != NULL || w->first_port == 0;
        }
    }
    return 0;
}
