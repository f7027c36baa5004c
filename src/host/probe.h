/* Readiness, asked inside the replica: one question, with a deadline. Blocks; run it in a child. */
#pragma once

#include "host/spec.h"

enum { PROBE_TIMEOUT_MS = 1000, PROBE_EXEC_TIMEOUT_MS = 5000 };

/* Whether the app answers: HTTP 200..399, a TCP connection, a command's exit code 0. `address` is
 * the replica's own: an app that listens on the loopback only cannot be reached by its sidecar. */
bool probe_app(const struct box_ready *ready, const char *address, const char *folder);
/* Whether the sidecar is ready (GET :15021/healthz/ready gives 200). */
bool probe_sidecar(void);
/* Tells the sidecar (and by it the registry) whether the app serves. False: it was not told. */
bool probe_tell_sidecar(bool is_ready);
