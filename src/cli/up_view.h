/* What `tulle up` shows: each step as it comes, trouble with the last lines of the app's output,
 * then a live table. Thread: one. */
#pragma once

#include "cli/cli.h"
#include "cli/up_table.h"
#include "host/state.h"

struct up_view {
    struct cli *cli;
    const char *mesh;
    struct state state;      /* as last seen */
    bool has_state, is_live; /* is_live: a table stands above the cursor */
    unsigned table_lines;
    uint64_t start_ms;
    struct up_table table;
};

void up_view_init(struct up_view *v, struct cli *cli, const char *mesh);
void up_view_deinit(struct up_view *v);

/* Reads the state, prints what is new. True: all replicas are up. */
bool up_view_update(struct up_view *v);
void up_view_note(struct up_view *v, const char *text);
/* "shop/web/0: app ended: exit code 1", with the end of what it wrote. */
void up_view_trouble(struct up_view *v, const char *text);
void up_view_done(struct up_view *v);    /* all is up */
void up_view_missing(struct up_view *v); /* it is not, and why */
void up_view_table(struct up_view *v);   /* on a terminal */
