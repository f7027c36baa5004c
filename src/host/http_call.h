/* One HTTP/1.1 request, blocking, with a deadline: what the command line and the supervisor need
 * to talk to tulled (unix socket) and to a sidecar (its loopback). Thread: any. */
#pragma once

#include "base/str.h"

enum { HTTP_CALL_BODY_MAX = 64 * 1024 * 1024, HTTP_CALL_HEAD_MAX = 64 * 1024 };

struct http_call {
    const char *unix_path; /* either this */
    const char *address;   /* or an IPv4 address with a port */
    uint16_t port;
    int netns_fd_plus_1; /* 0: this namespace, else the descriptor + 1 */
    const char *method;  /* "GET" by default */
    const char *path;    /* "/x?y=z", already escaped */
    const char *content_type;
    struct str body;
    uint32_t timeout_ms; /* for all of it; 0: 10 s */
};

struct http_answer {
    int status;
    struct str_buf body;
};

/* 0 with any status, or -ERR_X (REFUSED, TIMEOUT, PROTOCOL, TOO_LARGE, ...). The answer is
 * initialised either way; http_answer_deinit. */
int http_call(const struct http_call *call, struct http_answer *ret_answer);
void http_answer_deinit(struct http_answer *a);
/* Whether a connection comes about; nothing is sent. */
bool http_call_connects(const struct http_call *call);

/* Parses a whole answer (head and body, as read until the end of the connection, or until
 * complete). 0: complete, in ret_answer; -ERR_AGAIN: more bytes are needed; -ERR_PROTOCOL,
 * -ERR_TOO_LARGE. is_eof: no more will come. is_head: the answer has no body. */
int http_call_parse(struct str bytes, bool is_eof, bool is_head, struct http_answer *ret_answer);
