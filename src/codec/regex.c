/* The program of a pattern, and its run: all ways at once (Thompson), in order of preference where
 * the place of a match counts (Pike). */
#include "codec/regex.h"

#include "base/err.h"
#include "base/vec.h"
#include "codec/regex_priv.h"

/* --- compiling --- */

struct compiler {
    struct arena *a;
    struct regex_inst *insts;
    struct regex_set *sets;
    unsigned count, set_count;
    bool is_overflown;
};

static unsigned emit(struct compiler *c, enum regex_op op, unsigned arg, unsigned next)
{
    if (c->count == REGEX_INSTS_MAX) {
        c->is_overflown = true;
        return 0;
    }
    c->insts[c->count] = (struct regex_inst){(uint8_t)op, (uint16_t)arg, (uint16_t)next, 0};
    return c->count++;
}

static unsigned emit_set(struct compiler *c, const struct regex_set *set, unsigned next)
{
    for (unsigned i = 0; i < c->set_count; i++) {
        if (memcmp(&c->sets[i], set, sizeof *set) == 0)
            return emit(c, REGEX_SET, i, next);
    }
    if (c->set_count == REGEX_INSTS_MAX) {
        c->is_overflown = true;
        return 0;
    }
    c->sets[c->set_count] = *set;
    return emit(c, REGEX_SET, c->set_count++, next);
}

static unsigned emit_split(struct compiler *c, unsigned preferred, unsigned other)
{
    unsigned at = emit(c, REGEX_SPLIT, 0, preferred);
    c->insts[at].other = (uint16_t)other;
    return at;
}

static unsigned emit_node(struct compiler *c, const struct regex_node *n, unsigned next);

static unsigned emit_optional(struct compiler *c, const struct regex_node *n, unsigned taken,
                              unsigned next)
{
    return n->is_lazy ? emit_split(c, next, taken) : emit_split(c, taken, next);
}

/* From the end: the optional ones, or the loop, then those that must be. What makes no step makes
 * none however often it is there: repetitions of it within each other would never end. */
static unsigned emit_repeat(struct compiler *c, const struct regex_node *n, unsigned next)
{
    unsigned at = next, before = 0;
    if (n->max < 0) {
        unsigned loop = emit(c, REGEX_SPLIT, 0, 0);
        unsigned body = emit_node(c, n->left, loop);
        c->insts[loop].next = (uint16_t)(n->is_lazy ? next : body);
        c->insts[loop].other = (uint16_t)(n->is_lazy ? body : next);
        at = loop;
    }
    for (int i = n->min; i < n->max && !c->is_overflown; i++)
        at = emit_optional(c, n, emit_node(c, n->left, at), next);
    for (int i = 0; i < n->min && !c->is_overflown && c->count != before; i++) {
        before = c->count;
        at = emit_node(c, n->left, at);
    }
    return at;
}

/* Returns where the node begins; it goes on to next. Recursion is bounded: by the parser's depth,
 * and to the left by the length of a pattern (concatenations), which is why that has a bound. */
static unsigned emit_node(struct compiler *c, const struct regex_node *n, unsigned next)
{
    switch (n->kind) {
    case REGEX_NODE_EMPTY:
        return next;
    case REGEX_NODE_SET:
        return emit_set(c, &n->set, next);
    case REGEX_NODE_CONCAT:
        return emit_node(c, n->left, emit_node(c, n->right, next));
    case REGEX_NODE_OR: {
        unsigned right = emit_node(c, n->right, next);
        return emit_split(c, emit_node(c, n->left, next), right);
    }
    case REGEX_NODE_REPEAT:
        return emit_repeat(c, n, next);
    case REGEX_NODE_GROUP: {
        unsigned end = emit(c, REGEX_SAVE, 2 * n->group + 1, next);
        return emit(c, REGEX_SAVE, 2 * n->group, emit_node(c, n->left, end));
    }
    case REGEX_NODE_ASSERT:
        return emit(c, n->op, 0, next);
    }
    return next;
}

