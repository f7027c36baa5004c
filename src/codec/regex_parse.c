/* A pattern becomes a tree, by descent:
 *
 *   or     = concat { "|" concat }
 *   concat = { repeat }
 *   repeat = atom [ "*" | "+" | "?" | "{" n "," m "}" ] [ "?" ]
 *   atom   = "(" or ")" | "[" class "]" | "." | assertion | escape | byte
 *
 * Depth is bounded; whatever fails says why, once, and leaves. */
#include "base/err.h"
#include "codec/regex_priv.h"

enum { DEPTH_MAX = 64, REPEAT_MAX = 1000 };

struct flags {
    bool is_nocase, is_multiline, is_dot_all, is_ungreedy;
};

struct parser {
    struct arena *a;
    struct str_buf *why;
    struct str text;
    size_t pos;
    unsigned depth, group_count;
    struct flags flags; /* that hold here */
    bool is_quoted;     /* between \Q and \E */
    bool has_failed;
};

static const struct regex_node *parse_or(struct parser *p);

static const struct regex_node *fail(struct parser *p, const char *text)
{
    if (!p->has_failed)
        str_buf_printf(p->why, "not a regular expression, at byte %zu: %s", p->pos + 1, text);
    p->has_failed = true;
    return NULL;
}

static bool is_at(const struct parser *p, const char *text)
{
    return str_starts_with(str_skip(p->text, p->pos), str_from_c(text));
}

static bool take(struct parser *p, const char *text)
{
    bool found = is_at(p, text);
    p->pos += found ? strlen(text) : 0;
    return found;
}

static bool is_end(const struct parser *p)
{
    return p->pos >= p->text.len;
}

static struct regex_node *new_node(struct parser *p, enum regex_node_kind kind,
                                   const struct regex_node *left, const struct regex_node *right)
{
    struct regex_node *n = ARENA_NEW(p->a, struct regex_node);
    n->kind = kind;
    n->left = left;
    n->right = right;
    return n;
}

static const struct regex_node *set_node(struct parser *p, const struct regex_set *set)
{
    struct regex_node *n = new_node(p, REGEX_NODE_SET, NULL, NULL);
    n->set = *set;
    if (p->flags.is_nocase)
        regex_set_fold(&n->set);
    return n;
}

static const struct regex_node *byte_node(struct parser *p, uint8_t byte)
{
    struct regex_set set = {0};
    regex_set_add(&set, byte, byte);
    return set_node(p, &set);
}

static const struct regex_node *assert_node(struct parser *p, enum regex_op op)
{
    struct regex_node *n = new_node(p, REGEX_NODE_ASSERT, NULL, NULL);
    n->op = op;
    return n;
}

/* A character of several bytes is one atom. */
static const struct regex_node *literal(struct parser *p)
{
    size_t len = MAX(str_utf8_len(str_skip(p->text, p->pos)), (size_t)1);
    const struct regex_node *n = byte_node(p, (uint8_t)p->text.ptr[p->pos++]);
    for (size_t i = 1; i < len; i++)
        n = new_node(p, REGEX_NODE_CONCAT, n, byte_node(p, (uint8_t)p->text.ptr[p->pos++]));
    return n;
}

/* --- escapes --- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool take_hex(struct parser *p, uint8_t *ret_byte)
{
    int high = p->pos < p->text.len ? hex_digit(p->text.ptr[p->pos]) : -1;
    int low = p->pos + 1 < p->text.len ? hex_digit(p->text.ptr[p->pos + 1]) : -1;
    if (high < 0 || low < 0)
        return false;
    p->pos += 2;
    *ret_byte = (uint8_t)(high * 16 + low);
    return *ret_byte < 0x80;
}

/* What stands behind a backslash when it means one byte. */
static bool take_escaped_byte(struct parser *p, uint8_t *ret_byte)
{
    static const char from[] = "tnrfva", to[] = "\t\n\r\f\v\a";
    char c = p->text.ptr[p->pos];
    const char *at = strchr(from, c);
    if (c == 'x') {
        p->pos++;
        return take_hex(p, ret_byte);
    }
    bool is_word = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (c == '\0' || (uint8_t)c >= 0x80 || (at == NULL && is_word))
        return false;
    p->pos++;
    *ret_byte = at != NULL ? (uint8_t)to[at - from] : (uint8_t)c;
    return true;
}

