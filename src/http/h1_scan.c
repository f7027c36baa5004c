#include "http/h1_parse.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Of a start line apart from the request target: method, version, spaces, reason phrase. */
enum { START_LINE_REST_BYTES_MAX = 512 };

/* Of a field line apart from name and value: colon, space, CR, LF. */
enum { FIELD_LINE_REST_BYTES = 4 };

void h1_scan_init(struct h1_scan *s, enum h1_section section)
{
    *s = (struct h1_scan){.section = section};
}

static enum h1_scan_result refuse(uint16_t status, struct str details, struct h1_error *ret_error)
{
    *ret_error = (struct h1_error){status, details};
    return H1_SCAN_BAD;
}

static bool has_start_line(const struct h1_scan *s)
{
    return s->section != H1_SECTION_TRAILERS;
}

size_t h1_head_bytes_max(const struct limits *limits)
{
    return limits->url_bytes_max + START_LINE_REST_BYTES_MAX + limits->header_bytes_max +
           FIELD_LINE_REST_BYTES * (limits->header_count_max + 1);
}

/* What has been seen so far is within the limits, be it complete or not. */
static enum h1_scan_result check_limits(const struct h1_scan *s, const struct limits *limits,
                                        struct h1_error *ret_error)
{
    if (has_start_line(s) && s->lines == 0 &&
        s->done > limits->url_bytes_max + START_LINE_REST_BYTES_MAX)
        return refuse(414, STR("start_line_too_large"), ret_error);
    if (s->done > h1_head_bytes_max(limits))
        return refuse(431, STR("header_section_too_large"), ret_error);
    if (s->lines > limits->header_count_max + 1)
        return refuse(431, STR("header_count_too_large"), ret_error);
    return H1_SCAN_MORE;
}

/* The first line feed in [at, end), or NULL; begin, at or before at, is where bytes begin that may
 * be read. The lines of a head are short: a call for each costs more than the look itself. */
#ifdef __SSE2__
static inline unsigned line_feeds(const char *p)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);

    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8('\n')));
}

static inline const char *find_lf(const char *begin, const char *at, const char *end)
{
    for (; end - at >= 16; at += 16) {
        unsigned found = line_feeds(at);

        if (found != 0)
            return at + __builtin_ctz(found);
    }
    if (at == end)
        return NULL;
    if (end - begin < 16)
        return memchr(at, '\n', (size_t)(end - at));
    /* The last sixteen bytes, those before at shifted out. */
    unsigned found = line_feeds(end - 16) >> (16 - (end - at));
    return found == 0 ? NULL : at + __builtin_ctz(found);
}
#else
static inline const char *find_lf(const char *begin, const char *at, const char *end)
{
    (void)begin;
    return at == end ? NULL : memchr(at, '\n', (size_t)(end - at));
}
#endif

/* Looks at one slice; *ret_len when it holds the end. */
static enum h1_scan_result scan_slice(struct h1_scan *s, struct str bytes,
                                      const struct limits *limits, size_t *ret_len,
                                      struct h1_error *ret_error)
{
    const char *at = bytes.ptr, *end = bytes.ptr + bytes.len;
    const char *lf;

    while ((lf = find_lf(bytes.ptr, at, end)) != NULL) {
        bool is_crlf = lf == bytes.ptr ? s->is_after_cr : lf[-1] == '\r';

        s->done += (size_t)(lf - at) + 1;
        s->is_after_cr = false;
        if (!is_crlf)
            return refuse(400, STR("line_ends_without_cr"), ret_error);
        if (s->done - s->line_from == 2) {
            *ret_len = s->done;
            return H1_SCAN_DONE;
        }
        s->lines++;
        s->line_from = s->done;
        at = lf + 1;
        if (s->lines > limits->header_count_max + 1)
            break;
    }
    if (lf == NULL && at < end) {
        s->done += (size_t)(end - at);
        s->is_after_cr = end[-1] == '\r';
    }
    return check_limits(s, limits, ret_error);
}

enum h1_scan_result h1_scan_chain(struct h1_scan *s, const struct chain *in,
                                  const struct limits *limits, size_t *ret_len,
                                  struct h1_error *ret_error)
{
    size_t from = 0;

    if (s->done == 0 && has_start_line(s) && in->len > 0) {
        char first = chain_first(in).ptr[0];
        bool is_start = s->section == H1_SECTION_RESPONSE ? first == 'H' : h1_is_token_char(first);
        if (!is_start && first != '\r' && first != '\n')
            return refuse(400, STR("start_line_invalid"), ret_error);
    }
    for (uint32_t i = 0; i < in->count; i++) {
        struct str bytes = chain_slice_str(in, i);

        if (s->done < from + bytes.len) {
            struct str rest = str_skip(bytes, s->done - from);
            enum h1_scan_result result = scan_slice(s, rest, limits, ret_len, ret_error);
            if (result != H1_SCAN_MORE)
                return result;
        }
        from += bytes.len;
    }
    return H1_SCAN_MORE;
}

char *h1_text_copy(struct arena *a, const struct chain *in, size_t len)
{
    char *text = arena_bytes(a, len + H1_PAD_BYTES);

    ASSERT(len <= in->len);
    chain_peek(in, 0, text, len);
    memset(text + len, 0, H1_PAD_BYTES);
    return text;
}
