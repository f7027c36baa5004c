/* libyaml's events into a tree. Recursion is bounded by depth_max; aliases are counted with all the
 * nodes they stand for, so that a short text cannot unfold into a large one. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "base/err.h"
#include "base/map.h"
#include "base/vec.h"
#include "codec/json.h"
#include "codec/yaml.h"
#include "codec/yaml_priv.h"

const struct yaml_limits yaml_limits_default = {4 << 20, 200000, 64, 100};

enum { SMALL_MAP = 16, ANCHORS_MAX = 1000 /* of a document: look-up is linear */ };

struct anchor {
    struct str name;
    struct yaml_node *node;
    uint32_t nodes; /* it and all below, aliases expanded */
    bool is_open;   /* its end was not reached yet */
};

struct loader {
    struct arena *arena;
    struct str text;
    struct yaml_limits limits;
    yaml_parser_t parser;
    VEC(struct yaml_error) errors;
    VEC(struct yaml_node *) documents;
    VEC(struct anchor) anchors; /* of this document */
    uint32_t nodes, depth;
    bool is_over; /* reading cannot or must not go on */
};

typedef VEC(struct yaml_node *) node_vec;

static __attribute__((format(printf, 4, 5))) void note(struct loader *l, size_t line, size_t column,
                                                       const char *fmt, ...)
{
    char text[256];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    struct yaml_error error = {(uint32_t)line, (uint32_t)column,
                               arena_str(l->arena, str_from_c(text))};
    VEC_PUSH(&l->errors, error);
    if (l->errors.len >= l->limits.errors_max)
        l->is_over = true;
}

static void note_fatal(struct loader *l, const yaml_mark_t *mark, const char *text)
{
    note(l, mark->line + 1, mark->column + 1, "%s", text);
    l->is_over = true;
}

/* The reader of libyaml knows an offset only. */
static void note_reader_fault(struct loader *l)
{
    size_t line = 1, column = 1;

    for (size_t i = 0; i < l->text.len && i < l->parser.problem_offset; i++) {
        column++;
        if (l->text.ptr[i] == '\n') {
            line++;
            column = 1;
        }
    }
    note(l, line, column, "%s", l->parser.problem);
}

static void note_parser_fault(struct loader *l)
{
    const yaml_mark_t *mark = &l->parser.problem_mark;
    const char *context = l->parser.context;
    bool is_tab = mark->index < l->text.len && l->text.ptr[mark->index] == '\t';

    l->is_over = true;
    if (l->parser.error == YAML_READER_ERROR) {
        note_reader_fault(l);
        return;
    }
    note(l, mark->line + 1, mark->column + 1, "%s%s%s%s",
         l->parser.problem != NULL ? l->parser.problem : "cannot be read",
         context != NULL ? " " : "", context != NULL ? context : "",
         is_tab ? " (a tab: YAML is indented by spaces)" : "");
}

/* The next event; false once reading is over. The caller deletes it. */
static bool next(struct loader *l, yaml_event_t *event)
{
    if (l->is_over)
        return false;
    if (yaml_parser_parse(&l->parser, event) == 1)
        return true;
    note_parser_fault(l);
    return false;
}

static struct str from_yaml(const yaml_char_t *s)
{
    return str_from_c((const char *)s);
}

static bool count_nodes(struct loader *l, const yaml_mark_t *at, uint32_t n)
{
    if (n > l->limits.nodes_max - l->nodes) {
        note_fatal(l, at, "too many values (aliases count with all they stand for)");
        return false;
    }
    l->nodes += n;
    return true;
}

static struct anchor *anchor_find(struct loader *l, struct str name)
{
    for (size_t i = l->anchors.len; i > 0; i--)
        if (str_eq(l->anchors.ptr[i - 1].name, name))
            return &l->anchors.ptr[i - 1];
    return NULL;
}

/* Returns the index + 1 of the new anchor, 0 when the node has none. */
static size_t anchor_add(struct loader *l, const yaml_char_t *name, struct yaml_node *node)
{
    struct anchor anchor = {.node = node, .nodes = l->nodes, .is_open = true};

    if (name == NULL)
        return 0;
    if (l->anchors.len == ANCHORS_MAX) {
        note(l, node->line, node->column, "more than %d anchors in a document", ANCHORS_MAX);
        l->is_over = true;
        return 0;
    }
    anchor.name = arena_str(l->arena, from_yaml(name));
    VEC_PUSH(&l->anchors, anchor);
    return l->anchors.len;
}

