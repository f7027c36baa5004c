#include "control/api/authorization_policy.h"

#include "codec/cidr.h"
#include "control/api/reader_priv.h"

#define SPIFFE "spiffe://"

bool api_auth_rule_is_http(const struct api_auth_rule *r)
{
    for (size_t i = 0; i < r->operation_count; i++) {
        const struct api_auth_operation *o = &r->operations[i];
        if (o->hosts.len + o->not_hosts.len + o->methods.len + o->not_methods.len + o->paths.len +
                o->not_paths.len >
            0)
            return true;
    }
    for (size_t i = 0; i < r->condition_count; i++)
        if (r->conditions[i].key == API_AUTH_KEY_REQUEST_HEADER)
            return true;
    return false;
}

/* --- Match strings -------------------------------------------------------------------------- */

/* `x`, `x*`, `*x`, `*`: a star elsewhere is a letter, as in Istio. */
static struct api_match match_of(const struct in *in, struct str text)
{
    struct api_match m = {API_MATCH_EXACT, text, in->place};
    if (text.len > 2 && str_find(str_sub(text, 1, text.len - 2), '*') >= 0)
        in_warning(in, "a star means something only as the first or last letter",
                   "the star inside \"%.*s\" is taken as it is written", STR_CLIP(text));
    else if (text.len > 1 && text.ptr[0] == '*' && text.ptr[text.len - 1] == '*')
        in_warning(in, "stars at both ends are not known",
                   "the first star of \"%.*s\" is taken "
                   "as it is written",
                   STR_CLIP(text));
    if (str_eq(text, STR("*")))
        m = (struct api_match){API_MATCH_PRESENT, STR(""), in->place};
    else if (text.len > 0 && text.ptr[text.len - 1] == '*')
        m = (struct api_match){API_MATCH_PREFIX, str_sub(text, 0, text.len - 1), in->place};
    else if (text.len > 0 && text.ptr[0] == '*')
        m = (struct api_match){API_MATCH_SUFFIX, str_skip(text, 1), in->place};
    return m;
}

static bool read_match_text(const struct in *in, struct str *ret)
{
    struct str text;
    if (!in_text(in, &text))
        return false;
    if (text.len == 0) {
        struct str path = in_path(in);
        in_error(in, NULL, "\"%.*s\" must not be empty", STR_FMT(path));
        return false;
    }
    *ret = text;
    return true;
}

static void read_match(const struct in *in, void *out)
{
    struct str text;
    if (read_match_text(in, &text))
        *(struct api_match *)out = match_of(in, text);
}

/* The second leniency: Istio adds the scheme itself, so a principal written with it matches nobody
 * there. */
static void read_principal(const struct in *in, void *out)
{
    struct str text;
    if (!read_match_text(in, &text))
        return;
    if (str_starts_with(text, STR(SPIFFE))) {
        text = str_skip(text, sizeof SPIFFE - 1);
        in_warning(in, "Istio adds it itself: there, leave it out",
                   "the principal is taken without " SPIFFE);
        if (text.len == 0)
            text = STR("*");
    }
    *(struct api_match *)out = match_of(in, text);
    bool is_exact = ((struct api_match *)out)->kind == API_MATCH_EXACT;
    if (is_exact && (!str_contains(text, STR("/ns/")) || !str_contains(text, STR("/sa/"))))
        in_warning(in, "write TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT",
                   "no identity looks like \"%.*s\"", STR_CLIP(text));
}

static void read_path(const struct in *in, void *out)
{
    struct str text;
    if (!read_match_text(in, &text))
        return;
    if (str_contains(text, STR("{*}")) || str_contains(text, STR("{**}")))
        in_error(in, NULL, "path templates ({*}, {**}) are not supported yet");
    else
        *(struct api_match *)out = match_of(in, text);
}

/* A list that is there must say something: an empty one would allow any. */
static void *read_filled(const struct in *in, size_t item_len, field_fn *read, size_t *ret_count)
{
    void *items = in_array(in, item_len, read, ret_count);
    if (items == NULL && in_is_sequence(in)) {
        struct str path = in_path(in);
        in_error(in, "leave it out to mean any", "\"%.*s\" must not be empty", STR_FMT(path));
    }
    return items;
}

static void read_matches(const struct in *in, void *out)
{
    struct api_matches *m = out;
    m->v = read_filled(in, sizeof *m->v, read_match, &m->len);
}

static void read_principals(const struct in *in, void *out)
{
    struct api_matches *m = out;
    m->v = read_filled(in, sizeof *m->v, read_principal, &m->len);
}

static void read_paths(const struct in *in, void *out)
{
    struct api_matches *m = out;
    m->v = read_filled(in, sizeof *m->v, read_path, &m->len);
}

static void read_filled_cidrs(const struct in *in, void *out)
{
    size_t count = 0;
    read_cidrs(in, out);
    if (in_is_sequence(in) && in_count(in) == 0)
        read_filled(in, 1, read_match, &count);
}

static void read_filled_ports(const struct in *in, void *out)
{
    size_t count = 0;
    read_ports(in, out);
    if (in_is_sequence(in) && in_count(in) == 0)
        read_filled(in, 1, read_match, &count);
}

