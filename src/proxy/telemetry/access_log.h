/* Access logs: Envoy's default text and JSON, and formats with its command operators.
 *
 * A format is compiled once (listener load) and refused when it uses an operator that we do not
 * have. Lines are collected per worker and written in one write(2) a turn; a sink that is too slow
 * loses lines, counted, and never delays a request. Thread: the worker's. */
#pragma once

#include "http/exchange.h"
#include "mesh/model/listener.h"

/* Facts of one finished request or TCP connection; strings borrowed for the call. */
struct record {
    const struct exchange *x; /* NULL: TCP */
    const struct downstream_info *info;
    const struct addr *client; /* whom a trusted proxy names; NULL: info->remote */
    uint64_t start_wall_us, duration_us;
    uint64_t bytes_received, bytes_sent;
    uint64_t flags;
    uint16_t status;
    int grpc_status;
    struct str local_reply_body;   /* what would be answered, of a format for that; else ptr NULL */
    struct str details;            /* response code details */
    struct str connection_details; /* connection termination details */
    struct str upstream_failure;   /* transport failure reason */
    struct str upstream_cluster;
    const struct addr *upstream_host, *upstream_local; /* NULL or ADDR_NONE: none */
    struct str route_name;
    struct str origin;                /* policy or route that decided; %TULLE_ORIGIN% */
    int64_t upstream_service_time_ms; /* -1: none */
    uint32_t attempts;
};

struct access_log_format;
int access_log_format_new(const struct substitution_format *config, struct str_buf *why,
                          struct access_log_format **ret_format);
struct access_log_format *access_log_format_free(struct access_log_format *f);
/* Appends one line. Values are escaped: a log line never contains a raw control byte of a peer. */
void access_log_format_line(const struct access_log_format *f, const struct record *r,
                            struct str_buf *to);

/* What the workers of a process share of their sinks: the descriptor of each path, and who is in
 * the middle of a line, so that no line is torn. Made before and freed behind the sinks; any
 * thread. */
struct access_log_share;
struct access_log_share *access_log_share_new(void);
struct access_log_share *access_log_share_free(struct access_log_share *s);

struct access_log_sink;
/* share: NULL for one that has its path for itself. */
struct access_log_sink *access_log_sink_new(struct turn *t, struct access_log_share *share,
                                            struct str path, size_t queue_bytes_max);
struct access_log_sink *access_log_sink_free(struct access_log_sink *s);
void access_log_sink_add(struct access_log_sink *s,
                         struct str line); /* written at the turn's end */
uint64_t access_log_sink_dropped(const struct access_log_sink *s);