static const struct regex_node *parse_assertion(struct parser *p)
{
    static const struct {
        const char *text;
        enum regex_op op;
    } rows[] = {{"\\A", REGEX_TEXT_BEGIN},
                {"\\z", REGEX_TEXT_END},
                {"\\b", REGEX_WORD_BOUNDARY},
                {"\\B", REGEX_NO_WORD_BOUNDARY}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (take(p, rows[i].text))
            return assert_node(p, rows[i].op);
    }
    if (take(p, "^"))
        return assert_node(p, p->flags.is_multiline ? REGEX_LINE_BEGIN : REGEX_TEXT_BEGIN);
    if (take(p, "$"))
        return assert_node(p, p->flags.is_multiline ? REGEX_LINE_END : REGEX_TEXT_END);
    return NULL;
}

static const struct regex_node *parse_escape(struct parser *p)
{
    struct regex_set set = {0};
    uint8_t byte;
    if (++p->pos >= p->text.len)
        return fail(p, "nothing stands behind the backslash");
    if (regex_set_add_perl(&set, p->text.ptr[p->pos])) {
        p->pos++;
        return set_node(p, &set);
    }
    return take_escaped_byte(p, &byte) ? byte_node(p, byte)
                                       : fail(p, "this escape is not supported");
}

/* --- classes --- */

/* "[:alpha:]", "[:^alpha:]" */
static bool parse_posix(struct parser *p, struct regex_set *set)
{
    struct str rest = str_skip(p->text, p->pos + 2);
    bool is_inverted = rest.len > 0 && rest.ptr[0] == '^';
    struct str name = str_skip(rest, is_inverted);
    ptrdiff_t end = str_find(name, ':');
    if (end < 0 || !str_starts_with(str_skip(name, (size_t)end), STR(":]")) ||
        !regex_set_add_posix(set, str_sub(name, 0, (size_t)end), is_inverted)) {
        fail(p, "no such class");
        return false;
    }
    p->pos += 2 + is_inverted + (size_t)end + 2;
    return true;
}

static bool parse_class_byte(struct parser *p, uint8_t *ret_byte)
{
    uint8_t byte = (uint8_t)p->text.ptr[p->pos];
    if (byte == '\\') {
        if (++p->pos < p->text.len && take_escaped_byte(p, ret_byte))
            return true;
        fail(p, "this escape is not supported in a class");
        return false;
    }
    if (byte >= 0x80) {
        fail(p, "classes of characters that are not ASCII are not supported");
        return false;
    }
    p->pos++;
    *ret_byte = byte;
    return true;
}

/* One member: a class of its own, a byte, or a range of them. */
static bool parse_member(struct parser *p, struct regex_set *set)
{
    uint8_t low, high;
    if (is_at(p, "[:"))
        return parse_posix(p, set);
    if (p->text.ptr[p->pos] == '\\' && p->pos + 1 < p->text.len &&
        regex_set_add_perl(set, p->text.ptr[p->pos + 1])) {
        p->pos += 2;
        return true;
    }
    if (!parse_class_byte(p, &low))
        return false;
    high = low;
    bool is_range = is_at(p, "-") && p->pos + 1 < p->text.len && p->text.ptr[p->pos + 1] != ']';
    p->pos += is_range;
    if (is_range && !parse_class_byte(p, &high))
        return false;
    if (high < low) {
        fail(p, "the range ends before it begins");
        return false;
    }
    regex_set_add(set, low, high);
    return true;
}

