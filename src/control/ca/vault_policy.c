/* What a signer signs, whoever asks: the process that asks may have been taken over. */
#include <stdio.h>

#include "base/err.h"
#include "control/ca/vault.h"
#include "mesh/identity/spiffe.h"

enum {
    LEAF_S_MAX = 91 * 24 * 3600,        /* 90 days, and what it is dated back */
    ROOT_S_MAX = 20u * 366 * 24 * 3600, /* as the brain makes them: 10 years */
    CLOCK_S_MAX = 600,                  /* the clock that the asker read was ours */
};

static int deny(struct str_buf *why, const char *what)
{
    str_buf_printf(why, "the signer's policy: %s", what);
    return -ERR_DENIED;
}

static int check_times(const struct vault *v, const struct ca_signer_request *r,
                       uint64_t lifetime_s_max, struct str_buf *why)
{
    if (r->not_after_s <= r->not_before_s || r->not_after_s - r->not_before_s > lifetime_s_max)
        return deny(why, "the lifetime is out of bounds");
    uint64_t now_s = v->clock_s != NULL ? v->clock_s() : r->not_before_s;
    return r->not_before_s > now_s + CLOCK_S_MAX ? deny(why, "a certificate for later times") : 0;
}

static bool is_own_name(const struct spiffe_id *id)
{
    return str_eq(id->namespace_, STR("tulle-system")) &&
           str_starts_with(id->service_account, STR("tulled"));
}

/* The first leaf says which domain is ours: before it the Mesh may not have been applied yet. */
static int check_domain(struct vault *v, struct str domain, bool is_leaf, struct str_buf *why)
{
    char *known = v->memory->trust_domain;
    if (domain.len >= sizeof v->memory->trust_domain)
        return deny(why, "the trust domain is too long");
    if (known[0] == '\0' && is_leaf)
        snprintf(known, sizeof v->memory->trust_domain, "%.*s", STR_FMT(domain));
    if (known[0] == '\0' || str_eq(domain, str_from_c(known)))
        return 0;
    str_buf_printf(why,
                   "the signer's policy: the trust domain is %s since the first leaf; a restart of "
                   "tulled changes it",
                   known);
    return -ERR_DENIED;
}

static int check_name(struct vault *v, const struct ca_signer_request *r, struct str_buf *why)
{
    struct spiffe_id id;
    bool is_leaf = r->verb == CA_SIGNER_LEAF;
    if (!is_leaf && r->name.len == 0)
        return 0; /* a server without an identity is known by its DNS names alone */
    if (spiffe_parse(r->name, &id) != 0)
        return deny(why, "no name of a workload");
    if (is_leaf == is_own_name(&id))
        return deny(why, is_leaf ? "that name is the control plane's" : "not the control plane's");
    return check_domain(v, id.trust_domain, is_leaf, why);
}

static int check_leaf(struct vault *v, const struct ca_signer_request *r, struct str_buf *why)
{
    int err = check_times(v, r, LEAF_S_MAX, why);
    return err != 0 ? err : check_name(v, r, why);
}

/* A CA is made where there is none: at the first start, and as a rotation's next root. */
static int check_root(struct vault *v, const struct ca_signer_request *r, struct str_buf *why)
{
    struct str_buf ignored = STR_BUF_INIT(256);
    int err = r->slot == CA_SLOT_PRESENT ? vault_read(v, r->slot, &ignored) : -ERR_NOT_FOUND;
    str_buf_deinit(&ignored);
    if (err != -ERR_NOT_FOUND)
        return deny(why, "there is a root");
    return check_times(v, r, ROOT_S_MAX, why);
}

int vault_allows(struct vault *v, const struct ca_signer_request *r, struct str_buf *why)
{
    switch (r->verb) {
    case CA_SIGNER_MAKE:
        return check_root(v, r, why);
    case CA_SIGNER_LEAF:
    case CA_SIGNER_SERVER:
        return check_leaf(v, r, why);
    case CA_SIGNER_OPEN:
    case CA_SIGNER_REPLACE:
    case CA_SIGNER_DISCARD:
    case CA_SIGNER_BUNDLE:
    case CA_SIGNER_EXPORT:
        return 0;
    case CA_SIGNER_VERB_COUNT:
        break;
    }
    return deny(why, "no such request");
}
