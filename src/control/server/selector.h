/* Selectors as Kubernetes' clients send them: labelSelector and fieldSelector.
 *
 * Labels: `a`, `!a`, `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, all of those with commas
 * between. As there, `!=` and `notin` also take what has no such label. Fields: metadata.name and
 * metadata.namespace with =, == and !=.
 *
 * Pure; what is parsed lives in the arena and borrows from the text. */
#pragma once

#include "codec/json.h"

enum {
    SELECTOR_TERMS_MAX = 32,
    SELECTOR_VALUES_MAX = 256, /* of one term */
};

enum selector_op { SELECTOR_IN, SELECTOR_NOT_IN, SELECTOR_EXISTS, SELECTOR_MISSING };

struct selector_term {
    struct str key;
    enum selector_op op;
    const struct str *values;
    size_t count;
};

struct selector {
    struct selector_term terms[SELECTOR_TERMS_MAX];
    size_t count; /* 0: takes everything */
};

/* -ERR_INVALID: *ret_why says what is wrong. */
int selector_parse_labels(struct arena *a, struct str text, struct selector *ret_selector,
                          const char **ret_why);
int selector_parse_fields(struct arena *a, struct str text, struct selector *ret_selector,
                          const char **ret_why);
/* labels: metadata.labels of a document; NULL: it has none. */
bool selector_takes_labels(const struct selector *s, const struct json *labels);
bool selector_takes_fields(const struct selector *s, struct str namespace_, struct str name);
/* The one name that it takes; the null string: more, or none. */
struct str selector_only_name(const struct selector *s);
