/* Answers and the parts of a request that all handlers share. */
#include <stdarg.h>
#include <stdio.h>

#include "codec/url.h"
#include "control/server/server_priv.h"

enum { MESSAGE_BYTES_MAX = 4096 };

struct str rest_query(struct rest *q, struct str name)
{
    struct str rest = q->query;
    while (rest.len > 0) {
        struct str value = str_split(&rest, '&');
        struct str key = str_split(&value, '=');
        struct str decoded;
        if (str_eq(key, name) && value.ptr != NULL && url_decode(&q->arena, value, &decoded))
            return decoded;
    }
    return STR_NULL;
}

void rest_answer(struct rest *q, unsigned status, struct str json)
{
    if (q->stream != NULL)
        service_reply(q->stream, status, STR("application/json"), json);
}

void rest_error(struct rest *q, unsigned status, const char *reason, const char *fmt, ...)
{
    char message[MESSAGE_BYTES_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    struct str_buf text = STR_BUF_INIT(4 * MESSAGE_BYTES_MAX);
    struct json_writer w;
    json_writer_init(&w, &text, 0);
    json_writer_object(&w, NULL);
    json_writer_c(&w, "kind", "Status");
    json_writer_c(&w, "apiVersion", "v1");
    json_writer_c(&w, "status", "Failure");
    json_writer_c(&w, "message", message);
    json_writer_c(&w, "reason", reason);
    json_writer_u64(&w, "code", status);
    json_writer_end(&w);
    rest_answer(q, status, str_buf_str(&text));
    str_buf_deinit(&text);
}
