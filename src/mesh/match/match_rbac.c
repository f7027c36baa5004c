#include "mesh/match/match.h"

/* The namespace of "spiffe://td/ns/NS/sa/SA"; empty when there is none. */
static struct str namespace_of(struct str principal)
{
    struct str rest = str_skip(principal, strlen("spiffe://"));
    str_split(&rest, '/');
    if (!str_eq(str_split(&rest, '/'), STR("ns")))
        return STR_NULL;
    return str_split(&rest, '/');
}

static bool match_principal(const struct rbac_node *n, const struct rbac_input *in)
{
    return in->principal.len > 0 && match_string(&n->string, in->principal);
}

static bool match_namespace(const struct rbac_node *n, const struct rbac_input *in)
{
    struct str ns = namespace_of(in->principal);
    return ns.len > 0 && match_string(&n->string, ns);
}

static bool match_leaf(const struct rbac_node *n, const struct rbac_input *in)
{
    switch (n->kind) {
    case RBAC_ANY:
        return true;
    case RBAC_HEADER:
        return in->head != NULL && match_header(&n->header, in->head);
    case RBAC_PATH:
        return in->head != NULL && match_string(&n->string, http_head_path_only(in->head));
    case RBAC_DESTINATION_PORT:
        return in->destination_port >= n->port_from && in->destination_port <= n->port_to;
    case RBAC_DESTINATION_IP:
        return cidr_match(&n->cidr, &in->destination);
    case RBAC_SOURCE_IP:
        return cidr_match(&n->cidr, &in->source);
    case RBAC_REMOTE_IP:
        return cidr_match(&n->cidr, &in->remote);
    case RBAC_PRINCIPAL:
        return match_principal(n, in);
    case RBAC_NAMESPACE:
        return match_namespace(n, in);
    case RBAC_SNI: /* any name is still a name */
        return (n->string.kind != STRING_MATCH_ANY || in->sni.len > 0) &&
               match_string(&n->string, in->sni);
    case RBAC_JWT:
    case RBAC_AND:
    case RBAC_OR:
    case RBAC_NOT:
        break;
    }
    return false;
}

/* Depth is bounded where trees come into being: by the codec. */
bool match_rbac_node(const struct rbac_node *n, const struct rbac_input *in)
{
    if (n->kind == RBAC_AND) {
        for (size_t i = 0; i < n->child_count; i++) {
            if (!match_rbac_node(&n->children[i], in))
                return false;
        }
        return true;
    }
    if (n->kind == RBAC_OR) {
        for (size_t i = 0; i < n->child_count; i++) {
            if (match_rbac_node(&n->children[i], in))
                return true;
        }
        return false;
    }
    if (n->kind == RBAC_NOT)
        return n->child_count == 1 && !match_rbac_node(&n->children[0], in);
    return match_leaf(n, in);
}

bool match_rbac_policy(const struct rbac_policy *p, const struct rbac_input *in)
{
    return match_rbac_node(&p->permission, in) && match_rbac_node(&p->principal, in);
}

static const struct rbac_policy *find_policy(const struct rbac *rbac, const struct rbac_input *in)
{
    for (size_t i = 0; i < rbac->policy_count; i++) {
        if (match_rbac_policy(&rbac->policies[i], in))
            return &rbac->policies[i];
    }
    return NULL;
}

void match_rbac(const struct rbac *rbac, const struct rbac_input *in,
                struct rbac_decision *ret_decision)
{
    const struct rbac_policy *found = find_policy(rbac, in);
    struct rbac_decision decision = {.is_allowed = true};
    switch (rbac->action) {
    case RBAC_ALLOW:
        decision.is_allowed = found != NULL;
        decision.origin = found != NULL ? found->name : rbac->origins;
        break;
    case RBAC_DENY:
        decision.is_allowed = found == NULL;
        decision.origin = found != NULL ? found->name : STR_NULL;
        break;
    case RBAC_LOG:
        break;
    }
    *ret_decision = decision;
}
