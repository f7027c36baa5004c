/* The signer's own side of its socket. Inside control/ca/ only. */
#pragma once

#include "control/ca/signer.h"

/* The number of a reply that answers no request: the signer died, the next one is there. */
enum { SIGNER_CHILD_DIED = 0 };

/* Becomes the guard, in a process that was just forked; ends when the other end closes. */
_Noreturn void signer_child_guard(int fd, const struct ca_signer_options *o);
