/* Files that the input might name are not there: nothing but the parser runs. */
#include <stdlib.h>

#include "mesh/xds/bootstrap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { WHY_LEN_MAX = 1 << 16 };
    struct str text = str_from((const char *)data, size);
    if (str_contains(text, STR("filename"))) /* the fuzzer must not open what it likes */
        return 0;
    struct str_buf why = STR_BUF_INIT(WHY_LEN_MAX);
    struct bootstrap *b = NULL;
    if (bootstrap_parse(text, &why, &b) != 0 && why.len == 0)
        abort();
    bootstrap_free(b);
    str_buf_deinit(&why);
    return 0;
}
