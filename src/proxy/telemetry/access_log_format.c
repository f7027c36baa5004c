/* Formats of access logs and of local replies, compiled once: to pieces, and to a tree of them. */
#include <stdlib.h>

#include "base/err.h"
#include "codec/json_writer.h"
#include "proxy/telemetry/access_log_priv.h"

static const char default_text[] =
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" "
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" "
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% "
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME% %TULLE_ORIGIN%\n";

static const struct format_json default_json[] = {
    {{"start_time", 10}, {"%START_TIME%", 12}},
    {{"method", 6}, {"%REQ(:METHOD)%", 14}},
    {{"path", 4}, {"%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", 34}},
    {{"protocol", 8}, {"%PROTOCOL%", 10}},
    {{"response_code", 13}, {"%RESPONSE_CODE%", 15}},
    {{"response_flags", 14}, {"%RESPONSE_FLAGS%", 16}},
    {{"response_code_details", 21}, {"%RESPONSE_CODE_DETAILS%", 23}},
    {{"connection_termination_details", 30}, {"%CONNECTION_TERMINATION_DETAILS%", 32}},
    {{"upstream_transport_failure_reason", 33}, {"%UPSTREAM_TRANSPORT_FAILURE_REASON%", 35}},
    {{"bytes_received", 14}, {"%BYTES_RECEIVED%", 16}},
    {{"bytes_sent", 10}, {"%BYTES_SENT%", 12}},
    {{"duration", 8}, {"%DURATION%", 10}},
    {{"upstream_service_time", 21}, {"%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", 37}},
    {{"x_forwarded_for", 15}, {"%REQ(X-FORWARDED-FOR)%", 22}},
    {{"user_agent", 10}, {"%REQ(USER-AGENT)%", 17}},
    {{"request_id", 10}, {"%REQ(X-REQUEST-ID)%", 19}},
    {{"authority", 9}, {"%REQ(:AUTHORITY)%", 17}},
    {{"upstream_host", 13}, {"%UPSTREAM_HOST%", 15}},
    {{"upstream_cluster", 16}, {"%UPSTREAM_CLUSTER_RAW%", 22}},
    {{"upstream_local_address", 22}, {"%UPSTREAM_LOCAL_ADDRESS%", 24}},
    {{"downstream_local_address", 24}, {"%DOWNSTREAM_LOCAL_ADDRESS%", 26}},
    {{"downstream_remote_address", 25}, {"%DOWNSTREAM_REMOTE_ADDRESS%", 27}},
    {{"requested_server_name", 21}, {"%REQUESTED_SERVER_NAME%", 23}},
    {{"route_name", 10}, {"%ROUTE_NAME%", 12}},
    {{"origin", 6}, {"%TULLE_ORIGIN%", 14}},
};

/* --- texts --- */

static struct str padded(struct arena *a, struct str s)
{
    char *copy = arena_zalloc(a, s.len + ACCESS_LOG_PAD);
    if (s.len > 0)
        memcpy(copy, s.ptr, s.len);
    return str_from(copy, s.len);
}