/* The first instruction is where it begins. */
static bool compile(struct compiler *c, const struct regex_node *root)
{
    emit(c, REGEX_EMPTY, 0, 0);
    unsigned match = emit(c, REGEX_MATCH, 0, 0);
    unsigned begin = emit_node(c, root, match);
    c->insts[0].next = (uint16_t)begin;
    return !c->is_overflown;
}

int regex_compile(struct arena *a, struct str pattern, struct str_buf *why,
                  const struct regex **ret_regex)
{
    struct arena scratch;
    const struct regex_node *root;
    unsigned group_count;
    arena_init(&scratch, 16 << 10);
    int rc = regex_parse(&scratch, pattern, why, &root, &group_count);
    struct compiler c = {.a = a};
    if (rc == 0) {
        c.insts = ARENA_ARRAY(&scratch, struct regex_inst, REGEX_INSTS_MAX);
        c.sets = ARENA_ARRAY(&scratch, struct regex_set, REGEX_INSTS_MAX);
        if (!compile(&c, root)) {
            str_buf_printf(why, "the regular expression is too large: more than %d steps",
                           REGEX_INSTS_MAX);
            rc = -ERR_INVALID;
        }
    }
    if (rc == 0) {
        struct regex *re = ARENA_NEW(a, struct regex);
        struct regex_inst *insts = ARENA_ARRAY(a, struct regex_inst, c.count);
        struct regex_set *sets = ARENA_ARRAY(a, struct regex_set, c.set_count + 1);
        memcpy(insts, c.insts, c.count * sizeof *insts);
        memcpy(sets, c.sets, c.set_count * sizeof *sets);
        *re = (struct regex){arena_str(a, pattern), insts, (uint16_t)c.count, group_count, sets};
        *ret_regex = re;
    }
    arena_deinit(&scratch);
    return rc;
}

struct str regex_pattern(const struct regex *re)
{
    return re->pattern;
}

/* --- running --- */

static bool is_word_at(struct str text, size_t pos)
{
    if (pos >= text.len)
        return false;
    char c = text.ptr[pos];
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
}

static bool holds(enum regex_op op, struct str text, size_t pos)
{
    bool is_boundary = is_word_at(text, pos) != (pos > 0 && is_word_at(text, pos - 1));
    switch (op) {
    case REGEX_TEXT_BEGIN:
        return pos == 0;
    case REGEX_TEXT_END:
        return pos == text.len;
    case REGEX_LINE_BEGIN:
        return pos == 0 || text.ptr[pos - 1] == '\n';
    case REGEX_LINE_END:
        return pos == text.len || text.ptr[pos] == '\n';
    case REGEX_WORD_BOUNDARY:
        return is_boundary;
    case REGEX_NO_WORD_BOUNDARY:
        return !is_boundary;
    case REGEX_SET:
    case REGEX_SPLIT:
    case REGEX_SAVE:
    case REGEX_EMPTY:
    case REGEX_MATCH:
        break;
    }
    return true;
}

/* The instructions at which a run is, each once, in order of preference. */
struct states {
    uint16_t items[REGEX_INSTS_MAX];
    unsigned count;
};

struct run {
    const struct regex *re;
    struct str text;
    uint8_t *is_there; /* of an instruction: among the states being made */
    uint16_t *pending; /* stack of what is still to be followed */
};

/* Follows what takes no byte; what takes one, or matches, becomes a state. */
static void add_state(struct run *r, struct states *to, unsigned from, size_t pos)
{
    unsigned count = 0;
    r->pending[count++] = (uint16_t)from;
    while (count > 0) {
        unsigned at = r->pending[--count];
        const struct regex_inst *inst = &r->re->insts[at];
        if (r->is_there[at] != 0)
            continue;
        r->is_there[at] = 1;
        if (inst->op == REGEX_SET || inst->op == REGEX_MATCH) {
            to->items[to->count++] = (uint16_t)at;
            continue;
        }
        if (!holds((enum regex_op)inst->op, r->text, pos))
            continue;
        if (inst->op == REGEX_SPLIT)
            r->pending[count++] = inst->other;
        r->pending[count++] = inst->next;
    }
}

