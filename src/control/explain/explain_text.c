/* Rules and routes in words: what they ask for, and which part of it does not hold. */
#include "control/explain/explain_priv.h"

enum { WORDS_BYTES_MAX = 2048 };

/* --- texts --- */

static void add_string(struct str_buf *to, const struct string_match *m)
{
    static const char *const verbs[] = {
        [STRING_MATCH_ANY] = "is there",        [STRING_MATCH_EXACT] = "is ",
        [STRING_MATCH_PREFIX] = "starts with ", [STRING_MATCH_SUFFIX] = "ends with ",
        [STRING_MATCH_CONTAINS] = "contains ",  [STRING_MATCH_REGEX] = "matches ",
    };
    str_buf_add_c(to, verbs[m->kind]);
    if (m->kind != STRING_MATCH_ANY)
        str_buf_add(to, m->value);
}

static void add_named(struct str_buf *to, const char *what, const struct string_match *m)
{
    str_buf_printf(to, "%s ", what);
    add_string(to, m);
}

static void add_header_name(struct str_buf *to, struct str name)
{
    static const struct {
        struct str name;
        const char *text;
    } pseudo[] = {{{":method", 7}, "method"}, {{":authority", 10}, "host"}, {{":path", 5}, "path"}};
    for (size_t i = 0; i < ARRAY_LEN(pseudo); i++) {
        if (str_eq(pseudo[i].name, name)) {
            str_buf_add_c(to, pseudo[i].text);
            return;
        }
    }
    str_buf_printf(to, "header %.*s", STR_FMT(name));
}

static void add_header(struct str_buf *to, const struct header_match *m)
{
    if (m->is_inverted)
        str_buf_add_c(to, "not (");
    add_header_name(to, m->name);
    str_buf_add_char(to, ' ');
    add_string(to, &m->value);
    if (m->is_inverted)
        str_buf_add_char(to, ')');
}

static void add_cidr(struct str_buf *to, const char *what, const struct cidr *c)
{
    char text[CIDR_TEXT_MAX];
    str_buf_printf(to, "%s is in %.*s", what, STR_FMT(cidr_format(c, text)));
}

static void add_node(struct str_buf *to, const struct rbac_node *n);

static void add_children(struct str_buf *to, const struct rbac_node *n, const char *between,
                         bool is_grouped)
{
    if (is_grouped && n->child_count > 1)
        str_buf_add_char(to, '(');
    for (size_t i = 0; i < n->child_count; i++) {
        if (i > 0)
            str_buf_add_c(to, between);
        add_node(to, &n->children[i]);
    }
    if (is_grouped && n->child_count > 1)
        str_buf_add_char(to, ')');
}

static void add_node(struct str_buf *to, const struct rbac_node *n)
{
    switch (n->kind) {
    case RBAC_ANY:
        str_buf_add_c(to, "anything");
        return;
    case RBAC_AND:
        add_children(to, n, " and ", false);
        return;
    case RBAC_OR:
        add_children(to, n, " or ", true);
        return;
    case RBAC_NOT:
        str_buf_add_c(to, "not (");
        add_children(to, n, " and ", false);
        str_buf_add_char(to, ')');
        return;
    case RBAC_HEADER:
        add_header(to, &n->header);
        return;
    case RBAC_PATH:
        add_named(to, "path", &n->string);
        return;
    case RBAC_DESTINATION_PORT:
        str_buf_printf(to, "port is %u", n->port_from);
        if (n->port_to != n->port_from)
            str_buf_printf(to, " to %u", n->port_to);
        return;
    case RBAC_DESTINATION_IP:
        add_cidr(to, "destination address", &n->cidr);
        return;
    case RBAC_SOURCE_IP:
    case RBAC_REMOTE_IP:
        add_cidr(to, "caller's address", &n->cidr);
        return;
    case RBAC_PRINCIPAL:
        add_named(to, "principal", &n->string);
        return;
    case RBAC_NAMESPACE:
        add_named(to, "caller's namespace", &n->string);
        return;
    case RBAC_SNI:
        add_named(to, "SNI", &n->string);
        return;
    case RBAC_JWT:
        str_buf_add_c(to, "a token has a claim");
        return;
    }
}

