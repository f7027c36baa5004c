/* Static runtime layers. Their keys are paths with dots, nested objects, or both; a later layer
 * goes before an earlier one. Only limits of connections are known. */
#include "mesh/xds/runtime.h"

#include "base/err.h"
#include "mesh/model/listener.h"

#define GLOBAL_KEY "overload.global_downstream_max_connections"
#define LISTENER_PREFIX "envoy.resource_limits.listener."
#define LISTENER_SUFFIX ".connection_limit"

enum { KEY_LEN_MAX = 1024 };

/* The limit lies in the model of this process alone: what comes by the network has no such field.
 */
static int limit_listener(struct decode *d, const struct pb_path *at, struct str name, uint32_t max,
                          struct bootstrap *b)
{
    for (size_t i = 0; i < b->resource_count; i++) {
        struct resource *r = b->resources[i];
        if (r->type != RESOURCE_LISTENER || !str_eq(r->name, name))
            continue;
        ((struct listener *)(uintptr_t)r->listener)->connections_max = max;
        return 0;
    }
    return decode_fail(d, at, "there is no static listener \"%.*s\"", STR_FMT(name));
}

static int take_value(struct decode *d, const struct pb_path *at, struct str key,
                      const Pb__Value *v, struct bootstrap *b)
{
    struct str prefix = STR(LISTENER_PREFIX), suffix = STR(LISTENER_SUFFIX);
    bool is_listener = str_starts_with(key, prefix) && str_ends_with(key, suffix) &&
                       key.len > prefix.len + suffix.len;
    if (!is_listener && !str_eq(key, STR(GLOBAL_KEY)) && d->ignored != NULL) {
        str_buf_printf(d->ignored, ", runtime key %.*s", STR_FMT(key));
        return 0;
    }
    if (!is_listener && !str_eq(key, STR(GLOBAL_KEY)))
        return decode_fail(d, at, "runtime key \"%.*s\" is not supported", STR_FMT(key));
    bool is_number = v != NULL && v->kind_case == PB__VALUE__KIND_NUMBER_VALUE &&
                     v->number_value >= 1 && v->number_value <= UINT32_MAX;
    if (!is_number)
        return decode_fail(d, at, "a number above 0 is needed");
    uint32_t max = (uint32_t)v->number_value;
    if (is_listener)
        return limit_listener(d, at, str_sub(key, prefix.len, key.len - prefix.len - suffix.len),
                              max, b);
    b->overload.connections_max = max;
    return 0;
}

/* Recursive to the depth that messages may have. */
static int take_struct(struct decode *d, const struct pb_path *at, struct str above,
                       const Pb__Struct *m, struct bootstrap *b)
{
    for (size_t i = 0; i < m->n_fields; i++) {
        struct str name = str_from_c(m->fields[i]->key);
        const Pb__Value *v = m->fields[i]->value;
        const struct pb_path here = {at, "", -1, name, {NULL, 0}, 0};
        if (above.len + name.len + 1 > KEY_LEN_MAX)
            return decode_fail(d, at, "a key of more than %d bytes", KEY_LEN_MAX);
        struct str key = above.len > 0
                             ? arena_printf(d->scratch, "%.*s.%.*s", STR_FMT(above), STR_FMT(name))
                             : name;
        int err = v != NULL && v->kind_case == PB__VALUE__KIND_STRUCT_VALUE
                      ? take_struct(d, &here, key, v->struct_value, b)
                      : take_value(d, &here, key, v, b);
        if (err != 0)
            return err;
    }
    return 0;
}

int runtime_load(struct decode *d, const struct pb_path *at, const Pb__Bootstrap__LayeredRuntime *m,
                 struct bootstrap *b)
{
    for (size_t i = 0; m != NULL && i < m->n_layers; i++) {
        const struct pb_path *here = PB_AT_I(at, "layers", i);
        /* Another kind of layer, which reading has passed over. */
        if (m->layers[i]->static_layer == NULL && d->ignored != NULL)
            continue;
        if (m->layers[i]->static_layer == NULL)
            return decode_fail(d, here, "only a static_layer is supported");
        if (take_struct(d, PB_AT(here, "static_layer"), STR_NULL, m->layers[i]->static_layer, b) !=
            0)
            return -ERR_INVALID;
    }
    return 0;
}
