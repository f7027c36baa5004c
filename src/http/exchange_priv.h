/* Between exchange.c (life, what ends and filters call) and exchange_pump.c (what moves). */
#pragma once

#include "http/exchange.h"

/* Asserts that the step is in the diagram. */
void exchange_set_phase(struct exchange *x, enum exchange_phase to);
/* Detaches an end, if there is one; with why: resets it before. */
void exchange_let_go(struct exchange *x, struct http_end **slot, const struct outcome *why);
/* Forgets everything that the present attempt has answered. */
void exchange_restart_response(struct exchange *x);
/* What was sent of the request can be sent again, before more of it comes and less can be kept;
 * nothing when there is nothing sent, or no way back. */
void exchange_rewind_request(struct exchange *x);
/* on_end of the filters, release; the rest goes when the turn ends. Both ends are detached. */
void exchange_end(struct exchange *x);
/* Gives every filter its state; starts the idle timer. */
void exchange_prepare(struct exchange *x);
