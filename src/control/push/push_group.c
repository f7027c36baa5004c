/* The streams of one replica. A proxy holds one of all types (ADS), or one for each service that it
 * calls, several of the same where it likes; the newest stands for the replica in the registry. */
#include "control/push/push_priv.h"

enum { GROUP_STREAMS_MAX = 1024 };

static size_t group_len(const struct push_stream *s)
{
    size_t len = 1;
    for (const struct push_stream *o = PUSH_GROUP_NEXT(s); o != s; o = PUSH_GROUP_NEXT(o))
        len++;
    return len;
}

/* A proxy that comes with a new stream of all types has lost the one that it had; but an agent of
 * ours and the proxy that it looks after have one each, and clients of gRPC one for each target. */
static void end_older(struct push_stream *s, struct push_stream *member)
{
    if (s->dialect != XDS_DIALECT_GRPC && !member->is_ended && ads_stream_is_aggregated(s->ads) &&
        ads_stream_is_aggregated(member->ads) && s->dialect == member->dialect)
        push_stream_end(member, GRPC_ABORTED, "this replica has connected anew");
}

void push_group_join(struct push_stream *s, struct registry_replica *r)
{
    struct push_stream *first = r->node;
    if (first == NULL || first == s)
        return;
    if (group_len(first) >= GROUP_STREAMS_MAX) {
        push_stream_end(s, GRPC_RESOURCE_EXHAUSTED, "too many streams of this replica");
        return;
    }
    end_older(s, first);
    for (struct push_stream *o = PUSH_GROUP_NEXT(first); o != first; o = PUSH_GROUP_NEXT(o))
        end_older(s, o);
    list_insert_before(&first->group, &s->group);
}

struct push_stream *push_group_leave(struct push_stream *s)
{
    struct push_stream *other = NULL;
    for (struct push_stream *o = PUSH_GROUP_NEXT(s); o != s && other == NULL;
         o = PUSH_GROUP_NEXT(o)) {
        if (!o->is_ended)
            other = o;
    }
    list_remove(&s->group);
    return other;
}