static const struct regex_node *parse_class(struct parser *p)
{
    struct regex_set set = {0};
    p->pos++;
    bool is_inverted = take(p, "^"), is_first = true;
    while (!is_end(p) && (is_first || !is_at(p, "]"))) {
        is_first = false;
        if (!parse_member(p, &set))
            return NULL;
    }
    if (!take(p, "]"))
        return fail(p, "the class has no end");
    /* Both cases are meant, then all others. */
    if (p->flags.is_nocase)
        regex_set_fold(&set);
    if (is_inverted)
        regex_set_invert(&set);
    struct regex_node *n = new_node(p, REGEX_NODE_SET, NULL, NULL);
    n->set = set;
    return n;
}

/* --- groups --- */

/* "i", "-s", "im-U" and their like: up to ")" or ":". */
static bool parse_flags(struct parser *p)
{
    bool value = true;
    for (; !is_end(p) && !is_at(p, ")") && !is_at(p, ":"); p->pos++) {
        switch (p->text.ptr[p->pos]) {
        case 'i':
            p->flags.is_nocase = value;
            break;
        case 'm':
            p->flags.is_multiline = value;
            break;
        case 's':
            p->flags.is_dot_all = value;
            break;
        case 'U':
            p->flags.is_ungreedy = value;
            break;
        case '-':
            value = false;
            break;
        default:
            fail(p, "this kind of group is not supported");
            return false;
        }
    }
    return true;
}

static bool skip_name(struct parser *p)
{
    ptrdiff_t end = str_find(str_skip(p->text, p->pos), '>');
    if (end <= 0) {
        fail(p, "a group needs a name");
        return false;
    }
    p->pos += (size_t)end + 1;
    return true;
}

static const struct regex_node *parse_rest_of_group(struct parser *p, bool is_captured)
{
    unsigned group = p->group_count + 1;
    p->group_count += is_captured;
    const struct regex_node *inner = parse_or(p);
    if (inner == NULL)
        return NULL;
    if (!take(p, ")"))
        return fail(p, "the group has no end");
    if (!is_captured || group > REGEX_GROUPS_MAX)
        return inner;
    struct regex_node *n = new_node(p, REGEX_NODE_GROUP, inner, NULL);
    n->group = group;
    return n;
}

/* Flags hold up to the end of the group in which they stand. */
static const struct regex_node *parse_group(struct parser *p)
{
    struct flags before = p->flags;
    bool is_captured = true;
    if (take(p, "(?P<") || take(p, "(?<")) {
        if (!skip_name(p))
            return NULL;
    } else if (take(p, "(?")) {
        is_captured = false;
        if (!parse_flags(p))
            return NULL;
        /* Without a colon they hold for what follows, in the group that is open. */
        if (take(p, ")"))
            return new_node(p, REGEX_NODE_EMPTY, NULL, NULL);
        if (!take(p, ":"))
            return fail(p, "the group has no end");
    } else {
        p->pos++;
    }
    const struct regex_node *n = parse_rest_of_group(p, is_captured);
    p->flags = before;
    return n;
}

/* --- repetition --- */

static bool take_number(struct parser *p, int *ret_number)
{
    size_t from = p->pos;
    int number = 0;
    while (!is_end(p) && p->text.ptr[p->pos] >= '0' && p->text.ptr[p->pos] <= '9') {
        number = MIN(number * 10 + (p->text.ptr[p->pos] - '0'), REPEAT_MAX + 1);
        p->pos++;
    }
    *ret_number = number;
    return p->pos > from;
}

/* "{n}", "{n,}", "{n,m}"; anything else is text, and nothing is taken. */
static bool take_counts(struct parser *p, int *ret_min, int *ret_max)
{
    size_t from = p->pos;
    int min, max;
    if (take(p, "{") && take_number(p, &min)) {
        max = min;
        if (take(p, ",") && !take_number(p, &max))
            max = -1;
        if (take(p, "}")) {
            *ret_min = min;
            *ret_max = max;
            return true;
        }
    }
    p->pos = from;
    return false;
}

