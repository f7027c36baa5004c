/* SHA-1 (FIPS 180-4), for protocols that are built on it, as WebSocket's handshake: it protects
 * nothing. Pure. */
#pragma once

#include "base/str.h"

enum { SHA1_LEN = 20 };
void sha1(struct str data, uint8_t ret_digest[SHA1_LEN]);
