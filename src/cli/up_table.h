/* The live table of `tulle up`: what each workload does just now. */
#pragma once

#include <stdio.h>

#include "cli/metrics.h"
#include "host/state.h"

/* Samples of the replicas, from one drawing to the next. */
struct up_table {
    struct metrics_sample *last; /* one a replica of the state; NULL before the first */
    size_t count;
    uint64_t last_ms;
};

void up_table_deinit(struct up_table *t);
/* Reads the sidecars' metrics and prints one line a workload with what happened since the last
 * time. Returns the number of lines. */
unsigned up_table_draw(struct up_table *t, const struct state *state, FILE *out);
