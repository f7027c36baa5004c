/* AuthorizationPolicy to RBAC trees (envoy.config.rbac.v3), as Istio translates them. What a rule
 * asks about the caller and its request's headers becomes the principal, what it asks about the
 * destination the permission: RBAC knows each fact on one side only.
 *
 * On TCP an ALLOW rule that asks about HTTP never matches and is left out; a DENY rule loses its
 * HTTP parts and matches the rest. */
#include "control/translate/translate_priv.h"

struct nodes {
    struct rbac_node *ptr;
    size_t len, cap;
};

static struct rbac_node any(void)
{
    return (struct rbac_node){.kind = RBAC_ANY};
}

static void add(struct job *j, struct nodes *n, struct rbac_node node)
{
    if (n->len == n->cap) {
        size_t cap = n->cap == 0 ? 4 : n->cap * 2;
        struct rbac_node *ptr = ARENA_ARRAY(j->a, struct rbac_node, cap);
        if (n->len > 0)
            memcpy(ptr, n->ptr, n->len * sizeof *ptr);
        n->ptr = ptr;
        n->cap = cap;
    }
    n->ptr[n->len++] = node;
}

static struct rbac_node group(enum rbac_node_kind kind, const struct nodes *n)
{
    if (n->len == 1 && kind != RBAC_NOT)
        return n->ptr[0];
    return (struct rbac_node){.kind = kind, .children = n->ptr, .child_count = n->len};
}

static struct rbac_node negate(struct job *j, struct rbac_node node)
{
    struct nodes n = {0};
    add(j, &n, node);
    return group(RBAC_NOT, &n);
}

static struct rbac_node never(struct job *j)
{
    return negate(j, any());
}

/* --- leaves --- */

static struct string_match string_of(const struct api_match *m)
{
    static const enum string_match_kind kinds[] = {
        [API_MATCH_EXACT] = STRING_MATCH_EXACT,
        [API_MATCH_PREFIX] = STRING_MATCH_PREFIX,
        [API_MATCH_SUFFIX] = STRING_MATCH_SUFFIX,
        [API_MATCH_PRESENT] = STRING_MATCH_ANY,
    };
    return (struct string_match){.kind = kinds[m->kind], .value = m->value};
}

typedef struct rbac_node leaf_fn(struct job *j, const struct api_match *m, struct str header);

static struct rbac_node header_leaf(struct job *j, const struct api_match *m, struct str header)
{
    (void)j;
    return (struct rbac_node){.kind = RBAC_HEADER,
                              .header = {.name = header, .value = string_of(m)}};
}

static struct rbac_node host_leaf(struct job *j, const struct api_match *m, struct str header)
{
    struct rbac_node node = header_leaf(j, m, header);
    node.header.value.ignore_case = true;
    return node;
}

static struct rbac_node path_leaf(struct job *j, const struct api_match *m, struct str header)
{
    (void)j;
    (void)header;
    return (struct rbac_node){.kind = RBAC_PATH, .string = string_of(m)};
}

/* The certificate carries "spiffe://" in front of what a policy writes. */
static struct rbac_node principal_leaf(struct job *j, const struct api_match *m, struct str header)
{
    (void)header;
    struct rbac_node node = {.kind = RBAC_PRINCIPAL, .string = string_of(m)};
    if (m->kind == API_MATCH_EXACT || m->kind == API_MATCH_PREFIX)
        node.string.value = arena_printf(j->a, "spiffe://%.*s", STR_FMT(m->value));
    return node;
}

static struct rbac_node namespace_leaf(struct job *j, const struct api_match *m, struct str header)
{
    (void)j;
    (void)header;
    return (struct rbac_node){.kind = RBAC_NAMESPACE, .string = string_of(m)};
}

static struct rbac_node sni_leaf(struct job *j, const struct api_match *m, struct str header)
{
    (void)j;
    (void)header;
    return (struct rbac_node){.kind = RBAC_SNI, .string = string_of(m)};
}

static struct rbac_node ip_node(enum rbac_node_kind kind, struct str text)
{
    struct rbac_node node = {.kind = kind};
    (void)cidr_parse(text, &node.cidr, NULL); /* checked when the document was parsed */
    return node;
}

static struct rbac_node port_node(uint64_t port)
{
    return (struct rbac_node){
        .kind = RBAC_DESTINATION_PORT, .port_from = (uint16_t)port, .port_to = (uint16_t)port};
}

static struct rbac_node source_ip_leaf(struct job *j, const struct api_match *m, struct str header)
{
    (void)j;
    (void)header;
    return ip_node(RBAC_SOURCE_IP, m->value);
}

static struct rbac_node destination_ip_leaf(struct job *j, const struct api_match *m,
                                            struct str header)
{
    (void)j;
    (void)header;
    return ip_node(RBAC_DESTINATION_IP, m->value);
}

static struct rbac_node destination_port_leaf(struct job *j, const struct api_match *m,
                                              struct str header)
{
    (void)j;
    (void)header;
    uint64_t port = 0;
    (void)str_to_u64(m->value, UINT16_MAX, &port);
    return port_node(port);
}

