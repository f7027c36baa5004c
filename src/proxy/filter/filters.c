/* The one array of HTTP filters, and how a listener's list becomes a chain. */
#include "proxy/filter/filter_priv.h"

struct filter_kind {
    enum http_filter_kind kind;
    const struct filter_ops *ops;
    bool is_last; /* reaches out: must be the last of a chain, and only there */
};

static const struct filter_kind kinds[] = {
    {HTTP_FILTER_RBAC, &rbac_filter_ops, false},
    {HTTP_FILTER_FAULT, &fault_filter_ops, false},
    {HTTP_FILTER_CORS, &cors_filter_ops, false},
    {HTTP_FILTER_ROUTER, &router_filter_ops, true},
};

static const struct filter_kind *find_kind(enum http_filter_kind kind)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (kinds[i].kind == kind)
            return &kinds[i];
    }
    return NULL;
}

static const void *config_of(const struct http_filter *model)
{
    switch (model->kind) {
    case HTTP_FILTER_RBAC:
        return model->rbac;
    case HTTP_FILTER_FAULT:
    case HTTP_FILTER_CORS:
        return model;
    case HTTP_FILTER_ROUTER:
        return NULL;
    }
    return NULL;
}

/* --- what filters ask --- */

const struct http_filter *filter_model_of(const struct exchange *x, const struct filter_ops *ops,
                                          const void *state)
{
    for (uint32_t i = 0; i < x->filter_count; i++) {
        if (x->filters[i].ops == ops && x->states[i] == state)
            return x->filters[i].config;
    }
    ASSERT(false);
    return NULL;
}

static const struct filter_override *find_override(const struct filter_overrides *all,
                                                   struct str name)
{
    for (size_t i = 0; i < all->count; i++) {
        if (str_eq(all->items[i].name, name))
            return &all->items[i];
    }
    return NULL;
}

const struct filter_override *override_of(const struct request *r, struct str name)
{
    if (r->route == NULL)
        return NULL;
    const struct filter_override *o =
        r->weighted != NULL ? find_override(&r->weighted->overrides, name) : NULL;
    if (o == NULL)
        o = find_override(&r->route->overrides, name);
    return o != NULL ? o : find_override(&r->vhost->overrides, name);
}

/* --- chains --- */

int filters_build(const struct http_filter *models, size_t count, struct str_buf *why,
                  struct filter *ret_filters, uint32_t *ret_count)
{
    if (count == 0 || count > FILTERS_MAX) {
        str_buf_printf(why, "http_filters: between 1 and %d filters are needed", FILTERS_MAX);
        return -ERR_INVALID;
    }
    for (size_t i = 0; i < count; i++) {
        const struct filter_kind *k = find_kind(models[i].kind);
        ASSERT(k != NULL);
        if (k->is_last != (i + 1 == count)) {
            str_buf_printf(why, "http_filters[%zu]: the router must be the last filter", i);
            return -ERR_INVALID;
        }
        ret_filters[i] = (struct filter){.ops = k->ops, .config = config_of(&models[i])};
    }
    *ret_count = (uint32_t)count;
    return 0;
}

bool filters_still_allowed(const struct filter *filters, uint32_t count, struct exchange *x)
{
    for (uint32_t i = 0; i < count; i++) {
        if (filters[i].ops == &rbac_filter_ops && !rbac_is_allowed(filters[i].config, x, NULL))
            return false;
    }
    return true;
}