static bool is_name_char(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* What stands between two '%': NAME, NAME(ARG), NAME:LEN, NAME(ARG):LEN. */
struct command {
    struct str whole, name, arg, len; /* arg.ptr, len.ptr NULL: none */
};

/* ARG may hold '%' and ')': it ends where the rest of the command follows. */
static bool take_arg(struct str *rest, struct str *ret_arg)
{
    for (size_t i = 1; i < rest->len; i++) {
        bool is_end = rest->ptr[i] == ')' && i + 1 < rest->len &&
                      (rest->ptr[i + 1] == '%' || rest->ptr[i + 1] == ':');
        if (is_end) {
            *ret_arg = str_sub(*rest, 1, i - 1);
            *rest = str_skip(*rest, i + 1);
            return true;
        }
    }
    return false;
}

/* text: behind the '%'; what follows the command's end. False: there is no command. */
static bool take_command(struct str *text, struct command *ret)
{
    struct str rest = *text;
    struct command c = {0};
    size_t n = 0;
    while (n < rest.len && is_name_char(rest.ptr[n]))
        n++;
    c.name = str_sub(rest, 0, n);
    rest = str_skip(rest, n);
    if (n == 0 || (str_starts_with(rest, STR("(")) && !take_arg(&rest, &c.arg)))
        return false;
    if (str_starts_with(rest, STR(":"))) {
        ptrdiff_t end = str_find(rest, '%');
        if (end < 0)
            return false;
        c.len = str_sub(rest, 1, (size_t)end - 1);
        rest = str_skip(rest, (size_t)end);
    }
    if (!str_starts_with(rest, STR("%")))
        return false;
    c.whole = str_sub(*text, 0, text->len - rest.len);
    *text = str_skip(rest, 1);
    *ret = c;
    return true;
}

static int compile_operator(struct access_log_format *f, const struct command *c,
                            struct str_buf *why, struct piece *p)
{
    uint64_t len = SIZE_MAX;
    p->op = access_log_operator_find(c->name);
    if (p->op == NULL) {
        str_buf_printf(why, "operator %%%.*s%% is not supported", STR_FMT(c->whole));
        return -ERR_UNSUPPORTED;
    }
    if (c->arg.ptr != NULL && p->op->arg == NULL) {
        str_buf_printf(why, "%%%.*s%%: it takes no argument", STR_FMT(c->whole));
        return -ERR_INVALID;
    }
    if (c->len.ptr != NULL &&
        ((p->op->flags & ACCESS_LOG_CUT) == 0 || !str_to_u64(c->len, 65536, &len))) {
        str_buf_printf(why, "%%%.*s%%: %s", STR_FMT(c->whole),
                       (p->op->flags & ACCESS_LOG_CUT) == 0 ? "it takes no length"
                                                            : "a bad length");
        return -ERR_INVALID;
    }
    p->len_max = len;
    if (p->op->arg == NULL)
        return 0;
    AUTO(str_buf_deinit) struct str_buf reason = STR_BUF_INIT(512);
    int err = p->op->arg(&f->arena, c->arg, &reason, &p->arg);
    if (err != 0)
        str_buf_printf(why, "%%%.*s%%: %.*s", STR_FMT(c->whole), STR_FMT(str_buf_str(&reason)));
    return err;
}

static void push_piece(struct access_log_format *f, struct pieces *pieces, struct str_buf *literal,
                       struct piece p)
{
    p.literal = padded(&f->arena, str_buf_str(literal));
    str_buf_reset(literal);
    VEC_PUSH(pieces, p);
}

static int compile_text(struct access_log_format *f, struct pieces *pieces, struct str text,
                        struct str_buf *why)
{
    AUTO(str_buf_deinit) struct str_buf literal = STR_BUF_INIT(text.len + 1);
    while (text.len > 0) {
        ptrdiff_t at = str_find(text, '%');
        str_buf_add(&literal, str_sub(text, 0, at < 0 ? text.len : (size_t)at));
        if (at < 0)
            break;
        text = str_skip(text, (size_t)at + 1);
        if (str_starts_with(text, STR("%"))) {
            str_buf_add_char(&literal, '%');
            text = str_skip(text, 1);
            continue;
        }
        struct command c;
        if (!take_command(&text, &c)) {
            str_buf_printf(why, "no operator at '%%%.*s'; a percent sign is written %%%%",
                           STR_FMT(str_sub(text, 0, 40)));
            return -ERR_SYNTAX;
        }
        struct piece p = {0};
        int err = compile_operator(f, &c, why, &p);
        if (err != 0)
            return err;
        push_piece(f, pieces, &literal, p);
    }
    if (literal.len > 0)
        push_piece(f, pieces, &literal, (struct piece){0});
    return 0;
}

/* --- JSON --- */

/* Where in json_format something is; on the stack of whoever walks down. */
struct place {
    const struct place *parent;
    struct str key;
    size_t index; /* of a list, when key.ptr is NULL */
};

static void print_place(const struct place *p, struct str_buf *to)
{
    if (p == NULL)
        return;
    print_place(p->parent, to);
    if (p->key.ptr == NULL)
        str_buf_printf(to, "[%zu]", p->index);
    else
        str_buf_printf(to, ".%.*s", STR_FMT(str_sub(p->key, 0, 100)));
}

static struct str member_key(struct arena *a, struct str key)
{
    AUTO(str_buf_deinit) struct str_buf text = STR_BUF_INIT(key.len * 6 + 16);
    str_buf_add_char(&text, ',');
    json_writer_quote(&text, key);
    str_buf_add_char(&text, ':');
    return padded(a, str_buf_str(&text));
}

static struct str literal_text(struct arena *a, const struct format_json *in)
{
    AUTO(str_buf_deinit) struct str_buf text = STR_BUF_INIT(64);
    struct json_writer w;
    json_writer_init(&w, &text, 0);
    const double whole_max = 9007199254740992; /* 2^53 */
    if (in->kind == FORMAT_JSON_BOOL)
        json_writer_bool(&w, NULL, in->is_true);
    else if (in->kind == FORMAT_JSON_NULL)
        json_writer_null(&w, NULL);
    else if (in->number >= -whole_max && in->number <= whole_max &&
             (double)(int64_t)in->number == in->number)
        json_writer_i64(&w, NULL, (int64_t)in->number);
    else
        json_writer_f64(&w, NULL, in->number);
    return padded(a, str_buf_str(&text));
}

/* Recursive to the depth that mesh/xds lets messages have. */
static int compile_node(struct access_log_format *f, const struct format_json *in,
                        const struct place *at, struct json_node *node, struct str_buf *why)
{
    node->kind = in->kind;
    node->children = ARENA_ARRAY(&f->arena, struct json_node, in->child_count + 1);
    AUTO(str_buf_deinit) struct str_buf reason = STR_BUF_INIT(1024);
    switch (in->kind) {
    case FORMAT_JSON_OBJECT:
    case FORMAT_JSON_LIST:
        for (; node->child_count < in->child_count; node->child_count++) {
            const struct format_json *child = &in->children[node->child_count];
            struct json_node *to = &node->children[node->child_count];
            bool is_member = in->kind == FORMAT_JSON_OBJECT;
            struct str key = child->key.ptr != NULL ? child->key : STR("");
            const struct place here = {at, is_member ? key : STR_NULL, node->child_count};
            to->key = is_member ? member_key(&f->arena, key) : padded(&f->arena, STR(","));
            int err = compile_node(f, child, &here, to, why);
            if (err != 0) {
                node->child_count++; /* what it has is freed, too */
                return err;
            }
        }
        return 0;
    case FORMAT_JSON_NUMBER:
    case FORMAT_JSON_BOOL:
    case FORMAT_JSON_NULL:
        node->text = literal_text(&f->arena, in);
        return 0;
    case FORMAT_JSON_TEXT: {
        int err = compile_text(f, &node->pieces, in->text, &reason);
        if (err != 0) {
            str_buf_add_c(why, "json_format");
            print_place(at, why);
            str_buf_printf(why, ": %.*s", STR_FMT(str_buf_str(&reason)));
        }
        return err;
    }
    }
    return 0;
}

static void free_node(struct json_node *node)
{
    VEC_DEINIT(&node->pieces);
    for (size_t i = 0; i < node->child_count; i++)
        free_node(&node->children[i]);
}

/* --- both --- */

int access_log_format_new(const struct substitution_format *config, struct str_buf *why,
                          struct access_log_format **ret_format)
{
    struct access_log_format *f = NEW(struct access_log_format);
    arena_init(&f->arena, 2048);
    f->is_json = config->is_json;
    f->omit_empty_values = config->omit_empty_values;
    f->scratch = NEW(struct str_buf);
    *f->scratch = STR_BUF_INIT(16 * 1024);
    int err;
    if (config->is_json) {
        bool is_default = config->field_count == 0;
        const struct format_json root = {
            .kind = FORMAT_JSON_OBJECT,
            .children = is_default ? default_json : config->fields,
            .child_count = is_default ? ARRAY_LEN(default_json) : config->field_count,
        };
        err = compile_node(f, &root, NULL, &f->root, why);
    } else {
        struct str text = config->text.len > 0 ? config->text : str_from_c(default_text);
        err = compile_text(f, &f->text, text, why);
    }
    if (err != 0) {
        access_log_format_free(f);
        return err;
    }
    *ret_format = f;
    return 0;
}

struct access_log_format *access_log_format_free(struct access_log_format *f)
{
    if (f == NULL)
        return NULL;
    VEC_DEINIT(&f->text);
    free_node(&f->root);
    str_buf_deinit(f->scratch);
    free(f->scratch);
    arena_deinit(&f->arena);
    free(f);
    return NULL;
}