/* --- Sources and operations ----------------------------------------------------------------- */

static void check_says_something(const struct in *in)
{
    if (!in_is_mapping(in))
        return;
    for (size_t i = 0; i < in_count(in); i++) {
        struct in entry = in_entry(in, i);
        if (!in_is_null(&entry))
            return;
    }
    struct str path = in_path(in);
    in_error(in, "leave it out to mean any", "\"%.*s\" must not be empty", STR_FMT(path));
}

static void read_source_fields(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD("principals", read_principals, struct api_auth_source, principals),
        FIELD("notPrincipals", read_principals, struct api_auth_source, not_principals),
        FIELD("namespaces", read_matches, struct api_auth_source, namespaces),
        FIELD("notNamespaces", read_matches, struct api_auth_source, not_namespaces),
        FIELD("ipBlocks", read_filled_cidrs, struct api_auth_source, ip_blocks),
        FIELD("notIpBlocks", read_filled_cidrs, struct api_auth_source, not_ip_blocks),
        FIELD_NOT_YET("requestPrincipals"),
        FIELD_NOT_YET("notRequestPrincipals"),
        FIELD_NOT_YET("serviceAccounts"),
        FIELD_NOT_YET("notServiceAccounts"),
        FIELD_NOT_YET("remoteIpBlocks"),
        FIELD_NOT_YET("notRemoteIpBlocks"),
        FIELD_NOT_YET("trustDomains"),
        FIELD_NOT_YET("notTrustDomains"),
    };
    IN_OBJECT(in, fields, out);
    check_says_something(in);
}

static void read_operation_fields(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD("hosts", read_matches, struct api_auth_operation, hosts),
        FIELD("notHosts", read_matches, struct api_auth_operation, not_hosts),
        FIELD("ports", read_filled_ports, struct api_auth_operation, ports),
        FIELD("notPorts", read_filled_ports, struct api_auth_operation, not_ports),
        FIELD("methods", read_matches, struct api_auth_operation, methods),
        FIELD("notMethods", read_matches, struct api_auth_operation, not_methods),
        FIELD("paths", read_paths, struct api_auth_operation, paths),
        FIELD("notPaths", read_paths, struct api_auth_operation, not_paths),
    };
    IN_OBJECT(in, fields, out);
    check_says_something(in);
}

static void read_from(const struct in *in, void *out)
{
    static const struct field fields[] = {FIELD_WHOLE_MUST("source", read_source_fields)};
    struct api_auth_source *source = out;
    source->place = in->place;
    IN_OBJECT(in, fields, source);
}

static void read_to(const struct in *in, void *out)
{
    static const struct field fields[] = {FIELD_WHOLE_MUST("operation", read_operation_fields)};
    struct api_auth_operation *operation = out;
    operation->place = in->place;
    IN_OBJECT(in, fields, operation);
}

/* --- Conditions ----------------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum api_auth_key key;
} condition_keys[] = {
    {"source.ip", API_AUTH_KEY_SOURCE_IP},
    {"source.namespace", API_AUTH_KEY_SOURCE_NAMESPACE},
    {"source.principal", API_AUTH_KEY_SOURCE_PRINCIPAL},
    {"destination.ip", API_AUTH_KEY_DESTINATION_IP},
    {"destination.port", API_AUTH_KEY_DESTINATION_PORT},
    {"connection.sni", API_AUTH_KEY_CONNECTION_SNI},
};

/* Known to Istio; those that end in `[` take an argument. */
static const char *const condition_keys_not_yet[] = {
    "remote.ip",
    "source.serviceAccount",
    "source.trustDomain",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "request.auth.claims[",
    "experimental.envoy.filters.",
};

static void error_condition_key(const struct in *in, struct str text)
{
    for (size_t i = 0; i < ARRAY_LEN(condition_keys_not_yet); i++) {
        if (str_starts_with(text, str_from_c(condition_keys_not_yet[i]))) {
            in_error(in, NULL, "condition \"%.*s\" is not supported yet", STR_CLIP(text));
            return;
        }
    }
    in_error(in,
             "request.headers[NAME], source.ip, source.namespace, source.principal, "
             "destination.ip, destination.port or connection.sni",
             "unknown condition \"%.*s\"", STR_CLIP(text));
}

static bool read_header_key(const struct in *in, struct str text, struct api_auth_condition *c)
{
    static const struct str start = {"request.headers[", sizeof "request.headers[" - 1};
    if (!str_starts_with(text, start) || text.ptr[text.len - 1] != ']')
        return false;
    struct str name = str_sub(text, start.len, text.len - start.len - 1);
    if (!name_is_header(name))
        in_error(in, NULL, "\"%.*s\" is no valid header name", STR_CLIP(name));
    c->key = API_AUTH_KEY_REQUEST_HEADER;
    c->header = in_lower(in, name);
    return true;
}

/* False, with a finding, when values cannot be read for want of a key. */
static bool read_key(const struct in *in, struct api_auth_condition *c)
{
    struct str text;
    if (!in_text(in, &text))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(condition_keys); i++) {
        if (str_eq(text, str_from_c(condition_keys[i].name))) {
            c->key = condition_keys[i].key;
            return true;
        }
    }
    if (read_header_key(in, text, c))
        return true;
    error_condition_key(in, text);
    return false;
}