static bool take_repeat(struct parser *p, int *ret_min, int *ret_max)
{
    static const struct {
        const char *text;
        int min, max;
    } rows[] = {{"*", 0, -1}, {"+", 1, -1}, {"?", 0, 1}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (take(p, rows[i].text)) {
            *ret_min = rows[i].min;
            *ret_max = rows[i].max;
            return true;
        }
    }
    return take_counts(p, ret_min, ret_max);
}

static bool is_at_counts(struct parser *p)
{
    size_t from = p->pos;
    int min, max;
    bool is_there = take_counts(p, &min, &max);
    p->pos = from;
    return is_there;
}

static const struct regex_node *parse_atom(struct parser *p)
{
    struct regex_set set = {0};
    const struct regex_node *n = parse_assertion(p);
    if (n != NULL)
        return n;
    if (is_at_counts(p))
        return fail(p, "there is nothing to repeat");
    switch (p->text.ptr[p->pos]) {
    case '(':
        return parse_group(p);
    case '[':
        return parse_class(p);
    case '\\':
        return parse_escape(p);
    case '*':
    case '+':
    case '?':
        return fail(p, "there is nothing to repeat");
    case '.':
        p->pos++;
        regex_set_add(&set, 0, UINT8_MAX);
        if (!p->flags.is_dot_all)
            set.bits[0] &= ~(UINT64_C(1) << '\n');
        return set_node(p, &set);
    default:
        return literal(p);
    }
}

static const struct regex_node *parse_repeat(struct parser *p)
{
    int min, max;
    const struct regex_node *n = p->is_quoted ? literal(p) : parse_atom(p);
    if (n == NULL || p->is_quoted || !take_repeat(p, &min, &max))
        return n;
    if (min > REPEAT_MAX || max > REPEAT_MAX || (max >= 0 && max < min))
        return fail(p, "no such number of repetitions (at most 1000)");
    struct regex_node *repeat = new_node(p, REGEX_NODE_REPEAT, n, NULL);
    repeat->min = min;
    repeat->max = max;
    repeat->is_lazy = take(p, "?") != p->flags.is_ungreedy;
    if (is_at(p, "*") || is_at(p, "+") || is_at(p, "?") || is_at_counts(p))
        return fail(p, "a repetition of a repetition needs a group");
    return repeat;
}

static const struct regex_node *parse_concat(struct parser *p)
{
    const struct regex_node *all = new_node(p, REGEX_NODE_EMPTY, NULL, NULL);
    while (!is_end(p)) {
        if (take(p, p->is_quoted ? "\\E" : "\\Q")) {
            p->is_quoted = !p->is_quoted;
            continue;
        }
        if (!p->is_quoted && (is_at(p, "|") || is_at(p, ")")))
            break;
        const struct regex_node *n = parse_repeat(p);
        if (n == NULL)
            return NULL;
        all = all->kind == REGEX_NODE_EMPTY ? n : new_node(p, REGEX_NODE_CONCAT, all, n);
    }
    return all;
}

static const struct regex_node *parse_or(struct parser *p)
{
    if (++p->depth > DEPTH_MAX)
        return fail(p, "nested too deeply");
    const struct regex_node *all = parse_concat(p);
    while (all != NULL && take(p, "|")) {
        const struct regex_node *n = parse_concat(p);
        all = n == NULL ? NULL : new_node(p, REGEX_NODE_OR, all, n);
    }
    p->depth--;
    return all;
}

int regex_parse(struct arena *a, struct str pattern, struct str_buf *why,
                const struct regex_node **ret_root, unsigned *ret_group_count)
{
    struct parser p = {.a = a, .why = why, .text = pattern};
    if (pattern.len > REGEX_PATTERN_LEN_MAX) {
        fail(&p, "longer than 4096 bytes");
        return -ERR_INVALID;
    }
    const struct regex_node *root = parse_or(&p);
    if (root != NULL && !is_end(&p))
        root = fail(&p, "a \")\" without its \"(\"");
    if (root == NULL)
        return -ERR_INVALID;
    *ret_root = root;
    *ret_group_count = MIN(p.group_count, (unsigned)REGEX_GROUPS_MAX);
    return 0;
}
