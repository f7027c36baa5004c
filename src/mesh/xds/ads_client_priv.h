/* Inside mesh/xds/ only: what the two variants of the client share. */
#pragma once

#include "base/list.h"
#include "base/map.h"
#include "base/vec.h"
#include "mesh/xds/ads_client.h"
#include "mesh/xds/ads_node.h"
#include "mesh/xds/pb.h"

enum {
    ADS_MESSAGE_LEN_MAX = 64 << 20, /* of one response; the transport bounds it first */
    ADS_BLOCK_LEN = 4096,
};

/* What is known of one name of a type. Lives while it is subscribed to, by name or wildcard. */
struct entry {
    struct list link; /* in changed: the server does not know something of it */
    struct str name;  /* owned */
    /* Owned; empty: nothing accepted. State of the world: the hash of what the owner was given
     * last, so that what a response repeats is not given again. */
    struct str version;
    bool is_subscribed; /* by name */
    bool is_answered;   /* accepted, refused, removed or preloaded once */
    bool is_new;        /* the server does not know of the subscription yet */
    bool is_dropped;    /* nor of its end */
    bool is_awaited;    /* counted: subscribed to by name, and not answered */
    bool is_lost;   /* state of the world: given up and asked for again, unbeknown to the server */
    bool is_listed; /* state of the world: named by the response that is looked at */
};

struct type_state {
    struct map entries;  /* name -> struct entry */
    struct list changed; /* struct entry: is_new or is_dropped */
    size_t awaited;      /* entries whose answer is not here */
    bool is_wildcard, is_wildcard_new, is_wildcard_answered;
    bool is_requested; /* on this stream */
    bool is_dirty;
    unsigned refused_in_row;
    /* State of the world; both owned. */
    struct str version; /* of the last response that was accepted */
    struct str nonce;   /* of the last response on this stream */
};

/* A response that its owner has yet to apply. */
struct pending {
    struct list link;
    uint64_t token;
    uint64_t stream;
    enum resource_type type;
    bool is_in_callback, is_done;
    bool is_held; /* done, and its answer waits */
    struct arena arena;
    struct str nonce;
    struct str version; /* state of the world: of the response */
    VEC(struct resource *) changed;
    VEC(struct str) removed;
    VEC(struct str) refused; /* names; their reasons are in why */
    struct str_buf why;
    struct map seen; /* names of resources that are well, as a set */
};

struct ads_client {
    struct ads_client_ops ops;
    void *ctx;
    bool is_sotw;
    struct arena arena; /* the node's strings */
    struct ads_node node;
    struct type_state types[RESOURCE_TYPE_COUNT];
    struct list pending;
    uint64_t last_token;
    uint64_t stream; /* number of the present stream */
    bool is_connected, is_node_sent;
};

/* --- ads_client.c --- */
void ads_set_str(struct str *to, struct str value);
struct entry *ads_entry(struct type_state *t, struct str name); /* made where there is none */
void ads_note(struct type_state *t, struct entry *e);           /* after any change of its flags */
void ads_drop_entry(struct type_state *t, struct entry *e);
bool ads_is_wanted(const struct type_state *t, struct str name);
/* The node of the first request of a stream; NULL on the others. */
Pb__Core__Node *ads_first_node(struct ads_client *c, struct arena *a);
void ads_send(struct ads_client *c, const ProtobufCMessage *m);
/* Status of an answer; NULL: an ACK. The arena's. */
Pb__Rpc__Status *ads_status(struct arena *a, const struct pending *p);
struct pending *ads_pending_new(struct ads_client *c, enum resource_type type, struct str nonce);
void ads_refuse_name(struct pending *p, struct str name, const char *why);
/* NULL: refused, with the reason in p->why. name: as it is told; empty: the one inside counts. */
struct resource *ads_take_resource(struct pending *p, struct str name, const Pb__Any *m);
void ads_ignore(struct ads_client *c, const char *type_url, const char *why);

/* --- ads_client_delta.c --- */
void ads_client_delta_flush(struct ads_client *c, enum resource_type type);
/* 0 with *ret_pending (NULL: passed over), or -ERR_PROTOCOL. */
int ads_client_delta_take(struct ads_client *c, struct arena *scratch, struct str message,
                          struct pending **ret_pending);
void ads_client_delta_answer(struct ads_client *c, const struct pending *p);
void ads_client_delta_commit(struct type_state *t, struct pending *p, bool is_accepted);

/* --- ads_client_sotw.c: likewise --- */
void ads_client_sotw_flush(struct ads_client *c, enum resource_type type);
int ads_client_sotw_take(struct ads_client *c, struct arena *scratch, struct str message,
                         struct pending **ret_pending);
void ads_client_sotw_answer(struct ads_client *c, const struct pending *p);
void ads_client_sotw_commit(struct type_state *t, struct pending *p, bool is_accepted);
