/* What is read, written and read again is the same; another reader agrees on what is JSON. */
#include "base/err.h"
#include "codec/json.h"
#include "codec/json_reference.h"
#include "codec/json_writer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { COMPARED_LEN_MAX = 300 /* below our bound on a number's digits */ };

static void write_tree(struct str_buf *out, const struct json *v)
{
    struct json_writer w;

    json_writer_init(&w, out, 0);
    json_writer_tree(&w, NULL, v);
}

static void check_round_trip(struct arena *a, const struct json *v)
{
    struct str_buf once = STR_BUF_INIT(SIZE_MAX), twice = STR_BUF_INIT(SIZE_MAX);
    const struct json *again;

    write_tree(&once, v);
    ASSERT(json_parse(a, str_buf_str(&once), SIZE_MAX, &again, NULL) == 0);
    write_tree(&twice, again);
    ASSERT(str_eq(str_buf_str(&once), str_buf_str(&twice)));
    str_buf_deinit(&once);
    str_buf_deinit(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_from((const char *)data, size);
    struct json_error error = {0};
    const struct json *v;
    struct arena a;

    arena_init(&a, 0);
    int err = json_parse(&a, text, SIZE_MAX, &v, &error);
    if (err == 0)
        check_round_trip(&a, v);
    else
        ASSERT(error.line > 0 && error.column > 0 && error.text[0] != '\0');
    /* jansson passes over a NUL byte in its buffer. */
    if (size <= COMPARED_LEN_MAX && str_find(text, '\0') < 0 &&
        strstr(error.text, "deeper") == NULL)
        ASSERT((err == 0) == json_reference_accepts(text));
    arena_deinit(&a);
    return 0;
}
