/* A replica: an init process in namespaces of its own, which runs the sidecar and the app, restarts
 * them, probes them and reports to the supervisor.
 *
 * The control channel is a pair of SOCK_SEQPACKET sockets; each packet is one message: a word, then
 * for some a space and text. Its end of file means that the supervisor is gone: init ends, and with
 * it the PID namespace. (PR_SET_PDEATHSIG does the same a moment earlier.)
 *
 *   supervisor -> init   net             the link has been moved in: set up
 *                        start           start the sidecar (a token lies in its state directory)
 *                        stop            end app and sidecar, then yourself
 *   init -> supervisor   setup           namespaces are ready
 *                        failed TEXT     they are not; init ends
 *                        want-sidecar    the sidecar is to be started: get a token, say start
 *                        want-token      the sidecar that runs may need another one
 *                        sidecar PID     it runs (PID inside the namespace)
 *                        sidecar-ready
 *                        sidecar-ended TEXT
 *                        app PID         it runs
 *                        app-ended TEXT
 *                        ready, unready  result of the probe, when it changes
 */
#pragma once

#include "host/logfile.h"
#include "host/sandbox.h"

enum { REPLICA_MESSAGE_MAX = 600 };

struct replica_args {
    const struct box_workload *workload;
    struct sandbox sandbox;
    const char *trust_domain;
    const char *state_dir;
    const char *discovery;  /* "10.77.0.2:15012" */
    const char *root_cert;  /* file, inside state_dir */
    const char *token_file; /* file, inside state_dir */
    const char *egress_path;
    uint32_t index;
};

/* Starts the init process (in new namespaces) of a replica; *ret_control is the supervisor's end of
 * the channel. The pid, or -ERR_X. The arguments are copied with the process. */
int replica_start(const struct replica_args *args, struct logfile *app_log,
                  struct logfile *proxy_log, int *ret_control);

/* One message; -ERR_X when it could not be sent. */
int replica_send(int control, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Receives one message without waiting: its length, 0 at end of file, -ERR_AGAIN. */
int replica_receive(int control, char buf[REPLICA_MESSAGE_MAX]);
