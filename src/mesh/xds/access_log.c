#include "base/err.h"
#include "mesh/xds/codec_priv.h"

/* --- decoding --- */

static int decode_json_format(struct decode *d, const struct pb_path *at, const Pb__Struct *m,
                              struct access_log_config *log)
{
    struct access_log_json_field *fields =
        ARENA_ARRAY(d->arena, struct access_log_json_field, m->n_fields);
    log->is_json = true;
    log->json_fields = m->n_fields > 0 ? fields : NULL;
    log->json_field_count = m->n_fields;
    for (size_t i = 0; i < m->n_fields; i++) {
        const Pb__Value *v = m->fields[i]->value;
        if (v == NULL || v->kind_case != PB__VALUE__KIND_STRING_VALUE)
            return decode_fail(d, at,
                               "\"%s\" is not a format string: nested objects are not "
                               "supported yet",
                               m->fields[i]->key != NULL ? m->fields[i]->key : "");
        fields[i].key = decode_str(d, m->fields[i]->key);
        fields[i].format = decode_str(d, v->string_value);
    }
    return 0;
}

static int decode_format(struct decode *d, const struct pb_path *at,
                         const Pb__Core__SubstitutionFormatString *m, struct access_log_config *log)
{
    if (m == NULL)
        return 0;
    switch ((int)m->format_case) {
    case PB__CORE__SUBSTITUTION_FORMAT_STRING__FORMAT_TEXT_FORMAT:
        log->text_format = decode_str(d, m->text_format);
        return 0;
    case PB__CORE__SUBSTITUTION_FORMAT_STRING__FORMAT_TEXT_FORMAT_SOURCE:
        return decode_data_source(d, PB_AT(at, "text_format_source"), m->text_format_source,
                                  &log->text_format);
    case PB__CORE__SUBSTITUTION_FORMAT_STRING__FORMAT_JSON_FORMAT:
        return decode_json_format(d, PB_AT(at, "json_format"), m->json_format, log);
    default:
        return decode_fail(d, at, "a format is needed");
    }
}

static int decode_access_log(struct decode *d, const struct pb_path *parent,
                             const Pb__Accesslog__AccessLog *m, struct access_log_config *log)
{
    const struct pb_path *at = PB_AT(parent, "typed_config");
    const ProtobufCMessageDescriptor *desc;
    const void *config = decode_any(d, at, m->typed_config, &desc);
    if (config == NULL)
        return -ERR_INVALID;
    if (decode_access_log_filter(d, PB_AT(parent, "filter"), m->filter, &log->filter) != 0)
        return -ERR_INVALID;
    const Pb__Core__SubstitutionFormatString *format;
    if (desc == &pb__access_log_file__file_access_log__descriptor) {
        const Pb__AccessLogFile__FileAccessLog *file = config;
        if (!decode_is_set(file->path))
            return decode_fail(d, PB_AT(at, "path"), "a path is needed");
        log->path = decode_str(d, file->path);
        format = file->log_format;
    } else if (desc == &pb__access_log_stream__stdout_access_log__descriptor) {
        log->path = STR("/dev/stdout");
        format = ((const Pb__AccessLogStream__StdoutAccessLog *)config)->log_format;
    } else if (desc == &pb__access_log_stream__stderr_access_log__descriptor) {
        log->path = STR("/dev/stderr");
        format = ((const Pb__AccessLogStream__StderrAccessLog *)config)->log_format;
    } else {
        return decode_fail(d, at, "%s is not an access log", desc->name);
    }
    return decode_format(d, PB_AT(at, "log_format"), format, log);
}

int decode_access_logs(struct decode *d, const struct pb_path *at,
                       Pb__Accesslog__AccessLog *const *items, size_t count,
                       const struct access_log_config **ret_logs)
{
    if (count == 0)
        return 0;
    struct access_log_config *logs = ARENA_ARRAY(d->arena, struct access_log_config, count);
    for (size_t i = 0; i < count; i++) {
        if (decode_access_log(d, PB_AT_I(at, "access_log", i), items[i], &logs[i]) != 0)
            return -ERR_INVALID;
    }
    *ret_logs = logs;
    return 0;
}

/* --- encoding --- */

static Pb__Struct *encode_json_format(struct encode *e, const struct access_log_config *in)
{
    Pb__Struct *m = PB_NEW(e, Pb__Struct, pb__struct);
    m->fields = PB_PTRS(e, Pb__Struct__FieldsEntry, in->json_field_count);
    for (size_t i = 0; i < in->json_field_count; i++) {
        Pb__Struct__FieldsEntry *entry =
            PB_NEW(e, Pb__Struct__FieldsEntry, pb__struct__fields_entry);
        entry->key = encode_str(e, in->json_fields[i].key);
        entry->value = PB_NEW(e, Pb__Value, pb__value);
        entry->value->kind_case = PB__VALUE__KIND_STRING_VALUE;
        entry->value->string_value = encode_str_always(e, in->json_fields[i].format);
        m->fields[m->n_fields++] = entry;
    }
    return m;
}

static Pb__Core__SubstitutionFormatString *encode_format(struct encode *e,
                                                         const struct access_log_config *in)
{
    if (!in->is_json && in->text_format.len == 0)
        return NULL;
    Pb__Core__SubstitutionFormatString *m =
        PB_NEW(e, Pb__Core__SubstitutionFormatString, pb__core__substitution_format_string);
    if (in->is_json) {
        m->format_case = PB__CORE__SUBSTITUTION_FORMAT_STRING__FORMAT_JSON_FORMAT;
        m->json_format = encode_json_format(e, in);
    } else {
        m->format_case = PB__CORE__SUBSTITUTION_FORMAT_STRING__FORMAT_TEXT_FORMAT_SOURCE;
        m->text_format_source = encode_inline(e, in->text_format);
    }
    return m;
}

Pb__Accesslog__AccessLog **encode_access_logs(struct encode *e,
                                              const struct access_log_config *logs, size_t count)
{
    Pb__Accesslog__AccessLog **items = PB_PTRS(e, Pb__Accesslog__AccessLog, count);
    for (size_t i = 0; i < count; i++) {
        Pb__AccessLogFile__FileAccessLog *file =
            PB_NEW(e, Pb__AccessLogFile__FileAccessLog, pb__access_log_file__file_access_log);
        file->path = encode_str(e, logs[i].path);
        file->log_format = encode_format(e, &logs[i]);
        items[i] = PB_NEW(e, Pb__Accesslog__AccessLog, pb__accesslog__access_log);
        items[i]->name = "envoy.access_loggers.file";
        items[i]->typed_config = encode_any(e, &file->base);
        if (logs[i].filter != NULL)
            items[i]->filter = encode_access_log_filter(e, logs[i].filter);
    }
    return items;
}
