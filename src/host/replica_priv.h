/* The init process of a replica, inside its module only. */
#pragma once

#include "host/proc.h"
#include "host/replica.h"

/* What init runs: the sidecar or the app. */
struct replica_child {
    pid_t pid; /* 0: not running */
    bool is_ready;
    uint32_t backoff_ms;
    uint64_t started_ms, restart_at_ms; /* restart_at_ms 0: none planned */
    uint64_t kill_at_ms;                /* while stopping */
};

struct replica {
    const struct replica_args *args;
    int control, signals;
    struct logfile app_log, proxy_log;
    struct replica_child sidecar, app;
    bool is_sidecar_asked; /* want-sidecar was sent, start has not come yet */
    pid_t probe_pid;       /* 0: none is under way */
    bool is_probe_of_app;
    uint64_t probe_at_ms, rotate_at_ms;
    uint32_t probe_fast_count;                 /* probes since the sidecar or app started */
    uint32_t probe_failures, sidecar_failures; /* probes in a row */
    int told; /* what the sidecar knows of the app: -1 nothing, 0, 1 */
    bool is_stopping;
    uint64_t withdraw_until_ms; /* stopping: callers hear of it while the app goes on */
    uint32_t sidecar_grace_ms;
};

/* Children of init; each returns the pid, or -ERR_X. */
pid_t replica_spawn_sidecar(const struct replica *r);
pid_t replica_spawn_app(const struct replica *r);

/* A child that probes and, for the app, tells the sidecar what changed. Its exit code: READY: the
 * answer was good; TOLD: the sidecar knows what it has to know, which is READY or not; SIDECAR: it
 * is ready itself. */
enum { PROBE_IS_READY = 1, PROBE_IS_TOLD = 2, PROBE_IS_TOLD_READY = 4, PROBE_IS_SIDECAR_READY = 8 };
pid_t replica_spawn_probe(const struct replica *r, bool is_of_app);
/* A child that tells the sidecar that the app is not to be asked any more. */
pid_t replica_spawn_withdrawal(const struct replica *r);

/* Runs until told to stop; the exit code of init. */
int replica_loop(struct replica *r);
