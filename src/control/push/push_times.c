/* How long things took: histograms under istiod's names, with its bounds. */
#include <time.h>

#include "control/push/push_priv.h"

static const struct {
    const char *name, *help;
    uint64_t bounds_us[PUSH_CONVERGENCE_BUCKETS];
    const char *bounds[PUSH_CONVERGENCE_BUCKETS];
} kinds[] = {
    [PUSH_TIMES_CONVERGENCE] =
        {
            "pilot_proxy_convergence_time",
            "Seconds from a change to the acknowledgement of a proxy.",
            {100000, 500000, 1000000, 3000000, 5000000, 10000000, 20000000, 30000000},
            {"0.1", "0.5", "1", "3", "5", "10", "20", "30"},
        },
    [PUSH_TIMES_QUEUE] =
        {
            "pilot_proxy_queue_time",
            "Seconds from a change until all that a proxy lacks is on its way.",
            {100000, 500000, 1000000, 3000000, 5000000, 10000000, 20000000, 30000000},
            {"0.1", "0.5", "1", "3", "5", "10", "20", "30"},
        },
    [PUSH_TIMES_PUSH] =
        {
            "pilot_xds_push_time",
            "Seconds that it took to make what a proxy lacks of a type.",
            {10000, 100000, 1000000, 3000000, 5000000, 10000000, 20000000, 30000000},
            {"0.01", "0.1", "1", "3", "5", "10", "20", "30"},
        },
};

uint64_t push_clock_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void push_times_note(struct push_times *t, enum push_times_kind kind, uint64_t us)
{
    size_t i = 0;
    while (i < PUSH_CONVERGENCE_BUCKETS && us > kinds[kind].bounds_us[i])
        i++;
    t->buckets[i]++;
    t->total_us += us;
}

void push_times_render_head(enum push_times_kind kind, struct str_buf *to)
{
    str_buf_printf(to, "# HELP %s %s\n# TYPE %s histogram\n", kinds[kind].name, kinds[kind].help,
                   kinds[kind].name);
}

void push_times_render(const struct push_times *t, enum push_times_kind kind, const char *label,
                       struct str_buf *to)
{
    const char *name = kinds[kind].name, *comma = label[0] != '\0' ? "," : "";
    const char *open = label[0] != '\0' ? "{" : "", *close = label[0] != '\0' ? "}" : "";
    uint64_t sum = 0;
    for (int i = 0; i < PUSH_CONVERGENCE_BUCKETS; i++) {
        sum += t->buckets[i];
        str_buf_printf(to, "%s_bucket{%s%sle=\"%s\"} %llu\n", name, label, comma,
                       kinds[kind].bounds[i], (unsigned long long)sum);
    }
    sum += t->buckets[PUSH_CONVERGENCE_BUCKETS];
    str_buf_printf(to, "%s_bucket{%s%sle=\"+Inf\"} %llu\n%s_sum%s%s%s %.6f\n%s_count%s%s%s %llu\n",
                   name, label, comma, (unsigned long long)sum, name, open, label, close,
                   (double)t->total_us / 1e6, name, open, label, close, (unsigned long long)sum);
}
