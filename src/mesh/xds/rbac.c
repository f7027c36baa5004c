#include "base/err.h"
#include "mesh/xds/codec_priv.h"

/* An ALLOW filter without a rule denies everything, and still has to say in whose name. Policies
 * are the only names that the message holds, so such a document is a policy of its name that
 * nobody meets: principal "not any". Decoding keeps the name and drops the policy. */

/* "AuthorizationPolicy/shop/orders#rules[0]" is of the document before '#'. */
static struct str document_of(struct str policy_name)
{
    ptrdiff_t hash = str_find(policy_name, '#');
    return hash < 0 ? policy_name : str_sub(policy_name, 0, (size_t)hash);
}

static bool is_listed(struct str origins, struct str document)
{
    while (origins.ptr != NULL) {
        if (str_eq(str_split(&origins, ','), document))
            return true;
    }
    return false;
}

/* --- decoding --- */

static int decode_permissions(struct decode *d, const struct pb_path *at, const Pb__Rbac__Policy *m,
                              struct rbac_node *node)
{
    if (m->n_permissions == 0)
        return decode_fail(d, PB_AT(at, "permissions"), "at least one is needed");
    if (m->n_permissions == 1)
        return decode_permission(d, PB_AT_I(at, "permissions", 0), m->permissions[0], node);
    struct rbac_node *children = ARENA_ARRAY(d->arena, struct rbac_node, m->n_permissions);
    *node = (struct rbac_node){RBAC_OR, children, m->n_permissions};
    for (size_t i = 0; i < m->n_permissions; i++) {
        if (decode_permission(d, PB_AT_I(at, "permissions", i), m->permissions[i], &children[i]) !=
            0)
            return -ERR_INVALID;
    }
    return 0;
}

static int decode_principals(struct decode *d, const struct pb_path *at, const Pb__Rbac__Policy *m,
                             struct rbac_node *node)
{
    if (m->n_principals == 0)
        return decode_fail(d, PB_AT(at, "principals"), "at least one is needed");
    if (m->n_principals == 1)
        return decode_principal(d, PB_AT_I(at, "principals", 0), m->principals[0], node);
    struct rbac_node *children = ARENA_ARRAY(d->arena, struct rbac_node, m->n_principals);
    *node = (struct rbac_node){RBAC_OR, children, m->n_principals};
    for (size_t i = 0; i < m->n_principals; i++) {
        if (decode_principal(d, PB_AT_I(at, "principals", i), m->principals[i], &children[i]) != 0)
            return -ERR_INVALID;
    }
    return 0;
}

static bool is_never(const struct rbac_policy *p)
{
    return p->principal.kind == RBAC_NOT && p->principal.children[0].kind == RBAC_ANY;
}

static void add_origin(struct str_buf *origins, struct str document)
{
    if (document.len == 0 || is_listed(str_buf_str(origins), document))
        return;
    if (origins->len > 0)
        str_buf_add_char(origins, ',');
    str_buf_add(origins, document);
}

static int decode_policies(struct decode *d, const struct pb_path *at, const Pb__Rbac__RBAC *m,
                           struct rbac *rbac)
{
    enum { ORIGINS_LEN_MAX = 8192 }; /* an answer names them in a header */
    AUTO(str_buf_deinit) struct str_buf origins = STR_BUF_INIT(ORIGINS_LEN_MAX);
    struct rbac_policy *policies = ARENA_ARRAY(d->arena, struct rbac_policy, m->n_policies);
    for (size_t i = 0; i < m->n_policies; i++) {
        struct pb_path here = *PB_AT(at, "policies");
        here.key = str_from_c(m->policies[i]->key != NULL ? m->policies[i]->key : "");
        const Pb__Rbac__Policy *value = m->policies[i]->value;
        struct rbac_policy *p = &policies[rbac->policy_count];
        p->name = decode_str(d, m->policies[i]->key);
        if (value == NULL)
            return decode_fail(d, &here, "a policy is needed");
        if (decode_permissions(d, &here, value, &p->permission) != 0 ||
            decode_principals(d, &here, value, &p->principal) != 0)
            return -ERR_INVALID;
        if (rbac->action == RBAC_ALLOW)
            add_origin(&origins, document_of(p->name));
        rbac->policy_count += rbac->action != RBAC_ALLOW || !is_never(p);
    }
    rbac->policies = rbac->policy_count > 0 ? policies : NULL;
    if (origins.len > 0)
        rbac->origins = arena_str(d->arena, str_buf_str(&origins));
    return 0;
}

