/* Sets of bytes: the classes of regular expressions. */
#include "codec/regex_priv.h"

void regex_set_add(struct regex_set *s, unsigned low, unsigned high)
{
    for (unsigned b = low; b <= high; b++)
        s->bits[b / 64] |= UINT64_C(1) << (b % 64);
}

void regex_set_invert(struct regex_set *s)
{
    for (size_t i = 0; i < ARRAY_LEN(s->bits); i++)
        s->bits[i] = ~s->bits[i];
}

void regex_set_fold(struct regex_set *s)
{
    for (unsigned c = 'a'; c <= 'z'; c++) {
        unsigned upper = c - 'a' + 'A';
        if (regex_set_has(s, (uint8_t)c))
            regex_set_add(s, upper, upper);
        else if (regex_set_has(s, (uint8_t)upper))
            regex_set_add(s, c, c);
    }
}

/* Pairs of first and last byte, as they stand. */
static void add_pairs(struct regex_set *s, const char *pairs, bool is_inverted)
{
    struct regex_set named = {0};
    for (; pairs[0] != '\0'; pairs += 2)
        regex_set_add(&named, (uint8_t)pairs[0], (uint8_t)pairs[1]);
    if (is_inverted)
        regex_set_invert(&named);
    for (size_t i = 0; i < ARRAY_LEN(s->bits); i++)
        s->bits[i] |= named.bits[i];
}

bool regex_set_add_perl(struct regex_set *s, char letter)
{
    static const struct {
        char letter, other;
        const char *pairs;
    } rows[] = {{'d', 'D', "09"}, {'w', 'W', "09AZaz__"}, {'s', 'S', "\t\n\f\r  "}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (letter != rows[i].letter && letter != rows[i].other)
            continue;
        add_pairs(s, rows[i].pairs, letter == rows[i].other);
        return true;
    }
    return false;
}

bool regex_set_add_posix(struct regex_set *s, struct str name, bool is_inverted)
{
    static const struct {
        const char *name, *pairs;
    } rows[] = {
        {"alnum", "09AZaz"},   {"alpha", "AZaz"},   {"blank", "\t\t  "}, {"cntrl", "\1\37\x7f\x7f"},
        {"digit", "09"},       {"graph", "!~"},     {"lower", "az"},     {"print", " ~"},
        {"punct", "!/:@[`{~"}, {"space", "\t\r  "}, {"upper", "AZ"},     {"word", "09AZaz__"},
        {"xdigit", "09AFaf"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (!str_eq(name, str_from_c(rows[i].name)))
            continue;
        add_pairs(s, rows[i].pairs, is_inverted);
        return true;
    }
    return false;
}
