/* The way around a sidecar for a while: connections of a network namespace that its capture rules
 * (capture.h) leave alone, in a table of its own ("tulle_bypass") whose elements the kernel itself
 * lets lapse, whatever becomes of the programs that asked.
 *
 *   inbound   connections to a port of the app (or to any) reach the app, not the sidecar: no
 *             mutual TLS, no policy, no metrics. The sidecar's own ports stay closed to peers.
 *   outbound  connections of the app to a port (or any) go where the app says. Virtual addresses of
 *             the mesh stay with the sidecar: nobody else serves them. So does DNS that is asked of
 *             this host; other name servers are asked directly when all of outbound is lifted.
 *
 * A connection that was made past the sidecar ends with the bypass, at its next packet (RST).
 *
 * What is in force is also kept in a file, so that a namespace that is made anew gets the rest of
 * the time. Lifetime: plain values. Thread: any, sequential; they run nft(8). */
#pragma once

#include <stdint.h>

#include "base/str.h"

enum { HOST_BYPASS_INBOUND = 1, HOST_BYPASS_OUTBOUND = 2 };
enum { BYPASS_RULES_MAX = 64, BYPASS_MS_MAX = 24 * 3600 * 1000 };

struct bypass_rule {
    uint16_t port;     /* 0: all */
    unsigned sides;    /* HOST_BYPASS_x */
    uint64_t until_ms; /* since 1970 */
};

struct bypass {
    struct bypass_rule rules[BYPASS_RULES_MAX];
    size_t count;
};

/* Adds a rule, in place of one of the same port. -ERR_LIMIT. */
int bypass_add(struct bypass *b, struct bypass_rule rule);
/* False: there was none of that port. */
bool bypass_drop(struct bypass *b, uint16_t port);
/* Leaves out what is over, and what says to last longer than may be (a clock that was set). */
void bypass_prune(struct bypass *b, uint64_t now_ms);

/* The file; missing: nothing. What cannot be read of it is left out. */
void bypass_read(const char *path, struct bypass *ret_bypass);
/* 0 or -ERR_X; nothing in it: the file goes. */
int bypass_write(const char *path, const struct bypass *b);

/* The table as text for `nft -f -`, in place of the one that is there. With nothing lifted it
 * stays, for what was made past the sidecar is still to be ended. */
int bypass_rules(const struct bypass *b, uint64_t now_ms, struct str_buf *out);
/* Puts it in force in the current network namespace. 0 or -ERR_X. */
int bypass_apply(const struct bypass *b, uint64_t now_ms);

/* CLOCK_REALTIME. */
uint64_t bypass_now_ms(void);
