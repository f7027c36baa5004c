/* What a stream lacks, in the order that breaks nothing: clusters, endpoints, listeners, routes;
 * what goes, goes in the other order. Where a response has to repeat everything (state of the
 * world, listeners and clusters) what goes is still in it until its turn has come. */
#include <stdio.h>

#include "base/log.h"
#include "control/push/push_priv.h"

enum { ITEMS_MAX = 1000 };

static const enum resource_type order[] = {
    RESOURCE_SECRET,   RESOURCE_CLUSTER, RESOURCE_ENDPOINTS,
    RESOURCE_LISTENER, RESOURCE_ROUTE,   RESOURCE_DIRECTORY,
};
enum { ORDER_USERS = 3 }; /* from here on: what sends requests to the ones before */

/* A response under construction. */
struct batch {
    struct push_stream *stream;
    enum resource_type type;
    VEC(struct ads_item) items;
    VEC(struct str) removed;
    VEC(struct translate_output *) outputs; /* referenced until it is sent */
    size_t bytes;
};

static void batch_reset(struct batch *b)
{
    for (size_t i = 0; i < b->outputs.len; i++)
        translate_output_unref(b->outputs.ptr[i]);
    b->items.len = b->removed.len = b->outputs.len = 0;
    b->bytes = 0;
}

static void batch_deinit(struct batch *b)
{
    batch_reset(b);
    VEC_DEINIT(&b->items);
    VEC_DEINIT(&b->removed);
    VEC_DEINIT(&b->outputs);
}

static struct push_sent *remember(const struct batch *b, uint64_t number)
{
    struct push_sent *sent = NEW(struct push_sent);
    sent->number = number;
    sent->type = b->type;
    sent->changed_us = b->stream->dirty_us;
    sent->names = STR_BUF_INIT(2 * ITEMS_MAX * (PUSH_NAME_LEN_MAX + 1));
    for (size_t i = 0; i < b->items.len; i++) {
        str_buf_add(&sent->names, b->items.ptr[i].name);
        str_buf_add_char(&sent->names, '\n');
    }
    return sent;
}

static void batch_send(struct batch *b)
{
    struct push_stream *s = b->stream;
    struct push_counters *c = &s->push->counters;
    char version[PUSH_VERSION_LEN_MAX + 1];
    snprintf(version, sizeof version, "%016llx", (unsigned long long)s->digest[b->type]);
    const struct ads_response ads = {.type = b->type,
                                     .version = str_from_c(version),
                                     .items = b->items.ptr,
                                     .item_count = b->items.len,
                                     .removed = b->removed.ptr,
                                     .removed_count = b->removed.len};
    uint64_t number = ads_stream_number(s->ads, b->type);
    struct push_response *r =
        push_response_new(ads_stream_variant(s->ads), number, &ads, b->outputs.ptr, b->outputs.len);
    b->outputs.len = 0; /* they are the response's now */
    s->has_sent = true;
    s->last_number = number;
    s->is_wild_unanswered[b->type] = false;
    VEC_PUSH(&s->sent, remember(b, number));
    if (s->sent.len > PUSH_UNANSWERED_MAX)
        push_stream_end(s, GRPC_RESOURCE_EXHAUSTED, "too many responses are not answered");
    c->bytes += r->bytes;
    c->resources += b->items.len;
    c->responses[b->type]++;
    s->ops->send(s->ctx, r);
    batch_reset(b);
}

static bool is_full(const struct batch *b)
{
    return b->bytes >= PUSH_RESPONSE_BYTES || b->items.len + b->removed.len >= ITEMS_MAX;
}

static void say_broken(const struct push_sub *sub, const struct translate_output *o)
{
    log_event(LOG_ERROR, "output_cannot_be_made", LFC("type", resource_type_name(sub->type)),
              LF("name", sub->name), LF("reason", o->error));
}