static void anchor_close(struct loader *l, size_t number)
{
    if (number == 0)
        return;
    struct anchor *anchor = &l->anchors.ptr[number - 1];
    anchor->is_open = false;
    anchor->nodes = l->nodes - anchor->nodes + 1;
}

static bool is_tag_known(struct str tag, enum yaml_kind kind)
{
    static const struct {
        const char *tag;
        enum yaml_kind kind;
    } rows[] = {
        {"!", YAML_SCALAR},           {YAML_STR_TAG, YAML_SCALAR},
        {YAML_INT_TAG, YAML_SCALAR},  {YAML_FLOAT_TAG, YAML_SCALAR},
        {YAML_BOOL_TAG, YAML_SCALAR}, {YAML_NULL_TAG, YAML_SCALAR},
        {YAML_MAP_TAG, YAML_MAP},     {YAML_SEQ_TAG, YAML_SEQ},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].kind == kind && str_eq(tag, str_from_c(rows[i].tag)))
            return true;
    return false;
}

static struct yaml_node *new_node(struct loader *l, enum yaml_kind kind, const yaml_mark_t *at,
                                  const yaml_char_t *tag)
{
    struct yaml_node *node;

    if (!count_nodes(l, at, 1))
        return NULL;
    node = ARENA_NEW(l->arena, struct yaml_node);
    node->kind = kind;
    node->line = (uint32_t)at->line + 1;
    node->column = (uint32_t)at->column + 1;
    if (tag != NULL) {
        node->tag = arena_str(l->arena, from_yaml(tag));
        if (!is_tag_known(node->tag, kind))
            note(l, node->line, node->column, "tag %.100s is not supported here", node->tag.ptr);
    }
    return node;
}

static struct yaml_node *load_scalar(struct loader *l, const yaml_event_t *e)
{
    const __typeof__(e->data.scalar) *scalar = &e->data.scalar;
    struct yaml_node *node = new_node(l, YAML_SCALAR, &e->start_mark, scalar->tag);

    if (node == NULL)
        return NULL;
    node->text = arena_str(l->arena, str_from((const char *)scalar->value, scalar->length));
    node->is_quoted = scalar->style != YAML_PLAIN_SCALAR_STYLE ||
                      str_eq(node->tag, STR(YAML_STR_TAG)) || str_eq(node->tag, STR("!"));
    if (str_find(node->text, '\0') >= 0)
        note(l, node->line, node->column, "U+0000 in a text");
    anchor_close(l, anchor_add(l, scalar->anchor, node));
    return node;
}

static struct yaml_node *load_alias(struct loader *l, const yaml_event_t *e)
{
    const struct anchor *anchor = anchor_find(l, from_yaml(e->data.alias.anchor));

    if (anchor == NULL || anchor->is_open) {
        note_fatal(l, &e->start_mark,
                   anchor == NULL ? "alias to an anchor that is not defined before"
                                  : "alias to the very value it stands in");
        return NULL;
    }
    return count_nodes(l, &e->start_mark, anchor->nodes) ? anchor->node : NULL;
}

static struct yaml_node *load_node(struct loader *l, const yaml_event_t *e);

/* All nodes up to the end of the sequence or map; a map's keys and values alternate. Keys are
 * looked at as they come, so that findings stand in the order of the text. */
struct map_keys {
    struct map by_text; /* used from SMALL_MAP on */
    node_vec *nodes;
};

static const struct yaml_node *find_key(const struct map_keys *keys, struct str text)
{
    if (keys->nodes->len / 2 >= SMALL_MAP)
        return map_get(&keys->by_text, text);
    for (size_t i = 0; i + 1 < keys->nodes->len; i += 2)
        if (keys->nodes->ptr[i]->kind == YAML_SCALAR && str_eq(keys->nodes->ptr[i]->text, text))
            return keys->nodes->ptr[i];
    return NULL;
}

