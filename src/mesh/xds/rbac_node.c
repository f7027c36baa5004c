/* Permissions and principals: the trees of RBAC policies. Their depth is bounded by pb_check. */
#include "base/err.h"
#include "mesh/xds/codec_priv.h"

/* --- decoding, what both share --- */

static int decode_header_node(struct decode *d, const struct pb_path *at,
                              const Pb__Route__HeaderMatcher *m, struct rbac_node *node)
{
    node->kind = RBAC_HEADER;
    return decode_header_match(d, PB_AT(at, "header"), m, &node->header);
}

static int decode_path_node(struct decode *d, const struct pb_path *at,
                            const Pb__Matcher__PathMatcher *m, struct rbac_node *node)
{
    node->kind = RBAC_PATH;
    return decode_string_match(d, PB_AT(at, "url_path.path"), m->path, &node->string);
}

static int decode_cidr_node(struct decode *d, const struct pb_path *at,
                            const Pb__Core__CidrRange *m, enum rbac_node_kind kind,
                            struct rbac_node *node)
{
    node->kind = kind;
    return decode_cidr(d, at, m, &node->cidr);
}

static int decode_any_node(struct decode *d, const struct pb_path *at, bool any,
                           struct rbac_node *node)
{
    node->kind = RBAC_ANY;
    return any ? 0 : decode_fail(d, PB_AT(at, "any"), "must be true");
}

/* --- permissions --- */

static int decode_permission_set(struct decode *d, const struct pb_path *at,
                                 const Pb__Rbac__Permission__Set *m, enum rbac_node_kind kind,
                                 struct rbac_node *node)
{
    if (m->n_rules == 0)
        return decode_fail(d, PB_AT(at, "rules"), "at least one is needed");
    struct rbac_node *children = ARENA_ARRAY(d->arena, struct rbac_node, m->n_rules);
    *node = (struct rbac_node){kind, children, m->n_rules};
    for (size_t i = 0; i < m->n_rules; i++) {
        if (decode_permission(d, PB_AT_I(at, "rules", i), m->rules[i], &children[i]) != 0)
            return -ERR_INVALID;
    }
    return 0;
}

static int decode_ports(struct decode *d, const struct pb_path *at, int64_t from, int64_t to,
                        struct rbac_node *node)
{
    if (from < 0 || to < from || to > UINT16_MAX)
        return decode_fail(d, at, "not a port or range of ports");
    node->kind = RBAC_DESTINATION_PORT;
    node->port_from = (uint16_t)from;
    node->port_to = (uint16_t)to;
    return 0;
}

int decode_permission(struct decode *d, const struct pb_path *at, const Pb__Rbac__Permission *m,
                      struct rbac_node *ret_node)
{
    struct rbac_node *node = ret_node;
    struct rbac_node *child;
    switch ((int)m->rule_case) {
    case PB__RBAC__PERMISSION__RULE_AND_RULES:
        return decode_permission_set(d, PB_AT(at, "and_rules"), m->and_rules, RBAC_AND, node);
    case PB__RBAC__PERMISSION__RULE_OR_RULES:
        return decode_permission_set(d, PB_AT(at, "or_rules"), m->or_rules, RBAC_OR, node);
    case PB__RBAC__PERMISSION__RULE_NOT_RULE:
        child = ARENA_NEW(d->arena, struct rbac_node);
        *node = (struct rbac_node){RBAC_NOT, child, 1};
        return decode_permission(d, PB_AT(at, "not_rule"), m->not_rule, child);
    case PB__RBAC__PERMISSION__RULE_ANY:
        return decode_any_node(d, at, m->any, node);
    case PB__RBAC__PERMISSION__RULE_HEADER:
        return decode_header_node(d, at, m->header, node);
    case PB__RBAC__PERMISSION__RULE_URL_PATH:
        return decode_path_node(d, at, m->url_path, node);
    case PB__RBAC__PERMISSION__RULE_DESTINATION_IP:
        return decode_cidr_node(d, PB_AT(at, "destination_ip"), m->destination_ip,
                                RBAC_DESTINATION_IP, node);
    case PB__RBAC__PERMISSION__RULE_DESTINATION_PORT:
        return decode_ports(d, PB_AT(at, "destination_port"), m->destination_port,
                            m->destination_port, node);
    case PB__RBAC__PERMISSION__RULE_DESTINATION_PORT_RANGE: /* its end is exclusive */
        return decode_ports(d, PB_AT(at, "destination_port_range"),
                            m->destination_port_range->start,
                            (int64_t)m->destination_port_range->end - 1, node);
    case PB__RBAC__PERMISSION__RULE_REQUESTED_SERVER_NAME:
        node->kind = RBAC_SNI;
        return decode_string_match(d, PB_AT(at, "requested_server_name"), m->requested_server_name,
                                   &node->string);
    default:
        return decode_fail(d, at, "a rule is needed");
    }
}

