/* Patches come from whoever may write: the result is a tree that can be written and read again,
 * whatever the acts. The input: a document, a newline, acts. */
#include <stdlib.h>

#include "base/err.h"
#include "codec/json_writer.h"
#include "control/server/json_patch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_MAX = 64 * 1024, RESULT_MAX = 64 * 1024 * 1024 };

static void check(struct arena *a, const struct json *result)
{
    struct str_buf text = STR_BUF_INIT(RESULT_MAX);
    const struct json *again;
    struct json_writer w;
    json_writer_init(&w, &text, 0);
    json_writer_tree(&w, NULL, result);
    if (text.is_overflown || json_parse(a, str_buf_str(&text), RESULT_MAX, &again, NULL) != 0)
        abort();
    str_buf_deinit(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = str_from((const char *)data, size), text = str_split(&rest, '\n');
    const struct json *target, *acts, *result = NULL;
    const char *why = NULL;
    struct arena a;
    arena_init(&a, 4096);
    if (json_parse(&a, text, TEXT_MAX, &target, NULL) == 0 &&
        json_parse(&a, rest, TEXT_MAX, &acts, NULL) == 0) {
        int err = json_patch(&a, target, acts, &result, &why);
        if (err == 0)
            check(&a, result);
        else if ((err != -ERR_INVALID && err != -ERR_CONFLICT) || why == NULL)
            abort();
    }
    arena_deinit(&a);
    return 0;
}
