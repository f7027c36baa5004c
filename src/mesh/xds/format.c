/* SubstitutionFormatString: texts with operators, and JSON made of them. What the operators are is
 * known to who uses the format. */
#include "base/err.h"
#include "mesh/xds/codec_priv.h"

/* --- decoding --- */

static int decode_value(struct decode *d, const struct pb_path *at, const Pb__Value *v,
                        struct format_json *to);

static int decode_members(struct decode *d, const struct pb_path *at, const Pb__Struct *m,
                          const struct format_json **ret_members, size_t *ret_count)
{
    struct format_json *members = ARENA_ARRAY(d->arena, struct format_json, m->n_fields);
    for (size_t i = 0; i < m->n_fields; i++) {
        members[i].key = decode_str(d, m->fields[i]->key);
        const struct pb_path here = {at, "", -1, members[i].key, {NULL, 0}, 0};
        if (decode_value(d, &here, m->fields[i]->value, &members[i]) != 0)
            return -ERR_INVALID;
    }
    *ret_members = m->n_fields > 0 ? members : NULL;
    *ret_count = m->n_fields;
    return 0;
}

static int decode_items(struct decode *d, const struct pb_path *at, const Pb__ListValue *m,
                        struct format_json *to)
{
    struct format_json *items = ARENA_ARRAY(d->arena, struct format_json, m->n_values);
    for (size_t i = 0; i < m->n_values; i++) {
        if (decode_value(d, PB_AT_I(at, "", i), m->values[i], &items[i]) != 0)
            return -ERR_INVALID;
    }
    to->kind = FORMAT_JSON_LIST;
    to->children = m->n_values > 0 ? items : NULL;
    to->child_count = m->n_values;
    return 0;
}

static int decode_value(struct decode *d, const struct pb_path *at, const Pb__Value *v,
                        struct format_json *to)
{
    switch (v != NULL ? (int)v->kind_case : 0) {
    case PB__VALUE__KIND_STRING_VALUE:
        to->text = decode_str(d, v->string_value);
        return 0;
    case PB__VALUE__KIND_NUMBER_VALUE:
        to->kind = FORMAT_JSON_NUMBER;
        to->number = v->number_value;
        return 0;
    case PB__VALUE__KIND_BOOL_VALUE:
        to->kind = FORMAT_JSON_BOOL;
        to->is_true = v->bool_value != 0;
        return 0;
    case PB__VALUE__KIND_NULL_VALUE:
        to->kind = FORMAT_JSON_NULL;
        return 0;
    case PB__VALUE__KIND_STRUCT_VALUE:
        to->kind = FORMAT_JSON_OBJECT;
        return decode_members(d, at, v->struct_value, &to->children, &to->child_count);
    case PB__VALUE__KIND_LIST_VALUE:
        return decode_items(d, at, v->list_value, to);
    default:
        return decode_fail(d, at, "a value is needed");
    }
}

int decode_format(struct decode *d, const struct pb_path *at,
                  const Pb__Core__SubstitutionFormatString *m, struct substitution_format *to)
{
    if (m == NULL)
        return 0;
    to->omit_empty_values = m->omit_empty_values != 0;
    to->content_type = decode_str(d, m->content_type);
    switch ((int)m->format_case) {
    case PB__CORE__SUBSTITUTION_FORMAT_STRING__FORMAT_TEXT_FORMAT:
        to->text = decode_str(d, m->text_format);
        return 0;
    case PB__CORE__SUBSTITUTION_FORMAT_STRING__FORMAT_TEXT_FORMAT_SOURCE:
        return decode_data_source(d, PB_AT(at, "text_format_source"), m->text_format_source,
                                  &to->text);
    case PB__CORE__SUBSTITUTION_FORMAT_STRING__FORMAT_JSON_FORMAT:
        to->is_json = true;
        return decode_members(d, PB_AT(at, "json_format"), m->json_format, &to->fields,
                              &to->field_count);
    default:
        return decode_fail(d, at, "a format is needed");
    }
}

/* --- encoding --- */

static Pb__Value *encode_value(struct encode *e, const struct format_json *in);

static Pb__Struct *encode_members(struct encode *e, const struct format_json *members, size_t count)
{
    Pb__Struct *m = PB_NEW(e, Pb__Struct, pb__struct);
    m->fields = PB_PTRS(e, Pb__Struct__FieldsEntry, count);
    for (size_t i = 0; i < count; i++) {
        Pb__Struct__FieldsEntry *entry =
            PB_NEW(e, Pb__Struct__FieldsEntry, pb__struct__fields_entry);
        entry->key = encode_str(e, members[i].key);
        entry->value = encode_value(e, &members[i]);
        m->fields[m->n_fields++] = entry;
    }
    return m;
}

static Pb__ListValue *encode_items(struct encode *e, const struct format_json *in)
{
    Pb__ListValue *m = PB_NEW(e, Pb__ListValue, pb__list_value);
    m->values = PB_PTRS(e, Pb__Value, in->child_count);
    for (size_t i = 0; i < in->child_count; i++)
        m->values[m->n_values++] = encode_value(e, &in->children[i]);
    return m;
}

static Pb__Value *encode_value(struct encode *e, const struct format_json *in)
{
    Pb__Value *v = PB_NEW(e, Pb__Value, pb__value);
    switch (in->kind) {
    case FORMAT_JSON_TEXT:
        v->kind_case = PB__VALUE__KIND_STRING_VALUE;
        v->string_value = encode_str_always(e, in->text);
        break;
    case FORMAT_JSON_OBJECT:
        v->kind_case = PB__VALUE__KIND_STRUCT_VALUE;
        v->struct_value = encode_members(e, in->children, in->child_count);
        break;
    case FORMAT_JSON_LIST:
        v->kind_case = PB__VALUE__KIND_LIST_VALUE;
        v->list_value = encode_items(e, in);
        break;
    case FORMAT_JSON_NUMBER:
        v->kind_case = PB__VALUE__KIND_NUMBER_VALUE;
        v->number_value = in->number;
        break;
    case FORMAT_JSON_BOOL:
        v->kind_case = PB__VALUE__KIND_BOOL_VALUE;
        v->bool_value = in->is_true;
        break;
    case FORMAT_JSON_NULL:
        v->kind_case = PB__VALUE__KIND_NULL_VALUE;
        break;
    }
    return v;
}

Pb__Core__SubstitutionFormatString *encode_format(struct encode *e,
                                                  const struct substitution_format *in)
{
    if (!in->is_json && in->text.len == 0)
        return NULL;
    Pb__Core__SubstitutionFormatString *m =
        PB_NEW(e, Pb__Core__SubstitutionFormatString, pb__core__substitution_format_string);
    m->has_omit_empty_values = m->omit_empty_values = in->omit_empty_values;
    m->content_type = encode_str(e, in->content_type);
    if (in->is_json) {
        m->format_case = PB__CORE__SUBSTITUTION_FORMAT_STRING__FORMAT_JSON_FORMAT;
        m->json_format = encode_members(e, in->fields, in->field_count);
    } else {
        m->format_case = PB__CORE__SUBSTITUTION_FORMAT_STRING__FORMAT_TEXT_FORMAT_SOURCE;
        m->text_format_source = encode_inline(e, in->text);
    }
    return m;
}