static bool has_match(const struct regex *re, const struct states *s)
{
    for (unsigned i = 0; i < s->count; i++) {
        if (re->insts[s->items[i]].op == REGEX_MATCH)
            return true;
    }
    return false;
}

bool regex_match(const struct regex *re, struct str text)
{
    /* Each instruction is pushed at most twice: it is followed once, and only that pushes. */
    uint16_t pending[2 * REGEX_INSTS_MAX + 1];
    uint8_t is_there[REGEX_INSTS_MAX];
    struct states a, b, *now = &a, *next = &b;
    struct run r = {re, text, is_there, pending};
    now->count = 0;
    memset(is_there, 0, re->inst_count);
    add_state(&r, now, 0, 0);
    for (size_t pos = 0; pos < text.len && now->count > 0; pos++) {
        next->count = 0;
        memset(is_there, 0, re->inst_count);
        for (unsigned i = 0; i < now->count; i++) {
            const struct regex_inst *inst = &re->insts[now->items[i]];
            if (inst->op == REGEX_SET &&
                regex_set_has(&re->sets[inst->arg], (uint8_t)text.ptr[pos]))
                add_state(&r, next, inst->next, pos + 1);
        }
        struct states *old = now;
        now = next;
        next = old;
    }
    return has_match(re, now);
}

/* --- replacing --- */

enum { SLOTS = 2 * (REGEX_GROUPS_MAX + 1) };

/* A way through the pattern, and where its groups began and ended. */
struct thread {
    uint16_t inst;
    size_t slots[SLOTS];
};

struct search {
    struct run run;
    struct thread *now, *next; /* inst_count each */
    unsigned now_count, next_count;
    struct thread *pending; /* stack */
    size_t found[SLOTS];
    bool has_found;
};

static void add_thread(struct search *s, const struct thread *from, size_t pos)
{
    unsigned count = 0;
    s->pending[count++] = *from;
    while (count > 0) {
        struct thread t = s->pending[--count];
        const struct regex_inst *inst = &s->run.re->insts[t.inst];
        if (s->run.is_there[t.inst] != 0)
            continue;
        s->run.is_there[t.inst] = 1;
        if (inst->op == REGEX_SET || inst->op == REGEX_MATCH) {
            s->next[s->next_count++] = t;
            continue;
        }
        if (!holds((enum regex_op)inst->op, s->run.text, pos))
            continue;
        if (inst->op == REGEX_SAVE)
            t.slots[inst->arg] = pos;
        if (inst->op == REGEX_SPLIT) {
            s->pending[count] = t;
            s->pending[count++].inst = inst->other;
        }
        s->pending[count] = t;
        s->pending[count++].inst = inst->next;
    }
}

/* All threads take the byte at pos, or end there; those behind a match have less right. */
static void step(struct search *s, size_t pos)
{
    struct str text = s->run.text;
    for (unsigned i = 0; i < s->now_count; i++) {
        struct thread *t = &s->now[i];
        const struct regex_inst *inst = &s->run.re->insts[t->inst];
        if (inst->op == REGEX_MATCH) {
            t->slots[1] = pos;
            memcpy(s->found, t->slots, sizeof s->found);
            s->has_found = true;
            return;
        }
        if (pos < text.len && regex_set_has(&s->run.re->sets[inst->arg], (uint8_t)text.ptr[pos])) {
            struct thread on = *t;
            on.inst = inst->next;
            add_thread(s, &on, pos + 1);
        }
    }
}

static void turn_over(struct search *s)
{
    struct thread *old = s->now;
    s->now = s->next;
    s->now_count = s->next_count;
    s->next = old;
    s->next_count = 0;
    memset(s->run.is_there, 0, s->run.re->inst_count);
}

