/* What both variants of the server half share. Inside mesh/xds/ only. */
#pragma once

#include "base/map.h"
#include "base/vec.h"
#include "mesh/xds/ads_server.h"
#include "mesh/xds/pb.h"

enum {
    ADS_REQUEST_LEN_MAX = 16 << 20,
    ADS_SUBSCRIPTIONS_MAX = 10000, /* per type and stream */
};

struct ads_type {
    struct map names; /* subscribed to, the wildcard too; the value only says that it is there */
    bool is_requested;
    bool has_named;         /* an empty list is no wildcard any more */
    uint64_t last_response; /* 0: none yet */
};

struct ads_sent {
    uint64_t number;
    enum resource_type type;
};

struct ads_stream {
    struct ads_stream_args args;
    struct ads_stream_ops ops;
    void *ctx;
    struct ads_type types[RESOURCE_TYPE_COUNT];
    bool has_node;
    uint64_t last_response;
    VEC(struct ads_sent) unanswered;
};

/* Notes the reason; -ERR_PROTOCOL. */
int ads_refuse(struct str_buf *why, const char *text);
int ads_check_names(char const *const *names, size_t count, struct str_buf *why);
/* Types that may be asked for as a whole. */
bool ads_has_wildcard(enum resource_type type);
void ads_take_node(struct ads_stream *s, struct arena *a, const Pb__Core__Node *m);
/* Which type a request is about. False, rc 0: one that we do not have, passed over. */
bool ads_request_type(const struct ads_stream *s, const char *url, struct str_buf *why,
                      enum resource_type *ret_type, int *ret_rc);
/* The number in a nonce that was given out; 0: none is said. -ERR_PROTOCOL: never given out. */
int ads_parse_nonce(const struct ads_stream *s, const char *nonce, struct str_buf *why,
                    uint64_t *ret_number);
/* An answer to a response of ours; the same answer twice says nothing new. */
int ads_take_answer(struct ads_stream *s, enum resource_type type, uint64_t number,
                    const Pb__Rpc__Status *error, struct str_buf *why);
int ads_subscribe(struct ads_stream *s, enum resource_type type, struct str name,
                  struct str version, struct str_buf *why);

/* Lives in its own arena. */
struct ads_request {
    struct arena arena;
    const Pb__Discovery__DeltaDiscoveryRequest *delta; /* one of the two */
    const Pb__Discovery__DiscoveryRequest *sotw;
};

/* ads_server_delta.c, ads_server_sotw.c; messages live in the arena. NULL: refused. */
const Pb__Discovery__DeltaDiscoveryRequest *ads_delta_decode(struct arena *a, struct str message,
                                                             struct str_buf *why);
const Pb__Discovery__DiscoveryRequest *ads_sotw_decode(struct arena *a, struct str message,
                                                       struct str_buf *why);
int ads_delta_serve(struct ads_stream *s, struct arena *a,
                    const Pb__Discovery__DeltaDiscoveryRequest *m, struct str_buf *why);
int ads_sotw_serve(struct ads_stream *s, struct arena *a, const Pb__Discovery__DiscoveryRequest *m,
                   struct str_buf *why);
/* The response without its resources, and one with nothing but one of them. */
const ProtobufCMessage *ads_delta_frame(struct arena *a, const struct ads_response *r,
                                        const char *nonce);
const ProtobufCMessage *ads_delta_resource(struct arena *a, const struct ads_response *r, size_t i);
const ProtobufCMessage *ads_sotw_frame(struct arena *a, const struct ads_response *r,
                                       const char *nonce);
const ProtobufCMessage *ads_sotw_resource(struct arena *a, const struct ads_response *r, size_t i);
Pb__Any *ads_any(struct arena *a, const char *type_url, struct str wire);