static void read_ip_value(const struct in *in, void *out)
{
    struct str text;
    struct cidr cidr;
    if (!read_match_text(in, &text))
        return;
    if (cidr_parse(text, &cidr, NULL))
        *(struct api_match *)out = (struct api_match){API_MATCH_EXACT, text, in->place};
    else
        in_error(in, "write for example 10.0.0.0/8 or fd00::1", "\"%.*s\" is no address",
                 STR_CLIP(text));
}

static void read_port_value(const struct in *in, void *out)
{
    struct str text;
    uint64_t port;
    if (!in_text_of_any(in, &text))
        return;
    if (str_to_u64(text, UINT16_MAX, &port) && port > 0)
        *(struct api_match *)out = (struct api_match){API_MATCH_EXACT, text, in->place};
    else
        in_error(in, NULL, "\"%.*s\" is no port", STR_CLIP(text));
}

static field_fn *value_reader(enum api_auth_key key)
{
    switch (key) {
    case API_AUTH_KEY_SOURCE_IP:
    case API_AUTH_KEY_DESTINATION_IP:
        return read_ip_value;
    case API_AUTH_KEY_DESTINATION_PORT:
        return read_port_value;
    case API_AUTH_KEY_SOURCE_PRINCIPAL:
        return read_principal;
    case API_AUTH_KEY_REQUEST_HEADER:
    case API_AUTH_KEY_SOURCE_NAMESPACE:
    case API_AUTH_KEY_CONNECTION_SNI:
        return read_match;
    }
    return read_match;
}

static void ignore(const struct in *in, void *out)
{
    (void)in;
    (void)out;
}

static void read_condition(const struct in *in, void *out)
{
    static const struct field fields[] = {
        /* How values are read depends on the key, which may stand behind them. */
        FIELD_WHOLE_MUST("key", ignore),
        FIELD_WHOLE("values", ignore),
        FIELD_WHOLE("notValues", ignore),
    };
    struct api_auth_condition *c = out;
    struct in key, values;
    c->place = in->place;
    if (!IN_OBJECT(in, fields, c) || !in_get(in, "key", &key) || !read_key(&key, c))
        return;
    field_fn *read = value_reader(c->key);
    if (in_get(in, "values", &values))
        c->values.v = read_filled(&values, sizeof *c->values.v, read, &c->values.len);
    if (in_get(in, "notValues", &values))
        c->not_values.v = read_filled(&values, sizeof *c->not_values.v, read, &c->not_values.len);
    else if (!in_get(in, "values", &values))
        in_error(in, NULL, "a condition needs values or notValues");
}

/* --- Rules ---------------------------------------------------------------------------------- */

static void read_sources(const struct in *in, void *out)
{
    struct api_auth_rule *rule = out;
    rule->sources = read_filled(in, sizeof *rule->sources, read_from, &rule->source_count);
}

static void read_operations(const struct in *in, void *out)
{
    struct api_auth_rule *rule = out;
    rule->operations = read_filled(in, sizeof *rule->operations, read_to, &rule->operation_count);
}

static void read_conditions(const struct in *in, void *out)
{
    struct api_auth_rule *rule = out;
    rule->conditions =
        read_filled(in, sizeof *rule->conditions, read_condition, &rule->condition_count);
}

static void read_rule(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD_WHOLE("from", read_sources),
        FIELD_WHOLE("to", read_operations),
        FIELD_WHOLE("when", read_conditions),
    };
    struct api_auth_rule *rule = out;
    rule->place = in->place;
    IN_OBJECT(in, fields, rule);
}

static void read_rules(const struct in *in, void *out)
{
    struct api_authorization_policy *policy = out;
    policy->rules = in_array(in, sizeof *policy->rules, read_rule, &policy->rule_count);
}

static void read_action(const struct in *in, void *out)
{
    static const char *const names[] = {"ALLOW", "DENY", NULL};
    static const char *const not_yet[] = {"AUDIT", "CUSTOM", NULL};
    int index = in_enum(in, names, not_yet);
    if (index >= 0)
        *(enum api_auth_action *)out = (enum api_auth_action)index;
}

void authorization_policy_read(const struct in *spec, struct api_document *d)
{
    static const struct field fields[] = {
        FIELD("selector", read_selector, struct api_authorization_policy, selector),
        FIELD("action", read_action, struct api_authorization_policy, action),
        FIELD_WHOLE("rules", read_rules),
        FIELD_NOT_YET("targetRef"),
        FIELD_NOT_YET("targetRefs"),
        FIELD_NOT_YET("provider"),
    };
    struct api_authorization_policy *policy = ARENA_NEW(&d->arena, struct api_authorization_policy);
    IN_OBJECT(spec, fields, policy);
    d->spec.authorization_policy = policy;
    if (policy->action == API_AUTH_DENY && policy->rule_count == 0)
        in_warning(spec, "add rules", "a DENY policy without rules denies nothing");
}
