/* Reading a YAML tree into structs by tables of fields.
 *
 * A `struct in` is one value of the document together with how it was reached, so that every
 * finding has its place and path. It lives on the stack of the reader; what is kept is copied into
 * the document's arena. A reader function gets a value and where its result goes; on a mistake it
 * adds a finding and leaves the result as it is (zero: absent), and reading goes on, so that all
 * mistakes of a document are found in one pass. */
#pragma once

#include "codec/yaml.h"
#include "control/api/document.h"
#include "control/api/name_priv.h"

/* For "%.*s" of what a document says: at most 80 bytes of it go into a message. */
#define STR_CLIP(s) (int)((s).len < 80 ? (s).len : 80), ((s).ptr != NULL ? (s).ptr : "")

struct reader {
    struct arena *arena; /* the document's */
    struct api_findings *findings;
    struct str file;
    struct str subject;   /* empty until the envelope was read */
    uint32_t stored_line; /* see struct api_source */
    unsigned error_count;
};

struct in {
    struct reader *reader;
    const struct yaml_node *node;
    struct api_place place;     /* of the value */
    struct api_place key_place; /* of its key; the value's in a sequence */
    const struct in *parent;    /* NULL: the document */
    struct str key;             /* in a mapping */
    size_t index;               /* in a sequence, where key is STR_NULL */
};

/* out points at offset bytes into the struct that in_object fills. */
typedef void field_fn(const struct in *in, void *out);

enum field_flags {
    FIELD_OPTIONAL = 0,
    FIELD_REQUIRED = 1 << 0,
    FIELD_IGNORED = 1 << 1, /* has no meaning here and does no harm */
};

struct field {
    const char *name;
    field_fn *read; /* NULL: known, refused as not supported yet */
    size_t offset;
    unsigned flags;
};

#define FIELD(name, read, type, member)                                                            \
    {                                                                                              \
        (name), (read), offsetof(type, member), FIELD_OPTIONAL                                     \
    }
#define FIELD_MUST(name, read, type, member)                                                       \
    {                                                                                              \
        (name), (read), offsetof(type, member), FIELD_REQUIRED                                     \
    }
#define FIELD_WHOLE(name, read)                                                                    \
    {                                                                                              \
        (name), (read), 0, FIELD_OPTIONAL                                                          \
    } /* read gets the struct itself */
#define FIELD_WHOLE_MUST(name, read)                                                               \
    {                                                                                              \
        (name), (read), 0, FIELD_REQUIRED                                                          \
    }
#define FIELD_NOT_YET(name)                                                                        \
    {                                                                                              \
        (name), NULL, 0, FIELD_OPTIONAL                                                            \
    }
#define FIELD_NO_MATTER(name)                                                                      \
    {                                                                                              \
        (name), NULL, 0, FIELD_IGNORED                                                             \
    }

/* Reads a mapping by its table: unknown fields are refused with the nearest name of the table,
 * null values count as absent. False when the value is not a mapping. */
bool in_object(const struct in *in, const struct field *fields, size_t field_count, void *out);
#define IN_OBJECT(in, fields, out) in_object((in), (fields), ARRAY_LEN(fields), (out))

/* Reads a sequence into an array in the arena, one zeroed element of item_len bytes for each;
 * NULL and a finding when it is not a sequence. */
void *in_array(const struct in *in, size_t item_len, field_fn *read, size_t *ret_count);

/* Children. in_get: false when absent or null. */
size_t in_count(const struct in *in);
struct in in_item(const struct in *in, size_t i);  /* of a sequence */
struct in in_entry(const struct in *in, size_t i); /* of a mapping; ret.key is its key */
bool in_get(const struct in *in, const char *key, struct in *ret);
bool in_is_null(const struct in *in);
bool in_is_mapping(const struct in *in);
bool in_is_sequence(const struct in *in);

/* Findings. hint may be NULL. in_error_key points at the key instead of the value. */
void in_error(const struct in *in, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void in_error_key(const struct in *in, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void in_warning(const struct in *in, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void in_error_not_yet(const struct in *in, const char *hint); /* "path" is not supported yet */
struct str in_path(const struct in *in);                      /* in the findings' arena */

/* The scalar's text when it is a string (or, of_any, any scalar); a finding otherwise. */
bool in_text(const struct in *in, struct str *ret);
bool in_text_of_any(const struct in *in, struct str *ret);
/* The text in lower case, in the document's arena: header names. */
struct str in_lower(const struct in *in, struct str text);
/* A whole number in [min, max]; a finding otherwise. */
bool in_number(const struct in *in, uint64_t min, uint64_t max, uint64_t *ret);
/* Index of the text in names (ended by NULL), or -1 and a finding that lists them. Names behind
 * not_yet (may be NULL) are known but refused. */
int in_enum(const struct in *in, const char *const *names, const char *const *not_yet);
/* "1h30m", "800ms", "1.5s": at least 1 ms or (is_zero_allowed) 0. */
bool in_duration_ms(const struct in *in, bool is_zero_allowed, uint64_t *ret_ms);

/* Ready-made field readers; out is what stands behind the dash. */
field_fn read_str;          /* struct str */
field_fn read_str_nonempty; /* struct str */
field_fn read_bool;         /* bool */
field_fn read_port;         /* uint16_t, 1..65535 */
field_fn read_strs;         /* struct api_strs */
field_fn read_ports;        /* struct api_ports; numbers, also written as strings */
field_fn read_labels;       /* struct api_labels: any keys, string values */
field_fn read_k8s_labels;   /* struct api_labels, keys and values checked as Kubernetes does */
field_fn read_opt_u32;      /* struct api_opt, 0..2^32-1 */
field_fn read_opt_positive; /* struct api_opt, 1..2^31-1 */
field_fn read_opt_percent;  /* struct api_opt, 0..100 */
field_fn read_opt_ms;       /* struct api_opt, duration of 1 ms or more */
field_fn read_opt_ms_or_0;  /* struct api_opt, duration, 0 allowed */
field_fn read_cidrs;        /* struct api_strs: addresses or CIDR */
field_fn read_selector;     /* struct api_selector: {matchLabels} */
field_fn read_host_ref;     /* struct str: the host of a service */
field_fn read_mesh_only;    /* gateways: a list that may only hold "mesh"; out is not used */
field_fn read_everywhere;   /* exportTo: a list that may only hold "*"; out is not used */
field_fn read_false_only;   /* a flag that may only be false; out is not used */
field_fn read_true_only;    /* a flag that may only be true; out is not used */

/* The kinds: read the document's `spec` (empty when there is none) into a new struct in its arena
 * and hang it into d->spec. */
typedef void spec_read_fn(const struct in *spec, struct api_document *d);
spec_read_fn service_read, workload_read, mesh_read, virtual_service_read, destination_rule_read,
    peer_authentication_read, authorization_policy_read;

/* Shared between kinds. */
field_fn read_mtls;    /* enum api_mtls_mode, from {mode} */
field_fn read_retries; /* const struct api_retries * */
