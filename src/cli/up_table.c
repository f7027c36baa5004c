#include "cli/up_table.h"

#include <stdlib.h>
#include <unistd.h>

#include "cli/table.h"
#include "host/http_call.h"
#include "host/netns.h"

enum { PORT_METRICS = 15020, CALL_TIMEOUT_MS = 300 };

void up_table_deinit(struct up_table *t)
{
    free(t->last);
    *t = (struct up_table){0};
}

static struct metrics_sample sample(const struct state_replica *r)
{
    struct metrics_sample s = {0};
    struct http_answer answer;
    int netns = proc_is_alive(r->sidecar) ? netns_of(r->init.pid) : -1;
    if (netns < 0)
        return s;
    struct http_call call = {.address = "127.0.0.1",
                             .port = PORT_METRICS,
                             .netns_fd_plus_1 = netns + 1,
                             .path = "/stats/prometheus",
                             .timeout_ms = CALL_TIMEOUT_MS};
    if (http_call(&call, &answer) == 0 && answer.status == 200)
        metrics_add(&s, str_buf_str(&answer.body));
    http_answer_deinit(&answer);
    close(netns);
    return s;
}

/* All replicas of one workload together. */
struct sum {
    unsigned replicas, ready;
    uint64_t private_dirty_kib;
    struct metrics_sample since;
};

static void add_replica(struct sum *sum, const struct state_replica *r,
                        const struct metrics_sample *now, const struct metrics_sample *before)
{
    struct proc_memory m;
    struct metrics_sample since = metrics_since(now, before);
    sum->replicas++;
    sum->ready += r->phase == STATE_READY;
    metrics_merge(&sum->since, &since);
    if (proc_is_alive(r->sidecar) && proc_memory_read(r->sidecar.pid, &m))
        sum->private_dirty_kib = MAX(sum->private_dirty_kib, m.private_dirty_kib);
}

static void add_time(struct table *t, double ms)
{
    if (ms < 0)
        table_cell(t, "-");
    else
        table_cell(t, "%.1f ms", ms);
}

static void add_row(struct table *t, const struct state_replica *r, const struct sum *sum,
                    double seconds)
{
    const struct metrics_sample *s = &sum->since;
    table_cell(t, "%.*s/%.*s", STR_FMT(r->namespace), STR_FMT(r->workload));
    table_cell(t, "%u/%u", sum->ready, sum->replicas);
    table_cell(t, "%.1f", (double)s->requests / seconds);
    if (s->requests == 0)
        table_cell(t, "-");
    else
        table_cell(t, "%.2f %%", 100 * (double)(s->requests - s->failures) / (double)s->requests);
    add_time(t, metrics_quantile_ms(s, 0.5));
    add_time(t, metrics_quantile_ms(s, 0.99));
    table_cell(t, "%.1f MB", (double)sum->private_dirty_kib / 1024);
}

static bool is_same_workload(const struct state_replica *a, const struct state_replica *b)
{
    return str_eq(a->namespace, b->namespace) && str_eq(a->workload, b->workload);
}

static bool is_first_of_workload(const struct state *s, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (s->replicas.ptr[j].is_wanted &&
            is_same_workload(&s->replicas.ptr[i], &s->replicas.ptr[j]))
            return false;
    return s->replicas.ptr[i].is_wanted;
}

unsigned up_table_draw(struct up_table *t, const struct state *state, FILE *out)
{
    static const char *const head[] = {"WORKLOAD", "READY", "REQ/S",   "SUCCESS",
                                       "P50",      "P99",   "SIDECAR", NULL};
    size_t count = state->replicas.len;
    uint64_t now_ms = proc_now_ms();
    struct metrics_sample *now = mem_zalloc(sizeof *now * (count + 1));
    for (size_t i = 0; i < count; i++)
        if (state->replicas.ptr[i].is_wanted)
            now[i] = sample(&state->replicas.ptr[i]);
    bool has_last = t->last != NULL && t->count == count;
    double seconds = has_last ? (double)(now_ms - t->last_ms + 1) / 1000 : 1;
    struct table table;
    unsigned lines = 1;
    table_init(&table, head);
    for (size_t i = 0; i < count; i++) {
        struct sum sum = {0};
        if (!is_first_of_workload(state, i))
            continue;
        for (size_t j = i; j < count; j++)
            if (state->replicas.ptr[j].is_wanted &&
                is_same_workload(&state->replicas.ptr[i], &state->replicas.ptr[j]))
                add_replica(&sum, &state->replicas.ptr[j], &now[j],
                            has_last ? &t->last[j] : &now[j]);
        add_row(&table, &state->replicas.ptr[i], &sum, seconds);
        lines++;
    }
    table_print(&table, out);
    table_deinit(&table);
    free(t->last);
    *t = (struct up_table){now, count, now_ms};
    return lines;
}
