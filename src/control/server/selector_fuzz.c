/* Selectors come from whoever asks: bounded, and what is taken means the same on every look. The
 * input: a selector, a newline, labels as JSON. */
#include <stdlib.h>

#include "control/server/selector.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct arena *a, const struct selector *s, const struct json *labels)
{
    const struct json *none = json_new_object(a);
    if (s->count > SELECTOR_TERMS_MAX)
        abort();
    for (size_t i = 0; i < s->count; i++) {
        if (s->terms[i].count > SELECTOR_VALUES_MAX || s->terms[i].key.len == 0)
            abort();
    }
    if (selector_takes_labels(s, labels) != selector_takes_labels(s, labels))
        abort();
    if (s->count == 0 && (!selector_takes_labels(s, NULL) || !selector_takes_labels(s, none)))
        abort();
    (void)selector_takes_fields(s, STR("shop"), STR("catalog"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = str_from((const char *)data, size), text = str_split(&rest, '\n');
    const struct json *labels = NULL;
    const char *why = NULL;
    struct selector s;
    struct arena a;
    arena_init(&a, 4096);
    if (json_parse(&a, rest, 4096, &labels, NULL) != 0)
        labels = NULL;
    if (selector_parse_labels(&a, text, &s, &why) == 0)
        check(&a, &s, labels);
    else if (why == NULL)
        abort();
    if (selector_parse_fields(&a, text, &s, &why) == 0) {
        struct str only = selector_only_name(&s);
        check(&a, &s, labels);
        if (only.len > 0 && selector_takes_fields(&s, STR("shop"), STR("=")))
            abort(); /* no name is written so */
    }
    arena_deinit(&a);
    return 0;
}
