/* Patterns of configurations, texts of strangers: pattern, newline, substitution, newline, text. */
#include "codec/regex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { TEXT_LEN_MAX = 256 };
    struct str text = str_from((const char *)data, size);
    struct str pattern = str_split(&text, '\n'), substitution = str_split(&text, '\n');
    struct str_buf why = STR_BUF_INIT(1024);
    const struct regex *re;
    struct arena a;
    arena_init(&a, 1024);
    text = str_sub(text, 0, TEXT_LEN_MAX);
    if (regex_compile(&a, pattern, &why, &re) == 0) {
        bool is_match = regex_match(re, text);
        /* What matches whole is found, too. */
        struct str gone = regex_replace(re, text, STR("#"), &a);
        ASSERT(!is_match || text.len == 0 || gone.ptr != text.ptr);
        if (regex_can_replace(re, substitution))
            regex_replace(re, text, substitution, &a);
    } else {
        ASSERT(why.len > 0);
    }
    str_buf_deinit(&why);
    arena_deinit(&a);
    return 0;
}