/* The leftmost match from `from` on; its groups in s->found. */
static bool find(struct search *s, size_t from)
{
    s->has_found = false;
    s->now_count = s->next_count = 0;
    memset(s->run.is_there, 0, s->run.re->inst_count);
    for (size_t pos = from; pos <= s->run.text.len; pos++) {
        /* A match that begins here has less right than those that began before. */
        if (!s->has_found) {
            struct thread begin = {.inst = 0};
            memset(begin.slots, 0xff, sizeof begin.slots);
            begin.slots[0] = pos;
            for (unsigned i = 0; i < s->now_count; i++)
                s->run.is_there[s->now[i].inst] = 1;
            struct thread *next = s->next;
            s->next = s->now;
            s->next_count = s->now_count;
            add_thread(s, &begin, pos);
            s->now_count = s->next_count;
            s->next = next;
            s->next_count = 0;
        }
        memset(s->run.is_there, 0, s->run.re->inst_count);
        step(s, pos);
        turn_over(s);
        if (s->now_count == 0 && s->has_found)
            break;
    }
    return s->has_found;
}

static void search_init(struct search *s, const struct regex *re, struct str text, struct arena *a)
{
    size_t count = re->inst_count;
    *s = (struct search){.run = {.re = re, .text = text}};
    s->run.is_there = arena_alloc(a, count);
    s->now = ARENA_ARRAY(a, struct thread, count);
    s->next = ARENA_ARRAY(a, struct thread, count);
    s->pending = ARENA_ARRAY(a, struct thread, 2 * count + 1);
}

bool regex_can_replace(const struct regex *re, struct str substitution)
{
    for (size_t i = 0; i < substitution.len; i++) {
        if (substitution.ptr[i] != '\\')
            continue;
        if (++i == substitution.len)
            return false;
        char c = substitution.ptr[i];
        if (c != '\\' && (c < '0' || (unsigned)(c - '0') > re->group_count))
            return false;
    }
    return true;
}

static void add_substitution(const struct search *s, struct str substitution, struct str_buf *to)
{
    for (size_t i = 0; i < substitution.len; i++) {
        char c = substitution.ptr[i];
        if (c != '\\' || i + 1 == substitution.len) {
            str_buf_add(to, str_from(&c, 1));
            continue;
        }
        c = substitution.ptr[++i];
        if (c == '\\') {
            str_buf_add(to, str_from(&c, 1));
            continue;
        }
        const size_t *slots = &s->found[2 * (c - '0')];
        if (slots[0] != SIZE_MAX && slots[1] != SIZE_MAX && slots[1] >= slots[0])
            str_buf_add(to, str_sub(s->run.text, slots[0], slots[1] - slots[0]));
    }
}

struct str regex_replace(const struct regex *re, struct str text, struct str substitution,
                         struct arena *a)
{
    enum { RESULT_LEN_MAX = 1 << 20 };
    struct arena scratch;
    struct search s;
    arena_init(&scratch, 16 << 10);
    search_init(&s, re, text, &scratch);
    AUTO(str_buf_deinit) struct str_buf out = STR_BUF_INIT(RESULT_LEN_MAX);
    size_t done = 0, matches = 0;
    for (size_t from = 0; from <= text.len && find(&s, from); matches++) {
        size_t begin = s.found[0], end = s.found[1];
        /* An empty match right behind the last one is none. */
        if (begin == end && matches > 0 && begin == done) {
            from = begin + 1;
            matches--;
            continue;
        }
        str_buf_add(&out, str_sub(text, done, begin - done));
        add_substitution(&s, substitution, &out);
        done = end;
        from = end > begin ? end : end + 1;
    }
    str_buf_add(&out, str_skip(text, done));
    arena_deinit(&scratch);
    return matches == 0 || out.is_overflown ? text : arena_str(a, str_buf_str(&out));
}