static void index_key(struct map_keys *keys, struct yaml_node *key)
{
    size_t count = keys->nodes->len / 2;

    if (count + 1 == SMALL_MAP) {
        for (size_t i = 0; i < keys->nodes->len; i += 2)
            if (keys->nodes->ptr[i]->kind == YAML_SCALAR)
                map_put(&keys->by_text, keys->nodes->ptr[i]->text, keys->nodes->ptr[i]);
    }
    if (count + 1 >= SMALL_MAP)
        map_put(&keys->by_text, key->text, key);
}

static void check_key(struct loader *l, struct map_keys *keys, struct yaml_node *key)
{
    if (key->kind != YAML_SCALAR) {
        note(l, key->line, key->column, "a key is a text, not a map or a list");
        return;
    }
    if (!key->is_quoted && str_eq(key->text, STR("<<"))) {
        note(l, key->line, key->column,
             "merge keys (<<) are not supported: write the fields out, or alias the whole value");
        return;
    }
    const struct yaml_node *first = find_key(keys, key->text);
    if (first != NULL)
        note(l, key->line, key->column, "key \"%.*s\" stands here a second time (first at %u:%u)",
             (int)MIN(key->text.len, (size_t)64), key->text.ptr, first->line, first->column);
    else
        index_key(keys, key);
}

static bool load_children(struct loader *l, yaml_event_type_t end, node_vec *nodes)
{
    bool is_map = end == YAML_MAPPING_END_EVENT, is_at_end = false;
    struct map_keys keys = {.nodes = nodes};
    yaml_event_t e;

    map_init(&keys.by_text);
    while (!is_at_end && next(l, &e)) {
        is_at_end = e.type == end;
        struct yaml_node *node = is_at_end ? NULL : load_node(l, &e);

        yaml_event_delete(&e);
        if (node == NULL)
            break;
        if (is_map && nodes->len % 2 == 0)
            check_key(l, &keys, node);
        VEC_PUSH(nodes, node);
    }
    map_deinit(&keys.by_text);
    return is_at_end;
}

static void fill(struct loader *l, struct yaml_node *node, const node_vec *nodes)
{
    size_t step = node->kind == YAML_MAP ? 2 : 1;

    node->count = (uint32_t)(nodes->len / step);
    node->items = ARENA_ARRAY(l->arena, struct yaml_node *, node->count);
    if (step == 2)
        node->keys = ARENA_ARRAY(l->arena, struct yaml_node *, node->count);
    for (uint32_t i = 0; i < node->count; i++) {
        node->items[i] = nodes->ptr[i * step + step - 1];
        if (step == 2)
            node->keys[i] = nodes->ptr[i * step];
    }
}

static struct yaml_node *load_nested(struct loader *l, const yaml_event_t *e)
{
    bool is_map = e->type == YAML_MAPPING_START_EVENT;
    const yaml_char_t *tag = is_map ? e->data.mapping_start.tag : e->data.sequence_start.tag;
    const yaml_char_t *name = is_map ? e->data.mapping_start.anchor : e->data.sequence_start.anchor;
    node_vec nodes = {0};

    if (l->depth >= l->limits.depth_max) {
        note_fatal(l, &e->start_mark, "nested too deeply");
        return NULL;
    }
    struct yaml_node *node = new_node(l, is_map ? YAML_MAP : YAML_SEQ, &e->start_mark, tag);
    if (node == NULL)
        return NULL;
    size_t anchor = anchor_add(l, name, node);
    l->depth++;
    bool is_whole =
        load_children(l, is_map ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT, &nodes);
    l->depth--;
    if (is_whole) {
        fill(l, node, &nodes);
        anchor_close(l, anchor);
    }
    VEC_DEINIT(&nodes);
    return is_whole ? node : NULL;
}

static struct yaml_node *load_node(struct loader *l, const yaml_event_t *e)
{
    if (e->type == YAML_SCALAR_EVENT)
        return load_scalar(l, e);
    if (e->type == YAML_ALIAS_EVENT)
        return load_alias(l, e);
    if (e->type == YAML_MAPPING_START_EVENT || e->type == YAML_SEQUENCE_START_EVENT)
        return load_nested(l, e);
    note_fatal(l, &e->start_mark, "a value is expected here");
    return NULL;
}

