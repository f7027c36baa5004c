#include "control/server/merge.h"

#include "base/err.h"
#include "base/util.h"

const struct json *merge_patch(struct arena *a, const struct json *target, const struct json *patch)
{
    if (patch->type != JSON_OBJECT)
        return patch;
    struct json *out = json_new_object(a);
    bool is_object = target != NULL && target->type == JSON_OBJECT;
    for (size_t i = 0; is_object && i < json_count(target); i++) {
        const struct json *with = json_get_str_key(patch, target->keys[i]);
        if (with == NULL)
            json_object_add(a, out, target->keys[i], json_at(target, i));
        else if (with->type != JSON_NULL)
            json_object_add(a, out, target->keys[i], merge_patch(a, json_at(target, i), with));
    }
    for (size_t i = 0; i < json_count(patch); i++) {
        bool is_there = is_object && json_get_str_key(target, patch->keys[i]) != NULL;
        if (!is_there && json_at(patch, i)->type != JSON_NULL)
            json_object_add(a, out, patch->keys[i], merge_patch(a, NULL, json_at(patch, i)));
    }
    return out;
}

/* --- strategic --- */

/* Of Kubernetes' core kinds that are documents here; what is not named replaces. */
static const struct {
    const char *list, *key;
} merged_lists[] = {
    {"ports", "port"},
    {"secrets", "name"},
    {"imagePullSecrets", "name"},
    {"ownerReferences", "uid"},
};

static const char *key_of_list(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(merged_lists); i++) {
        if (str_eq(name, str_from_c(merged_lists[i].list)))
            return merged_lists[i].key;
    }
    return NULL;
}

static bool is_equal(const struct json *a, const struct json *b)
{
    struct str s, t;
    int64_t i, j;
    if (json_str(a, &s) && json_str(b, &t))
        return str_eq(s, t);
    return json_i64(a, &i) && json_i64(b, &j) && i == j;
}

static const struct json *find(const struct json *list, const char *key, const struct json *value)
{
    for (size_t i = 0; i < json_count(list); i++) {
        if (is_equal(json_get(json_at(list, i), key), value))
            return json_at(list, i);
    }
    return NULL;
}

static struct str directive(const struct json *v)
{
    return v != NULL && v->type == JSON_OBJECT ? json_str_or(json_get(v, "$patch"), STR_NULL)
                                               : STR_NULL;
}

static int merge_object(struct arena *a, const struct json *target, const struct json *patch,
                        const struct json **ret_result);

/* Items of the target first, changed or left out as the patch says; then the new ones. */
static int merge_list(struct arena *a, const struct json *target, const struct json *patch,
                      const char *key, const struct json **ret_result)
{
    struct json *out = json_new_array(a);
    int err = 0;
    for (size_t i = 0; err == 0 && i < json_count(target); i++) {
        const struct json *item = json_at(target, i), *merged = item;
        const struct json *with = find(patch, key, json_get(item, key));
        if (with != NULL && str_eq(directive(with), STR("delete")))
            continue;
        if (with != NULL)
            err = merge_object(a, item, with, &merged);
        json_array_add(a, out, merged);
    }
    for (size_t i = 0; err == 0 && i < json_count(patch); i++) {
        const struct json *item = json_at(patch, i), *added = item;
        bool is_old = find(target, key, json_get(item, key)) != NULL;
        if (is_old || str_eq(directive(item), STR("delete")))
            continue;
        err = merge_object(a, NULL, item, &added);
        json_array_add(a, out, added);
    }
    *ret_result = out;
    return err;
}

static int merge_value(struct arena *a, struct str name, const struct json *target,
                       const struct json *patch, const struct json **ret_result)
{
    const char *key = key_of_list(name);
    *ret_result = patch;
    if (patch->type == JSON_OBJECT)
        return merge_object(a, target, patch, ret_result);
    if (patch->type != JSON_ARRAY || key == NULL)
        return 0;
    bool is_list = target != NULL && target->type == JSON_ARRAY;
    return merge_list(a, is_list ? target : NULL, patch, key, ret_result);
}

