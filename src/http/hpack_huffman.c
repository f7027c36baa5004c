#include "http/hpack_huffman.h"

#include "base/err.h"

/* RFC 7541 appendix B is a canonical code: codes of one length follow each other, in the order of
 * the symbols, and the longer ones come behind. So the lengths say it all, and a code is known by
 * where it lies among those of its length. EOS, the last of all, stands in none of the tables. */

/* Symbols by their code; those of a length lie together. */
static const uint8_t symbols[256] = {
    48,  49,  50,  97,  99,  101, 105, 111, 115, 116, 32,  37,  45,  46,  47,  51,  52,  53,  54,
    55,  56,  57,  61,  65,  95,  98,  100, 102, 103, 104, 108, 109, 110, 112, 114, 117, 58,  66,
    67,  68,  69,  70,  71,  72,  73,  74,  75,  76,  77,  78,  79,  80,  81,  82,  83,  84,  85,
    86,  87,  89,  106, 107, 113, 118, 119, 120, 121, 122, 38,  42,  44,  59,  88,  90,  33,  34,
    40,  41,  63,  39,  43,  124, 35,  62,  0,   36,  64,  91,  93,  126, 94,  125, 60,  96,  123,
    92,  195, 208, 128, 130, 131, 162, 184, 194, 224, 226, 153, 161, 167, 172, 176, 177, 179, 209,
    216, 217, 227, 229, 230, 129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173,
    178, 181, 185, 186, 187, 189, 190, 196, 198, 228, 232, 233, 1,   135, 137, 138, 139, 140, 141,
    143, 147, 149, 150, 151, 152, 155, 157, 158, 165, 166, 168, 174, 175, 180, 182, 183, 188, 191,
    197, 231, 239, 9,   142, 144, 145, 148, 159, 171, 206, 215, 225, 236, 237, 199, 207, 234, 235,
    192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242, 243, 255, 203, 204, 211, 212,
    214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254, 2,   3,   4,   5,
    6,   7,   8,   11,  12,  14,  15,  16,  17,  18,  19,  20,  21,  23,  24,  25,  26,  27,  28,
    29,  30,  31,  127, 220, 249, 10,  13,  22,
};

/* For each first byte whose leading bits are a whole code: symbol << 4 | length; else 0. */
static const uint16_t short_codes[256] = {
    0x305, 0x305, 0x305, 0x305, 0x305, 0x305, 0x305, 0x305, 0x315, 0x315, 0x315, 0x315, 0x315,
    0x315, 0x315, 0x315, 0x325, 0x325, 0x325, 0x325, 0x325, 0x325, 0x325, 0x325, 0x615, 0x615,
    0x615, 0x615, 0x615, 0x615, 0x615, 0x615, 0x635, 0x635, 0x635, 0x635, 0x635, 0x635, 0x635,
    0x635, 0x655, 0x655, 0x655, 0x655, 0x655, 0x655, 0x655, 0x655, 0x695, 0x695, 0x695, 0x695,
    0x695, 0x695, 0x695, 0x695, 0x6f5, 0x6f5, 0x6f5, 0x6f5, 0x6f5, 0x6f5, 0x6f5, 0x6f5, 0x735,
    0x735, 0x735, 0x735, 0x735, 0x735, 0x735, 0x735, 0x745, 0x745, 0x745, 0x745, 0x745, 0x745,
    0x745, 0x745, 0x206, 0x206, 0x206, 0x206, 0x256, 0x256, 0x256, 0x256, 0x2d6, 0x2d6, 0x2d6,
    0x2d6, 0x2e6, 0x2e6, 0x2e6, 0x2e6, 0x2f6, 0x2f6, 0x2f6, 0x2f6, 0x336, 0x336, 0x336, 0x336,
    0x346, 0x346, 0x346, 0x346, 0x356, 0x356, 0x356, 0x356, 0x366, 0x366, 0x366, 0x366, 0x376,
    0x376, 0x376, 0x376, 0x386, 0x386, 0x386, 0x386, 0x396, 0x396, 0x396, 0x396, 0x3d6, 0x3d6,
    0x3d6, 0x3d6, 0x416, 0x416, 0x416, 0x416, 0x5f6, 0x5f6, 0x5f6, 0x5f6, 0x626, 0x626, 0x626,
    0x626, 0x646, 0x646, 0x646, 0x646, 0x666, 0x666, 0x666, 0x666, 0x676, 0x676, 0x676, 0x676,
    0x686, 0x686, 0x686, 0x686, 0x6c6, 0x6c6, 0x6c6, 0x6c6, 0x6d6, 0x6d6, 0x6d6, 0x6d6, 0x6e6,
    0x6e6, 0x6e6, 0x6e6, 0x706, 0x706, 0x706, 0x706, 0x726, 0x726, 0x726, 0x726, 0x756, 0x756,
    0x756, 0x756, 0x3a7, 0x3a7, 0x427, 0x427, 0x437, 0x437, 0x447, 0x447, 0x457, 0x457, 0x467,
    0x467, 0x477, 0x477, 0x487, 0x487, 0x497, 0x497, 0x4a7, 0x4a7, 0x4b7, 0x4b7, 0x4c7, 0x4c7,
    0x4d7, 0x4d7, 0x4e7, 0x4e7, 0x4f7, 0x4f7, 0x507, 0x507, 0x517, 0x517, 0x527, 0x527, 0x537,
    0x537, 0x547, 0x547, 0x557, 0x557, 0x567, 0x567, 0x577, 0x577, 0x597, 0x597, 0x6a7, 0x6a7,
    0x6b7, 0x6b7, 0x717, 0x717, 0x767, 0x767, 0x777, 0x777, 0x787, 0x787, 0x797, 0x797, 0x7a7,
    0x7a7, 0x268, 0x2a8, 0x2c8, 0x3b8, 0x588, 0x5a8, 0x000, 0x000,
};

