/* What delta and state of the world have in common: nodes, nonces, answers, responses. */
#include "mesh/xds/ads_server.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "mesh/xds/ads_node.h"
#include "mesh/xds/ads_server_priv.h"

enum { NAME_LEN_MAX = 1024, BLOCK_LEN = 4096 };

struct ads_stream *ads_stream_new(const struct ads_stream_args *args)
{
    struct ads_stream *s = NEW(struct ads_stream);
    s->args = *args;
    s->ops = *args->ops;
    s->ctx = args->ctx;
    for (unsigned i = 0; i < RESOURCE_TYPE_COUNT; i++)
        map_init(&s->types[i].names);
    return s;
}

struct ads_stream *ads_stream_free(struct ads_stream *s)
{
    if (s == NULL)
        return NULL;
    for (unsigned i = 0; i < RESOURCE_TYPE_COUNT; i++)
        map_deinit(&s->types[i].names);
    VEC_DEINIT(&s->unanswered);
    free(s);
    return NULL;
}

/* --- what a variant and a type mean --- */

bool ads_has_wildcard(enum resource_type type)
{
    return type == RESOURCE_LISTENER || type == RESOURCE_CLUSTER || type == RESOURCE_DIRECTORY;
}

bool ads_stream_is_full(const struct ads_stream *s, enum resource_type type)
{
    return s->args.variant == ADS_SOTW && ads_has_wildcard(type);
}

bool ads_stream_tells_removal(const struct ads_stream *s, enum resource_type type)
{
    return s->args.variant == ADS_DELTA || ads_has_wildcard(type);
}

bool ads_stream_is_aggregated(const struct ads_stream *s)
{
    return !s->args.is_single;
}

enum ads_variant ads_stream_variant(const struct ads_stream *s)
{
    return s->args.variant;
}

/* --- requests --- */

int ads_refuse(struct str_buf *why, const char *text)
{
    if (why != NULL)
        str_buf_add_c(why, text);
    return -ERR_PROTOCOL;
}

int ads_check_names(char const *const *names, size_t count, struct str_buf *why)
{
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(names[i]);
        if (len == 0 || len > NAME_LEN_MAX)
            return ads_refuse(why, "a resource name is empty or too long");
    }
    return 0;
}

void ads_take_node(struct ads_stream *s, struct arena *a, const Pb__Core__Node *m)
{
    struct ads_node node = {0};
    if (s->has_node)
        return;
    if (m != NULL)
        ads_node_decode(a, m, &node);
    const struct ads_request_info info = {
        .node_id = node.id,
        .node_cluster = node.cluster,
        .node_metadata_json = node.metadata_json,
        .user_agent = node.user_agent,
    };
    s->has_node = true;
    s->ops.on_node(s->ctx, &info);
}

bool ads_request_type(const struct ads_stream *s, const char *url, struct str_buf *why,
                      enum resource_type *ret_type, int *ret_rc)
{
    struct str text = str_from_c(url);
    *ret_rc = 0;
    if (!s->args.is_single)
        /* Clients of others ask for types that we do not serve; they get nothing of them. */
        return resource_type_from_url(text, ret_type);
    if (text.len > 0 && !str_eq(text, resource_type_url(s->args.type))) {
        *ret_rc = ads_refuse(why, "the stream is of another type");
        return false;
    }
    *ret_type = s->args.type;
    return true;
}

int ads_parse_nonce(const struct ads_stream *s, const char *nonce, struct str_buf *why,
                    uint64_t *ret_number)
{
    uint64_t number = 0;
    if (nonce != NULL && nonce[0] != '\0' &&
        (!str_to_u64(str_from_c(nonce), UINT64_MAX, &number) || number == 0 ||
         number > s->last_response))
        return ads_refuse(why, "a nonce that was never sent");
    *ret_number = number;
    return 0;
}

int ads_take_answer(struct ads_stream *s, enum resource_type type, uint64_t number,
                    const Pb__Rpc__Status *error, struct str_buf *why)
{
    for (size_t i = 0; i < s->unanswered.len; i++) {
        if (s->unanswered.ptr[i].number != number)
            continue;
        if (s->unanswered.ptr[i].type != type)
            return ads_refuse(why, "the nonce belongs to another type");
        VEC_REMOVE_SWAP(&s->unanswered, i);
        if (error != NULL)
            s->ops.on_nack(s->ctx, type, number, str_from_c(error->message));
        else
            s->ops.on_ack(s->ctx, type, number);
        return 0;
    }
    return 0;
}

