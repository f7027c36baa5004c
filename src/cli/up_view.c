#include "cli/up_view.h"

#include <stdlib.h>

#include "host/logfile.h"

enum { TAIL_LINES = 8 };

void up_view_init(struct up_view *v, struct cli *cli, const char *mesh)
{
    *v = (struct up_view){.cli = cli, .mesh = mesh, .start_ms = proc_now_ms()};
}

void up_view_deinit(struct up_view *v)
{
    if (v->has_state)
        state_deinit(&v->state);
    up_table_deinit(&v->table);
}

/* Lines that stay push the table down: it is drawn anew below them. */
static void leave_table(struct up_view *v)
{
    v->is_live = false;
    v->table_lines = 0;
}

static double seconds(const struct up_view *v)
{
    return (double)(proc_now_ms() - v->start_ms) / 1000;
}

void up_view_note(struct up_view *v, const char *text)
{
    leave_table(v);
    fprintf(v->cli->out, "%6.2f s  %s\n", seconds(v), text);
    fflush(v->cli->out);
}

static bool is_replica_up(const struct state_replica *r)
{
    return !r->is_wanted || r->phase == STATE_READY || (!r->is_self_ready && r->phase == STATE_APP);
}

static const struct state_replica *find_same(struct state *s, const struct state_replica *r)
{
    return state_find(s, r->namespace, r->workload, r->index);
}

static void print_new(struct up_view *v, struct state *now)
{
    for (size_t i = 0; i < now->replicas.len; i++) {
        const struct state_replica *r = &now->replicas.ptr[i];
        const struct state_replica *old = v->has_state ? find_same(&v->state, r) : NULL;
        if (!r->is_wanted || !is_replica_up(r) || (old != NULL && is_replica_up(old)))
            continue;
        char text[600], address[STATE_ADDRESS_LEN_MAX];
        snprintf(text, sizeof text, "%.*s/%.*s/%u %s at %s", STR_FMT(r->namespace),
                 STR_FMT(r->workload), r->index,
                 r->is_self_ready ? "ready" : "sidecar ready (to be started by hand)",
                 state_address_v4(r->address, address));
        up_view_note(v, text);
    }
}

bool up_view_update(struct up_view *v)
{
    struct state now;
    if (state_load(v->mesh, &now) != 0) {
        state_deinit(&now);
        return false;
    }
    print_new(v, &now);
    if (v->has_state)
        state_deinit(&v->state);
    v->state = now;
    v->has_state = true;
    bool is_all_up = true;
    for (size_t i = 0; i < now.replicas.len; i++)
        is_all_up &= is_replica_up(&now.replicas.ptr[i]);
    return is_all_up;
}

static void print_tail(struct up_view *v, struct str slug, bool is_proxy)
{
    char path[PATH_LEN_MAX], slug_c[600];
    snprintf(slug_c, sizeof slug_c, "%.*s", STR_FMT(slug));
    char *tail = logfile_tail(paths_log(v->mesh, slug_c, is_proxy, path), TAIL_LINES);
    struct str rest = str_from_c(tail);
    while (rest.ptr != NULL && rest.len > 0) {
        struct str line = str_split(&rest, '\n');
        fprintf(v->cli->err, "          | %.*s\n", STR_FMT(line));
    }
    free(tail);
}

void up_view_trouble(struct up_view *v, const char *text)
{
    leave_table(v);
    fflush(v->cli->out);
    fprintf(v->cli->err, "%6.2f s  %s\n", seconds(v), text);
    up_view_update(v);
    for (size_t i = 0; v->has_state && i < v->state.replicas.len; i++) {
        const struct state_replica *r = &v->state.replicas.ptr[i];
        char prefix[600];
        snprintf(prefix, sizeof prefix, "%.*s/%.*s/%u: ", STR_FMT(r->namespace),
                 STR_FMT(r->workload), r->index);
        /* Once: what fails again and again says the same again and again. */
        if (strncmp(text, prefix, strlen(prefix)) == 0 &&
            r->sidecar_restarts + r->app_restarts <= 1)
            print_tail(v, r->slug, strncmp(text + strlen(prefix), "app", 3) != 0);
    }
}

void up_view_done(struct up_view *v)
{
    char text[200];
    size_t count = 0;
    for (size_t i = 0; i < v->state.replicas.len; i++)
        count += v->state.replicas.ptr[i].is_wanted;
    snprintf(text, sizeof text, "mesh %s is up: %zu replicas", v->mesh, count);
    up_view_note(v, text);
}

void up_view_missing(struct up_view *v)
{
    leave_table(v);
    fflush(v->cli->out);
    fprintf(v->cli->err, "%6.2f s  not all is up, mesh %s goes on:\n", seconds(v), v->mesh);
    if (v->has_state && !v->state.is_tulled_ready)
        fprintf(v->cli->err, "  the control plane does not answer\n");
    for (size_t i = 0; v->has_state && i < v->state.replicas.len; i++) {
        const struct state_replica *r = &v->state.replicas.ptr[i];
        if (is_replica_up(r))
            continue;
        fprintf(v->cli->err, "  %.*s/%.*s/%u: %s%s%s\n", STR_FMT(r->namespace),
                STR_FMT(r->workload), r->index, state_phase_name(r->phase),
                r->message[0] != '\0' ? ", " : "", r->message);
        print_tail(v, r->slug, r->phase == STATE_SIDECAR || r->phase == STATE_SETUP);
    }
}

void up_view_table(struct up_view *v)
{
    if (!v->cli->is_color) /* not a terminal: `tulle status` is for scripts */
        return;
    up_view_update(v);
    if (!v->has_state)
        return;
    if (v->is_live)
        fprintf(v->cli->out, "\033[%uA\033[J", v->table_lines);
    v->table_lines = up_table_draw(&v->table, &v->state, v->cli->out);
    v->is_live = true;
    fflush(v->cli->out);
}
