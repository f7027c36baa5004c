/* Joining a mesh from a host of one's own: what `tulle token create` printed becomes a state
 * folder, from which the sidecar starts, now and whenever it is started again.
 *
 *   DIR/join.json   who this is, and where the control plane is
 *   DIR/token       the join token; used up with the first certificate
 *   DIR/pin.pem     the roots of the control plane that the text's pins vouched for
 *
 * The text carries SHA-256 digests of the roots. They are fetched from the address that is given,
 * by whoever answers there, and only those that the pins name are believed.
 *
 * Blocking; before the agent runs. Thread: main's. */
#pragma once

#include "base/arena.h"
#include "io/addr.h"
#include "proxy/agent/agent.h"

/* What the text holds; strings in the arena. */
enum { JOIN_PINS_MAX = 8, JOIN_TEXT_MAX = 16 * 1024, JOIN_PIN_LEN = 64 };
struct join_text {
    struct str token, workload, namespace_, service_account, trust_domain, app, version;
    uint64_t replica;
    struct str pins[JOIN_PINS_MAX]; /* lower-case hex */
    size_t pin_count;
};
/* -ERR_SYNTAX: it is no such text. */
int join_text_parse(struct arena *a, struct str text, struct join_text *ret_text);

struct join_args {
    const char *state_dir;
    struct str text;          /* as printed; empty: go on with what the folder holds */
    struct str control_plane; /* "HOST:PORT"; empty with an empty text */
    struct str addresses;     /* "IP4[,IP6]"; empty: the one that leads to the control plane */
    bool is_proxyless;        /* as the agent's */
};
/* Fills the agent's arguments (strings in the arena). The same text again finds what it made.
 * -ERR_X with why: the reason, for people. */
int join_prepare(const struct join_args *args, struct arena *a, struct agent_args *ret_args,
                 struct str_buf *why);

/* join_roots.c: the roots (PEM, appended) of the control plane at that address that the pins name;
 * -ERR_CERTIFICATE: none of them is. mark: of the connection. */
int join_fetch_roots(const struct addr *control_plane, uint32_t mark, const struct join_text *text,
                     struct str_buf *ret_pem, struct str_buf *why);
/* Of a bundle those that are pinned. */
int join_pick_roots(struct str pem, const struct join_text *text, struct str_buf *ret_pem);
