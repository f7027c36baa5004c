/* A format of anybody's, and a line by it: compiled or refused, and one line. */
#include "proxy/telemetry/access_log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(const struct substitution_format *config, const struct record *r)
{
    struct str_buf why = STR_BUF_INIT(4096), line = STR_BUF_INIT(64 * 1024);
    struct access_log_format *f = NULL;
    if (access_log_format_new(config, &why, &f) == 0) {
        access_log_format_line(f, r, &line);
        /* Unless there are no bytes at all. */
        if (config->is_json && (line.len == 0 || line.ptr[line.len - 1] != '\n'))
            __builtin_trap();
    } else if (why.len == 0) {
        __builtin_trap();
    }
    access_log_format_free(f);
    str_buf_deinit(&line);
    str_buf_deinit(&why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const struct downstream_info info;
    const struct record r = {
        .info = &info, .start_wall_us = 1767225600123456, .grpc_status = 5, .status = 200};
    struct str text = str_from((const char *)data, len);
    const struct format_json item = {.text = text};
    const struct format_json field = {
        .key = text, .kind = FORMAT_JSON_LIST, .children = &item, .child_count = 1};
    check(&(struct substitution_format){.text = text}, &r);
    check(
        &(struct substitution_format){
            .is_json = true, .omit_empty_values = len % 2 == 0, .fields = &field, .field_count = 1},
        &r);
    return 0;
}
