#include "codec/yaml.h"

#include <math.h>
#include <stdlib.h>

enum { NUMBER_LEN_MAX = 400 };

static ptrdiff_t find(const struct yaml_node *n, struct str key)
{
    if (n == NULL || n->kind != YAML_MAP)
        return -1;
    for (uint32_t i = 0; i < n->count; i++)
        if (n->keys[i]->kind == YAML_SCALAR && str_eq(n->keys[i]->text, key))
            return (ptrdiff_t)i;
    return -1;
}

struct yaml_node *yaml_get_str(const struct yaml_node *n, struct str key)
{
    ptrdiff_t i = find(n, key);

    return i < 0 ? NULL : n->items[i];
}

struct yaml_node *yaml_get(const struct yaml_node *n, const char *key)
{
    return yaml_get_str(n, str_from_c(key));
}

struct yaml_node *yaml_get_key(const struct yaml_node *n, const char *key)
{
    ptrdiff_t i = find(n, str_from_c(key));

    return i < 0 ? NULL : n->keys[i];
}

static bool is_plain(const struct yaml_node *n)
{
    return n != NULL && n->kind == YAML_SCALAR && !n->is_quoted;
}

bool yaml_is_null(const struct yaml_node *n)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};

    if (n == NULL)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(words) && is_plain(n); i++)
        if (str_eq(n->text, str_from_c(words[i])))
            return true;
    return false;
}

bool yaml_bool(const struct yaml_node *n, bool *ret_value)
{
    if (!is_plain(n))
        return false;
    bool is_true = str_eq(n->text, STR("true"));
    if (!is_true && !str_eq(n->text, STR("false")))
        return false;
    *ret_value = is_true;
    return true;
}

/* Digits without a leading zero: 010 is eight to some readers and ten to others. */
static bool parse_digits(struct str s, uint64_t max, uint64_t *ret_value)
{
    return !(s.len > 1 && s.ptr[0] == '0') && str_to_u64(s, max, ret_value);
}

bool yaml_i64(const struct yaml_node *n, int64_t *ret_value)
{
    uint64_t value;

    if (!is_plain(n) || n->text.len == 0)
        return false;
    bool is_negative = n->text.ptr[0] == '-';
    bool is_signed = is_negative || n->text.ptr[0] == '+';
    if (!parse_digits(str_skip(n->text, is_signed), (uint64_t)INT64_MAX + is_negative, &value))
        return false;
    *ret_value = is_negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

bool yaml_u64(const struct yaml_node *n, uint64_t *ret_value)
{
    if (!is_plain(n))
        return false;
    return parse_digits(str_skip(n->text, str_starts_with(n->text, STR("+"))), UINT64_MAX,
                        ret_value);
}

static size_t skip_digits(struct str s, size_t at)
{
    while (at < s.len && s.ptr[at] >= '0' && s.ptr[at] <= '9')
        at++;
    return at;
}

/* YAML 1.2 10.3.2: [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )? */
static bool is_number(struct str s)
{
    size_t at = s.len > 0 && (s.ptr[0] == '-' || s.ptr[0] == '+') ? 1 : 0;
    size_t digits_end = skip_digits(s, at), digits = digits_end - at;

    at = digits_end;
    if (digits > 1 && s.ptr[at - digits] == '0')
        return false;
    if (at < s.len && s.ptr[at] == '.') {
        digits_end = skip_digits(s, at + 1);
        digits += digits_end - at - 1;
        at = digits_end;
    }
    if (digits == 0)
        return false;
    if (at < s.len && (s.ptr[at] | 0x20) == 'e') {
        at++;
        if (at < s.len && (s.ptr[at] == '-' || s.ptr[at] == '+'))
            at++;
        digits_end = skip_digits(s, at);
        if (digits_end == at)
            return false;
        at = digits_end;
    }
    return at == s.len;
}

bool yaml_f64(const struct yaml_node *n, double *ret_value)
{
    char text[NUMBER_LEN_MAX + 1];

    if (!is_plain(n) || n->text.len > NUMBER_LEN_MAX || !is_number(n->text))
        return false;
    memcpy(text, n->text.ptr, n->text.len);
    text[n->text.len] = '\0';
    double value = strtod(text, NULL);
    if (!isfinite(value))
        return false;
    *ret_value = value;
    return true;
}

bool yaml_str(const struct yaml_node *n, struct str *ret_value)
{
    bool is_true;

    if (n == NULL || n->kind != YAML_SCALAR)
        return false;
    if (!n->is_quoted && (yaml_is_null(n) || yaml_bool(n, &is_true) || is_number(n->text)))
        return false;
    *ret_value = n->text;
    return true;
}

const char *yaml_kind_text(const struct yaml_node *n)
{
    bool is_true;

    if (yaml_is_null(n))
        return "null";
    if (n->kind == YAML_MAP)
        return "a map";
    if (n->kind == YAML_SEQ)
        return "a list";
    if (yaml_bool(n, &is_true))
        return "a boolean";
    return !n->is_quoted && is_number(n->text) ? "a number" : "a string";
}
