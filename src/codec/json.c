#include "codec/json.h"

#include "codec/json_priv.h"

const struct json *json_get_str_key(const struct json *v, struct str key)
{
    if (v == NULL || v->type != JSON_OBJECT)
        return NULL;
    for (uint32_t i = 0; i < v->count; i++)
        if (str_eq(v->keys[i], key))
            return v->items[i];
    return NULL;
}

const struct json *json_get(const struct json *v, const char *key)
{
    return json_get_str_key(v, str_from_c(key));
}

size_t json_count(const struct json *v)
{
    return v != NULL && (v->type == JSON_ARRAY || v->type == JSON_OBJECT) ? v->count : 0;
}

const struct json *json_at(const struct json *v, size_t i)
{
    return i < json_count(v) ? v->items[i] : NULL;
}

bool json_str(const struct json *v, struct str *ret_value)
{
    if (v == NULL || v->type != JSON_STR)
        return false;
    *ret_value = v->str;
    return true;
}

bool json_bool(const struct json *v, bool *ret_value)
{
    if (v == NULL || v->type != JSON_BOOL)
        return false;
    *ret_value = v->boolean;
    return true;
}

bool json_i64(const struct json *v, int64_t *ret_value)
{
    if (v == NULL || v->type != JSON_INT)
        return false;
    *ret_value = v->integer;
    return true;
}

bool json_u64(const struct json *v, uint64_t *ret_value)
{
    if (v == NULL || v->type != JSON_INT || v->integer < 0)
        return false;
    *ret_value = (uint64_t)v->integer;
    return true;
}

bool json_f64(const struct json *v, double *ret_value)
{
    if (v == NULL || (v->type != JSON_INT && v->type != JSON_REAL))
        return false;
    *ret_value = v->type == JSON_INT ? (double)v->integer : v->real;
    return true;
}

bool json_u64_or_str(const struct json *v, uint64_t *ret_value)
{
    if (v != NULL && v->type == JSON_STR)
        return str_to_u64(v->str, UINT64_MAX, ret_value);
    return json_u64(v, ret_value);
}

struct str json_str_or(const struct json *v, struct str fallback)
{
    json_str(v, &fallback);
    return fallback;
}

struct str json_text_at(const struct json *v, const char *key)
{
    return json_str_or(json_get(v, key), STR_NULL);
}

unsigned long long json_number_at(const struct json *v, const char *key)
{
    uint64_t value = 0;
    json_u64_or_str(json_get(v, key), &value);
    return value;
}

const char *json_type_name(enum json_type type)
{
    static const char *const names[] = {
        [JSON_NULL] = "null",     [JSON_BOOL] = "boolean", [JSON_INT] = "integer",
        [JSON_REAL] = "number",   [JSON_STR] = "string",   [JSON_ARRAY] = "array",
        [JSON_OBJECT] = "object",
    };

    return names[type];
}

struct json *json_new(struct arena *a, enum json_type type)
{
    struct json *v = ARENA_NEW(a, struct json);

    v->type = type;
    return v;
}

struct json *json_new_null(struct arena *a)
{
    return json_new(a, JSON_NULL);
}

struct json *json_new_bool(struct arena *a, bool value)
{
    struct json *v = json_new(a, JSON_BOOL);

    v->boolean = value;
    return v;
}

struct json *json_new_i64(struct arena *a, int64_t value)
{
    struct json *v = json_new(a, JSON_INT);

    v->integer = value;
    return v;
}

struct json *json_new_f64(struct arena *a, double value)
{
    struct json *v = json_new(a, JSON_REAL);

    v->real = value;
    return v;
}

struct json *json_new_str(struct arena *a, struct str value)
{
    struct json *v = json_new(a, JSON_STR);

    v->str = arena_str(a, value);
    return v;
}

struct json *json_new_array(struct arena *a)
{
    return json_new(a, JSON_ARRAY);
}

struct json *json_new_object(struct arena *a)
{
    return json_new(a, JSON_OBJECT);
}

/* Room doubles at 4, 8, 16...: the count alone says when it is used up. */
static void *grown(struct arena *a, const void *old, uint32_t count, size_t item_len)
{
    size_t cap = count < 4 ? 4 : (size_t)count * 2;
    void *items;

    if (count != 0 && (count < 4 || (count & (count - 1)) != 0))
        return NULL;
    items = arena_zalloc(a, cap * item_len);
    if (count > 0)
        memcpy(items, old, count * item_len);
    return items;
}

void json_array_add(struct arena *a, struct json *array, const struct json *item)
{
    void *items = grown(a, array->items, array->count, sizeof(const struct json *));

    ASSERT(array->type == JSON_ARRAY || array->type == JSON_OBJECT);
    if (items != NULL)
        array->items = items;
    array->items[array->count++] = item;
}

void json_object_add(struct arena *a, struct json *object, struct str key, const struct json *v)
{
    union {
        const struct str *as_const;
        struct str *own;
    } keys = {object->keys};

    ASSERT(object->type == JSON_OBJECT);
    void *more = grown(a, object->keys, object->count, sizeof(*object->keys));
    if (more != NULL)
        object->keys = keys.own = more;
    keys.own[object->count] = arena_str(a, key);
    json_array_add(a, object, v);
}