int ads_subscribe(struct ads_stream *s, enum resource_type type, struct str name,
                  struct str version, struct str_buf *why)
{
    struct ads_type *t = &s->types[type];
    if (map_len(&t->names) >= ADS_SUBSCRIPTIONS_MAX)
        return ads_refuse(why, "too many subscriptions");
    map_put(&t->names, name, t);
    s->ops.on_subscribe(s->ctx, type, name, version);
    return 0;
}

struct ads_request *ads_request_decode(enum ads_variant variant, struct str message,
                                       struct str_buf *why)
{
    struct ads_request *r = NEW(struct ads_request);
    arena_init(&r->arena, BLOCK_LEN);
    if (variant == ADS_SOTW)
        r->sotw = ads_sotw_decode(&r->arena, message, why);
    else
        r->delta = ads_delta_decode(&r->arena, message, why);
    return r->sotw != NULL || r->delta != NULL ? r : ads_request_free(r);
}

struct ads_request *ads_request_free(struct ads_request *r)
{
    if (r == NULL)
        return NULL;
    arena_deinit(&r->arena);
    free(r);
    return NULL;
}

int ads_stream_take(struct ads_stream *s, const struct ads_request *r, struct str_buf *why)
{
    struct arena a;
    ASSERT((r->sotw != NULL) == (s->args.variant == ADS_SOTW));
    arena_init(&a, BLOCK_LEN);
    int rc = r->sotw != NULL ? ads_sotw_serve(s, &a, r->sotw, why)
                             : ads_delta_serve(s, &a, r->delta, why);
    arena_deinit(&a);
    return rc;
}

int ads_stream_recv(struct ads_stream *s, struct str message, struct str_buf *why)
{
    struct ads_request *r = ads_request_decode(s->args.variant, message, why);
    int rc = r != NULL ? ads_stream_take(s, r, why) : -ERR_PROTOCOL;
    ads_request_free(r);
    return rc;
}

/* --- responses --- */

Pb__Any *ads_any(struct arena *a, const char *type_url, struct str wire)
{
    Pb__Any *m = arena_alloc(a, sizeof *m);
    pb__any__init(m);
    m->type_url = type_url;
    m->has_value = true;
    m->value.len = wire.len;
    m->value.data = (uint8_t *)(uintptr_t)wire.ptr; /* packing only reads */
    return m;
}

uint64_t ads_stream_number(struct ads_stream *s, enum resource_type type)
{
    uint64_t number = ++s->last_response;
    s->types[type].last_response = number;
    VEC_PUSH(&s->unanswered, ((struct ads_sent){number, type}));
    return number;
}

static const ProtobufCMessage *piece(struct arena *a, enum ads_variant variant,
                                     const struct ads_response *r, uint64_t number, size_t i)
{
    bool is_sotw = variant == ADS_SOTW;
    if (i > 0)
        return is_sotw ? ads_sotw_resource(a, r, i - 1) : ads_delta_resource(a, r, i - 1);
    const char *nonce = arena_printf(a, "%llu", (unsigned long long)number).ptr;
    return is_sotw ? ads_sotw_frame(a, r, nonce) : ads_delta_frame(a, r, nonce);
}

size_t ads_response_len(enum ads_variant variant, const struct ads_response *r, uint64_t number)
{
    struct arena a;
    size_t len = 0;
    arena_init(&a, BLOCK_LEN);
    for (size_t i = 0; i <= r->item_count; i++) {
        len += protobuf_c_message_get_packed_size(piece(&a, variant, r, number, i));
        arena_reset(&a);
    }
    arena_deinit(&a);
    return len;
}

void ads_response_piece(enum ads_variant variant, const struct ads_response *r, uint64_t number,
                        size_t i, struct str_buf *to)
{
    struct arena a;
    arena_init(&a, BLOCK_LEN);
    pb_pack(piece(&a, variant, r, number, i), to);
    arena_deinit(&a);
}

uint64_t ads_stream_respond(struct ads_stream *s, const struct ads_response *r,
                            struct str_buf *ret_message)
{
    uint64_t number = ads_stream_number(s, r->type);
    for (size_t i = 0; i <= r->item_count; i++)
        ads_response_piece(s->args.variant, r, number, i, ret_message);
    return number;
}
