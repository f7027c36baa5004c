/* The streams of a Workload: found when its document changes, or goes. */
#include <stdio.h>
#include <stdlib.h>

#include "control/push/push_priv.h"

static struct str key_of(char *buf, size_t cap, struct str namespace_, struct str name)
{
    int len = snprintf(buf, cap, "%.*s/%.*s", STR_FMT(namespace_), STR_FMT(name));
    return str_from(buf, MIN((size_t)len, cap - 1));
}

const struct push_workload *push_workload_streams(const struct push *p, struct str namespace_,
                                                  struct str name)
{
    char key[2 * PUSH_NAME_LEN_MAX];
    return map_get(&p->workloads, key_of(key, sizeof key, namespace_, name));
}

void push_workload_join(struct push_stream *s)
{
    struct push *p = s->push;
    char text[2 * PUSH_NAME_LEN_MAX];
    struct str key = key_of(text, sizeof text, s->namespace_, s->workload);
    struct push_workload *w = map_get(&p->workloads, key);
    if (w == NULL) {
        w = NEW(struct push_workload);
        w->key = str_from(str_dup_c(key), key.len);
        map_put(&p->workloads, w->key, w);
    }
    s->its_workload = w;
    s->workload_at = w->streams.len;
    VEC_PUSH(&w->streams, s);
    p->envoy_count += push_stream_is_envoy(s);
}

void push_workload_leave(struct push_stream *s)
{
    struct push_workload *w = s->its_workload;
    if (w == NULL)
        return;
    s->push->envoy_count -= push_stream_is_envoy(s);
    w->streams.ptr[w->streams.len - 1]->workload_at = s->workload_at;
    VEC_REMOVE_SWAP(&w->streams, s->workload_at);
    s->its_workload = NULL;
    if (w->streams.len > 0)
        return;
    map_remove(&s->push->workloads, w->key);
    VEC_DEINIT(&w->streams);
    free((void *)(uintptr_t)w->key.ptr);
    free(w);
}
