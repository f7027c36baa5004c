#include "http/hpack_table.h"

enum { WALK_MAX = 8 }; /* entries of one bucket that are looked at */

/* Fields whose value is another one in each message: no use to look for it. */
static const bool is_unique[HTTP_NAME_COUNT] = {
    [HTTP_NAME_CONTENT_LENGTH] = true, [HTTP_NAME_X_REQUEST_ID] = true,
    [HTTP_NAME_TRACEPARENT] = true,    [HTTP_NAME_B3] = true,
    [HTTP_NAME_X_B3_TRACEID] = true,
};

/* The static table's index of a name that names.def has; 0: none. */
static const uint8_t static_names[HTTP_NAME_COUNT] = {
    [HTTP_NAME_ACCEPT] = 19,       [HTTP_NAME_CONTENT_LENGTH] = 28,
    [HTTP_NAME_CONTENT_TYPE] = 31, [HTTP_NAME_DATE] = 33,
    [HTTP_NAME_EXPECT] = 35,       [HTTP_NAME_HOST] = 38,
    [HTTP_NAME_LOCATION] = 46,     [HTTP_NAME_RETRY_AFTER] = 53,
    [HTTP_NAME_SERVER] = 54,       [HTTP_NAME_TRANSFER_ENCODING] = 57,
    [HTTP_NAME_USER_AGENT] = 58,
};

/* Likewise of pseudo fields: the first of several. */
static const uint8_t static_pseudo[] = {
    [H2_FIELD] = 0, [H2_METHOD] = 2, [H2_SCHEME] = 6,   [H2_AUTHORITY] = 1,
    [H2_PATH] = 4,  [H2_STATUS] = 8, [H2_PROTOCOL] = 0, [H2_PSEUDO_UNKNOWN] = 0,
};

/* The other names of the static table by length, 0 behind the last. */
enum { STATIC_LEN_MAX = 27, STATIC_PER_LEN_MAX = 6 };
static const uint8_t static_by_len[STATIC_LEN_MAX + 1][STATIC_PER_LEN_MAX + 1] = {
    [3] = {21, 60},         /* age via */
    [4] = {34, 37, 45, 59}, /* etag from link vary */
    [5] = {22, 50},         /* allow range */
    [6] = {32},             /* cookie */
    [7] = {36, 51, 52},     /* expires referer refresh */
    [8] = {39, 42},         /* if-match if-range */
    [10] = {55},            /* set-cookie */
    [12] = {47},            /* max-forwards */
    [13] = {18, 23, 24, 30, 41, 44},
    /* accept-ranges authorization cache-control content-range if-none-match last-modified */
    [14] = {15},             /* accept-charset */
    [15] = {16, 17},         /* accept-encoding accept-language */
    [16] = {26, 27, 29, 61}, /* content-encoding -language -location www-authenticate */
    [17] = {40},             /* if-modified-since */
    [18] = {48},             /* proxy-authenticate */
    [19] = {25, 43, 49},     /* content-disposition if-unmodified-since proxy-authorization */
    [25] = {56},             /* strict-transport-security */
    [27] = {20},             /* access-control-allow-origin */
};

static unsigned find_static(struct str name)
{
    if (name.len > STATIC_LEN_MAX)
        return 0;
    for (const uint8_t *i = static_by_len[name.len]; *i != 0; i++) {
        if (memcmp(hpack_static[*i].name.ptr, name.ptr, name.len) == 0)
            return *i;
    }
    return 0;
}

/* RFC 7541 7.1.3: what must not be guessed by watching sizes. By index of the static table. */
static bool is_secret(unsigned static_name)
{
    return static_name == 23 || static_name == 32 || static_name == 49 || static_name == 55;
}

/* --- writing -------------------------------------------------------------------------------- */

static char *put_integer(char *to, uint8_t flags, unsigned prefix_bits, size_t value)
{
    uint8_t mask = (uint8_t)((1u << prefix_bits) - 1);

    if (value < mask) {
        *to++ = (char)(flags | value);
        return to;
    }
    *to++ = (char)(flags | mask);
    for (value -= mask; value >= 0x80; value >>= 7)
        *to++ = (char)(0x80 | (value & 0x7f));
    *to++ = (char)value;
    return to;
}

static char *put_string(char *to, struct str s)
{
    to = put_integer(to, 0, 7, s.len);
    if (s.len > 0)
        memcpy(to, s.ptr, s.len);
    return to + s.len;
}

static char *put_indexed(const struct hpack_encoder *e, char *to, uint32_t ordinal)
{
    return put_integer(to, 0x80, 7, HPACK_STATIC_COUNT + 1 + (e->table.inserted - ordinal));
}