int decode_rbac(struct decode *d, const struct pb_path *at, const Pb__Rbac__RBAC *m,
                const struct rbac **ret_rbac)
{
    struct rbac *rbac = ARENA_NEW(d->arena, struct rbac);
    if (m == NULL) {
        /* A filter without rules lets everything pass. */
        rbac->action = RBAC_DENY;
        *ret_rbac = rbac;
        return 0;
    }
    switch ((int)m->action) {
    case PB__RBAC__RBAC__ACTION__ALLOW:
        rbac->action = RBAC_ALLOW;
        break;
    case PB__RBAC__RBAC__ACTION__DENY:
        rbac->action = RBAC_DENY;
        break;
    case PB__RBAC__RBAC__ACTION__LOG:
        rbac->action = RBAC_LOG;
        break;
    default:
        return decode_fail(d, PB_AT(at, "action"), "unknown action");
    }
    int rc = decode_policies(d, at, m, rbac);
    if (rc == 0)
        *ret_rbac = rbac;
    return rc;
}

/* --- encoding --- */

static void add_policy(struct encode *e, Pb__Rbac__RBAC *m, struct str name,
                       const struct rbac_node *permission, const struct rbac_node *principal)
{
    Pb__Rbac__Policy *p = PB_NEW(e, Pb__Rbac__Policy, pb__rbac__policy);
    /* Lists are "any of": an OR of several needs no node of its own. */
    bool is_list = permission->kind == RBAC_OR && permission->child_count > 1;
    p->n_permissions = is_list ? permission->child_count : 1;
    p->permissions = PB_PTRS(e, Pb__Rbac__Permission, p->n_permissions);
    for (size_t i = 0; i < p->n_permissions; i++)
        p->permissions[i] = encode_permission(e, is_list ? &permission->children[i] : permission);
    is_list = principal->kind == RBAC_OR && principal->child_count > 1;
    p->n_principals = is_list ? principal->child_count : 1;
    p->principals = PB_PTRS(e, Pb__Rbac__Principal, p->n_principals);
    for (size_t i = 0; i < p->n_principals; i++)
        p->principals[i] = encode_principal(e, is_list ? &principal->children[i] : principal);

    Pb__Rbac__RBAC__PoliciesEntry *entry =
        PB_NEW(e, Pb__Rbac__RBAC__PoliciesEntry, pb__rbac__rbac__policies_entry);
    entry->key = encode_str_always(e, name);
    entry->value = p;
    m->policies[m->n_policies++] = entry;
}

static size_t count_origins(struct str origins)
{
    size_t count = 0;
    for (; origins.ptr != NULL; count++)
        str_split(&origins, ',');
    return count;
}

static bool has_policy_of(const struct rbac *in, struct str document)
{
    for (size_t i = 0; i < in->policy_count; i++) {
        if (str_eq(document_of(in->policies[i].name), document))
            return true;
    }
    return false;
}

Pb__Rbac__RBAC *encode_rbac(struct encode *e, const struct rbac *in)
{
    static const struct rbac_node any = {.kind = RBAC_ANY};
    static const struct rbac_node none = {.kind = RBAC_NOT, .children = &any, .child_count = 1};
    static const Pb__Rbac__RBAC__Action actions[] = {
        [RBAC_ALLOW] = PB__RBAC__RBAC__ACTION__ALLOW,
        [RBAC_DENY] = PB__RBAC__RBAC__ACTION__DENY,
        [RBAC_LOG] = PB__RBAC__RBAC__ACTION__LOG,
    };
    Pb__Rbac__RBAC *m = PB_NEW(e, Pb__Rbac__RBAC, pb__rbac__rbac);
    m->has_action = in->action != RBAC_ALLOW;
    m->action = actions[in->action];
    struct str origins = in->action == RBAC_ALLOW ? in->origins : STR_NULL;
    m->policies =
        PB_PTRS(e, Pb__Rbac__RBAC__PoliciesEntry, in->policy_count + count_origins(origins));
    for (size_t i = 0; i < in->policy_count; i++)
        add_policy(e, m, in->policies[i].name, &in->policies[i].permission,
                   &in->policies[i].principal);
    while (origins.ptr != NULL) {
        struct str document = str_trim(str_split(&origins, ','));
        if (document.len > 0 && !has_policy_of(in, document))
            add_policy(e, m, document, &any, &none);
    }
    return m;
}