/* A list of plain values without those that a `$deleteFromPrimitiveList/NAME` names. */
static const struct json *without(struct arena *a, const struct json *list,
                                  const struct json *removed)
{
    if (removed == NULL || list == NULL || list->type != JSON_ARRAY)
        return list;
    struct json *out = json_new_array(a);
    for (size_t i = 0; i < json_count(list); i++) {
        bool is_removed = false;
        for (size_t j = 0; j < json_count(removed) && !is_removed; j++)
            is_removed = is_equal(json_at(list, i), json_at(removed, j));
        if (!is_removed)
            json_array_add(a, out, json_at(list, i));
    }
    return out;
}

static bool is_directive(struct str key)
{
    return key.len > 0 && key.ptr[0] == '$';
}

static int check_directives(const struct json *patch)
{
    for (size_t i = 0; i < json_count(patch); i++) {
        struct str key = patch->keys[i];
        if (is_directive(key) && !str_eq(key, STR("$patch")) && !str_eq(key, STR("$retainKeys")) &&
            !str_starts_with(key, STR("$setElementOrder/")) &&
            !str_starts_with(key, STR("$deleteFromPrimitiveList/")))
            return -ERR_UNSUPPORTED;
    }
    return 0;
}

static const struct json *removed_of(struct arena *a, const struct json *patch, struct str name)
{
    return json_get_str_key(patch, arena_printf(a, "$deleteFromPrimitiveList/%.*s", STR_FMT(name)));
}

static int add_old(struct arena *a, const struct json *target, const struct json *patch,
                   struct json *out)
{
    int err = 0;
    bool is_object = target != NULL && target->type == JSON_OBJECT;
    for (size_t i = 0; err == 0 && is_object && i < json_count(target); i++) {
        struct str name = target->keys[i];
        const struct json *with = json_get_str_key(patch, name), *merged;
        const struct json *old = without(a, json_at(target, i), removed_of(a, patch, name));
        if (with == NULL) {
            json_object_add(a, out, name, old);
        } else if (with->type != JSON_NULL) {
            err = merge_value(a, name, old, with, &merged);
            json_object_add(a, out, name, merged);
        }
    }
    return err;
}

static int add_new(struct arena *a, const struct json *target, const struct json *patch,
                   struct json *out)
{
    int err = 0;
    bool is_object = target != NULL && target->type == JSON_OBJECT;
    for (size_t i = 0; err == 0 && i < json_count(patch); i++) {
        struct str name = patch->keys[i];
        const struct json *added;
        if (is_directive(name) || json_at(patch, i)->type == JSON_NULL ||
            (is_object && json_get_str_key(target, name) != NULL))
            continue;
        err = merge_value(a, name, NULL, json_at(patch, i), &added);
        json_object_add(a, out, name, added);
    }
    return err;
}

static int merge_object(struct arena *a, const struct json *target, const struct json *patch,
                        const struct json **ret_result)
{
    struct json *out = json_new_object(a);
    struct str what = directive(patch);
    *ret_result = out;
    if (patch->type != JSON_OBJECT) {
        *ret_result = patch;
        return 0;
    }
    if (what.len > 0 && !str_eq(what, STR("delete")) && !str_eq(what, STR("replace")) &&
        !str_eq(what, STR("merge")))
        return -ERR_UNSUPPORTED;
    if (str_eq(what, STR("delete")))
        return 0;
    int err = check_directives(patch);
    if (str_eq(what, STR("replace")))
        target = NULL;
    if (err == 0)
        err = add_old(a, target, patch, out);
    return err != 0 ? err : add_new(a, target, patch, out);
}

int merge_strategic(struct arena *a, const struct json *target, const struct json *patch,
                    const struct json **ret_result)
{
    return merge_object(a, target, patch, ret_result);
}
