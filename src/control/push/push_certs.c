/* Who trusts which roots, and whose leaf is whose: the proof that a rotation of the root goes by.
 */
#include "control/push/push_priv.h"

static const struct str no_root = {"", 0};

/* --- leaves --- */

static void root_of(const struct push *p, const struct cert *leaf, char ret_root[CA_ID_LEN + 1])
{
    struct arena a;
    arena_init(&a, 2048);
    const struct cert *root = ca_signer_of(p->ca, leaf);
    struct str id = root != NULL ? ca_root_id(root, &a) : no_root;
    memcpy(ret_root, id.ptr, id.len);
    ret_root[id.len] = '\0';
    arena_deinit(&a);
}

void push_root_of(const struct push *p, struct str leaf_pem, char ret_root[CA_ID_LEN + 1])
{
    AUTO(cert_unref_auto) struct cert *leaf = NULL;
    ret_root[0] = '\0';
    if (cert_from_pem(leaf_pem, &leaf) == 0)
        root_of(p, leaf, ret_root);
}

bool push_stream_set_leaf(struct push_stream *s, struct str leaf_pem)
{
    AUTO(cert_unref_auto) struct cert *leaf = NULL;
    struct arena a;
    struct cert_info info;
    arena_init(&a, 2048);
    bool is_its = cert_from_pem(leaf_pem, &leaf) == 0 && cert_info(leaf, &a, &info) == 0 &&
                  info.uri_san_count == 1 && str_eq(info.uri_sans[0], s->identity);
    if (is_its) {
        s->not_after_s = info.not_after_s;
        root_of(s->push, leaf, s->root);
    }
    arena_deinit(&a);
    return is_its;
}

/* --- roots --- */

static bool is_under_way(const struct push_stream *s)
{
    for (size_t i = 0; i < s->sent.len; i++) {
        if (s->sent.ptr[i]->type == RESOURCE_SECRET)
            return true;
    }
    return false;
}

static bool is_refused(const struct push_stream *s)
{
    for (size_t i = 0; i < s->nacks.len; i++) {
        if (s->nacks.ptr[i].type == RESOURCE_SECRET)
            return true;
    }
    return false;
}

static bool has_version(const struct push_stream *s, const struct push_sub *sub)
{
    struct translate_viewer v = {s->dialect, s->namespace_, s->workload};
    struct translate_output *o =
        translate_get(s->push->translate, &v, RESOURCE_SECRET, STR(TRANSLATE_ROOTS));
    bool is_equal = o != NULL && str_eq(str_from(sub->version, sub->version_len), o->version);
    translate_output_unref(o);
    return is_equal;
}

/* NULL: it runs the present bundle. */
static const char *why_not_trusting(const struct push_stream *s)
{
    const struct push_sub *sub = push_stream_sub(s, RESOURCE_SECRET, STR(TRANSLATE_ROOTS));
    if (sub == NULL)
        return "it has not asked for the roots: it is of an earlier version, or just starting";
    if (is_refused(s))
        return "it refused the roots";
    return !has_version(s, sub) || is_under_way(s) ? "it has not acknowledged the roots yet" : NULL;
}

/* A replica's streams may be several: an agent's of ours and that of the proxy beside it, or one a
 * type. All that asked for the roots must have them. */
static const char *why_group_not_trusting(const struct push_stream *s)
{
    const struct push_stream *o = s;
    const char *why = NULL;
    bool has_asked = false;
    do {
        if (!o->is_ended && push_stream_sub(o, RESOURCE_SECRET, STR(TRANSLATE_ROOTS)) != NULL) {
            has_asked = true;
            why = why_not_trusting(o);
        }
        o = PUSH_GROUP_NEXT(o);
    } while (o != s && why == NULL);
    return has_asked ? why : why_not_trusting(s);
}

/* A leaf that we made for a stream must be of that root, too, and have arrived. */
static bool is_group_renewed(const struct push_stream *s, struct str signing)
{
    const struct push_stream *o = s;
    bool is_all = str_eq(str_from_c(s->root), signing);
    do {
        struct str root = push_secret_root(o);
        if (root.len > 0 && !o->is_ended)
            is_all &= str_eq(root, signing) && !is_under_way(o);
        o = PUSH_GROUP_NEXT(o);
    } while (o != s);
    return is_all;
}

/* --- all --- */

struct walk {
    struct push *push;
    struct str signing; /* id of the root that signs */
    void (*each)(void *ctx, const struct push_certs *c);
    void *ctx;
};

static void on_replica(void *ctx, const struct registry_replica *r)
{
    const struct walk *w = ctx;
    const struct push_stream *s = r->node;
    struct push_certs c = {.replica = r, .why_not = "it is not connected"};
    if (s != NULL && !s->is_ended) {
        c.is_connected = true;
        c.why_not = why_group_not_trusting(s);
        c.is_trusting = c.why_not == NULL;
        c.root = str_from_c(s->root);
        c.not_after_s = s->not_after_s;
        c.is_leaf_renewed = is_group_renewed(s, w->signing);
        if (c.why_not == NULL && !c.is_leaf_renewed)
            c.why_not = "its leaf is not of the root that signs";
    }
    w->each(w->ctx, &c);
}

void push_each_certs(struct push *p, void (*each)(void *ctx, const struct push_certs *c), void *ctx)
{
    struct arena a;
    arena_init(&a, 2048);
    struct walk w = {p, ca_root_id(ca_root(p->ca), &a), each, ctx};
    push_settle(p);
    registry_replicas(p->registry, on_replica, &w);
    arena_deinit(&a);
}
