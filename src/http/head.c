#include "http/head.h"

enum {
    FIELDS_FIRST = 16,
    NAME_LEN_MAX = 30,
    NAMES_PER_LEN_MAX = 6,
    NAMES_UNKNOWN = UINT32_MAX, /* as names_count: never that many fields */
};

static const struct str name_texts[HTTP_NAME_COUNT] = {
    {"", 0},
#define HTTP_NAME(id, text) {text, sizeof(text) - 1},
#include "http/names.def"
#undef HTTP_NAME
};

/* The names of each length, 0 behind the last: a look-up compares with the few of its own length.
 * head_test finds every name of names.def through it. */
static const uint8_t names_by_len[NAME_LEN_MAX + 1][NAMES_PER_LEN_MAX + 1] = {
    [2] = {HTTP_NAME_TE, HTTP_NAME_B3},
    [4] = {HTTP_NAME_HOST, HTTP_NAME_DATE},
    [6] = {HTTP_NAME_ACCEPT, HTTP_NAME_SERVER, HTTP_NAME_EXPECT},
    [7] = {HTTP_NAME_UPGRADE, HTTP_NAME_TRAILER},
    [8] = {HTTP_NAME_LOCATION},
    [10] = {HTTP_NAME_USER_AGENT, HTTP_NAME_CONNECTION, HTTP_NAME_KEEP_ALIVE},
    [11] = {HTTP_NAME_TRACEPARENT, HTTP_NAME_GRPC_STATUS, HTTP_NAME_RETRY_AFTER},
    [12] = {HTTP_NAME_CONTENT_TYPE, HTTP_NAME_X_REQUEST_ID, HTTP_NAME_GRPC_TIMEOUT,
            HTTP_NAME_GRPC_MESSAGE, HTTP_NAME_X_TULLE_PEER, HTTP_NAME_X_B3_TRACEID},
    [14] = {HTTP_NAME_CONTENT_LENGTH, HTTP_NAME_HTTP2_SETTINGS, HTTP_NAME_X_TULLE_ORIGIN},
    [15] = {HTTP_NAME_X_FORWARDED_FOR, HTTP_NAME_X_TULLE_VERSION},
    [16] = {HTTP_NAME_PROXY_CONNECTION},
    [17] = {HTTP_NAME_TRANSFER_ENCODING, HTTP_NAME_X_FORWARDED_PROTO, HTTP_NAME_X_TULLE_UNREACHED},
    [18] = {HTTP_NAME_X_ENVOY_OVERLOADED},
    [21] = {HTTP_NAME_X_ENVOY_ATTEMPT_COUNT, HTTP_NAME_X_ENVOY_ORIGINAL_PATH},
    [23] = {HTTP_NAME_X_FORWARDED_CLIENT_CERT},
    [27] = {HTTP_NAME_X_ENVOY_DECORATOR_OPERATION},
    [29] = {HTTP_NAME_X_ENVOY_UPSTREAM_SERVICE_TIME},
    [30] = {HTTP_NAME_X_ENVOY_EXPECTED_RQ_TIMEOUT_MS},
};

struct str http_name_text(enum http_name id)
{
    ASSERT((unsigned)id < HTTP_NAME_COUNT);
    return name_texts[id];
}

