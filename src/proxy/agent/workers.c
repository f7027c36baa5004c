/* The workers from the main thread's side: their start, change sets to all of them, what they want.
 */
#include "base/log.h"
#include "crypto/digest.h"
#include "proxy/agent/agent_priv.h"

enum { WANTS_LOOK_US = 250 * 1000 };

/* --- change sets --- */

static void on_taken_back(struct change_set *set, struct worker *w)
{
    (void)w;
    change_set_free(set);
}

/* Only worker 0 opens ports: a listener that it could not open is taken back from the others, so
 * that all go on with what ran before. */
static void take_back(struct agent *a, const struct change_set *refused)
{
    for (unsigned w = 1; w < a->worker_count; w++) {
        struct change_set *set = change_set_new();
        for (size_t i = 0; i < refused->count; i++) {
            const struct change *c = &refused->changes[i];
            if (c->is_refused)
                change_set_add(set, c->type, c->name, c->running);
        }
        set->on_applied = on_taken_back;
        worker_post_changes(a->workers[w], set);
    }
}

static void note_refusal(struct agent *a, const struct change_set *set)
{
    /* What all workers refuse is said once. */
    if (str_contains(str_buf_str(&a->set_error), set->error))
        return;
    log_event(LOG_ERROR, "config_refused", LF("reason", set->error));
    str_buf_reset(&a->set_error);
    str_buf_add(&a->set_error, set->error);
}

static void on_applied(struct change_set *set, struct worker *w)
{
    struct agent *a = set->ctx;
    if (a->is_ended) { /* and w with it */
        change_set_free(set);
        return;
    }
    if (set->error.len > 0)
        note_refusal(a, set);
    if (set->error.len > 0 && worker_index(w) == 0)
        take_back(a, set);
    change_set_free(set);
    if (--a->sets_pending > 0)
        return;
    struct str_buf error = a->set_error; /* the next set may begin inside config_applied */
    a->set_error = STR_BUF_INIT(4096);
    if (!a->was_started && error.len > 0)
        a->is_start_failed = true;
    config_applied(a->config, str_buf_str(&error));
    str_buf_deinit(&error);
    agent_look(a);
}

static void on_publish(void *ctx, const struct config_change *changes, size_t count)
{
    struct agent *a = ctx;
    a->sets_pending = a->worker_count;
    for (size_t i = 0; a->dns != NULL && i < count; i++) {
        if (changes[i].type == RESOURCE_DIRECTORY)
            dns_set_directory(a->dns, changes[i].name, changes[i].resource);
    }
    /* Worker 0 last: it hands connections of new listeners to the others, which know them then. */
    for (unsigned w = a->worker_count; w-- > 0;) {
        struct change_set *set = change_set_new();
        for (size_t i = 0; i < count; i++)
            change_set_add(set, changes[i].type, changes[i].name, changes[i].resource);
        set->on_applied = on_applied;
        set->ctx = a;
        worker_post_changes(a->workers[w], set);
    }
}

static void on_subscribe(void *ctx, enum resource_type type, struct str name,
                         const struct resource_source *from)
{
    struct agent *a = ctx;
    if (a->sources != NULL)
        sources_subscribe(a->sources, type, name, from);
    else if (a->ads != NULL)
        ads_client_subscribe(ads_client_of(a->ads), type, name);
}

static void on_unsubscribe(void *ctx, enum resource_type type, struct str name)
{
    struct agent *a = ctx;
    if (a->sources != NULL)
        sources_unsubscribe(a->sources, type, name);
    else if (a->ads != NULL)
        ads_client_unsubscribe(ads_client_of(a->ads), type, name);
}

static void on_done(void *ctx, uint64_t token, struct str why)
{
    struct agent *a = ctx;
    if (a->sources != NULL)
        sources_done(a->sources, token, why);
    else if (a->ads != NULL)
        ads_client_done(ads_client_of(a->ads), token, why);
}

