/* Which requests an access log tells of: envoy.config.accesslog.v3.AccessLogFilter. */
#include "base/err.h"
#include "mesh/xds/codec_priv.h"

static const char *const flag_names[] = {
#define FLAG(id, short_text, long_text) short_text,
#include "http/flags.def"
#undef FLAG
};

/* --- decoding --- */

static int decode_comparison(struct decode *d, const struct pb_path *at,
                             const Pb__Accesslog__ComparisonFilter *m,
                             struct access_log_filter *filter)
{
    if (m == NULL || m->value == NULL)
        return decode_fail(d, PB_AT(at, "comparison.value"), "needed");
    filter->value = m->value->default_value;
    switch ((int)m->op) {
    case PB__ACCESSLOG__COMPARISON_FILTER__OP__EQ:
        filter->compare = LOG_COMPARE_EQUAL;
        return 0;
    case PB__ACCESSLOG__COMPARISON_FILTER__OP__GE:
        filter->compare = LOG_COMPARE_AT_LEAST;
        return 0;
    case PB__ACCESSLOG__COMPARISON_FILTER__OP__LE:
        filter->compare = LOG_COMPARE_AT_MOST;
        return 0;
    default:
        return decode_fail(d, PB_AT(at, "comparison.op"), "EQ, GE and LE are supported");
    }
}

static int decode_flags(struct decode *d, const struct pb_path *at,
                        const Pb__Accesslog__ResponseFlagFilter *m,
                        struct access_log_filter *filter)
{
    for (size_t i = 0; i < m->n_flags; i++) {
        uint64_t before = filter->flags;
        for (size_t k = 0; k < ARRAY_LEN(flag_names); k++) {
            if (strcmp(m->flags[i], flag_names[k]) == 0)
                filter->flags |= 1ull << k;
        }
        if (filter->flags == before)
            return decode_fail(d, PB_AT_I(at, "flags", i), "\"%s\" is no flag, or there twice",
                               m->flags[i]);
    }
    return 0;
}

static int decode_filter(struct decode *d, const struct pb_path *at,
                         const Pb__Accesslog__AccessLogFilter *m, struct access_log_filter *filter);

static int decode_children(struct decode *d, const struct pb_path *at,
                           Pb__Accesslog__AccessLogFilter *const *items, size_t count,
                           struct access_log_filter *filter)
{
    if (count < 2)
        return decode_fail(d, PB_AT(at, "filters"), "at least two are needed");
    struct access_log_filter *children = ARENA_ARRAY(d->arena, struct access_log_filter, count);
    for (size_t i = 0; i < count; i++) {
        if (decode_filter(d, PB_AT_I(at, "filters", i), items[i], &children[i]) != 0)
            return -ERR_INVALID;
    }
    filter->children = children;
    filter->child_count = count;
    return 0;
}

static int decode_filter(struct decode *d, const struct pb_path *at,
                         const Pb__Accesslog__AccessLogFilter *m, struct access_log_filter *filter)
{
    switch ((int)m->filter_specifier_case) {
    case PB__ACCESSLOG__ACCESS_LOG_FILTER__FILTER_SPECIFIER_STATUS_CODE_FILTER:
        filter->kind = LOG_FILTER_STATUS;
        return decode_comparison(d, PB_AT(at, "status_code_filter"),
                                 m->status_code_filter->comparison, filter);
    case PB__ACCESSLOG__ACCESS_LOG_FILTER__FILTER_SPECIFIER_DURATION_FILTER:
        filter->kind = LOG_FILTER_DURATION;
        return decode_comparison(d, PB_AT(at, "duration_filter"), m->duration_filter->comparison,
                                 filter);
    case PB__ACCESSLOG__ACCESS_LOG_FILTER__FILTER_SPECIFIER_NOT_HEALTH_CHECK_FILTER:
        filter->kind = LOG_FILTER_ALL; /* no filter of ours marks health checks */
        return 0;
    case PB__ACCESSLOG__ACCESS_LOG_FILTER__FILTER_SPECIFIER_AND_FILTER:
        filter->kind = LOG_FILTER_AND;
        return decode_children(d, PB_AT(at, "and_filter"), m->and_filter->filters,
                               m->and_filter->n_filters, filter);
    case PB__ACCESSLOG__ACCESS_LOG_FILTER__FILTER_SPECIFIER_OR_FILTER:
        filter->kind = LOG_FILTER_OR;
        return decode_children(d, PB_AT(at, "or_filter"), m->or_filter->filters,
                               m->or_filter->n_filters, filter);
    case PB__ACCESSLOG__ACCESS_LOG_FILTER__FILTER_SPECIFIER_HEADER_FILTER:
        filter->kind = LOG_FILTER_HEADER;
        if (m->header_filter->header == NULL)
            return decode_fail(d, PB_AT(at, "header_filter.header"), "needed");
        return decode_header_match(d, PB_AT(at, "header_filter.header"), m->header_filter->header,
                                   &filter->header);
    case PB__ACCESSLOG__ACCESS_LOG_FILTER__FILTER_SPECIFIER_RESPONSE_FLAG_FILTER:
        filter->kind = LOG_FILTER_FLAGS;
        return decode_flags(d, PB_AT(at, "response_flag_filter"), m->response_flag_filter, filter);
    default:
        return decode_fail(d, at, "a filter is needed");
    }
}