/* --- principals --- */

static int decode_principal_set(struct decode *d, const struct pb_path *at,
                                const Pb__Rbac__Principal__Set *m, enum rbac_node_kind kind,
                                struct rbac_node *node)
{
    if (m->n_ids == 0)
        return decode_fail(d, PB_AT(at, "ids"), "at least one is needed");
    struct rbac_node *children = ARENA_ARRAY(d->arena, struct rbac_node, m->n_ids);
    *node = (struct rbac_node){kind, children, m->n_ids};
    for (size_t i = 0; i < m->n_ids; i++) {
        if (decode_principal(d, PB_AT_I(at, "ids", i), m->ids[i], &children[i]) != 0)
            return -ERR_INVALID;
    }
    return 0;
}

/* A namespace is asked for by what stands around it in the identity, which needs no regular
 * expression: "/ns/shop/" exactly, "/ns/sho" as a prefix, "hop/sa/" as a suffix. */
static bool decode_namespace(const struct string_match *m, struct string_match *ret_namespace)
{
    static const struct {
        const char *before, *behind;
        enum string_match_kind kind;
    } forms[] = {
        {"/ns/", "/", STRING_MATCH_EXACT},
        {"/ns/", "", STRING_MATCH_PREFIX},
        {"", "/sa/", STRING_MATCH_SUFFIX},
    };
    if (m->kind != STRING_MATCH_CONTAINS)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct str before = str_from_c(forms[i].before), behind = str_from_c(forms[i].behind);
        if (m->value.len <= before.len + behind.len || !str_starts_with(m->value, before) ||
            !str_ends_with(m->value, behind))
            continue;
        struct str ns = str_sub(m->value, before.len, m->value.len - before.len - behind.len);
        if (str_find(ns, '/') >= 0)
            continue;
        *ret_namespace = (struct string_match){
            .kind = forms[i].kind, .ignore_case = m->ignore_case, .value = ns};
        return true;
    }
    return false;
}

/* ".*" TEXT ".*", as Istio asks for a namespace, needs no regular expression either. */
static void reduce_regex(struct string_match *m)
{
    struct str inner = str_sub(m->value, 2, m->value.len > 4 ? m->value.len - 4 : 0);
    if (m->kind != STRING_MATCH_REGEX || inner.len == 0 || !str_starts_with(m->value, STR(".*")) ||
        !str_ends_with(m->value, STR(".*")))
        return;
    for (size_t i = 0; i < inner.len; i++) {
        if (strchr("\\^$.|?*+()[]{}", inner.ptr[i]) != NULL)
            return;
    }
    *m = (struct string_match){.kind = STRING_MATCH_CONTAINS, .value = inner};
}

