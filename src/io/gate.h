/* Connections that have not shown yet who they are, on their way through a TLS handshake.
 *
 *   enter --first byte--> ready --a place is free--> shaking --done--> known: out of the gate
 *     SILENT               READY                     SHAKING    `----> STRANGER, until it closes
 *
 * Each of the three pools is bounded and shared by address (io/crowd.h): silent connections cost a
 * descriptor and little more; handshakes, which cost CPU time, run so many at once, addresses in
 * turns; strangers are those whose handshake showed no name. Where a pool is full, who has been in
 * it longest of the address with most has to go, so that newcomers always come in. A handshake
 * keeps its place for grace_us at least.
 *
 * Owner: whoever embeds it. Thread: the loop's. */
#pragma once

#include "io/conn.h"
#include "io/crowd.h"

enum gate_state { GATE_OUT, GATE_SILENT, GATE_READY, GATE_SHAKING, GATE_STRANGER };

struct gate_member {
    struct crowd_member member;
    struct gate *gate;
    struct timer timer;
    enum gate_state state;
    uint64_t since_us;
    char key[16];
    uint8_t key_len;
};

struct gate_ops {
    void (*begin)(struct gate_member *m); /* the handshake may begin */
    /* It has to go: -ERR_LIMIT or -ERR_TIMEOUT. It has left the gate. */
    void (*drop)(struct gate_member *m, int err);
};

struct gate_limits {
    size_t silent_max, ready_max; /* ready ones hold the bytes that came */
    size_t shaking_max, strangers_max;
    uint64_t silent_us, shaking_us; /* before it is dropped */
    uint64_t grace_us;
};

struct gate_counts {
    uint64_t handshakes, dropped_full, dropped_late;
};

struct gate {
    struct turn *turn;
    struct gate_limits limits;
    const struct gate_ops *ops;
    struct crowd silent, ready, shaking, strangers;
    struct timer timer; /* until somebody's grace is over */
    struct gate_counts counts;
};

void gate_init(struct gate *g, struct turn *t, const struct gate_limits *limits,
               const struct gate_ops *ops);
void gate_deinit(struct gate *g); /* all members have left */

/* A connection was accepted. Others may be dropped inside. */
void gate_enter(struct gate *g, struct gate_member *m, const struct addr *from);
/* Its first bytes are here. begin comes, at once or later. */
void gate_spoke(struct gate_member *m);
/* Its handshake is done. */
void gate_shaken(struct gate_member *m, bool is_known);
/* It is closed, or whatever: harmless twice. */
void gate_leave(struct gate_member *m);
