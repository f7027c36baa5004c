/* SHA-256 and constant-time comparison. Pure. */
#pragma once

#include "base/str.h"

void sha256(struct str data, uint8_t ret_digest[32]);
bool digest_eq(const uint8_t *a, const uint8_t *b, size_t len); /* constant time */
void secret_wipe(void *p, size_t len);
