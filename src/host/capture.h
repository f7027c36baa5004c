/* Traffic capture: the nftables rules of a replica's network namespace, and their application.
 *
 * Both families in one `inet` table. The sidecar's own sockets are told apart by their mark, which
 * only it can set: the app runs without CAP_NET_ADMIN and CAP_NET_RAW.
 *
 *   CAPTURE_MARK      the sidecar towards peers, the control plane and the world: passes, except
 *                     to the replica's own address, which is redirected as if it came from outside
 *   CAPTURE_MARK_APP  the sidecar towards its own app: never redirected
 *
 * A dead sidecar means closed ports 15001 and 15006: connections are refused, never let past. */
#pragma once

#include "base/str.h"
#include "host/spec.h"

enum {
    CAPTURE_MARK = 0x539,
    CAPTURE_MARK_APP = 0x53a,
    CAPTURE_PORT_OUTBOUND = 15001,
    CAPTURE_PORT_INBOUND = 15006,
    CAPTURE_PORT_DNS = 15053,
};

/* The rules as text for `nft -f -`. armed_s: for how many seconds they hold before the kernel
 * itself lets them lapse; 0: for good. -ERR_INVALID when a range is malformed. */
int capture_rules(const struct box_capture *exclude, uint32_t armed_s, struct str_buf *out);

/* Applies the rules in the current network namespace by running nft(8); 0 or -ERR_X. What nft
 * says in case of an error goes to standard error. */
int capture_apply(const struct box_capture *exclude, uint32_t armed_s);

/* Runs nft(8) with these commands: 0, -ERR_NOT_FOUND (there is none), -ERR_SYSTEM. */
int capture_run_nft(struct str commands);

/* What the kernel has now. */
enum capture_state {
    CAPTURE_NONE,   /* no table of ours */
    CAPTURE_ARMED,  /* in force until it lapses */
    CAPTURE_LAPSED, /* nobody confirmed it in time: it does nothing */
    CAPTURE_KEPT,   /* in force for good */
};
/* ret_listing: the rules as nft lists them, without what arms them. -ERR_NOT_FOUND: no nft. */
int capture_look(enum capture_state *ret_state, struct str_buf *ret_listing);
/* Armed rules hold for good. -ERR_SYSTEM: they have lapsed, or there are none. */
int capture_confirm(void);
/* Takes the table away; none is fine. */
int capture_remove(void);

/* Marks of connections, not packets. Who lifts capture (bypass.h) marks connections as candidates;
 * where they would be redirected they are let past instead, and marked as such. */
#define CAPTURE_CT_CANDIDATE "0x53b"
#define CAPTURE_CT_PAST_IN "0x53c"
#define CAPTURE_CT_PAST_OUT "0x53d"

/* Where nft(8) is; NULL when it is not installed. */
const char *capture_nft_path(void);
