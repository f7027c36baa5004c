/* Simulated proxies: thousands of xDS clients in one process, for script/bench-control.
 *
 * They speak what a tulle-proxy speaks (delta ADS over gRPC over HTTP/2, plain or with mTLS, one
 * connection each) and hold of every resource its version only: nothing is decoded that is not
 * needed to acknowledge it and to say when it came. One thread, one loop. None of the code that is
 * measured is in here. */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NONE = UINT32_MAX };

enum type { CLUSTER, ENDPOINTS, LISTENER, ROUTE, DIRECTORY, SECRET, TYPE_COUNT };

/* --- bytes (buffer.c) --- */

struct buffer {
    char *ptr;
    size_t len, cap;
};
void buffer_add(struct buffer *b, const void *ptr, size_t len);
void buffer_skip(struct buffer *b, size_t len); /* takes away from the front; empty: no memory */
void buffer_free(struct buffer *b);
/* A protobuf field of bytes, and what it takes. */
void buffer_add_field(struct buffer *b, unsigned field, const void *ptr, size_t len);

void *must(void *ptr); /* ends the process when there is no memory */
__attribute__((format(printf, 1, 2), noreturn)) void die(const char *fmt, ...);
uint64_t now_us(void);

/* --- names (names.c): a type and a name, as a number --- */

struct name {
    enum type type;
    const char *text;
    size_t len;
    uint32_t service; /* endpoints: whose; NONE: of none that is churned */
};
uint32_t name_id(enum type type, const char *text, size_t len);
struct name *name_of(uint32_t id); /* borrowed until the next name_id */

/* --- a connection (link.c) --- */

struct link {
    int fd; /* -1: none */
    SSL *ssl;
    struct buffer out;
    bool is_open, wants_write;
};

/* --- HTTP/2 and gRPC of a connection (http2.c) --- */

struct http2 {
    unsigned char head[9];
    unsigned head_len;
    uint32_t left;              /* of the present frame's payload */
    struct buffer control;      /* of a short frame that is wanted whole */
    struct buffer message;      /* of the ADS stream, not yet whole */
    struct buffer unsent;       /* of the ADS stream, without window */
    int64_t window, window_ads; /* what we may send */
    int64_t window_initial;
    uint64_t consumed; /* since windows were given */
    uint32_t next_stream;
};

/* --- a proxy (proxy.c) --- */

struct held {
    uint32_t name; /* NONE: free */
    uint64_t version;
    bool is_named;
};

struct identity {
    char *name, *uri; /* SPIFFE */
    X509 *cert;
    EVP_PKEY *key;
};

/* What a proxy calls. */
struct dest {
    uint32_t service;
    uint32_t slot; /* of this proxy among those that call it */
};

struct proxy {
    char *namespace_, *workload, *address;
    uint32_t index;
    const struct identity *identity;
    struct dest *dests;
    uint32_t dest_count;
    struct link link;
    struct http2 http2;
    struct held *held; /* by name, open addressing */
    uint32_t held_cap, held_len;
    uint32_t awaited;  /* named resources that were not answered yet */
    uint8_t wild_seen; /* bits of types: a wildcard was answered */
    bool is_wanted, is_ready, is_armed;
    unsigned failures;   /* of connecting, in a row */
    uint64_t connect_us; /* when; 0: not due */
};

struct counts {
    uint64_t connects, closed, ended, requests, responses, resources, removed, bytes;
    uint64_t resent;            /* resources that it had in this very version */
    uint64_t types[TYPE_COUNT]; /* resources */
    uint64_t handshakes_failed;
};

struct world {
    struct proxy *proxies;
    uint32_t proxy_count, proxy_cap;
    struct identity *identities;
    uint32_t identity_count;
    int epoll;
    const char *socket; /* unix: plain; NULL: TLS */
    int port;
    SSL_CTX *tls;
    unsigned seed;
    struct counts counts;
};
extern struct world world;

void link_open(struct proxy *p);
void link_close(struct proxy *p);
void link_event(struct proxy *p, uint32_t events);
void link_flush(struct proxy *p);

void http2_start(struct proxy *p);
void http2_stop(struct proxy *p);
void http2_send(struct proxy *p, const void *message, size_t len); /* on the ADS stream */
/* A call with one message, whose answer is not looked at. */
void http2_call(struct proxy *p, const char *path, const void *message, size_t len);
/* False: the connection is of no more use. */
bool http2_recv(struct proxy *p, const unsigned char *bytes, size_t len);

void xds_start(struct proxy *p); /* subscribes, with the versions at hand */
void xds_recv(struct proxy *p, const unsigned char *message, size_t len);
bool xds_is_synced(const struct proxy *p);

void proxy_lost(struct proxy *p);
void proxies_connect(uint32_t count, double rate); /* so many more, so many a second */
uint64_t proxies_run(uint64_t now);                /* connects who is due; when to come again */

/* --- what is measured (measure.c) --- */

void measure_add_service(const char *host_port, const char *namespace_, const char *workload);
void measure_sort(void); /* all services are known */
void measure_link(void); /* services, replicas and callers know each other */
uint32_t measure_service(const char *host_port);
const char *measure_host_port(uint32_t service);
void measure_endpoints(struct proxy *p, uint32_t service, uint64_t version,
                       const unsigned char *wire, size_t len);
void measure_inbound(struct proxy *p); /* its inbound listener changed */
void measure_arm(const char *namespace_);
void measure_churn(double rate, double secs);
uint64_t measure_run(uint64_t now); /* when to come again; UINT64_MAX: never */
void measure_lost(struct proxy *p);
