/* Input: a byte of options, a target, a line's end, an authority. What is accepted is canonical:
 * it is one spelling, and says the same when it is read again. */
#include <stdlib.h>

#include "http/target.h"

#define FUZZ_CHECK(cond) ((cond) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void head_of(struct http_head *h, struct arena *a)
{
    http_head_init(h, a, true);
    h->method = STR("OPTIONS");
}

static void check_visible(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        FUZZ_CHECK(s.ptr[i] > ' ' && s.ptr[i] < 0x7f && s.ptr[i] != '#');
}

static void check_target(struct arena *a, struct str target, const struct url_path_options *o)
{
    struct http_head once, twice;

    head_of(&once, a);
    head_of(&twice, a);
    if (!http_target_set(&once, target, o))
        return;
    check_visible(once.path);
    FUZZ_CHECK(once.path.ptr[0] == '/' || str_eq(once.path, STR("*")));
    FUZZ_CHECK(str_is_empty(once.original_path) ? str_eq(once.path, target)
                                                : str_eq(once.original_path, target));
    FUZZ_CHECK(http_target_set(&twice, once.path, o));
    FUZZ_CHECK(str_eq(once.path, twice.path) && str_is_empty(twice.original_path));
    /* The query is nobody's to change. */
    ptrdiff_t query = str_find(target, '?');
    if (query >= 0)
        FUZZ_CHECK(str_ends_with(once.path, str_skip(target, (size_t)query)));
}

static void check_authority(struct arena *a, struct str authority)
{
    struct http_head once, twice;
    struct url_authority parts;

    head_of(&once, a);
    head_of(&twice, a);
    if (!http_authority_set(&once, authority))
        return;
    check_visible(once.authority);
    for (size_t i = 0; i < once.authority.len; i++)
        FUZZ_CHECK(once.authority.ptr[i] < 'A' || once.authority.ptr[i] > 'Z');
    FUZZ_CHECK(str_find(once.authority, ',') < 0 && str_find(once.authority, '@') < 0);
    /* The quick look and the thorough one agree. */
    FUZZ_CHECK(url_split_authority(once.authority, &parts) == URL_OK && parts.host.len > 0);
    FUZZ_CHECK(http_authority_set(&twice, once.authority));
    FUZZ_CHECK(str_eq(once.authority, twice.authority));
    FUZZ_CHECK(http_authority_eq(once.authority, authority, STR("http")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = str_from((const char *)data, size);
    struct arena a;

    if (size == 0)
        return 0;
    unsigned bits = data[0];
    struct url_path_options o = {
        .is_normalized = (bits & 1) != 0,
        .is_slash_merged = (bits & 2) != 0,
        .escaped_slashes = (enum url_escaped_slashes)(bits / 4 % 3),
        .backslash = URL_BACKSLASH_TO_SLASH,
    };
    rest = str_skip(rest, 1);
    struct str target = str_split(&rest, '\n');
    arena_init(&a, 1024);
    if (target.len > 0)
        check_target(&a, target, &o);
    if (rest.ptr != NULL)
        check_authority(&a, rest);
    arena_deinit(&a);
    return 0;
}
