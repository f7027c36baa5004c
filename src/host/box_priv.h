/* The supervisor of a mesh, inside its module only. */
#pragma once

#include "host/box.h"
#include "host/egress.h"
#include "host/logfile.h"
#include "host/netlink.h"
#include "host/replica.h"

/* When something that ended is started again. */
struct box_restart {
    uint64_t at_ms; /* 0: not planned */
    uint64_t started_ms;
    uint32_t backoff_ms;
};
void box_restart_plan(struct box_restart *r, uint64_t now_ms);

struct box_replica {
    struct state_replica *state;
    struct replica_args args;
    char address_v4[STATE_ADDRESS_LEN_MAX], address_v6[STATE_ADDRESS_LEN_MAX];
    pid_t pid;              /* of its init; 0: none */
    int control;            /* -1: none */
    pid_t token_job;        /* 0: none */
    bool is_sidecar_wanted; /* init waits for "start" */
    bool is_token_wanted;   /* the sidecar that runs may have no other way to a leaf */
    bool was_sidecar_ready; /* once; it has an identity of its own then */
    struct box_restart restart;
    uint64_t token_at_ms; /* when to try for a token */
};

struct box {
    const struct box_spec *spec;
    const struct box_programs *programs;
    struct state state;
    struct arena arena;
    bool is_state_changed;
    int signals, channel; /* channel -1: the starter is gone */
    bool is_detached, is_go, is_stopping;
    uint64_t stop_at_ms, kill_at_ms;
    int netns, bridge;
    struct netlink netlink; /* of the mesh's namespace */
    struct egress *egress;
    pid_t tulled_pid, tulled_job;
    struct box_restart tulled_restart;
    struct logfile tulled_log;
    struct box_replica *replicas;
    size_t replica_count;
};

void box_tell(struct box *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* box_tulled.c: the control plane's process and what is asked of it. */
void box_tulled_start(struct box *b, uint64_t now_ms);
void box_tulled_do_due(struct box *b, uint64_t now_ms);
bool box_tulled_on_end(struct box *b, pid_t pid, int status, uint64_t now_ms); /* was it ours */
/* A child that gets a join token and the root certificate into the replica's state directory. */
pid_t box_tulled_token_job(const struct box *b, const struct box_replica *r);
/* A child that says that the replica is gone; else callers would try it until its lease is over. */
void box_tulled_gone_job(const struct box *b, const struct box_replica *r);

/* box_replica.c */
void box_replica_init(struct box *b, struct box_replica *r, struct state_replica *state,
                      const struct box_workload *workload);
void box_replica_do_due(struct box *b, struct box_replica *r, uint64_t now_ms);
void box_replica_on_control(struct box *b, struct box_replica *r, uint64_t now_ms);
bool box_replica_on_end(struct box *b, struct box_replica *r, pid_t pid, int status,
                        uint64_t now_ms);

/* A child that dies with the supervisor, is in its own session and has a clean signal state; in the
 * child it returns 0. */
pid_t box_fork(const char *name);

#define BOX_TULLED_ADDRESS "10.77.0.2"
#define BOX_PORT_XDS "15012"
#define BOX_PORT_METRICS "15014"