static void check_directives(struct loader *l, const yaml_event_t *e)
{
    if (e->data.document_start.version_directive != NULL ||
        e->data.document_start.tag_directives.start != e->data.document_start.tag_directives.end)
        note(l, e->start_mark.line + 1, e->start_mark.column + 1,
             "directives (%%) are not supported");
}

static bool is_empty(const struct yaml_node *root)
{
    return root->kind == YAML_SCALAR && root->text.len == 0 && !root->is_quoted;
}

/* Behind a document's start: its root. */
static void load_document(struct loader *l, const yaml_event_t *start)
{
    size_t errors_before = l->errors.len;
    struct yaml_node *root = NULL;
    yaml_event_t e;

    check_directives(l, start);
    l->anchors.len = 0;
    if (next(l, &e)) {
        root = load_node(l, &e);
        yaml_event_delete(&e);
    }
    if (root == NULL || l->errors.len > errors_before || is_empty(root))
        return;
    VEC_PUSH(&l->documents, root);
}

static void load_stream(struct loader *l)
{
    bool is_at_end = false;
    yaml_event_t e;

    while (!is_at_end && next(l, &e)) {
        if (e.type == YAML_DOCUMENT_START_EVENT)
            load_document(l, &e);
        is_at_end = e.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&e);
    }
}

static void parse_as_yaml(struct loader *l)
{
    if (yaml_parser_initialize(&l->parser) != 1)
        util_assert_failed("yaml_parser_initialize", __FILE__, __LINE__); /* out of memory */
    yaml_parser_set_encoding(&l->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(
        &l->parser, (const unsigned char *)(l->text.len > 0 ? l->text.ptr : ""), l->text.len);
    load_stream(l);
    yaml_parser_delete(&l->parser);
}

/* JSON is almost YAML: pairs of surrogates, long keys and tabs are not. What is JSON is read as
 * that; anything else, and the faults of broken JSON, are YAML's. */
static bool parse_as_json(struct loader *l)
{
    struct str text = l->text;
    const struct json *root;
    struct yaml_node *node;

    while (text.len > 0 && strchr(" \t\r\n", text.ptr[0]) != NULL && text.ptr[0] != '\0')
        text = str_skip(text, 1);
    if (text.len == 0 || (text.ptr[0] != '{' && text.ptr[0] != '['))
        return false;
    if (json_parse(l->arena, l->text, l->limits.len_max, &root, NULL) != 0)
        return false;
    node = yaml_from_json_within(l->arena, root, l->limits.depth_max, &l->limits.nodes_max);
    if (node == NULL)
        return false;
    VEC_PUSH(&l->documents, node);
    return true;
}

/* Copies what the vectors hold into the arena. */
static int finish(struct loader *l, struct yaml_stream *ret_stream)
{
    struct yaml_stream s = {.document_count = (uint32_t)l->documents.len,
                            .error_count = (uint32_t)l->errors.len};

    s.documents = ARENA_ARRAY(l->arena, struct yaml_node *, s.document_count);
    for (size_t i = 0; i < l->documents.len; i++)
        s.documents[i] = l->documents.ptr[i];
    s.errors = ARENA_ARRAY(l->arena, struct yaml_error, s.error_count);
    for (size_t i = 0; i < l->errors.len; i++)
        s.errors[i] = l->errors.ptr[i];
    VEC_DEINIT(&l->documents);
    VEC_DEINIT(&l->errors);
    VEC_DEINIT(&l->anchors);
    *ret_stream = s;
    return s.error_count == 0 ? 0 : -ERR_SYNTAX;
}

int yaml_parse(struct arena *a, struct str text, const struct yaml_limits *limits,
               struct yaml_stream *ret_stream)
{
    struct loader l = {.arena = a, .text = text};

    l.limits = limits != NULL ? *limits : yaml_limits_default;
    if (text.len > l.limits.len_max) {
        note(&l, 1, 1, "larger than %zu bytes", l.limits.len_max);
        finish(&l, ret_stream);
        return -ERR_TOO_LARGE;
    }
    if (!parse_as_json(&l))
        parse_as_yaml(&l);
    return finish(&l, ret_stream);
}
