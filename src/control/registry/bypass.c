/* Ways around the mesh for a while: inbound ports of a workload whose sidecar is passed by. Callers
 * are told that nobody speaks TLS there; what the host's rules do is the host's (host/bypass.h).
 * Kept in the store's table "bypass": NAMESPACE/WORKLOAD/PORT -> "UNTIL_MS SIDES NOTE". */
#include <stdlib.h>

#include "base/err.h"
#include "control/registry/registry_priv.h"

#define BYPASS_TABLE "bypass"

enum { BYPASS_COUNT_MAX = 1000 };

static struct str own(struct str s)
{
    return str_from(str_dup_c(s), s.len);
}

static void disown(const struct registry_bypass *b)
{
    free((void *)(uintptr_t)b->namespace_.ptr);
    free((void *)(uintptr_t)b->workload.ptr);
    free((void *)(uintptr_t)b->note.ptr);
}

static void add(struct registry *r, const struct registry_bypass *b)
{
    struct registry_bypass kept = *b;
    kept.namespace_ = own(b->namespace_);
    kept.workload = own(b->workload);
    kept.note = own(b->note);
    VEC_PUSH(&r->bypasses, kept);
}

static bool parse(struct str key, struct str value, struct registry_bypass *ret_bypass)
{
    struct registry_bypass b = {.namespace_ = str_split(&key, '/')};
    uint64_t port, sides;
    b.workload = str_split(&key, '/');
    if (!str_to_u64(key, UINT16_MAX, &port) ||
        !str_to_u64(str_split(&value, ' '), UINT64_MAX, &b.until_ms) ||
        !str_to_u64(str_split(&value, ' '), BYPASS_BOTH, &sides))
        return false;
    b.port = (uint16_t)port;
    b.sides = (unsigned)sides;
    b.note = value;
    *ret_bypass = b;
    return true;
}

static void on_record(void *ctx, struct str key, struct str value)
{
    struct registry *r = ctx;
    struct registry_bypass b;
    if (parse(key, value, &b))
        add(r, &b);
}

bool bypass_load(struct registry *r)
{
    return store_record_list(r->store, STR(BYPASS_TABLE), on_record, r) == 0;
}

void bypass_free(struct registry *r)
{
    for (size_t i = 0; i < r->bypasses.len; i++)
        disown(&r->bypasses.ptr[i]);
    VEC_DEINIT(&r->bypasses);
}

static int write_record(struct registry *r, const struct registry_bypass *b, bool is_there)
{
    struct arena a;
    arena_init(&a, 512);
    struct str key =
        arena_printf(&a, "%.*s/%.*s/%u", STR_FMT(b->namespace_), STR_FMT(b->workload), b->port);
    struct str value = arena_printf(&a, "%llu %u %.*s", (unsigned long long)b->until_ms, b->sides,
                                    STR_FMT(b->note));
    int err = store_record_put(r->store, STR(BYPASS_TABLE), key, is_there ? value : STR_NULL);
    arena_deinit(&a);
    return err;
}

static bool is_of(const struct registry_bypass *b, struct str namespace_, struct str workload)
{
    return str_eq(b->workload, workload) && str_eq(b->namespace_, namespace_);
}

static ptrdiff_t find(const struct registry *r, struct str namespace_, struct str workload,
                      uint16_t port)
{
    for (size_t i = 0; i < r->bypasses.len; i++) {
        const struct registry_bypass *b = &r->bypasses.ptr[i];
        if (b->port == port && is_of(b, namespace_, workload))
            return (ptrdiff_t)i;
    }
    return -1;
}

static void drop(struct registry *r, size_t i)
{
    disown(&r->bypasses.ptr[i]);
    VEC_REMOVE_SWAP(&r->bypasses, i);
}

static void tell(struct registry *r, struct str namespace_, struct str workload)
{
    registry_tell(r, "workload/%.*s/%.*s", STR_FMT(namespace_), STR_FMT(workload));
    registry_tell(r, "replicas/%.*s", STR_FMT(namespace_));
}

int registry_bypass_begin(struct registry *r, const struct registry_bypass *b)
{
    ptrdiff_t at = find(r, b->namespace_, b->workload, b->port);
    if (at < 0 && r->bypasses.len >= BYPASS_COUNT_MAX)
        return -ERR_LIMIT;
    int err = write_record(r, b, true);
    if (err != 0)
        return err;
    if (at >= 0)
        drop(r, (size_t)at);
    add(r, b);
    tell(r, b->namespace_, b->workload);
    return 0;
}

int registry_bypass_end(struct registry *r, struct str namespace_, struct str workload,
                        uint16_t port)
{
    ptrdiff_t at = find(r, namespace_, workload, port);
    if (at < 0)
        return -ERR_NOT_FOUND;
    int err = write_record(r, &r->bypasses.ptr[at], false);
    if (err != 0)
        return err;
    drop(r, (size_t)at);
    tell(r, namespace_, workload);
    return 0;
}

/* What the store does not forget now it forgets at the next look, for that is over, too. */
uint64_t registry_bypass_expire(struct registry *r, uint64_t now_ms)
{
    uint64_t next = UINT64_MAX;
    for (size_t i = r->bypasses.len; i-- > 0;) {
        const struct registry_bypass b = r->bypasses.ptr[i];
        if (b.until_ms > now_ms) {
            next = MIN(next, b.until_ms);
            continue;
        }
        (void)write_record(r, &b, false);
        VEC_REMOVE_SWAP(&r->bypasses, i);
        tell(r, b.namespace_, b.workload);
        disown(&b);
    }
    return next;
}

bool registry_is_bypassed(const struct registry *r, struct str namespace_, struct str workload,
                          uint16_t port)
{
    for (size_t i = 0; i < r->bypasses.len; i++) {
        const struct registry_bypass *b = &r->bypasses.ptr[i];
        if ((b->sides & BYPASS_INBOUND) != 0 && (b->port == 0 || b->port == port) &&
            is_of(b, namespace_, workload))
            return true;
    }
    return false;
}

bool bypass_has_inbound(const struct registry *r, struct str namespace_, struct str workload)
{
    for (size_t i = 0; i < r->bypasses.len; i++) {
        const struct registry_bypass *b = &r->bypasses.ptr[i];
        if ((b->sides & BYPASS_INBOUND) != 0 && is_of(b, namespace_, workload))
            return true;
    }
    return false;
}

void registry_each_bypass(const struct registry *r,
                          void (*each)(void *ctx, const struct registry_bypass *b), void *ctx)
{
    for (size_t i = 0; i < r->bypasses.len; i++)
        each(ctx, &r->bypasses.ptr[i]);
}
