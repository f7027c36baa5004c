#include "control/api/nearest_priv.h"

enum { NAME_LEN_MAX = 63 };

static unsigned char lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned m = a < b ? a : b;
    return m < c ? m : c;
}

unsigned nearest_distance(struct str a, struct str b, unsigned max)
{
    if (a.len > NAME_LEN_MAX || b.len > NAME_LEN_MAX)
        return max + 1;
    size_t gap = a.len > b.len ? a.len - b.len : b.len - a.len;
    if (gap > max)
        return max + 1;
    /* The rows i-2, i-1 and i of the usual table of distances between prefixes. */
    unsigned rows[3][NAME_LEN_MAX + 1];
    for (unsigned j = 0; j <= b.len; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b.len; j++) {
            unsigned char x = lower(a.ptr[i - 1]), y = lower(b.ptr[j - 1]);
            row[j] = min3(above[j] + 1, row[j - 1] + 1, above[j - 1] + (x != y ? 1 : 0));
            if (i > 1 && j > 1 && x == lower(b.ptr[j - 2]) && lower(a.ptr[i - 2]) == y)
                row[j] = MIN(row[j], above2[j - 2] + 1);
        }
    }
    unsigned distance = rows[a.len % 3][b.len];
    return distance > max ? max + 1 : distance;
}
