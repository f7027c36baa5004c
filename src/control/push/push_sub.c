/* Subscriptions: a name of a type that a stream wants, and what it was sent of it. */
#include <stdio.h>
#include <stdlib.h>

#include "control/push/push_priv.h"

static struct str own(struct str s)
{
    return str_from(str_dup_c(s), s.len);
}

static void disown(struct str *s)
{
    free((void *)(uintptr_t)s->ptr);
    *s = STR_NULL;
}

/* --- by type and name --- */

static size_t format_key(char *buf, size_t cap, enum resource_type type, struct str name)
{
    return (size_t)snprintf(buf, cap, "%d/%.*s", (int)type, STR_FMT(name));
}

static bool is_of_workload(enum resource_type type, struct str name)
{
    return type == RESOURCE_LISTENER && str_eq(name, STR(TRANSLATE_INBOUND));
}

static bool is_it(const struct push_sub *sub, enum resource_type type, struct str name)
{
    return sub->type == type && str_eq(sub->name, name);
}

static struct push_sub freed_slot; /* was taken, is free */

/* Where it is, or the first free one. */
static size_t slot_of(const struct push_subs *subs, enum resource_type type, struct str name)
{
    size_t at = (size_t)(xds_hash(name) + (uint64_t)type) & (subs->cap - 1);
    while (subs->slots[at] != NULL &&
           (subs->slots[at] == &freed_slot || !is_it(subs->slots[at], type, name)))
        at = (at + 1) & (subs->cap - 1);
    return at;
}

static void rehash(struct push_subs *subs)
{
    struct push_subs old = *subs;
    subs->cap = 16;
    while (subs->cap < old.len * 2)
        subs->cap *= 2;
    subs->used = subs->len = old.len;
    subs->slots = mem_zalloc(subs->cap * sizeof(struct push_sub *));
    for (size_t i = 0; i < old.cap; i++) {
        struct push_sub *sub = old.slots[i];
        if (sub != NULL && sub != &freed_slot)
            subs->slots[slot_of(subs, sub->type, sub->name)] = sub;
    }
    free(old.slots);
}

static void subs_add(struct push_subs *subs, struct push_sub *sub)
{
    if ((subs->used + 1) * 4 > subs->cap * 3)
        rehash(subs);
    subs->slots[slot_of(subs, sub->type, sub->name)] = sub;
    subs->len++;
    subs->used++;
}

static void subs_remove(struct push_subs *subs, const struct push_sub *sub)
{
    subs->slots[slot_of(subs, sub->type, sub->name)] = &freed_slot;
    subs->len--;
}

struct push_sub *push_subs_next(const struct push_subs *subs, size_t *iter)
{
    while (*iter < subs->cap) {
        struct push_sub *sub = subs->slots[(*iter)++];
        if (sub != NULL && sub != &freed_slot)
            return sub;
    }
    return NULL;
}

void push_subs_deinit(struct push_subs *subs)
{
    size_t iter = 0;
    struct push_sub *sub;
    while ((sub = push_subs_next(subs, &iter)) != NULL)
        push_sub_free(sub);
    free(subs->slots);
    *subs = (struct push_subs){0};
}

struct push_sub *push_stream_sub(const struct push_stream *s, enum resource_type type,
                                 struct str name)
{
    return s->subs.cap > 0 ? s->subs.slots[slot_of(&s->subs, type, name)] : NULL;
}

/* --- targets --- */

struct push_target *push_target_of(const struct push *p, enum resource_type type, struct str name,
                                   struct str view)
{
    char key[2 * PUSH_NAME_LEN_MAX];
    size_t len = format_key(key, sizeof key, type, name);
    if (name.len > PUSH_NAME_LEN_MAX)
        return NULL;
    if (is_of_workload(type, name)) {
        (void)str_split(&view, ':'); /* the dialect */
        len += (size_t)snprintf(key + len, sizeof key - len, "@%.*s", STR_FMT(view));
    }
    return len < sizeof key ? map_get(&p->targets, str_from(key, len)) : NULL;
}

static struct push_target *target_of(const struct push_stream *s, enum resource_type type,
                                     struct str name)
{
    char key[2 * PUSH_NAME_LEN_MAX];
    size_t len = format_key(key, sizeof key, type, name);
    if (is_of_workload(type, name))
        len += (size_t)snprintf(key + len, sizeof key - len, "@%.*s:%.*s", STR_FMT(s->namespace_),
                                STR_FMT(s->workload));
    len = MIN(len, sizeof key - 1);
    struct push_target *t = map_get(&s->push->targets, str_from(key, len));
    if (t == NULL) {
        t = NEW(struct push_target);
        t->key = own(str_from(key, len));
        t->name = str_sub(t->key, (size_t)str_find(t->key, '/') + 1, name.len);
        map_put(&s->push->targets, t->key, t);
    }
    return t;
}

static void leave_target(struct push *p, struct push_sub *sub)
{
    struct push_target *t = sub->target;
    t->subs.ptr[t->subs.len - 1]->at = sub->at;
    VEC_REMOVE_SWAP(&t->subs, sub->at);
    if (t->subs.len > 0)
        return;
    map_remove(&p->targets, t->key);
    VEC_DEINIT(&t->subs);
    disown(&t->key);
    free(t);
}

struct push_sub *push_sub_get(struct push_stream *s, enum resource_type type, struct str name)
{
    struct push_sub *sub = push_stream_sub(s, type, name);
    if (sub != NULL)
        return sub;
    sub = NEW(struct push_sub);
    sub->stream = s;
    sub->type = type;
    sub->target = target_of(s, type, name);
    sub->name = sub->target->name;
    sub->at = sub->target->subs.len;
    VEC_PUSH(&sub->target->subs, sub);
    list_init(&sub->link);
    subs_add(&s->subs, sub);
    return sub;
}

void push_sub_free(struct push_sub *sub)
{
    struct push_stream *s = sub->stream;
    push_sub_set_version(sub, STR_NULL);
    push_warm_end(sub);
    translate_output_unref(sub->output);
    subs_remove(&s->subs, sub);
    list_remove(&sub->link);
    leave_target(s->push, sub);
    free(sub);
}

void push_sub_mark(struct push_sub *sub)
{
    list_remove(&sub->link);
    list_push_back(&sub->stream->dirty[sub->type], &sub->link);
    push_stream_mark(sub->stream);
}

/* What the client has of a type has a version, too: a sum over its resources, whatever their order.
 */
static uint64_t digest_of(const struct push_sub *sub)
{
    char text[PUSH_NAME_LEN_MAX + PUSH_VERSION_LEN_MAX + 2];
    if (sub->version_len == 0)
        return 0;
    int len = snprintf(text, sizeof text, "%.*s\n%.*s", STR_FMT(sub->name), (int)sub->version_len,
                       sub->version);
    return xds_hash(str_from(text, (size_t)len));
}

void push_sub_set_version(struct push_sub *sub, struct str version)
{
    uint64_t *digest = &sub->stream->digest[sub->type];
    *digest -= digest_of(sub);
    sub->version_len = version.len <= sizeof sub->version ? (uint8_t)version.len : 0;
    if (sub->version_len > 0)
        memcpy(sub->version, version.ptr, sub->version_len);
    *digest += digest_of(sub);
}

struct str push_sub_version(const struct push_sub *sub)
{
    return str_from(sub->version, sub->version_len);
}