/* --- the index ------------------------------------------------------------------------------ */

/* A field on its way out. */
struct item {
    enum h2_kind kind;
    enum http_name id;
    struct str name, value;
    unsigned static_name;
    uint32_t hash;
};

static uint64_t load(const char *from, size_t len)
{
    uint64_t word = 0;

    memcpy(&word, from, len);
    return word;
}

/* Some of the bytes: strings that are equal agree in it, others seldom. Who finds two of a kind
 * compares them, so a peer that makes them agree wins nothing. */
static uint64_t sample(struct str s)
{
    if (s.len >= 8)
        return load(s.ptr, 8) ^ (load(s.ptr + s.len / 2 - 4, 8) * 3) ^
               (load(s.ptr + s.len - 8, 8) * 5);
    if (s.len >= 4)
        return load(s.ptr, 4) | load(s.ptr + s.len - 4, 4) << 32;
    if (s.len == 0)
        return 0;
    return (uint64_t)(uint8_t)s.ptr[0] | (uint64_t)(uint8_t)s.ptr[s.len / 2] << 8 |
           (uint64_t)(uint8_t)s.ptr[s.len - 1] << 16;
}

static uint32_t hash_of(const struct item *item)
{
    uint64_t h = sample(item->value) + item->value.len * 0x9e3779b97f4a7c15ull +
                 ((uint64_t)item->kind << 40) + ((uint64_t)item->id << 48);

    if (item->kind == H2_FIELD && item->id == HTTP_NAME_OTHER)
        h ^= sample(item->name) * 7;
    h *= 0xff51afd7ed558ccdull;
    return (uint32_t)(h >> 32);
}

static bool is_same(const struct hpack_encoder *e, const struct hpack_entry *entry,
                    const struct item *item)
{
    return entry->hash == item->hash && entry->kind == item->kind && entry->id == item->id &&
           str_eq(hpack_entry_value(&e->table, entry), item->value) &&
           (item->kind != H2_FIELD || item->id != HTTP_NAME_OTHER ||
            str_eq(hpack_entry_name(&e->table, entry), item->name));
}

/* Ordinals of entries that are gone end a bucket: what follows is older still. 0: not found, and
 * then no entry is number 0, for the first is 1 and they live for less than 2^32. */
static uint32_t find(const struct hpack_encoder *e, const struct item *item)
{
    uint32_t ordinal = e->buckets[item->hash % HPACK_BUCKETS];

    for (unsigned i = 0; i < WALK_MAX && hpack_table_is_live(&e->table, ordinal); i++) {
        const struct hpack_entry *entry = hpack_table_entry(&e->table, ordinal);

        if (is_same(e, entry, item))
            return ordinal;
        ordinal = entry->next;
    }
    return 0;
}

static void insert(struct hpack_encoder *e, const struct item *item)
{
    struct hpack_entry *entry = hpack_table_insert(&e->table, item->name, item->value);
    uint32_t *bucket = &e->buckets[item->hash % HPACK_BUCKETS];

    if (entry == NULL)
        return;
    entry->kind = (uint8_t)item->kind;
    entry->id = (uint8_t)item->id;
    entry->hash = item->hash;
    entry->next = *bucket;
    *bucket = e->table.inserted;
    if (item->kind == H2_FIELD)
        e->name_at[item->id] = e->table.inserted;
}

/* Whether it came before, as far as is remembered; from now on it did. */
static bool is_seen(struct hpack_encoder *e, uint32_t hash)
{
    uint16_t *mark = &e->seen[hash / HPACK_BUCKETS % HPACK_SEEN];
    uint16_t mine = (uint16_t)(hash >> 16 | 1);

    if (*mark == mine)
        return true;
    *mark = mine;
    return false;
}

/* --- representations ------------------------------------------------------------------------ */

/* A small part of the table, so that it drives out few others. */
static bool is_small(const struct hpack_encoder *e, const struct item *item)
{
    return item->name.len + item->value.len + HPACK_ENTRY_BYTES <= e->table.size_max / 4;
}

/* The index of an entry with that name; 0: none. */
static uint32_t name_index(const struct hpack_encoder *e, const struct item *item)
{
    if (item->static_name != 0)
        return item->static_name;
    if (item->kind != H2_FIELD || item->id == HTTP_NAME_OTHER ||
        !hpack_table_is_live(&e->table, e->name_at[item->id]))
        return 0;
    return HPACK_STATIC_COUNT + 1 + (e->table.inserted - e->name_at[item->id]);
}

