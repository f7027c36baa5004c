/* HPACK (RFC 7541): the compression of HTTP/2's field sections, both ways.
 *
 * A table entry remembers what its name is and whether its value is well-formed, so that what a
 * peer repeats is neither looked up nor checked again.
 *
 * The encoder indexes a field when it comes the second time: what is different in each message
 * (request ids, lengths, unique paths) never pushes out what repeats. Secrets are never indexed,
 * and strings are sent without Huffman's code (hpack_huffman.h).
 *
 * Memory: a table is allocated when its first entry comes and lives as long as the connection.
 * Owner: whoever embeds the structs. Thread: one at a time. */
#pragma once

#include "http/h2_field.h"

enum {
    HPACK_TABLE_BYTES = 4096, /* SETTINGS_HEADER_TABLE_SIZE, ours in both directions: the default */
    HPACK_ENTRY_BYTES = 32,   /* RFC 7541 4.1: what an entry counts besides its strings */
    HPACK_STATIC_COUNT = 61,
    HPACK_BUCKETS = 64,
    HPACK_SEEN = 256,
};

/* --- the dynamic table ---------------------------------------------------------------------- */

struct hpack_entry {
    uint32_t at; /* the name in the table's bytes, the value behind it */
    uint32_t name_len, value_len;
    uint32_t hash, next;          /* encoder: an older entry of the same bucket */
    uint8_t kind, id;             /* enum h2_kind, enum http_name */
    bool is_valid, is_name_valid; /* decoder; is_valid: both of its strings */
};

/* Entries are known by ordinals, which rise; the newest is `inserted`, the live ones are the last
 * `count`. */
struct hpack_table {
    struct hpack_entry *entries; /* a ring by ordinal; grows with what comes in */
    char *bytes;
    uint32_t entries_cap, bytes_cap; /* entries_cap: a power of two, or 0 */
    uint32_t size, size_max;         /* RFC 7541 4.1 */
    uint32_t at;                     /* where the next entry's bytes go */
    uint32_t inserted, count;
};

/* --- decoder -------------------------------------------------------------------------------- */

/* The strings are valid until the next call; static ones for ever. */
struct hpack_field {
    struct str name, value;
    enum h2_kind kind;
    enum http_name id;
    bool is_valid, is_name_valid; /* RFC 9113 8.2.1: else the message is malformed */
    bool is_name_static, is_value_static;
    bool is_never_indexed; /* RFC 7541 6.2.3: to be passed on as such */
};

struct hpack_decoder {
    struct hpack_table table;
    char *scratch; /* strings that were Huffman coded */
    size_t scratch_cap, scratch_len;
    unsigned updates; /* of the table's size, in this block */
    bool is_begun;    /* a field came: no update may follow */
};

void hpack_decoder_init(struct hpack_decoder *d);
void hpack_decoder_deinit(struct hpack_decoder *d);
/* A block begins. It must be complete, and is decoded to its end, or the connection ends. */
void hpack_decode_begin(struct hpack_decoder *d);
/* Takes one field from the front. 1: *ret_field; 0: the block is over; -ERR_PROTOCOL: it is broken
 * (COMPRESSION_ERROR). Allocates at most 8/5 of the block's bytes. */
int hpack_decode(struct hpack_decoder *d, struct str *block, struct hpack_field *ret_field);

/* --- encoder -------------------------------------------------------------------------------- */

struct hpack_encoder {
    struct hpack_table table;
    uint32_t size_due_min; /* the smallest size since the last block, when is_size_due */
    bool is_size_due;
    uint32_t buckets[HPACK_BUCKETS];   /* newest entry of each */
    uint32_t name_at[HTTP_NAME_COUNT]; /* newest entry with that name */
    uint16_t seen[HPACK_SEEN];         /* marks of what came once */
};

/* Bytes that a field of such strings takes at most; a block takes HPACK_BLOCK_BYTES more. */
enum { HPACK_FIELD_BYTES = 16, HPACK_BLOCK_BYTES = 16 };

void hpack_encoder_init(struct hpack_encoder *e);
void hpack_encoder_deinit(struct hpack_encoder *e);
/* The peer's SETTINGS_HEADER_TABLE_SIZE. */
void hpack_encoder_set_size(struct hpack_encoder *e, uint32_t size);
/* Each writes at `to` and returns where to go on. A block begins with hpack_encode_begin. */
char *hpack_encode_begin(struct hpack_encoder *e, char *to);
char *hpack_encode_status(struct hpack_encoder *e, char *to, unsigned status);
char *hpack_encode_pseudo(struct hpack_encoder *e, char *to, enum h2_kind kind, struct str value);
char *hpack_encode_field(struct hpack_encoder *e, char *to, const struct http_field *field);