static int decode_authenticated(struct decode *d, const struct pb_path *at,
                                const Pb__Rbac__Principal__Authenticated *m, struct rbac_node *node)
{
    node->kind = RBAC_PRINCIPAL;
    node->string.kind = STRING_MATCH_ANY;
    if (m->principal_name == NULL)
        return 0;
    struct string_match match;
    if (decode_string_match(d, PB_AT(at, "authenticated.principal_name"), m->principal_name,
                            &match) != 0)
        return -ERR_INVALID;
    reduce_regex(&match);
    if (decode_namespace(&match, &node->string))
        node->kind = RBAC_NAMESPACE;
    else
        node->string = match;
    return 0;
}

/* What a JWT filter would have noted of a token. There is no such filter, a listener that has one
 * is refused, so that no claim is ever there: whatever is asked of its value does not hold. What
 * would hold without a value is refused, and so is what others would have noted. */
static int check_claim(struct decode *d, const struct pb_path *at,
                       const Pb__Matcher__ValueMatcher *m)
{
    struct string_match match;
    if (m == NULL)
        return decode_fail(d, at, "a value is needed");
    switch ((int)m->match_pattern_case) {
    case PB__MATCHER__VALUE_MATCHER__MATCH_PATTERN_STRING_MATCH:
        return decode_string_match(d, PB_AT(at, "string_match"), m->string_match, &match);
    case PB__MATCHER__VALUE_MATCHER__MATCH_PATTERN_LIST_MATCH:
        return check_claim(d, PB_AT(at, "list_match.one_of"), m->list_match->one_of);
    case PB__MATCHER__VALUE_MATCHER__MATCH_PATTERN_OR_MATCH:
        for (size_t i = 0; i < m->or_match->n_value_matchers; i++) {
            if (check_claim(d, PB_AT_I(at, "or_match.value_matchers", i),
                            m->or_match->value_matchers[i]) != 0)
                return -ERR_INVALID;
        }
        return 0;
    default:
        return decode_fail(d, at, "string_match, list_match and or_match are supported");
    }
}

static int decode_claim(struct decode *d, const struct pb_path *at,
                        const Pb__Matcher__MetadataMatcher *m, struct rbac_node *node)
{
    struct rbac_node *claim = node;
    if (m->filter == NULL || strcmp(m->filter, "envoy.filters.http.jwt_authn") != 0)
        return decode_fail(d, PB_AT(at, "filter"),
                           "only envoy.filters.http.jwt_authn is supported");
    if (m->invert) {
        claim = ARENA_NEW(d->arena, struct rbac_node);
        *node = (struct rbac_node){RBAC_NOT, claim, 1};
    }
    claim->kind = RBAC_JWT;
    return check_claim(d, PB_AT(at, "value"), m->value);
}

int decode_principal(struct decode *d, const struct pb_path *at, const Pb__Rbac__Principal *m,
                     struct rbac_node *ret_node)
{
    struct rbac_node *node = ret_node;
    struct rbac_node *child;
    switch ((int)m->identifier_case) {
    case PB__RBAC__PRINCIPAL__IDENTIFIER_AND_IDS:
        return decode_principal_set(d, PB_AT(at, "and_ids"), m->and_ids, RBAC_AND, node);
    case PB__RBAC__PRINCIPAL__IDENTIFIER_OR_IDS:
        return decode_principal_set(d, PB_AT(at, "or_ids"), m->or_ids, RBAC_OR, node);
    case PB__RBAC__PRINCIPAL__IDENTIFIER_METADATA:
        return decode_claim(d, PB_AT(at, "metadata"), m->metadata, node);
    case PB__RBAC__PRINCIPAL__IDENTIFIER_NOT_ID:
        child = ARENA_NEW(d->arena, struct rbac_node);
        *node = (struct rbac_node){RBAC_NOT, child, 1};
        return decode_principal(d, PB_AT(at, "not_id"), m->not_id, child);
    case PB__RBAC__PRINCIPAL__IDENTIFIER_ANY:
        return decode_any_node(d, at, m->any, node);
    case PB__RBAC__PRINCIPAL__IDENTIFIER_AUTHENTICATED:
        return decode_authenticated(d, at, m->authenticated, node);
    case PB__RBAC__PRINCIPAL__IDENTIFIER_HEADER:
        return decode_header_node(d, at, m->header, node);
    case PB__RBAC__PRINCIPAL__IDENTIFIER_URL_PATH:
        return decode_path_node(d, at, m->url_path, node);
    case PB__RBAC__PRINCIPAL__IDENTIFIER_DIRECT_REMOTE_IP:
        return decode_cidr_node(d, PB_AT(at, "direct_remote_ip"), m->direct_remote_ip,
                                RBAC_SOURCE_IP, node);
    case PB__RBAC__PRINCIPAL__IDENTIFIER_REMOTE_IP:
        return decode_cidr_node(d, PB_AT(at, "remote_ip"), m->remote_ip, RBAC_REMOTE_IP, node);
    default:
        return decode_fail(d, at, "an identifier is needed");
    }
}