struct translate_output *push_sub_output(const struct push_sub *sub)
{
    struct push_stream *s = sub->stream;
    struct translate_viewer v = {s->dialect, s->namespace_, s->workload};
    if (!sub->is_named && !sub->is_wild)
        return NULL;
    /* Directories, and what is asked for with their help, are between us. */
    if (sub->type == RESOURCE_DIRECTORY && push_stream_is_foreign(s))
        return NULL;
    if (sub->type == RESOURCE_SECRET && str_eq(sub->name, STR(PUSH_SECRET_OWN)))
        return push_secret_get(s);
    return translate_get(s->push->translate, &v, sub->type, sub->name);
}

static void set_output(struct push_sub *sub, struct translate_output *o)
{
    translate_output_unref(sub->output);
    sub->output = o;
}

static void take_changed(struct batch *b, struct push_sub *sub, struct translate_output *o)
{
    push_proxy_note_sent(sub);
    push_sub_set_version(sub, o->version);
    sub->is_forced = false;
    if (ads_stream_is_full(b->stream->ads, b->type)) {
        set_output(sub, translate_output_ref(o));
        sub->is_fresh = true;
    }
    if (b->type == RESOURCE_CLUSTER)
        push_warm_begin(sub);
    VEC_PUSH(&b->items, ((struct ads_item){sub->name, o->version, o->wire}));
    VEC_PUSH(&b->outputs, o);
    b->bytes += o->wire.len;
}

/* Decides on one: into the batch, or to the list of what goes, or nothing. */
static void look_at(struct batch *b, struct push_sub *sub)
{
    struct push_stream *s = b->stream;
    struct translate_output *o = push_sub_output(sub);
    bool is_wanted = sub->is_named || sub->is_wild;
    bool is_broken = o != NULL && o->version.len == 0;
    list_remove(&sub->link);
    sub->is_broken = is_broken;
    if (is_broken) {
        s->push->counters.internal_errors++;
        say_broken(sub, o);
    }
    if (o == NULL || (is_broken && !sub->is_answered)) {
        if (sub->version_len > 0 || !sub->is_answered || !is_wanted)
            list_push_back(&s->gone[sub->type], &sub->link);
        translate_output_unref(o);
        return;
    }
    sub->is_answered = true;
    /* What cannot be made leaves the client with what it has. */
    bool is_equal = !sub->is_forced && str_eq(push_sub_version(sub), o->version);
    if (is_broken || is_equal || o->version.len > sizeof sub->version) {
        translate_output_unref(o);
        return;
    }
    take_changed(b, sub, o);
}

/* All that the client is to have of the type; what did not change is sent once more. */
static void collect(struct batch *b)
{
    struct push_stream *s = b->stream;
    size_t iter = 0;
    struct push_sub *sub;
    batch_reset(b);
    while ((sub = push_subs_next(&s->subs, &iter)) != NULL) {
        if (sub->type != b->type || sub->output == NULL)
            continue;
        if (!sub->is_fresh)
            push_proxy_note_sent(sub);
        sub->is_fresh = false;
        VEC_PUSH(&b->items,
                 ((struct ads_item){sub->name, sub->output->version, sub->output->wire}));
        VEC_PUSH(&b->outputs, translate_output_ref(sub->output));
    }
}

/* It said when it came that it has just this. */
static bool is_known(struct push_stream *s, enum resource_type type)
{
    bool is_equal = s->known_digest[type] != 0 && s->known_digest[type] == s->digest[type];
    s->known_digest[type] = 0;
    if (is_equal)
        s->is_wild_unanswered[type] = false;
    return is_equal;
}

/* It is as if it had been sent and accepted on the stream before. */
static void skip_fresh(const struct batch *b)
{
    size_t iter = 0;
    struct push_sub *sub;
    while ((sub = push_subs_next(&b->stream->subs, &iter)) != NULL) {
        if (!sub->is_fresh)
            continue;
        sub->is_fresh = false;
        sub->unanswered_count--;
    }
}

static void send_world(struct batch *b)
{
    struct push_stream *s = b->stream;
    struct push_sub *sub;
    while ((sub = LIST_FIRST(&s->dirty[b->type], struct push_sub, link)) != NULL)
        look_at(b, sub);
    if (b->items.len == 0)
        return;
    if (is_known(s, b->type)) {
        skip_fresh(b);
        return;
    }
    collect(b);
    batch_send(b);
}

