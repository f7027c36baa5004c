/* A canonical path stays as it is, holds no dot segment, and means the same under every reader. */
#include "codec/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_path(struct arena *a, struct str path, const struct url_path_options *o)
{
    struct str once, twice;

    if (url_path_canonical(a, path, o, &once) != URL_OK)
        return;
    ASSERT(url_path_canonical(a, once, o, &twice) == URL_OK);
    ASSERT(str_eq(once, twice));
    ASSERT(once.ptr[0] == '/');
    ASSERT(str_find(once, '?') < 0 && str_find(once, '\0') < 0);
    if (o->escaped_slashes != URL_SLASHES_KEEP)
        ASSERT(!str_contains(once, STR("%2f")) && !str_contains(once, STR("%2F")) &&
               !str_contains(once, STR("%5c")) && !str_contains(once, STR("%5C")));
    if (o->is_slash_merged)
        ASSERT(!str_contains(once, STR("//")));
    if (!o->is_normalized)
        return;
    ASSERT(str_find(once, '\\') < 0 && str_find(once, '"') < 0 && str_find(once, '|') < 0);
    ASSERT(!str_contains(once, STR("/../")) && !str_ends_with(once, STR("/..")));
    ASSERT(!str_contains(once, STR("/./")) && !str_ends_with(once, STR("/.")));
    ASSERT(!str_contains(once, STR("%2e")) && !str_contains(once, STR("%2E")));
}

static void check_all_options(struct arena *a, struct str path)
{
    for (unsigned i = 0; i < 36; i++) {
        struct url_path_options o = {i < 18, i % 2 == 1, (enum url_escaped_slashes)(i / 2 % 3),
                                     (enum url_backslash)(i / 6 % 3)};

        check_path(a, path, &o);
    }
}

static void check_authority(struct arena *a, struct str text)
{
    struct url_authority parts;

    if (url_split_authority(text, &parts) != URL_OK)
        return;
    struct str host = url_host_canonical(a, parts.host);
    ASSERT(host.len > 0 && (parts.is_ipv6 || str_find(host, ':') < 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_from((const char *)data, size), path, query, scheme, authority, value;
    bool has_query;
    struct arena a;

    arena_init(&a, 0);
    check_all_options(&a, text);
    if (url_split_target(text, &path, &query, &has_query) == URL_OK) {
        check_all_options(&a, path);
        url_query_get(query, STR("a"), &value);
    }
    check_authority(&a, text);
    if (url_split_absolute(&a, text, &scheme, &authority, &path) == URL_OK)
        check_authority(&a, authority);
    url_decode(&a, text, &value);
    arena_deinit(&a);
    return 0;
}