/* Codes longer than eight bits: those of `len` bits, put at the upper end of 32 bits, are below
 * `end`; the first of them is `first`, its symbol symbols[offset]. */
struct code_length {
    uint32_t end, first;
    uint8_t len, offset;
};

static const struct code_length long_codes[] = {
    {0xff400000, 0x3f8, 10, 74},       {0xffa00000, 0x7fa, 11, 79},
    {0xffc00000, 0xffa, 12, 82},       {0xfff00000, 0x1ff8, 13, 84},
    {0xfff80000, 0x3ffc, 14, 90},      {0xfffe0000, 0x7ffc, 15, 92},
    {0xfffe6000, 0x7fff0, 19, 95},     {0xfffee000, 0xfffe6, 20, 98},
    {0xffff4800, 0x1fffdc, 21, 106},   {0xffffb000, 0x3fffd2, 22, 119},
    {0xffffea00, 0x7fffd8, 23, 145},   {0xfffff600, 0xffffea, 24, 174},
    {0xfffff800, 0x1ffffec, 25, 186},  {0xfffffbc0, 0x3ffffe0, 26, 190},
    {0xfffffe20, 0x7ffffde, 27, 205},  {0xfffffff0, 0xfffffe2, 28, 224},
    {0xfffffffc, 0x3ffffffc, 30, 253}, /* without EOS */
};

enum { SHORT_BITS = 8, CODE_BITS_MAX = 30 };

/* The code at the upper end of window. 0: none begins so (EOS). */
static unsigned find_code(uint32_t window, uint8_t *ret_symbol)
{
    unsigned entry = short_codes[window >> 24];

    if (entry != 0) {
        *ret_symbol = (uint8_t)(entry >> 4);
        return entry & 15;
    }
    for (size_t i = 0; i < ARRAY_LEN(long_codes); i++) {
        const struct code_length *c = &long_codes[i];

        if (window < c->end) {
            *ret_symbol = symbols[c->offset + ((window >> (32 - c->len)) - c->first)];
            return c->len;
        }
    }
    return 0;
}

/* RFC 7541 5.2: what is left is less than a byte, and the beginning of EOS: ones. */
static bool is_padding(uint64_t bits, unsigned count)
{
    return count < 8 && bits == (1ull << count) - 1;
}

ptrdiff_t hpack_huffman_decode(struct str coded, char *to)
{
    const uint8_t *from = (const uint8_t *)coded.ptr, *end = from + coded.len;
    char *at = to;
    uint64_t bits = 0; /* the lower `count` of them are not decoded yet */
    unsigned count = 0;

    for (;;) {
        while (count <= 56 && from < end) {
            bits = bits << 8 | *from++;
            count += 8;
        }
        if (count == 0)
            return at - to;
        uint32_t window = (uint32_t)(count >= 32 ? bits >> (count - 32) : bits << (32 - count));
        uint8_t symbol = 0;
        unsigned len = find_code(window, &symbol);
        if (len == 0 || len > count)
            return is_padding(bits & ((1ull << count) - 1), count) ? at - to : -ERR_PROTOCOL;
        *at++ = (char)symbol;
        count -= len;
        bits &= (1ull << count) - 1;
    }
}
