/* The proxy's own pages: admin on the loopback, metrics and health for others. Ordinary exchanges
 * on the main thread's turn; what workers know is asked of them by mail.
 *
 * Owner: the agent. Thread: the main thread's. */
#pragma once

#include "io/addr.h"

struct agent;
struct admin;

/* What a port shows. */
enum admin_face {
    ADMIN_ALL,
    ADMIN_METRICS, /* /stats/prometheus, /healthz/ready */
    ADMIN_READY,   /* /healthz/ready */
};

struct admin *admin_new(struct agent *a);
struct admin *admin_free(struct admin *a);
int admin_listen(struct admin *a, const struct addr *at, enum admin_face face, struct str_buf *why);
