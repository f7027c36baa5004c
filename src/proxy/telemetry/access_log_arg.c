/* What stands between the parentheses of access logs' operators, understood once. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "proxy/telemetry/access_log_priv.h"

static int refuse(struct str_buf *why, const char *what)
{
    str_buf_add_c(why, what);
    return -ERR_INVALID;
}

/* --- fields --- */

static struct str lower(struct arena *a, struct str s)
{
    char *out = arena_bytes(a, s.len + 1);
    for (size_t i = 0; i < s.len; i++)
        out[i] = (char)(s.ptr[i] >= 'A' && s.ptr[i] <= 'Z' ? s.ptr[i] + 32 : s.ptr[i]);
    return str_from(out, s.len);
}

static struct access_log_field field_named(struct str name)
{
    static const struct {
        struct str name;
        enum access_log_field_kind kind;
    } pseudos[] = {
        {{":method", 7}, ACCESS_LOG_METHOD},
        {{":path", 5}, ACCESS_LOG_PATH},
        {{":authority", 10}, ACCESS_LOG_AUTHORITY},
        {{":scheme", 7}, ACCESS_LOG_SCHEME},
    };
    for (size_t i = 0; i < ARRAY_LEN(pseudos); i++) {
        if (str_eq(name, pseudos[i].name))
            return (struct access_log_field){.kind = pseudos[i].kind};
    }
    return (struct access_log_field){ACCESS_LOG_FIELD, http_name_find(name), name};
}

/* "NAME" or "NAME?OTHER". */
int access_log_arg_fields(struct arena *a, struct str text, struct str_buf *why,
                          struct access_log_arg *to)
{
    if (text.len == 0)
        return refuse(why, "the name of a field is needed");
    struct str rest = lower(a, text);
    to->first = field_named(str_split(&rest, '?'));
    if (rest.ptr == NULL)
        return 0;
    if (str_find(rest, '?') >= 0)
        return refuse(why, "more than one alternative field");
    to->other = field_named(rest);
    return 0;
}

/* --- times --- */

int access_log_arg_time(struct arena *a, struct str text, struct str_buf *why,
                        struct access_log_arg *to)
{
    return text.len > 0 ? access_log_time_new(a, text, false, why, &to->time) : 0;
}

int access_log_arg_local_time(struct arena *a, struct str text, struct str_buf *why,
                              struct access_log_arg *to)
{
    struct str format = text.len > 0 ? text : STR("%Y-%m-%dT%H:%M:%S.%3f%z");
    return access_log_time_new(a, format, true, why, &to->time);
}

/* "DS_RX_BEG:DS_TX_END:us" */
int access_log_arg_points(struct arena *a, struct str text, struct str_buf *why,
                          struct access_log_arg *to)
{
    static const struct {
        struct str name;
        enum access_log_point point;
    } points[] = {
        {{"DS_RX_BEG", 9}, ACCESS_LOG_REQUEST_BEGIN},
        {{"DS_RX_END", 9}, ACCESS_LOG_REQUEST_END},
        {{"US_RX_BEG", 9}, ACCESS_LOG_RESPONSE_BEGIN},
        {{"DS_TX_END", 9}, ACCESS_LOG_RESPONSE_END},
    };
    static const struct {
        struct str name;
        uint32_t num, den;
    } units[] = {{{"ms", 2}, 1, 1000}, {{"us", 2}, 1, 1}, {{"ns", 2}, 1000, 1}};
    (void)a;
    struct str rest = text, begin = str_split(&rest, ':'), end = str_split(&rest, ':');
    bool has_begin = false, has_end = false;
    for (size_t i = 0; i < ARRAY_LEN(points); i++) {
        if (str_eq(begin, points[i].name))
            to->begin = points[i].point, has_begin = true;
        if (str_eq(end, points[i].name))
            to->end = points[i].point, has_end = true;
    }
    if (!has_begin || !has_end)
        return refuse(why, "it takes two of DS_RX_BEG, DS_RX_END, US_RX_BEG, DS_TX_END");
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (str_eq(rest, units[i].name)) {
            to->unit_us_num = units[i].num;
            to->unit_us_den = units[i].den;
            return 0;
        }
    }
    return refuse(why, "the unit is ms, us or ns");
}

/* --- other --- */

int access_log_arg_name(struct arena *a, struct str text, struct str_buf *why,
                        struct access_log_arg *to)
{
    if (text.len == 0)
        return refuse(why, "a name is needed");
    to->text = arena_str(a, text);
    return 0;
}

/* "WQ" or "NQ", then ":ORIG", ":PATH" or ":ORIG_OR_PATH". */
int access_log_arg_path(struct arena *a, struct str text, struct str_buf *why,
                        struct access_log_arg *to)
{
    (void)a;
    struct str rest = text, query = str_split(&rest, ':');
    if (query.len > 0 && !str_eq(query, STR("WQ")) && !str_eq(query, STR("NQ")))
        return refuse(why, "WQ or NQ is needed");
    to->is_without_query = str_eq(query, STR("NQ"));
    to->path = ACCESS_LOG_ORIGINAL_OR_PATH;
    if (str_eq(rest, STR("PATH")))
        to->path = ACCESS_LOG_PATH_ALONE;
    else if (str_eq(rest, STR("ORIG")))
        to->path = ACCESS_LOG_ORIGINAL_ALONE;
    else if (rest.len > 0 && !str_eq(rest, STR("ORIG_OR_PATH")))
        return refuse(why, "ORIG, PATH or ORIG_OR_PATH is needed");
    return 0;
}

int access_log_arg_grpc(struct arena *a, struct str text, struct str_buf *why,
                        struct access_log_arg *to)
{
    (void)a;
    to->grpc = ACCESS_LOG_GRPC_CAMEL;
    if (str_eq(text, STR("SNAKE_STRING")))
        to->grpc = ACCESS_LOG_GRPC_SNAKE;
    else if (str_eq(text, STR("NUMBER")))
        to->grpc = ACCESS_LOG_GRPC_NUMBER;
    else if (text.len > 0 && !str_eq(text, STR("CAMEL_STRING")))
        return refuse(why, "CAMEL_STRING, SNAKE_STRING or NUMBER is needed");
    return 0;
}

/* The name of the machine and the environment do not change while a process runs. */
int access_log_arg_hostname(struct arena *a, struct str text, struct str_buf *why,
                            struct access_log_arg *to)
{
    char name[256] = "";
    if (text.ptr != NULL)
        return refuse(why, "it takes no argument");
    if (gethostname(name, sizeof name - 1) == 0 && name[0] != '\0')
        to->text = arena_str(a, str_from_c(name));
    return 0;
}

int access_log_arg_environment(struct arena *a, struct str text, struct str_buf *why,
                               struct access_log_arg *to)
{
    if (text.len == 0)
        return refuse(why, "the name of a variable is needed");
    const char *value = getenv(arena_str(a, text).ptr);
    to->text = arena_str(a, str_from_c(value != NULL && value[0] != '\0' ? value : "-"));
    return 0;
}