/* --- encoding --- */

static Pb__Rbac__Permission *new_permission(struct encode *e, Pb__Rbac__Permission__RuleCase rule)
{
    Pb__Rbac__Permission *m = PB_NEW(e, Pb__Rbac__Permission, pb__rbac__permission);
    m->rule_case = rule;
    return m;
}

static Pb__Rbac__Principal *new_principal(struct encode *e,
                                          Pb__Rbac__Principal__IdentifierCase identifier)
{
    Pb__Rbac__Principal *m = PB_NEW(e, Pb__Rbac__Principal, pb__rbac__principal);
    m->identifier_case = identifier;
    return m;
}

static Pb__Route__HeaderMatcher *any_path_header(struct encode *e)
{
    struct header_match has_path = {.name = STR(":path"), .value = {.kind = STRING_MATCH_ANY}};
    return encode_header_match(e, &has_path);
}

static Pb__Matcher__PathMatcher *encode_path(struct encode *e, const struct string_match *in)
{
    Pb__Matcher__PathMatcher *m = PB_NEW(e, Pb__Matcher__PathMatcher, pb__matcher__path_matcher);
    m->path = encode_string_match(e, in);
    return m;
}

static void encode_ports(struct encode *e, const struct rbac_node *in, Pb__Rbac__Permission *m)
{
    if (in->port_from == in->port_to) {
        m->rule_case = PB__RBAC__PERMISSION__RULE_DESTINATION_PORT;
        m->destination_port = in->port_from;
        return;
    }
    Pb__Type__Int32Range *range = PB_NEW(e, Pb__Type__Int32Range, pb__type__int32_range);
    range->has_start = range->has_end = true;
    range->start = in->port_from;
    range->end = in->port_to + 1;
    m->rule_case = PB__RBAC__PERMISSION__RULE_DESTINATION_PORT_RANGE;
    m->destination_port_range = range;
}

/* A set must not be empty: all of nothing is anything, any of nothing is nothing. */
static Pb__Rbac__Permission *encode_permission_set(struct encode *e, const struct rbac_node *in)
{
    static const struct rbac_node any = {.kind = RBAC_ANY};
    static const struct rbac_node none = {.kind = RBAC_NOT, .children = &any, .child_count = 1};
    if (in->child_count == 0)
        return encode_permission(e, in->kind == RBAC_AND ? &any : &none);
    Pb__Rbac__Permission__Set *set =
        PB_NEW(e, Pb__Rbac__Permission__Set, pb__rbac__permission__set);
    set->n_rules = in->child_count;
    set->rules = PB_PTRS(e, Pb__Rbac__Permission, in->child_count);
    for (size_t i = 0; i < in->child_count; i++)
        set->rules[i] = encode_permission(e, &in->children[i]);
    Pb__Rbac__Permission *m =
        new_permission(e, in->kind == RBAC_AND ? PB__RBAC__PERMISSION__RULE_AND_RULES
                                               : PB__RBAC__PERMISSION__RULE_OR_RULES);
    m->and_rules = set; /* the same member of the union */
    return m;
}