/* --- lists: one of the values, and none of the others --- */

static void add_matches(struct job *j, struct nodes *all, const struct api_matches *in,
                        const struct api_matches *not_in, struct str header, leaf_fn *leaf)
{
    struct nodes yes = {0}, no = {0};
    for (size_t i = 0; i < in->len; i++)
        add(j, &yes, leaf(j, &in->v[i], header));
    for (size_t i = 0; i < not_in->len; i++)
        add(j, &no, leaf(j, &not_in->v[i], header));
    if (yes.len > 0)
        add(j, all, group(RBAC_OR, &yes));
    if (no.len > 0)
        add(j, all, negate(j, group(RBAC_OR, &no)));
}

static void add_ips(struct job *j, struct nodes *all, const struct api_strs *in,
                    const struct api_strs *not_in)
{
    struct nodes yes = {0}, no = {0};
    for (size_t i = 0; i < in->len; i++)
        add(j, &yes, ip_node(RBAC_SOURCE_IP, in->v[i]));
    for (size_t i = 0; i < not_in->len; i++)
        add(j, &no, ip_node(RBAC_SOURCE_IP, not_in->v[i]));
    if (yes.len > 0)
        add(j, all, group(RBAC_OR, &yes));
    if (no.len > 0)
        add(j, all, negate(j, group(RBAC_OR, &no)));
}

static void add_ports(struct job *j, struct nodes *all, const struct api_ports *in,
                      const struct api_ports *not_in)
{
    struct nodes yes = {0}, no = {0};
    for (size_t i = 0; i < in->len; i++)
        add(j, &yes, port_node(in->v[i]));
    for (size_t i = 0; i < not_in->len; i++)
        add(j, &no, port_node(not_in->v[i]));
    if (yes.len > 0)
        add(j, all, group(RBAC_OR, &yes));
    if (no.len > 0)
        add(j, all, negate(j, group(RBAC_OR, &no)));
}

/* --- rules --- */

static struct rbac_node source_node(struct job *j, const struct api_auth_source *s)
{
    struct nodes all = {0};
    add_matches(j, &all, &s->principals, &s->not_principals, STR_NULL, principal_leaf);
    add_matches(j, &all, &s->namespaces, &s->not_namespaces, STR_NULL, namespace_leaf);
    add_ips(j, &all, &s->ip_blocks, &s->not_ip_blocks);
    return all.len > 0 ? group(RBAC_AND, &all) : any();
}

static struct rbac_node operation_node(struct job *j, const struct api_auth_operation *o,
                                       bool is_tcp)
{
    struct nodes all = {0};
    add_ports(j, &all, &o->ports, &o->not_ports);
    if (!is_tcp) {
        add_matches(j, &all, &o->hosts, &o->not_hosts, STR(":authority"), host_leaf);
        add_matches(j, &all, &o->methods, &o->not_methods, STR(":method"), header_leaf);
        add_matches(j, &all, &o->paths, &o->not_paths, STR_NULL, path_leaf);
    }
    return all.len > 0 ? group(RBAC_AND, &all) : any();
}

/* Facts of the destination are permissions, all others are principals. */
static bool is_permission(enum api_auth_key key)
{
    return key == API_AUTH_KEY_DESTINATION_IP || key == API_AUTH_KEY_DESTINATION_PORT ||
           key == API_AUTH_KEY_CONNECTION_SNI;
}

static void add_condition(struct job *j, struct nodes *all, const struct api_auth_condition *c)
{
    static leaf_fn *const leaves[] = {
        [API_AUTH_KEY_REQUEST_HEADER] = header_leaf,
        [API_AUTH_KEY_SOURCE_IP] = source_ip_leaf,
        [API_AUTH_KEY_SOURCE_NAMESPACE] = namespace_leaf,
        [API_AUTH_KEY_SOURCE_PRINCIPAL] = principal_leaf,
        [API_AUTH_KEY_DESTINATION_IP] = destination_ip_leaf,
        [API_AUTH_KEY_DESTINATION_PORT] = destination_port_leaf,
        [API_AUTH_KEY_CONNECTION_SNI] = sni_leaf,
    };
    add_matches(j, all, &c->values, &c->not_values, c->header, leaves[c->key]);
}

static void fill_rule(struct job *j, const struct api_auth_rule *rule, bool is_tcp,
                      struct rbac_policy *p)
{
    struct nodes sources = {0}, operations = {0}, permission = {0}, principal = {0};
    for (size_t i = 0; i < rule->source_count; i++)
        add(j, &sources, source_node(j, &rule->sources[i]));
    for (size_t i = 0; i < rule->operation_count; i++)
        add(j, &operations, operation_node(j, &rule->operations[i], is_tcp));
    if (operations.len > 0)
        add(j, &permission, group(RBAC_OR, &operations));
    if (sources.len > 0)
        add(j, &principal, group(RBAC_OR, &sources));
    for (size_t i = 0; i < rule->condition_count; i++) {
        const struct api_auth_condition *c = &rule->conditions[i];
        if (is_tcp && c->key == API_AUTH_KEY_REQUEST_HEADER)
            continue;
        add_condition(j, is_permission(c->key) ? &permission : &principal, c);
    }
    p->permission = permission.len > 0 ? group(RBAC_AND, &permission) : any();
    p->principal = principal.len > 0 ? group(RBAC_AND, &principal) : any();
}

