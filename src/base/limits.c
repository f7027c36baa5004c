#include "base/limits.h"

#include "base/err.h"

const struct limits_row limits_rows[] = {
#define LIMIT(name, fallback, min, max, unit, text)                                                \
    {#name, unit, text, fallback, min, max, offsetof(struct limits, name)},
#include "base/limits.def"
#undef LIMIT
};
const size_t limits_rows_count = ARRAY_LEN(limits_rows);

#define LIMIT(name, fallback, min, max, unit, text)                                                \
    _Static_assert((min) <= (fallback) && (fallback) <= (max), #name);
#include "base/limits.def"
#undef LIMIT

static void put(struct limits *l, const struct limits_row *row, uint64_t value)
{
    memcpy((char *)l + row->offset, &value, sizeof(value));
}

void limits_init(struct limits *l)
{
    for (size_t i = 0; i < limits_rows_count; i++)
        put(l, &limits_rows[i], limits_rows[i].fallback);
}

const struct limits_row *limits_find(struct str name)
{
    for (size_t i = 0; i < limits_rows_count; i++)
        if (str_eq(name, str_from_c(limits_rows[i].name)))
            return &limits_rows[i];
    return NULL;
}

int limits_set(struct limits *l, struct str name, struct str value)
{
    const struct limits_row *row = limits_find(name);
    uint64_t number;

    if (row == NULL)
        return -ERR_NOT_FOUND;
    if (!str_to_u64(value, row->max, &number) || number < row->min)
        return -ERR_INVALID;
    put(l, row, number);
    return 0;
}

uint64_t limits_clamp(struct str name, uint64_t value)
{
    const struct limits_row *row = limits_find(name);

    ASSERT(row != NULL);
    return MIN(MAX(value, row->min), row->max);
}

uint64_t limits_get(const struct limits *l, const struct limits_row *row)
{
    uint64_t value;

    memcpy(&value, (const char *)l + row->offset, sizeof(value));
    return value;
}
