/* A response on its way from the brain to an edge: names are its own, encoded resources are shared
 * with whoever else sends them. */
#include <stdlib.h>

#include "control/push/push_priv.h"

static size_t text_len(const struct ads_response *r)
{
    size_t len = r->version.len + 1;
    for (size_t i = 0; i < r->item_count; i++)
        len += r->items[i].name.len + 1;
    for (size_t i = 0; i < r->removed_count; i++)
        len += r->removed[i].len + 1;
    return len;
}

static void copy_items(struct push_response *to, const struct ads_response *r)
{
    struct ads_item *items = ARENA_ARRAY(&to->arena, struct ads_item, r->item_count + 1);
    for (size_t i = 0; i < r->item_count; i++) {
        items[i] = r->items[i];
        items[i].name = arena_str(&to->arena, items[i].name);
        to->bytes += items[i].name.len + items[i].version.len + items[i].wire.len;
    }
    to->ads.items = items;
}

static void copy_removed(struct push_response *to, const struct ads_response *r)
{
    struct str *removed = ARENA_ARRAY(&to->arena, struct str, r->removed_count + 1);
    for (size_t i = 0; i < r->removed_count; i++) {
        removed[i] = arena_str(&to->arena, r->removed[i]);
        to->bytes += removed[i].len;
    }
    to->ads.removed = removed;
}

struct push_response *push_response_new(enum ads_variant variant, uint64_t number,
                                        const struct ads_response *r,
                                        struct translate_output *const *outputs,
                                        size_t output_count)
{
    struct push_response *to = NEW(struct push_response);
    /* One block that fits: a response may wait for a slow client. */
    arena_init(&to->arena, text_len(r) + (r->item_count + 1) * sizeof(struct ads_item) +
                               (r->removed_count + 1) * sizeof(struct str) +
                               output_count * sizeof *outputs + 128);
    to->variant = variant;
    to->number = number;
    to->ads = *r;
    to->ads.version = arena_str(&to->arena, r->version);
    copy_items(to, r);
    copy_removed(to, r);
    to->outputs = ARENA_ARRAY(&to->arena, struct translate_output *, output_count + 1);
    for (size_t i = 0; i < output_count; i++)
        to->outputs[i] = outputs[i];
    to->output_count = output_count;
    return to;
}

void push_response_encode(const struct push_response *r, struct str_buf *to)
{
    for (size_t i = 0; i <= r->ads.item_count; i++)
        ads_response_piece(r->variant, &r->ads, r->number, i, to);
}

struct push_response *push_response_free(struct push_response *r)
{
    if (r == NULL)
        return NULL;
    for (size_t i = 0; i < r->output_count; i++)
        translate_output_unref(r->outputs[i]);
    arena_deinit(&r->arena);
    free(r);
    return NULL;
}
