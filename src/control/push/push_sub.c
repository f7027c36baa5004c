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

static size_t format_key(char *buf, size_t cap, enum resource_type type, struct str name)
{
    return (size_t)snprintf(buf, cap, "%d/%.*s", (int)type, STR_FMT(name));
}

static struct push_target *target_of(struct push *p, struct str key)
{
    struct push_target *t = map_get(&p->targets, key);
    if (t == NULL) {
        t = NEW(struct push_target);
        t->key = own(key);
        map_put(&p->targets, t->key, t);
    }
    return t;
}

static void drop_target(struct push *p, struct push_target *t)
{
    if (t->subs.len > 0)
        return;
    map_remove(&p->targets, t->key);
    VEC_DEINIT(&t->subs);
    disown(&t->key);
    free(t);
}

struct push_sub *push_stream_sub(const struct push_stream *s, enum resource_type type,
                                 struct str name)
{
    char key[PUSH_NAME_LEN_MAX + 8];
    return map_get(&s->subs, str_from(key, format_key(key, sizeof key, type, name)));
}

struct push_sub *push_sub_get(struct push_stream *s, enum resource_type type, struct str name)
{
    char text[PUSH_NAME_LEN_MAX + 8];
    struct str key = str_from(text, format_key(text, sizeof text, type, name));
    struct push_sub *sub = map_get(&s->subs, key);
    if (sub != NULL)
        return sub;
    sub = NEW(struct push_sub);
    sub->stream = s;
    sub->type = type;
    sub->name = own(name);
    list_init(&sub->link);
    map_put(&s->subs, key, sub);
    sub->target = target_of(s->push, key);
    VEC_PUSH(&sub->target->subs, sub);
    return sub;
}

void push_sub_free(struct push_sub *sub)
{
    struct push_stream *s = sub->stream;
    struct push_target *t = sub->target;
    for (size_t i = 0; i < t->subs.len; i++) {
        if (t->subs.ptr[i] == sub) {
            VEC_REMOVE_SWAP(&t->subs, i);
            break;
        }
    }
    push_sub_set_version(sub, STR_NULL);
    push_warm_end(sub);
    translate_output_unref(sub->output);
    map_remove(&s->subs, t->key);
    drop_target(s->push, t);
    list_remove(&sub->link);
    disown(&sub->name);
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
