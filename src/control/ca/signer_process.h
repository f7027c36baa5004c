/* The CA's signer as a process of its own, which alone has the keys.
 *
 *   tulled ----socket pair----- signer
 *     `-- guard --fork--> signer; another one when it dies
 *
 * tulled itself can start nothing once it is confined; so a guard is forked first, which holds
 * nothing, forks the signer and another one when that died. All end when tulled's end of the socket
 * is closed, however that comes; signals that end tulled do not end them. */
#pragma once

#include <sys/types.h>

#include "control/ca/signer.h"

/* Forks: the caller has one thread and nothing in its memory that the signer must not have. Texts
 * of the options are borrowed for the signer's life. What is wrong with the passphrase is said by
 * the first call. A call waits for at most 10 s. ret_pid is the guard's: it ends only when the
 * caller does; a caller that sees its end has no signer any more. */
int ca_signer_process_start(const struct ca_signer_options *o, struct str_buf *why,
                            struct ca_signer *ret_signer, pid_t *ret_pid);
