/* The PROXY protocol: what a load balancer says in front of a connection about who is behind it.
 *
 * Versions 1 (a line of text) and 2 (binary), after the specification that HAProxy publishes. Read
 * strictly: one form of each number and address, a structure of fields that comes out even, a
 * checksum that holds. Pure. */
#pragma once

#include "codec/ip.h"

enum proxy_protocol_version { PROXY_PROTOCOL_V1 = 1, PROXY_PROTOCOL_V2 = 2 };

/* Longer headers of version 2 (whose fields say anything) are bad. Version 1 ends within 107. */
enum { PROXY_PROTOCOL_LEN_MAX = 16 * 1024 };

struct proxy_protocol {
    enum proxy_protocol_version version;
    size_t len; /* of the header; the connection's own bytes follow */
    /* Family 0: the header names nobody (UNKNOWN, LOCAL, unix sockets): the connection's own
     * addresses hold. */
    struct ip_addr source, destination;
    uint16_t source_port, destination_port;
};

enum { PROXY_PROTOCOL_WRITTEN_MAX = 108 };
/* The header for a connection from source to destination; without addresses of one family, one that
 * names nobody (UNKNOWN, LOCAL). Its length. */
size_t proxy_protocol_write(const struct proxy_protocol *h, char buf[PROXY_PROTOCOL_WRITTEN_MAX]);

enum proxy_protocol_read {
    PROXY_PROTOCOL_MORE, /* so far it may become one */
    PROXY_PROTOCOL_NONE, /* no header: the first byte that differs is here */
    PROXY_PROTOCOL_BAD,  /* begins like one and is none */
    PROXY_PROTOCOL_YES,  /* ret_header is filled */
};
/* bytes: all that came; never MORE with PROXY_PROTOCOL_LEN_MAX bytes. */
enum proxy_protocol_read proxy_protocol_read(struct str bytes, struct proxy_protocol *ret_header);
