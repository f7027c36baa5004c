/* The string code of HPACK (RFC 7541 5.2 and appendix B): decoding only. We send strings plain: a
 * few bytes more, and no work for either side.
 *
 * Pure. */
#pragma once

#include "base/str.h"

/* Room that any string of that many coded bytes fits into: the shortest code has five bits. */
static inline size_t hpack_huffman_room(size_t coded_len)
{
    return coded_len * 8 / 5 + 1;
}

/* Decodes into `to` (hpack_huffman_room bytes). Returns the length, or -ERR_PROTOCOL: EOS inside,
 * or padding that is none. */
ptrdiff_t hpack_huffman_decode(struct str coded, char *to);