static void send_some(struct batch *b)
{
    struct push_sub *sub;
    while (!is_full(b) &&
           (sub = LIST_FIRST(&b->stream->dirty[b->type], struct push_sub, link)) != NULL)
        look_at(b, sub);
    if (b->items.len > 0)
        batch_send(b);
}

static bool send_changed(struct push_stream *s, enum resource_type type)
{
    struct batch b = {.stream = s, .type = type};
    uint64_t bytes = s->push->counters.bytes;
    bool has_room = true;
    if (list_is_empty(&s->dirty[type]))
        return true;
    uint64_t begin_us = push_clock_us();
    while (!list_is_empty(&s->dirty[type])) {
        has_room = s->ops->has_room(s->ctx);
        if (!has_room)
            break;
        if (ads_stream_is_full(s->ads, type))
            send_world(&b);
        else
            send_some(&b);
    }
    if (type == RESOURCE_DIRECTORY)
        push_pace_take(s->push, s->push->counters.bytes - bytes);
    batch_deinit(&b);
    push_times_note(&s->push->counters.push[type], PUSH_TIMES_PUSH, push_clock_us() - begin_us);
    return has_room;
}

/* Names are borrowed from the subscriptions, so these are freed behind the sending. */
static void take_removed(struct batch *b, struct list *freed)
{
    struct list *gone = &b->stream->gone[b->type];
    while (!list_is_empty(gone) && !is_full(b)) {
        struct push_sub *sub = LIST_FIRST(gone, struct push_sub, link);
        list_remove(&sub->link);
        if (sub->version_len > 0 || sub->is_named)
            VEC_PUSH(&b->removed, sub->name);
        push_sub_set_version(sub, STR_NULL);
        push_warm_end(sub);
        set_output(sub, NULL);
        sub->is_answered = true;
        if (!sub->is_named && !sub->is_wild)
            list_push_back(freed, &sub->link);
    }
}

static void send_gone(struct batch *b)
{
    const struct ads_stream *ads = b->stream->ads;
    bool is_told = b->removed.len > 0 && ads_stream_tells_removal(ads, b->type);
    if (!is_told)
        return;
    if (ads_stream_is_full(ads, b->type))
        collect(b);
    batch_send(b);
}

static bool send_removed(struct push_stream *s, enum resource_type type)
{
    struct batch b = {.stream = s, .type = type};
    bool has_room = true;
    while (!list_is_empty(&s->gone[type])) {
        struct list freed = LIST_INIT(freed);
        has_room = s->ops->has_room(s->ctx);
        if (!has_room)
            break;
        take_removed(&b, &freed);
        send_gone(&b);
        batch_reset(&b);
        LIST_FOREACH (&freed, sub, struct push_sub, link)
            push_sub_free(sub);
    }
    batch_deinit(&b);
    return has_room;
}

/* A wildcard for which there is nothing is answered all the same, so that the client knows. */
static void answer_empty(struct push_stream *s, enum resource_type type)
{
    struct batch b = {.stream = s, .type = type};
    if (s->is_wild_unanswered[type])
        batch_send(&b);
    batch_deinit(&b);
}

static bool has_any(const struct list lists[RESOURCE_TYPE_COUNT], size_t from)
{
    for (size_t i = from; i < ARRAY_LEN(order); i++) {
        if (!list_is_empty(&lists[order[i]]))
            return true;
    }
    return false;
}

bool push_stream_flush(struct push_stream *s)
{
    bool is_held = false;
    if (s->is_wild_due)
        push_stream_refresh_wild(s);
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        if (order[i] == RESOURCE_DIRECTORY && push_pace_holds(s)) {
            is_held = true;
            continue;
        }
        if (i == ORDER_USERS && has_any(s->dirty, i) && push_holds_changes(s))
            return false;
        if (!send_changed(s, order[i]))
            return false;
    }
    if (has_any(s->gone, 0) && push_holds_removals(s))
        return false;
    for (size_t i = ARRAY_LEN(order); i-- > 0;) {
        if (!send_removed(s, order[i]))
            return false;
        answer_empty(s, order[i]);
    }
    push_hold_reset(s);
    return !is_held;
}