static inline uint64_t load8(const char *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

/* Of two texts of the same length, few and short: by words that may overlap. */
static inline bool is_same(const char *a, const char *b, size_t len)
{
    if (len >= 8) {
        uint64_t differ = (load8(a) ^ load8(b)) | (load8(a + len - 8) ^ load8(b + len - 8));

        return differ == 0 && (len <= 16 || memcmp(a + 8, b + 8, len - 8) == 0);
    }
    for (size_t i = 0; i < len; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

enum http_name http_name_find(struct str name)
{
    if (name.len > NAME_LEN_MAX)
        return HTTP_NAME_OTHER;
    for (const uint8_t *id = names_by_len[name.len]; *id != 0; id++) {
        if (is_same(name_texts[*id].ptr, name.ptr, name.len))
            return (enum http_name) * id;
    }
    return HTTP_NAME_OTHER;
}

void http_head_init(struct http_head *h, struct arena *a, bool is_request)
{
    *h = (struct http_head){.arena = a, .is_request = is_request};
}

static struct str copy_str(char **at, struct str s)
{
    char *copy = *at;

    if (s.ptr == NULL)
        return STR_NULL;
    if (s.len > 0)
        memcpy(copy, s.ptr, s.len);
    *at += s.len;
    return str_from(copy, s.len);
}

static size_t text_len(const struct http_head *h)
{
    size_t len = h->method.len + h->scheme.len + h->authority.len + h->path.len +
                 h->original_path.len + h->protocol.len;

    for (uint32_t i = 0; i < h->field_count; i++) {
        len += h->fields[i].value.len;
        if (h->fields[i].id == HTTP_NAME_OTHER)
            len += h->fields[i].name.len;
    }
    return len;
}

void http_head_copy(struct http_head *to, const struct http_head *from, struct arena *a)
{
    struct http_field *fields = arena_alloc(a, sizeof(*fields) * (from->field_count + 8));
    char *at = arena_bytes(a, text_len(from) + 1);

    for (uint32_t i = 0; i < from->field_count; i++) {
        const struct http_field *f = &from->fields[i];

        fields[i].id = f->id;
        fields[i].is_never_indexed = f->is_never_indexed;
        fields[i].name = f->id == HTTP_NAME_OTHER ? copy_str(&at, f->name) : name_texts[f->id];
        fields[i].value = copy_str(&at, f->value);
    }
    *to = *from;
    to->arena = a;
    to->fields = fields;
    to->field_cap = from->field_count + 8;
    to->method = copy_str(&at, from->method);
    to->scheme = copy_str(&at, from->scheme);
    to->authority = copy_str(&at, from->authority);
    to->path = copy_str(&at, from->path);
    to->original_path = copy_str(&at, from->original_path);
    to->protocol = copy_str(&at, from->protocol);
}

bool http_head_asks_tunnel(const struct http_head *request)
{
    return request->protocol.len > 0 || str_eq(request->method, STR("CONNECT"));
}

bool http_head_opens_tunnel(const struct http_head *request, const struct http_head *response)
{
    if (request->protocol.len > 0)
        return response->status == 101;
    return str_eq(request->method, STR("CONNECT")) && response->status >= 200 &&
           response->status < 300;
}

static bool is_named(const struct http_field *f, enum http_name id, struct str name)
{
    return f->id == id && (id != HTTP_NAME_OTHER || str_eq(f->name, name));
}

/* --- which names there are ----------------------------------------------------------------------
 */

static inline bool is_indexed(const struct http_head *h)
{
    return h->names_count == h->field_count;
}

/* False: none of these names is there. */
static inline bool may_have(const struct http_head *h, uint64_t names)
{
    return (h->names & names) != 0 || !is_indexed(h);
}

void http_head_index(struct http_head *h)
{
    h->names = 0;
    for (uint32_t i = 0; i < h->field_count; i++)
        h->names |= 1ull << h->fields[i].id;
    h->names_count = h->field_count;
}

static struct http_field *find(const struct http_head *h, enum http_name id, struct str name)
{
    if (!may_have(h, 1ull << id))
        return NULL;
    for (uint32_t i = 0; i < h->field_count; i++)
        if (is_named(&h->fields[i], id, name))
            return &h->fields[i];
    return NULL;
}

/* Names that are gone may stay in the set; it only says what cannot be there. */
static void set_count(struct http_head *h, uint32_t count)
{
    h->names_count = is_indexed(h) ? count : (uint32_t)NAMES_UNKNOWN;
    h->field_count = count;
}

static unsigned remove_from(struct http_head *h, uint32_t from, enum http_name id, struct str name)
{
    uint32_t kept = from, before = h->field_count;

    if (!may_have(h, 1ull << id))
        return 0;
    for (uint32_t i = from; i < before; i++)
        if (!is_named(&h->fields[i], id, name))
            h->fields[kept++] = h->fields[i];
    set_count(h, kept);
    return before - kept;
}

void http_head_remove_all_of(struct http_head *h, uint64_t names)
{
    uint32_t kept = 0;

    ASSERT((names & HTTP_NAME_BIT(OTHER)) == 0);
    if (!may_have(h, names))
        return;
    for (uint32_t i = 0; i < h->field_count; i++)
        if ((1ull << h->fields[i].id & names) == 0)
            h->fields[kept++] = h->fields[i];
    set_count(h, kept);
}

static void add(struct http_head *h, enum http_name id, struct str name, struct str value)
{
    if (h->field_count == h->field_cap) {
        uint32_t cap = h->field_cap == 0 ? FIELDS_FIRST : h->field_cap * 2;
        struct http_field *fields = arena_alloc(h->arena, sizeof(*fields) * cap);

        if (h->field_count > 0)
            memcpy(fields, h->fields, sizeof(*fields) * h->field_count);
        h->fields = fields;
        h->field_cap = cap;
    }
    if (is_indexed(h)) {
        h->names |= 1ull << id;
        h->names_count++;
    }
    h->fields[h->field_count++] = (struct http_field){name, value, id, false};
}

static void set(struct http_head *h, enum http_name id, struct str name, struct str value)
{
    struct http_field *first = find(h, id, name);

    if (first == NULL) {
        add(h, id, name, value);
        return;
    }
    first->value = value;
    remove_from(h, (uint32_t)(first - h->fields) + 1, id, name);
}

struct str http_head_get(const struct http_head *h, enum http_name id)
{
    const struct http_field *f = find(h, id, STR_NULL);

    return f == NULL ? STR_NULL : f->value;
}

struct str http_head_get_named(const struct http_head *h, struct str name)
{
    const struct http_field *f = find(h, http_name_find(name), name);

    return f == NULL ? STR_NULL : f->value;
}

struct str http_head_get_joined(const struct http_head *h, struct str name)
{
    enum http_name id = http_name_find(name);
    const struct http_field *first = find(h, id, name);
    size_t len = 0;

    if (first == NULL)
        return STR_NULL;
    for (const struct http_field *f = first; f < h->fields + h->field_count; f++)
        if (is_named(f, id, name))
            len += f->value.len + 1;
    if (len == first->value.len + 1)
        return first->value;

    char *text = arena_bytes(h->arena, len), *at = text;
    for (const struct http_field *f = first; f < h->fields + h->field_count; f++) {
        if (!is_named(f, id, name))
            continue;
        copy_str(&at, f->value);
        *at++ = ',';
    }
    return str_from(text, len - 1);
}

void http_head_add(struct http_head *h, enum http_name id, struct str value)
{
    ASSERT(id != HTTP_NAME_OTHER);
    add(h, id, http_name_text(id), value);
}

void http_head_add_named(struct http_head *h, struct str name, struct str value)
{
    add(h, http_name_find(name), name, value);
}

void http_head_set(struct http_head *h, enum http_name id, struct str value)
{
    ASSERT(id != HTTP_NAME_OTHER);
    set(h, id, http_name_text(id), value);
}

void http_head_set_named(struct http_head *h, struct str name, struct str value)
{
    set(h, http_name_find(name), name, value);
}

unsigned http_head_remove(struct http_head *h, enum http_name id)
{
    ASSERT(id != HTTP_NAME_OTHER);
    return remove_from(h, 0, id, STR_NULL);
}

unsigned http_head_remove_named(struct http_head *h, struct str name)
{
    return remove_from(h, 0, http_name_find(name), name);
}

struct str http_head_path_only(const struct http_head *h)
{
    ptrdiff_t query = str_find(h->path, '?');

    return query < 0 ? h->path : str_sub(h->path, 0, (size_t)query);
}

struct str http_head_query(const struct http_head *h)
{
    ptrdiff_t query = str_find(h->path, '?');

    return query < 0 ? STR_NULL : str_skip(h->path, (size_t)query + 1);
}

bool http_is_grpc_type(struct str content_type)
{
    struct str prefix = STR("application/grpc");

    if (content_type.len < prefix.len || (content_type.ptr[prefix.len - 1] | 0x20) != 'c' ||
        !str_starts_with_nocase(content_type, prefix))
        return false;
    if (content_type.len == prefix.len)
        return true;
    char next = content_type.ptr[prefix.len];
    return next == '+' || next == ';' || next == ' ';
}

/* RFC 9110 15, RFC 6585, RFC 4918, RFC 7725, RFC 8297, RFC 8470. */
static const struct {
    uint16_t status;
    const char *text;
} status_rows[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {102, "Processing"},
    {103, "Early Hints"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {203, "Non-Authoritative Information"},
    {204, "No Content"},
    {205, "Reset Content"},
    {206, "Partial Content"},
    {207, "Multi-Status"},
    {208, "Already Reported"},
    {226, "IM Used"},
    {300, "Multiple Choices"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {407, "Proxy Authentication Required"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {423, "Locked"},
    {424, "Failed Dependency"},
    {425, "Too Early"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {451, "Unavailable For Legal Reasons"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {506, "Variant Also Negotiates"},
    {507, "Insufficient Storage"},
    {508, "Loop Detected"},
    {511, "Network Authentication Required"},
};

const char *http_status_text(unsigned status)
{
    size_t low = 0, high = ARRAY_LEN(status_rows);

    if (status == 200)
        return "OK";
    while (low < high) {
        size_t middle = (low + high) / 2;

        if (status_rows[middle].status == status)
            return status_rows[middle].text;
        if (status_rows[middle].status < status)
            low = middle + 1;
        else
            high = middle;
    }
    return "Unknown";
}
