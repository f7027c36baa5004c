/* The state file of a mesh (/run/tulle/NAME/box.state): which processes belong to it, which address
 * each replica has, how far it got. The supervisor writes it, the command line reads it, and the
 * next `up` or `down` cleans up by it after a crash.
 *
 * Text, one item a line, so that a person can read it too. Owner: whoever embeds the struct; the
 * texts live in its arena. Thread: one. */
#pragma once

#include "base/arena.h"
#include "base/vec.h"
#include "host/paths.h"
#include "host/proc.h"
#include "host/spec.h"

enum state_phase {
    STATE_WAITING, /* nothing runs yet */
    STATE_SETUP,   /* namespaces are made */
    STATE_SIDECAR, /* the sidecar is starting */
    STATE_APP,     /* the sidecar is ready, the app is starting */
    STATE_READY,   /* serving (or, without `run`, its sidecar is) */
    STATE_UNREADY, /* was ready; its probe fails now, or its sidecar or app is being restarted */
    STATE_FAILED,  /* could not be set up */
    STATE_PHASE_COUNT,
};

const char *state_phase_name(enum state_phase phase);

enum { STATE_MESSAGE_MAX = 160 };

struct state_replica {
    struct str namespace, workload, slug;
    uint32_t index;
    bool is_self_ready; /* has `run`, or no port: nobody has to start something by hand */
    bool is_wanted;     /* in the present documents; else only its address is remembered */
    enum state_phase phase;
    uint32_t address; /* number in the address plan, state_address_format */
    struct proc init, sidecar, app;
    uint32_t sidecar_restarts, app_restarts;
    char message[STATE_MESSAGE_MAX]; /* the last trouble, one line; may be empty */
};

struct state {
    struct str name, dir, trust_domain;
    struct proc supervisor, tulled;
    bool is_tulled_ready;
    uint32_t tulled_restarts;
    bool has_ipv6;
    VEC(struct state_replica) replicas;
    struct arena arena;
};

void state_init(struct state *s);
void state_deinit(struct state *s);

/* Appends the file's text. */
void state_format(const struct state *s, struct str_buf *out);
/* Strict; 0 or -ERR_CORRUPT. The struct is initialised either way. */
int state_parse(struct str text, struct state *ret_state);

/* Of a mesh by name: 0, -ERR_NOT_FOUND, -ERR_CORRUPT. */
int state_load(const char *mesh, struct state *ret_state);
int state_save(const struct state *s);

/* The replica, or NULL. */
struct state_replica *state_find(struct state *s, struct str namespace, struct str workload,
                                 uint32_t index);
/* Adds what is missing for the spec, giving new replicas the lowest free addresses and unique
 * slugs; known replicas keep theirs. All come back WAITING without processes; those that the spec
 * does not have are not wanted. -ERR_LIMIT when there are too many. */
int state_plan(struct state *s, const struct box_spec *spec);

/* The address plan: bridge and gateway 1, tulled 2, replicas from STATE_ADDRESS_FIRST on, below
 * 10.77.0.0/16 and fd77::/64. */
enum { STATE_ADDRESS_GATEWAY = 1, STATE_ADDRESS_TULLED = 2, STATE_ADDRESS_FIRST = 16 };
enum { STATE_PREFIX_LEN_V4 = 16, STATE_PREFIX_LEN_V6 = 64, STATE_ADDRESS_LEN_MAX = 46 };
char *state_address_v4(uint32_t number, char buf[STATE_ADDRESS_LEN_MAX]);
char *state_address_v6(uint32_t number, char buf[STATE_ADDRESS_LEN_MAX]);