/* --- what is there instead --- */

static void add_ip(struct str_buf *to, const char *what, const struct ip_addr *ip)
{
    char text[IP_TEXT_MAX];
    if (ip->family == IP_NONE)
        str_buf_printf(to, "%s is not known", what);
    else
        str_buf_printf(to, "%s is %.*s", what, STR_FMT(ip_format(ip, text)));
}

static void add_text(struct str_buf *to, const char *what, struct str value)
{
    if (value.len > 0)
        str_buf_printf(to, "%s is %.*s", what, STR_FMT(value));
    else
        str_buf_printf(to, "there is no %s", what);
}

static struct str header_value(const struct http_head *head, struct str name)
{
    if (str_eq(name, STR(":method")))
        return head->method;
    if (str_eq(name, STR(":authority")))
        return head->authority;
    return str_eq(name, STR(":path")) ? head->path : http_head_get_joined(head, name);
}

static void add_header_value(struct str_buf *to, const struct http_head *head, struct str name)
{
    struct str value = header_value(head, name);
    bool is_there = value.ptr != NULL;
    if (!is_there)
        str_buf_add_c(to, "there is no ");
    add_header_name(to, name);
    if (is_there)
        str_buf_printf(to, " is %.*s", STR_FMT(value));
}

static const struct rbac_node *first_leaf(const struct rbac_node *n)
{
    while (n->child_count > 0)
        n = &n->children[0];
    return n;
}

static void add_actual(struct str_buf *to, const struct rbac_node *n, const struct rbac_input *in)
{
    switch (n->kind) {
    case RBAC_HEADER:
        if (in->head != NULL)
            add_header_value(to, in->head, n->header.name);
        else
            str_buf_add_c(to, "a connection has no headers");
        return;
    case RBAC_PATH:
        add_text(to, "path", in->head != NULL ? http_head_path_only(in->head) : STR_NULL);
        return;
    case RBAC_DESTINATION_PORT:
        str_buf_printf(to, "port is %u", in->destination_port);
        return;
    case RBAC_DESTINATION_IP:
        add_ip(to, "destination address", &in->destination);
        return;
    case RBAC_SOURCE_IP:
        add_ip(to, "caller's address", &in->source);
        return;
    case RBAC_REMOTE_IP:
        add_ip(to, "caller's address", &in->remote);
        return;
    case RBAC_PRINCIPAL:
    case RBAC_NAMESPACE:
        if (in->principal.len > 0)
            str_buf_printf(to, "principal is %.*s", STR_FMT(in->principal));
        else
            str_buf_add_c(to, "the caller has no identity");
        return;
    case RBAC_SNI:
        add_text(to, "SNI", in->sni);
        return;
    case RBAC_JWT:
    case RBAC_ANY:
    case RBAC_AND:
    case RBAC_OR:
    case RBAC_NOT:
        str_buf_add_c(to, "it never does");
        return;
    }
}

/* The part that does not hold: of AND the first such child, again and again. */
static const struct rbac_node *failing(const struct rbac_node *n, const struct rbac_input *in)
{
    for (size_t i = 0; n->kind == RBAC_AND && i < n->child_count; i++) {
        if (!match_rbac_node(&n->children[i], in))
            return failing(&n->children[i], in);
    }
    return n;
}

static struct str keep(struct arena *a, struct str_buf *words)
{
    struct str text =
        arena_printf(a, "%.*s%s", STR_FMT(str_buf_str(words)), words->is_overflown ? " ..." : "");
    str_buf_deinit(words);
    return text;
}

struct str explain_text_rule(struct arena *a, const struct rbac_policy *p)
{
    struct str_buf words = STR_BUF_INIT(WORDS_BYTES_MAX);
    bool is_any = p->permission.kind == RBAC_ANY;
    if (!is_any)
        add_node(&words, &p->permission);
    if (!is_any && p->principal.kind != RBAC_ANY)
        str_buf_add_c(&words, " and ");
    if (is_any || p->principal.kind != RBAC_ANY)
        add_node(&words, &p->principal);
    return keep(a, &words);
}

