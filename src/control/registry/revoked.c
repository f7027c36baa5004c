/* Identities that are kept out, whatever certificates they have. Few: an emergency, not a policy.
 */
#include <stdlib.h>

#include "base/err.h"
#include "control/registry/registry_priv.h"

#define REVOKED_TABLE "revoked"

static struct str own(struct str s)
{
    return str_from(str_dup_c(s), s.len);
}

static void disown(const struct registry_revoked *v)
{
    free((void *)(uintptr_t)v->identity.ptr);
    free((void *)(uintptr_t)v->note.ptr);
}

static void add(void *ctx, struct str identity, struct str note)
{
    struct registry *r = ctx;
    VEC_PUSH(&r->revoked, ((struct registry_revoked){own(identity), own(note)}));
}

bool revoked_load(struct registry *r)
{
    return store_record_list(r->store, STR(REVOKED_TABLE), add, r) == 0;
}

void revoked_free(struct registry *r)
{
    for (size_t i = 0; i < r->revoked.len; i++)
        disown(&r->revoked.ptr[i]);
    VEC_DEINIT(&r->revoked);
}

static ptrdiff_t find(const struct registry *r, struct str identity)
{
    for (size_t i = 0; i < r->revoked.len; i++) {
        if (str_eq(r->revoked.ptr[i].identity, identity))
            return (ptrdiff_t)i;
    }
    return -1;
}

bool registry_is_revoked(const struct registry *r, struct str identity)
{
    return find(r, identity) >= 0;
}

int registry_revoke(struct registry *r, struct str identity, struct str note)
{
    if (registry_is_revoked(r, identity))
        return 0;
    int err = store_record_put(r->store, STR(REVOKED_TABLE), identity, note);
    if (err != 0)
        return err;
    add(r, identity, note);
    registry_tell(r, "revoked");
    return 0;
}

int registry_restore(struct registry *r, struct str identity)
{
    ptrdiff_t at = find(r, identity);
    if (at < 0)
        return -ERR_NOT_FOUND;
    int err = store_record_put(r->store, STR(REVOKED_TABLE), identity, STR_NULL);
    if (err != 0)
        return err;
    disown(&r->revoked.ptr[at]);
    VEC_REMOVE_SWAP(&r->revoked, (size_t)at);
    registry_tell(r, "revoked");
    return 0;
}

void registry_each_revoked(const struct registry *r,
                           void (*each)(void *ctx, struct str identity, struct str note), void *ctx)
{
    for (size_t i = 0; i < r->revoked.len; i++)
        each(ctx, r->revoked.ptr[i].identity, r->revoked.ptr[i].note);
}
