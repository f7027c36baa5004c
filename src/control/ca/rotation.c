/* The rotation of the root: which stage it is in, and the steps.
 *
 * Record "rotation" of table "ca": "STAGE SINCE". Files first, then the record: what was written
 * before a crash that the record does not speak of is no part of the CA. The one step that cannot
 * be a single write, the new files in the place of the old, has a record of its own ("finish") and
 * is done over when the CA is opened. */
#include "base/err.h"
#include "control/ca/ca_priv.h"

#define CA_TABLE "ca"
#define ROTATION_KEY "rotation"
#define STAGE_FINISH "finish"

static const struct str stage_names[] = {
    [CA_STAGE_NONE] = {"none", 4},
    [CA_STAGE_TRUST] = {"trust", 5},
    [CA_STAGE_SIGN] = {"sign", 4},
};

const char *ca_stage_name(enum ca_stage stage)
{
    return stage_names[stage].ptr;
}

enum ca_stage ca_stage(const struct ca *c)
{
    return c->stage;
}

uint64_t ca_stage_since_s(const struct ca *c)
{
    return c->since_s;
}

/* --- the record --- */

static int put(const struct ca *c, const char *stage, uint64_t since_s)
{
    struct arena a;
    arena_init(&a, 256);
    struct str value = arena_printf(&a, "%s %llu", stage, (unsigned long long)since_s);
    int err = store_record_put(c->store, STR(CA_TABLE), STR(ROTATION_KEY), value);
    arena_deinit(&a);
    return err;
}

static int forget(const struct ca *c)
{
    return store_record_put(c->store, STR(CA_TABLE), STR(ROTATION_KEY), STR_NULL);
}

static int finish_files(const struct ca *c)
{
    int err = ca_call_plain(c, CA_SIGNER_REPLACE, STR_NULL, NULL);
    return err != 0 ? err : forget(c);
}

static int parse(struct ca *c, struct str value)
{
    struct str rest = value, name = str_split(&rest, ' ');
    if (str_eq(name, STR(STAGE_FINISH)))
        return finish_files(c);
    for (size_t i = CA_STAGE_TRUST; i < ARRAY_LEN(stage_names); i++) {
        if (str_eq(name, stage_names[i]) && str_to_u64(rest, UINT64_MAX, &c->since_s)) {
            c->stage = (enum ca_stage)i;
            return 0;
        }
    }
    return -ERR_CORRUPT;
}

int ca_rotation_load(struct ca *c, struct str_buf *why)
{
    struct arena a;
    struct str value;
    if (c->store == NULL)
        return 0;
    arena_init(&a, 256);
    int err = store_record_get(c->store, STR(CA_TABLE), STR(ROTATION_KEY), &a, &value);
    if (err == 0)
        err = parse(c, value);
    else if (err == -ERR_NOT_FOUND)
        err = 0;
    if (err != 0)
        str_buf_printf(why, "the rotation of the root: %s", err_text(err));
    arena_deinit(&a);
    return err;
}

/* --- steps --- */

static bool is_in(const struct ca *c, enum ca_stage stage)
{
    return c->store != NULL && c->stage == stage;
}

int ca_rotation_begin(struct ca *c, struct str trust_domain, uint64_t now_s)
{
    if (!is_in(c, CA_STAGE_NONE))
        return -ERR_CONFLICT;
    struct str_buf why = STR_BUF_INIT(1024);
    int err = ca_root_make(c, CA_SLOT_NEXT, trust_domain, now_s, &why, &c->roots[1]);
    str_buf_deinit(&why);
    if (err == 0)
        err = put(c, stage_names[CA_STAGE_TRUST].ptr, now_s);
    if (err != 0) {
        ca_root_deinit(&c->roots[1]);
        return err;
    }
    c->root_count = 2;
    c->stage = CA_STAGE_TRUST;
    c->since_s = now_s;
    return ca_make_bundle(c, NULL);
}

int ca_rotation_sign(struct ca *c, uint64_t now_s)
{
    if (!is_in(c, CA_STAGE_TRUST))
        return -ERR_CONFLICT;
    int err = put(c, stage_names[CA_STAGE_SIGN].ptr, now_s);
    if (err != 0)
        return err;
    c->stage = CA_STAGE_SIGN;
    c->since_s = now_s;
    return ca_make_bundle(c, NULL);
}

static void set_none(struct ca *c)
{
    c->root_count = 1;
    c->stage = CA_STAGE_NONE;
    c->since_s = 0;
}

int ca_rotation_finish(struct ca *c)
{
    if (!is_in(c, CA_STAGE_SIGN))
        return -ERR_CONFLICT;
    int err = put(c, STAGE_FINISH, c->since_s);
    if (err == 0)
        err = finish_files(c);
    if (err != 0)
        return err;
    ca_root_deinit(&c->roots[0]);
    c->roots[0] = c->roots[1];
    c->roots[1] = (struct ca_root){0};
    set_none(c);
    return ca_make_bundle(c, NULL);
}

int ca_rotation_cancel(struct ca *c)
{
    if (!is_in(c, CA_STAGE_TRUST))
        return -ERR_CONFLICT;
    int err = forget(c);
    if (err != 0)
        return err;
    ca_root_deinit(&c->roots[1]);
    (void)ca_call_plain(c, CA_SIGNER_DISCARD, STR_NULL, NULL);
    set_none(c);
    return ca_make_bundle(c, NULL);
}
