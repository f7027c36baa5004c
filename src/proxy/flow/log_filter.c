/* Whether an access log tells of a request (its filter). */
#include "proxy/flow/flow_priv.h"

static bool compare(const struct access_log_filter *f, uint64_t value)
{
    switch (f->compare) {
    case LOG_COMPARE_EQUAL:
        return value == f->value;
    case LOG_COMPARE_AT_LEAST:
        return value >= f->value;
    case LOG_COMPARE_AT_MOST:
        return value <= f->value;
    }
    return false;
}

static bool has_flag(const struct access_log_filter *f, uint64_t flags)
{
    return f->flags == 0 ? flags != 0 : (flags & f->flags) != 0;
}

static unsigned count_wanted(const struct access_log_filter *f, const struct record *rec)
{
    unsigned count = 0;
    for (size_t i = 0; i < f->child_count; i++)
        count += log_is_wanted(&f->children[i], rec);
    return count;
}

bool log_is_wanted(const struct access_log_filter *f, const struct record *rec)
{
    if (f == NULL)
        return true;
    switch (f->kind) {
    case LOG_FILTER_ALL:
        return true;
    case LOG_FILTER_STATUS:
        return compare(f, rec->status);
    case LOG_FILTER_DURATION:
        return compare(f, rec->duration_us / 1000);
    case LOG_FILTER_HEADER:
        return rec->x != NULL && match_header(&f->header, rec->x->flows[SIDE_REQUEST].head);
    case LOG_FILTER_FLAGS:
        return has_flag(f, rec->flags);
    case LOG_FILTER_AND:
        return count_wanted(f, rec) == f->child_count;
    case LOG_FILTER_OR:
        return count_wanted(f, rec) > 0;
    }
    return false;
}