static void on_detail_failed(void *ctx, struct str name, struct str why)
{
    struct agent *a = ctx;
    log_event(LOG_WARN, "detail_failed", LF("name", name), LF("reason", why));
    for (unsigned w = 0; w < a->worker_count; w++)
        worker_post_detail_failed(a->workers[w], name, why);
}

const struct config_ops workers_config_ops = {
    .publish = on_publish,
    .subscribe = on_subscribe,
    .unsubscribe = on_unsubscribe,
    .done = on_done,
    .detail_failed = on_detail_failed,
};

/* --- wants --- */

static void look_at_wants(struct timer *t)
{
    struct agent *a = CONTAINER_OF(t, struct agent, wants_timer);
    config_expire_wants(a->config, turn_now_us(a->turn),
                        a->ads != NULL && ads_is_connected(a->ads));
    config_pump(a->config);
    agent_look(a);
    if (config_has_wants(a->config))
        timer_start(a->turn, t, WANTS_LOOK_US);
}

static void on_detail_wanted(void *ctx, struct str name)
{
    struct agent *a = ctx;
    if (a->is_ended)
        return;
    log_event(LOG_DEBUG, "detail_wanted", LF("name", name));
    config_want(a->config, name, turn_now_us(a->turn));
    config_pump(a->config);
    agent_look(a);
    if (!timer_is_started(&a->wants_timer))
        timer_start(a->turn, &a->wants_timer, WANTS_LOOK_US);
}

/* --- life --- */

void workers_init(struct agent *a)
{
    timer_init(&a->wants_timer, look_at_wants);
    a->set_error = STR_BUF_INIT(4096);
}

void workers_start(struct agent *a)
{
    bool is_sidecar = a->args->bootstrap_file == NULL;
    random_secret(a->ticket_key, sizeof a->ticket_key);
    a->group = worker_group_new(a->args->worker_count);
    for (unsigned i = 0; i < a->args->worker_count; i++) {
        a->workers[i] = worker_new(&(struct worker_args){
            .index = i,
            .group = a->group,
            .limits = &a->limits,
            .main = a->turn,
            .mark_outbound = is_sidecar ? agent_mark(a->args, AGENT_MARK_OUTBOUND) : 0,
            .is_capture_chain_used = !is_sidecar,
            .mark_inbound = is_sidecar ? agent_mark(a->args, AGENT_MARK_INBOUND) : 0,
            .ticket_key = a->ticket_key,
            .egress_socket = str_from_c(a->args->egress_socket),
            .node_id = a->node_id,
            .workload = a->args->workload,
            .namespace_ = a->args->namespace_,
            .app = a->args->app,
            .version = a->args->version,
            .principal = a->spiffe_id,
            .cluster_id = is_sidecar ? a->args->trust_domain : STR_NULL,
            .on_detail_wanted = on_detail_wanted,
            .ctx = a,
        });
        a->worker_count = i + 1;
    }
    for (unsigned i = 0; i < a->worker_count; i++)
        worker_start(a->workers[i]);
}

void workers_stop(struct agent *a)
{
    a->is_ended = true;
    timer_stop(&a->wants_timer);
    for (unsigned i = 0; i < a->worker_count; i++)
        worker_stop(a->workers[i]);
    for (unsigned i = 0; i < a->worker_count; i++)
        worker_join(a->workers[i]);
    for (unsigned i = 0; i < a->worker_count; i++)
        worker_end(a->workers[i]);
    for (unsigned i = 0; i < a->worker_count; i++)
        a->workers[i] = worker_free(a->workers[i]);
    /* What they posted last: change sets on their way back. */
    for (int i = 0; i < 4; i++)
        turn_once(a->turn, 0);
    a->worker_count = 0;
    a->group = worker_group_free(a->group);
    str_buf_deinit(&a->set_error);
    secret_wipe(a->ticket_key, sizeof a->ticket_key);
}