/* --- policies --- */

struct policies {
    struct rbac_policy *ptr;
    size_t len, cap;
    struct str origins;
};

static struct rbac_policy *next_policy(struct job *j, struct policies *out)
{
    if (out->len == out->cap) {
        size_t cap = out->cap == 0 ? 8 : out->cap * 2;
        struct rbac_policy *ptr = ARENA_ARRAY(j->a, struct rbac_policy, cap);
        if (out->len > 0)
            memcpy(ptr, out->ptr, out->len * sizeof *ptr);
        out->ptr = ptr;
        out->cap = cap;
    }
    return &out->ptr[out->len++];
}

static void add_policy(struct job *j, struct policies *out, const struct api_document *d,
                       bool is_tcp)
{
    const struct api_authorization_policy *policy = d->spec.authorization_policy;
    struct str subject = api_document_subject(j->a, d);
    bool is_allow = policy->action == API_AUTH_ALLOW;
    out->origins = out->origins.len > 0
                       ? arena_printf(j->a, "%.*s,%.*s", STR_FMT(out->origins), STR_FMT(subject))
                       : subject;
    size_t before = out->len;
    for (size_t i = 0; i < policy->rule_count; i++) {
        if (is_tcp && is_allow && api_auth_rule_is_http(&policy->rules[i]))
            continue;
        struct rbac_policy *p = next_policy(j, out);
        p->name = arena_printf(j->a, "%.*s#rules[%zu]", STR_FMT(subject), i);
        fill_rule(j, &policy->rules[i], is_tcp, p);
    }
    /* One that allows nobody is in force all the same, and is named by a refusal. */
    if (out->len == before && is_allow) {
        struct rbac_policy *p = next_policy(j, out);
        p->name = subject;
        p->permission = p->principal = never(j);
    }
}

static void collect(struct job *j, struct str namespace_, const struct api_document *workload,
                    enum api_auth_action action, bool is_tcp, struct policies *out)
{
    struct registry_docs docs = job_docs(j, API_KIND_AUTHORIZATION_POLICY, namespace_);
    for (size_t i = 0; i < docs.len; i++) {
        const struct api_authorization_policy *p = docs.ptr[i]->spec.authorization_policy;
        if (p->action == action &&
            (!p->selector.is_set || api_labels_match(&p->selector.labels, &workload->labels)))
            add_policy(j, out, docs.ptr[i], is_tcp);
    }
}

static const struct rbac *rbac_for(struct job *j, const struct api_document *workload,
                                   enum api_auth_action action, bool is_tcp)
{
    struct policies out = {0};
    struct str root = STR(REGISTRY_ROOT_NAMESPACE);
    collect(j, root, workload, action, is_tcp, &out);
    if (!str_eq(workload->namespace, root))
        collect(j, workload->namespace, workload, action, is_tcp, &out);
    if (out.len == 0)
        return NULL;
    struct rbac *rbac = ARENA_NEW(j->a, struct rbac);
    rbac->action = action == API_AUTH_DENY ? RBAC_DENY : RBAC_ALLOW;
    rbac->policies = out.ptr;
    rbac->policy_count = out.len;
    rbac->origins = out.origins;
    return rbac;
}

struct rbac_pair policy_for(struct job *j, const struct api_document *workload, bool is_tcp)
{
    return (struct rbac_pair){
        .deny = rbac_for(j, workload, API_AUTH_DENY, is_tcp),
        .allow = rbac_for(j, workload, API_AUTH_ALLOW, is_tcp),
    };
}

/* --- revoked identities --- */

struct revoked {
    struct job *j;
    struct nodes nodes;
};

/* Exactly that name, and all of it: it is an identity, no pattern. */
static void on_revoked(void *ctx, struct str identity, struct str note)
{
    struct revoked *r = ctx;
    struct rbac_node node = {
        .kind = RBAC_PRINCIPAL,
        .string = {.kind = STRING_MATCH_EXACT, .value = arena_str(r->j->a, identity)}};
    (void)note;
    add(r->j, &r->nodes, node);
}

const struct rbac *policy_revoked(struct job *j, const struct api_document *workload)
{
    struct revoked r = {.j = j};
    job_note(j, "revoked");
    registry_each_revoked(j->r, on_revoked, &r);
    if (r.nodes.len == 0)
        return NULL;
    bool is_own = registry_is_revoked(j->r, registry_identity(j->r, workload, j->a));
    struct rbac_policy *p = ARENA_NEW(j->a, struct rbac_policy);
    p->name = STR("revoked");
    p->permission = any();
    p->principal = is_own ? any() : group(RBAC_OR, &r.nodes);
    struct rbac *rbac = ARENA_NEW(j->a, struct rbac);
    rbac->action = RBAC_DENY;
    rbac->policies = p;
    rbac->policy_count = 1;
    rbac->origins = STR("revoked");
    return rbac;
}
