/* What a stream lacks, in the order that breaks nothing: clusters, endpoints, listeners, routes;
 * what goes, goes in the other order. */
#include "base/log.h"
#include "control/push/push_priv.h"

enum { ITEMS_MAX = 1000 };

static const enum resource_type order[] = {
    RESOURCE_CLUSTER, RESOURCE_ENDPOINTS, RESOURCE_LISTENER,
    RESOURCE_ROUTE,   RESOURCE_DIRECTORY, RESOURCE_SECRET,
};

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
    struct str_buf message = STR_BUF_INIT(PUSH_MESSAGE_BYTES_MAX);
    uint64_t number = ads_stream_response(s->ads, b->type, b->items.ptr, b->items.len,
                                          b->removed.ptr, b->removed.len, &message);
    s->has_sent = true;
    s->last_number = number;
    s->is_wild_unanswered[b->type] = false;
    VEC_PUSH(&s->sent, remember(b, number));
    c->bytes += message.len;
    c->resources += b->items.len;
    c->responses[b->type]++;
    s->ops->send(s->ctx, str_buf_str(&message));
    str_buf_deinit(&message);
    batch_reset(b);
}

static bool is_full(const struct batch *b)
{
    return b->bytes >= PUSH_RESPONSE_BYTES || b->items.len + b->removed.len >= ITEMS_MAX;
}

static struct str version_of(const struct push_sub *sub)
{
    return str_from(sub->version, sub->version_len);
}

static void say_broken(const struct push_sub *sub, const struct translate_output *o)
{
    log_event(LOG_ERROR, "output_cannot_be_made", LFC("type", resource_type_name(sub->type)),
              LF("name", sub->name), LF("reason", o->error));
}

/* Decides on one: into the batch, or to the list of what goes, or nothing. */
static void look_at(struct batch *b, struct push_sub *sub)
{
    struct push_stream *s = b->stream;
    struct translate_viewer v = {s->dialect, s->namespace_, s->workload};
    bool is_wanted = sub->is_named || sub->is_wild;
    struct translate_output *o =
        is_wanted ? translate_get(s->push->translate, &v, sub->type, sub->name) : NULL;
    bool is_broken = o != NULL && o->version.len == 0;
    list_remove(&sub->link);
    sub->is_broken = is_broken;
    if (is_broken)
        say_broken(sub, o);
    if (o == NULL || (is_broken && !sub->is_answered)) {
        if (sub->version_len > 0 || !sub->is_answered || !is_wanted)
            list_push_back(&s->gone[sub->type], &sub->link);
        translate_output_unref(o);
        return;
    }
    sub->is_answered = true;
    /* What cannot be made leaves the client with what it has. */
    if (is_broken || str_eq(version_of(sub), o->version) || o->version.len > sizeof sub->version) {
        translate_output_unref(o);
        return;
    }
    push_proxy_note_sent(sub);
    memcpy(sub->version, o->version.ptr, o->version.len);
    sub->version_len = (uint8_t)o->version.len;
    VEC_PUSH(&b->items, ((struct ads_item){sub->name, o->version, o->wire}));
    VEC_PUSH(&b->outputs, o);
    b->bytes += o->wire.len;
}

static bool send_changed(struct push_stream *s, enum resource_type type)
{
    struct batch b = {.stream = s, .type = type};
    bool has_room = true;
    while (!list_is_empty(&s->dirty[type])) {
        has_room = s->ops->has_room(s->ctx);
        if (!has_room)
            break;
        struct push_sub *sub;
        while (!is_full(&b) && (sub = LIST_FIRST(&s->dirty[type], struct push_sub, link)) != NULL)
            look_at(&b, sub);
        if (b.items.len > 0)
            batch_send(&b);
    }
    batch_deinit(&b);
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
        sub->version_len = 0;
        sub->is_answered = true;
        if (!sub->is_named && !sub->is_wild)
            list_push_back(freed, &sub->link);
    }
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
        if (b.removed.len > 0)
            batch_send(&b);
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

bool push_stream_flush(struct push_stream *s)
{
    if (s->is_wild_due)
        push_stream_refresh_wild(s);
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        if (!send_changed(s, order[i]))
            return false;
    }
    for (size_t i = ARRAY_LEN(order); i-- > 0;) {
        if (!send_removed(s, order[i]))
            return false;
        answer_empty(s, order[i]);
    }
    return true;
}