int decode_access_log_filter(struct decode *d, const struct pb_path *at,
                             const Pb__Accesslog__AccessLogFilter *m,
                             const struct access_log_filter **ret_filter)
{
    if (m == NULL)
        return 0;
    struct access_log_filter *filter = ARENA_NEW(d->arena, struct access_log_filter);
    if (decode_filter(d, at, m, filter) != 0)
        return -ERR_INVALID;
    *ret_filter = filter;
    return 0;
}

/* --- encoding --- */

static Pb__Accesslog__ComparisonFilter *encode_comparison(struct encode *e,
                                                          const struct access_log_filter *in)
{
    static const Pb__Accesslog__ComparisonFilter__Op ops[] = {
        [LOG_COMPARE_EQUAL] = PB__ACCESSLOG__COMPARISON_FILTER__OP__EQ,
        [LOG_COMPARE_AT_LEAST] = PB__ACCESSLOG__COMPARISON_FILTER__OP__GE,
        [LOG_COMPARE_AT_MOST] = PB__ACCESSLOG__COMPARISON_FILTER__OP__LE,
    };
    Pb__Accesslog__ComparisonFilter *m =
        PB_NEW(e, Pb__Accesslog__ComparisonFilter, pb__accesslog__comparison_filter);
    m->has_op = in->compare != LOG_COMPARE_EQUAL;
    m->op = ops[in->compare];
    m->value = PB_NEW(e, Pb__Core__RuntimeUInt32, pb__core__runtime_uint32);
    m->value->has_default_value = in->value != 0;
    m->value->default_value = in->value;
    m->value->runtime_key = "access_log.value";
    return m;
}

static Pb__Accesslog__ResponseFlagFilter *encode_flags(struct encode *e, uint64_t flags)
{
    Pb__Accesslog__ResponseFlagFilter *m =
        PB_NEW(e, Pb__Accesslog__ResponseFlagFilter, pb__accesslog__response_flag_filter);
    m->flags = arena_alloc(e->arena, ARRAY_LEN(flag_names) * sizeof *m->flags);
    for (size_t k = 0; k < ARRAY_LEN(flag_names); k++) {
        if ((flags & 1ull << k) != 0)
            m->flags[m->n_flags++] = flag_names[k];
    }
    return m;
}

static Pb__Accesslog__AccessLogFilter **encode_children(struct encode *e,
                                                        const struct access_log_filter *in)
{
    Pb__Accesslog__AccessLogFilter **items =
        PB_PTRS(e, Pb__Accesslog__AccessLogFilter, in->child_count);
    for (size_t i = 0; i < in->child_count; i++)
        items[i] = encode_access_log_filter(e, &in->children[i]);
    return items;
}

#define SPECIFIER(name) PB__ACCESSLOG__ACCESS_LOG_FILTER__FILTER_SPECIFIER_##name

Pb__Accesslog__AccessLogFilter *encode_access_log_filter(struct encode *e,
                                                         const struct access_log_filter *in)
{
    Pb__Accesslog__AccessLogFilter *m =
        PB_NEW(e, Pb__Accesslog__AccessLogFilter, pb__accesslog__access_log_filter);
    switch (in->kind) {
    case LOG_FILTER_ALL:
        m->filter_specifier_case = SPECIFIER(NOT_HEALTH_CHECK_FILTER);
        m->not_health_check_filter =
            PB_NEW(e, Pb__Accesslog__NotHealthCheckFilter, pb__accesslog__not_health_check_filter);
        break;
    case LOG_FILTER_STATUS:
        m->filter_specifier_case = SPECIFIER(STATUS_CODE_FILTER);
        m->status_code_filter =
            PB_NEW(e, Pb__Accesslog__StatusCodeFilter, pb__accesslog__status_code_filter);
        m->status_code_filter->comparison = encode_comparison(e, in);
        break;
    case LOG_FILTER_DURATION:
        m->filter_specifier_case = SPECIFIER(DURATION_FILTER);
        m->duration_filter =
            PB_NEW(e, Pb__Accesslog__DurationFilter, pb__accesslog__duration_filter);
        m->duration_filter->comparison = encode_comparison(e, in);
        break;
    case LOG_FILTER_HEADER:
        m->filter_specifier_case = SPECIFIER(HEADER_FILTER);
        m->header_filter = PB_NEW(e, Pb__Accesslog__HeaderFilter, pb__accesslog__header_filter);
        m->header_filter->header = encode_header_match(e, &in->header);
        break;
    case LOG_FILTER_FLAGS:
        m->filter_specifier_case = SPECIFIER(RESPONSE_FLAG_FILTER);
        m->response_flag_filter = encode_flags(e, in->flags);
        break;
    case LOG_FILTER_AND:
        m->filter_specifier_case = SPECIFIER(AND_FILTER);
        m->and_filter = PB_NEW(e, Pb__Accesslog__AndFilter, pb__accesslog__and_filter);
        m->and_filter->n_filters = in->child_count;
        m->and_filter->filters = encode_children(e, in);
        break;
    case LOG_FILTER_OR:
        m->filter_specifier_case = SPECIFIER(OR_FILTER);
        m->or_filter = PB_NEW(e, Pb__Accesslog__OrFilter, pb__accesslog__or_filter);
        m->or_filter->n_filters = in->child_count;
        m->or_filter->filters = encode_children(e, in);
        break;
    }
    return m;
}