/* Presence, for which Envoy has no other word than a regular expression: not the empty name. */
static Pb__Rbac__Permission *encode_any_sni(struct encode *e)
{
    static const struct rbac_node none = {.kind = RBAC_SNI,
                                          .string = {STRING_MATCH_EXACT, false, {"", 0}}};
    Pb__Rbac__Permission *m = new_permission(e, PB__RBAC__PERMISSION__RULE_NOT_RULE);
    m->not_rule = encode_permission(e, &none);
    return m;
}

Pb__Rbac__Permission *encode_permission(struct encode *e, const struct rbac_node *in)
{
    Pb__Rbac__Permission *m = new_permission(e, PB__RBAC__PERMISSION__RULE_ANY);
    m->any = true;
    bool is_any_string = in->string.kind == STRING_MATCH_ANY;
    switch (in->kind) {
    case RBAC_ANY:
        break;
    case RBAC_AND:
    case RBAC_OR:
        return encode_permission_set(e, in);
    case RBAC_NOT:
        m->rule_case = PB__RBAC__PERMISSION__RULE_NOT_RULE;
        m->not_rule = encode_permission(e, &in->children[0]);
        break;
    case RBAC_HEADER:
        m->rule_case = PB__RBAC__PERMISSION__RULE_HEADER;
        m->header = encode_header_match(e, &in->header);
        break;
    case RBAC_PATH:
        m->rule_case =
            is_any_string ? PB__RBAC__PERMISSION__RULE_HEADER : PB__RBAC__PERMISSION__RULE_URL_PATH;
        if (is_any_string)
            m->header = any_path_header(e);
        else
            m->url_path = encode_path(e, &in->string);
        break;
    case RBAC_DESTINATION_PORT:
        encode_ports(e, in, m);
        break;
    case RBAC_DESTINATION_IP:
        m->rule_case = PB__RBAC__PERMISSION__RULE_DESTINATION_IP;
        m->destination_ip = encode_cidr(e, &in->cidr);
        break;
    case RBAC_SNI:
        if (is_any_string)
            return encode_any_sni(e);
        m->rule_case = PB__RBAC__PERMISSION__RULE_REQUESTED_SERVER_NAME;
        m->requested_server_name = encode_string_match(e, &in->string);
        break;
    case RBAC_SOURCE_IP:
    case RBAC_REMOTE_IP:
    case RBAC_PRINCIPAL:
    case RBAC_NAMESPACE:
    case RBAC_JWT:
        e->rc = -ERR_UNSUPPORTED; /* facts of a principal; nothing of ours */
        break;
    }
    return m;
}

static Pb__Rbac__Principal *encode_principal_set(struct encode *e, const struct rbac_node *in)
{
    static const struct rbac_node any = {.kind = RBAC_ANY};
    static const struct rbac_node none = {.kind = RBAC_NOT, .children = &any, .child_count = 1};
    if (in->child_count == 0)
        return encode_principal(e, in->kind == RBAC_AND ? &any : &none);
    Pb__Rbac__Principal__Set *set = PB_NEW(e, Pb__Rbac__Principal__Set, pb__rbac__principal__set);
    set->n_ids = in->child_count;
    set->ids = PB_PTRS(e, Pb__Rbac__Principal, in->child_count);
    for (size_t i = 0; i < in->child_count; i++)
        set->ids[i] = encode_principal(e, &in->children[i]);
    Pb__Rbac__Principal *m =
        new_principal(e, in->kind == RBAC_AND ? PB__RBAC__PRINCIPAL__IDENTIFIER_AND_IDS
                                              : PB__RBAC__PRINCIPAL__IDENTIFIER_OR_IDS);
    m->and_ids = set; /* the same member of the union */
    return m;
}

