/* Requests to a signer and its replies as bytes: one packet each, on a socket between two processes
 * of one program. Strict: what is not exactly a message is refused. Inside control/ca/ only; pure.
 */
#pragma once

#include "control/ca/signer.h"

enum { SIGNER_WIRE_MAX = CA_SIGNER_TEXT_MAX + 16 * 1024 };

void signer_wire_put_request(struct str_buf *to, uint32_t number,
                             const struct ca_signer_request *r);
/* Strings borrow from the bytes. -ERR_PROTOCOL. */
int signer_wire_get_request(struct str bytes, uint32_t *ret_number,
                            struct ca_signer_request *ret_request);
void signer_wire_put_reply(struct str_buf *to, uint32_t number, int err,
                           const struct ca_signer_reply *r);
/* ret_err: what the signer said, 0 or -ERR_X. */
int signer_wire_get_reply(struct str bytes, uint32_t *ret_number, int *ret_err,
                          struct ca_signer_reply *ret_reply);
