#include "base/err.h"
#include "mesh/xds/codec_priv.h"

/* --- decoding --- */

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
    return decode_format(d, PB_AT(at, "log_format"), format, &log->format);
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

Pb__Accesslog__AccessLog **encode_access_logs(struct encode *e,
                                              const struct access_log_config *logs, size_t count)
{
    Pb__Accesslog__AccessLog **items = PB_PTRS(e, Pb__Accesslog__AccessLog, count);
    for (size_t i = 0; i < count; i++) {
        Pb__AccessLogFile__FileAccessLog *file =
            PB_NEW(e, Pb__AccessLogFile__FileAccessLog, pb__access_log_file__file_access_log);
        file->path = encode_str(e, logs[i].path);
        file->log_format = encode_format(e, &logs[i].format);
        items[i] = PB_NEW(e, Pb__Accesslog__AccessLog, pb__accesslog__access_log);
        items[i]->name = "envoy.access_loggers.file";
        items[i]->typed_config = encode_any(e, &file->base);
        if (logs[i].filter != NULL)
            items[i]->filter = encode_access_log_filter(e, logs[i].filter);
    }
    return items;
}
