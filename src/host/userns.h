/* User namespaces: how a plain user gets the rights that a box needs, over namespaces of its own
 * and over nothing else.
 *
 * A box that root starts lives in the user namespace it finds. A plain user's supervisor makes one:
 * there it is uid 0 and has every capability, outside it is who it was. One uid can be mapped
 * without the help of a setuid program, so in such a box sidecar and app have the same uid; marks,
 * capabilities and mounts keep them apart as in any other (host/sandbox.h).
 *
 * Thread: single-threaded processes only. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* Makes a user and a mount namespace in which the caller's uid and gid are 0, the only ones. 0 or
 * -ERR_X. */
int userns_enter(void);

/* Whether another uid than the present one exists here (of root's own box: yes). */
bool userns_has_uid(unsigned uid);

/* `uid` where it exists here, else the caller's own: who is to own a file of the sidecar. */
unsigned userns_uid_or_own(unsigned uid);

/* Whether the process lives in another user namespace than the caller. */
bool userns_is_other(pid_t pid);
