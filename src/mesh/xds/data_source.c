/* Data that stands in the configuration, or in a file that a bootstrap names. */
#include <errno.h>
#include <stdio.h>

#include "base/err.h"
#include "mesh/xds/decode.h"

enum { FILE_LEN_MAX = 1 << 20 };

static void close_file(FILE **f)
{
    if (*f != NULL)
        fclose(*f);
}

static int read_file(struct decode *d, const struct pb_path *at, const char *path,
                     struct str *ret_data)
{
    AUTO(close_file) FILE *f = fopen(path, "rbe");
    if (f == NULL)
        return decode_fail(d, at, "%s: %s", path, err_text(err_from_errno(errno)));
    AUTO(str_buf_deinit) struct str_buf buf = STR_BUF_INIT(FILE_LEN_MAX);
    char block[4096];
    size_t n;
    while ((n = fread(block, 1, sizeof block, f)) > 0)
        str_buf_add(&buf, str_from(block, n));
    if (ferror(f) || buf.is_overflown)
        return decode_fail(d, at, "%s: cannot be read, or is larger than %d bytes", path,
                           FILE_LEN_MAX);
    *ret_data = arena_str(d->arena, str_buf_str(&buf));
    return 0;
}

int decode_data_source(struct decode *d, const struct pb_path *at, const Pb__Core__DataSource *m,
                       struct str *ret_data)
{
    if (m == NULL)
        return decode_fail(d, at, "data is needed");
    switch ((int)m->specifier_case) {
    case PB__CORE__DATA_SOURCE__SPECIFIER_INLINE_STRING:
        *ret_data = decode_str(d, m->inline_string);
        return 0;
    case PB__CORE__DATA_SOURCE__SPECIFIER_INLINE_BYTES:
        *ret_data =
            arena_str(d->arena, str_from((const char *)m->inline_bytes.data, m->inline_bytes.len));
        return 0;
    case PB__CORE__DATA_SOURCE__SPECIFIER_FILENAME:
        if (!d->may_read_files)
            return decode_fail(d, PB_AT(at, "filename"), "only a bootstrap may name files");
        return read_file(d, PB_AT(at, "filename"), m->filename, ret_data);
    default:
        return decode_fail(d, at, "data is needed");
    }
}