/* The reverse of decode_namespace. */
static struct str namespace_pattern(struct encode *e, const struct string_match *ns)
{
    switch (ns->kind) {
    case STRING_MATCH_EXACT:
        return arena_printf(e->arena, "/ns/%.*s/", STR_FMT(ns->value));
    case STRING_MATCH_PREFIX:
        return arena_printf(e->arena, "/ns/%.*s", STR_FMT(ns->value));
    case STRING_MATCH_SUFFIX:
        return arena_printf(e->arena, "%.*s/sa/", STR_FMT(ns->value));
    case STRING_MATCH_ANY:
        return STR("/ns/");
    case STRING_MATCH_CONTAINS:
    case STRING_MATCH_REGEX:
        e->rc = -ERR_UNSUPPORTED;
        break;
    }
    return STR("/ns/");
}

static Pb__Rbac__Principal *encode_authenticated(struct encode *e, const struct rbac_node *in)
{
    Pb__Rbac__Principal *m = new_principal(e, PB__RBAC__PRINCIPAL__IDENTIFIER_AUTHENTICATED);
    m->authenticated =
        PB_NEW(e, Pb__Rbac__Principal__Authenticated, pb__rbac__principal__authenticated);
    struct string_match match = in->string;
    if (in->kind == RBAC_NAMESPACE)
        match = (struct string_match){.kind = STRING_MATCH_CONTAINS,
                                      .ignore_case = in->string.ignore_case,
                                      .value = namespace_pattern(e, &in->string)};
    if (match.kind != STRING_MATCH_ANY)
        m->authenticated->principal_name = encode_string_match(e, &match);
    return m;
}

Pb__Rbac__Principal *encode_principal(struct encode *e, const struct rbac_node *in)
{
    Pb__Rbac__Principal *m = new_principal(e, PB__RBAC__PRINCIPAL__IDENTIFIER_ANY);
    m->any = true;
    bool is_any_string = in->string.kind == STRING_MATCH_ANY;
    switch (in->kind) {
    case RBAC_ANY:
        break;
    case RBAC_AND:
    case RBAC_OR:
        return encode_principal_set(e, in);
    case RBAC_NOT:
        m->identifier_case = PB__RBAC__PRINCIPAL__IDENTIFIER_NOT_ID;
        m->not_id = encode_principal(e, &in->children[0]);
        break;
    case RBAC_PRINCIPAL:
    case RBAC_NAMESPACE:
        return encode_authenticated(e, in);
    case RBAC_HEADER:
        m->identifier_case = PB__RBAC__PRINCIPAL__IDENTIFIER_HEADER;
        m->header = encode_header_match(e, &in->header);
        break;
    case RBAC_PATH:
        m->identifier_case = is_any_string ? PB__RBAC__PRINCIPAL__IDENTIFIER_HEADER
                                           : PB__RBAC__PRINCIPAL__IDENTIFIER_URL_PATH;
        if (is_any_string)
            m->header = any_path_header(e);
        else
            m->url_path = encode_path(e, &in->string);
        break;
    case RBAC_SOURCE_IP:
        m->identifier_case = PB__RBAC__PRINCIPAL__IDENTIFIER_DIRECT_REMOTE_IP;
        m->direct_remote_ip = encode_cidr(e, &in->cidr);
        break;
    case RBAC_REMOTE_IP:
        m->identifier_case = PB__RBAC__PRINCIPAL__IDENTIFIER_REMOTE_IP;
        m->remote_ip = encode_cidr(e, &in->cidr);
        break;
    case RBAC_DESTINATION_PORT:
    case RBAC_DESTINATION_IP:
    case RBAC_SNI:
    case RBAC_JWT:
        e->rc = -ERR_UNSUPPORTED; /* facts of a permission; nothing of ours */
        break;
    }
    return m;
}