struct str explain_text_rule_fails(struct arena *a, const struct rbac_policy *p,
                                   const struct rbac_input *in)
{
    struct str_buf words = STR_BUF_INIT(WORDS_BYTES_MAX);
    bool is_permission = !match_rbac_node(&p->permission, in);
    const struct rbac_node *n = failing(is_permission ? &p->permission : &p->principal, in);
    add_actual(&words, first_leaf(n), in);
    str_buf_add_c(&words, "; wanted: ");
    add_node(&words, n);
    return keep(a, &words);
}

static bool asks_address(const struct rbac_node *n)
{
    if (n->kind == RBAC_SOURCE_IP || n->kind == RBAC_REMOTE_IP || n->kind == RBAC_DESTINATION_IP)
        return true;
    for (size_t i = 0; i < n->child_count; i++) {
        if (asks_address(&n->children[i]))
            return true;
    }
    return false;
}

bool explain_text_asks_address(const struct rbac_policy *p)
{
    return asks_address(&p->permission) || asks_address(&p->principal);
}

/* --- routes --- */

static void add_path(struct str_buf *to, const struct route_match *m)
{
    static const char *const verbs[] = {
        [PATH_PREFIX] = "path starts with ",
        [PATH_EXACT] = "path is ",
        [PATH_SEPARATED_PREFIX] = "path is below ",
        [PATH_CONNECT] = "method is CONNECT",
    };
    str_buf_printf(to, "%s%.*s%s", verbs[m->path_kind], STR_FMT(m->path),
                   m->is_case_sensitive ? "" : " (in any case)");
}

static bool is_every_path(const struct route_match *m)
{
    return m->path_kind == PATH_PREFIX && str_eq(m->path, STR("/"));
}

static void add_and(struct str_buf *to)
{
    if (to->len > 0)
        str_buf_add_c(to, " and ");
}

struct str explain_text_route(struct arena *a, const struct route_match *m)
{
    struct str_buf words = STR_BUF_INIT(WORDS_BYTES_MAX);
    if (!is_every_path(m))
        add_path(&words, m);
    for (size_t i = 0; i < m->header_count; i++) {
        add_and(&words);
        add_header(&words, &m->headers[i]);
    }
    for (size_t i = 0; i < m->query_count; i++) {
        add_and(&words);
        str_buf_printf(&words, "query %.*s ", STR_FMT(m->queries[i].name));
        add_string(&words, &m->queries[i].value);
    }
    if (m->is_grpc) {
        add_and(&words);
        str_buf_add_c(&words, "it is gRPC");
    }
    if (words.len == 0)
        str_buf_add_c(&words, "every request");
    return keep(a, &words);
}

/* The first thing that does not hold, found by asking the matcher for one at a time. */
struct str explain_text_route_fails(struct arena *a, const struct route *r,
                                    const struct http_head *head)
{
    struct str_buf words = STR_BUF_INIT(WORDS_BYTES_MAX);
    struct route path = {.match = r->match};
    path.match.header_count = path.match.query_count = 0;
    size_t at = 0;
    while (at < r->match.header_count && match_header(&r->match.headers[at], head))
        at++;
    if (!match_route_fits(&path, head)) {
        str_buf_printf(&words, "path is %.*s; wanted: ", STR_FMT(http_head_path_only(head)));
        add_path(&words, &r->match);
        if (r->match.is_grpc)
            str_buf_add_c(&words, ", of gRPC");
    } else if (at < r->match.header_count) {
        add_header_value(&words, head, r->match.headers[at].name);
        str_buf_add_c(&words, "; wanted: ");
        add_header(&words, &r->match.headers[at]);
    } else {
        struct str wanted = explain_text_route(a, &r->match), query = http_head_query(head);
        str_buf_printf(&words, "query is %.*s; wanted: %.*s", STR_FMT(query), STR_FMT(wanted));
    }
    return keep(a, &words);
}