static char *put_literal(char *to, uint8_t flags, unsigned prefix_bits, uint32_t name,
                         const struct item *item)
{
    to = put_integer(to, flags, prefix_bits, name);
    if (name == 0)
        to = put_string(to, item->name);
    return put_string(to, item->value);
}

static char *put_inserted(struct hpack_encoder *e, char *to, uint32_t name, const struct item *item)
{
    to = put_literal(to, 0x40, 6, name, item);
    insert(e, item);
    return to;
}

/* A unique value goes in all the same when its name is not there yet, for the name's sake. */
static char *put_unique(struct hpack_encoder *e, char *to, struct item *item)
{
    uint32_t name = name_index(e, item);

    if (name != 0 || !is_small(e, item))
        return put_literal(to, 0, 4, name, item);
    item->hash = hash_of(item);
    return put_inserted(e, to, 0, item);
}

static char *put(struct hpack_encoder *e, char *to, struct item *item)
{
    item->hash = hash_of(item);
    uint32_t ordinal = find(e, item);
    if (ordinal != 0)
        return put_indexed(e, to, ordinal);
    uint32_t name = name_index(e, item);
    if (is_small(e, item) && is_seen(e, item->hash))
        return put_inserted(e, to, name, item);
    return put_literal(to, 0, 4, name, item);
}

/* --- the interface -------------------------------------------------------------------------- */

void hpack_encoder_init(struct hpack_encoder *e)
{
    *e = (struct hpack_encoder){0};
    hpack_table_init(&e->table);
}

void hpack_encoder_deinit(struct hpack_encoder *e)
{
    hpack_table_deinit(&e->table);
}

void hpack_encoder_set_size(struct hpack_encoder *e, uint32_t size)
{
    size = MIN(size, (uint32_t)HPACK_TABLE_BYTES);
    if (!e->is_size_due && size == e->table.size_max)
        return;
    e->size_due_min = e->is_size_due ? MIN(e->size_due_min, size) : size;
    e->is_size_due = true;
    hpack_table_set_size(&e->table, size);
}

/* RFC 7541 4.2: the smallest size in between, then the final one. */
char *hpack_encode_begin(struct hpack_encoder *e, char *to)
{
    if (!e->is_size_due)
        return to;
    e->is_size_due = false;
    if (e->size_due_min < e->table.size_max)
        to = put_integer(to, 0x20, 5, e->size_due_min);
    return put_integer(to, 0x20, 5, e->table.size_max);
}

static unsigned static_status(unsigned status)
{
    switch (status) {
    case 200:
        return 8;
    case 204:
        return 9;
    case 206:
        return 10;
    case 304:
        return 11;
    case 400:
        return 12;
    case 404:
        return 13;
    case 500:
        return 14;
    default:
        return 0;
    }
}

char *hpack_encode_status(struct hpack_encoder *e, char *to, unsigned status)
{
    char text[STR_U64_LEN];
    unsigned index = static_status(status);

    if (index != 0)
        return put_integer(to, 0x80, 7, index);
    return hpack_encode_pseudo(e, to, H2_STATUS, str_of_u64(status, text));
}

/* The static table has two values of each of method, path and scheme, one behind the other. */
static unsigned static_value(enum h2_kind kind, struct str value)
{
    unsigned first = static_pseudo[kind];

    if (kind != H2_METHOD && kind != H2_PATH && kind != H2_SCHEME)
        return 0;
    if (str_eq(value, hpack_static[first].value))
        return first;
    return str_eq(value, hpack_static[first + 1].value) ? first + 1 : 0;
}

char *hpack_encode_pseudo(struct hpack_encoder *e, char *to, enum h2_kind kind, struct str value)
{
    struct item item = {
        .kind = kind, .value = value, .static_name = static_pseudo[kind], .name = STR(":protocol")};
    unsigned index = static_value(kind, value);

    if (index != 0)
        return put_integer(to, 0x80, 7, index);
    if (item.static_name != 0)
        item.name = hpack_static[item.static_name].name;
    return put(e, to, &item);
}

char *hpack_encode_field(struct hpack_encoder *e, char *to, const struct http_field *field)
{
    struct item item = {.kind = H2_FIELD,
                        .id = field->id,
                        .name = field->name,
                        .value = field->value,
                        .static_name = static_names[field->id]};

    if (field->id == HTTP_NAME_OTHER)
        item.static_name = find_static(field->name);
    if (field->is_never_indexed || is_secret(item.static_name))
        return put_literal(to, 0x10, 4, name_index(e, &item), &item);
    return is_unique[field->id] ? put_unique(e, to, &item) : put(e, to, &item);
}
