/* overload_manager of a bootstrap: its monitors are limits of the process, its actions the rungs of
 * the ladder that the byte budget has anyway. */
#include "mesh/xds/overload.h"
#include "base/err.h"
#include "mesh/xds/codec_priv.h"

#define CONNECTIONS_MONITOR "envoy.resource_monitors.global_downstream_max_connections"
#define HEAP_MONITOR "envoy.resource_monitors.fixed_heap"

enum { PERCENT_MIN = 2, PERCENT_MAX = 100 };

/* --- monitors --- */

static int load_monitor(struct decode *d, const struct pb_path *at,
                        const Pb__Overload__ResourceMonitor *m, struct overload_limits *to)
{
    const ProtobufCMessageDescriptor *desc;
    const void *config = decode_any(d, PB_AT(at, "typed_config"), m->typed_config, &desc);
    if (config == NULL)
        return -ERR_INVALID;
    struct str name = str_from_c(m->name);
    if (desc == &pb__downstream_connections__downstream_connections_config__descriptor) {
        int64_t max = ((const Pb__DownstreamConnections__DownstreamConnectionsConfig *)config)
                          ->max_active_downstream_connections;
        if (!str_eq(name, STR(CONNECTIONS_MONITOR)))
            return decode_fail(d, PB_AT(at, "name"), "%s is needed", CONNECTIONS_MONITOR);
        if (max <= 0)
            return decode_fail(d, PB_AT(at, "typed_config.max_active_downstream_connections"),
                               "must be above 0");
        to->connections_max = (uint64_t)max;
        return 0;
    }
    if (desc == &pb__fixed_heap__fixed_heap_config__descriptor) {
        to->heap_bytes_max = ((const Pb__FixedHeap__FixedHeapConfig *)config)->max_heap_size_bytes;
        if (!str_eq(name, STR(HEAP_MONITOR)))
            return decode_fail(d, PB_AT(at, "name"), "%s is needed", HEAP_MONITOR);
        if (to->heap_bytes_max == 0)
            return decode_fail(d, PB_AT(at, "typed_config.max_heap_size_bytes"), "must be above 0");
        return 0;
    }
    return decode_fail(d, PB_AT(at, "typed_config"), "%s is not a monitor", desc->name);
}

/* --- actions --- */

static int load_trigger(struct decode *d, const struct pb_path *at, const Pb__Overload__Trigger *m,
                        const struct overload_limits *limits, uint32_t *to)
{
    if (!str_eq(str_from_c(m->name), STR(HEAP_MONITOR)) || limits->heap_bytes_max == 0)
        return decode_fail(d, PB_AT(at, "name"),
                           "only %s triggers actions, where it is a resource monitor",
                           HEAP_MONITOR);
    if (m->trigger_oneof_case != PB__OVERLOAD__TRIGGER__TRIGGER_ONEOF_THRESHOLD)
        return decode_fail(d, at, "a threshold is needed");
    double percent = m->threshold->value * 100 + 0.5; /* to the nearest whole one */
    if (!(percent >= PERCENT_MIN && percent < PERCENT_MAX + 1))
        return decode_fail(d, PB_AT(at, "threshold.value"), "must lie between 0.02 and 1");
    *to = (uint32_t)percent;
    return 0;
}

static int load_action(struct decode *d, const struct pb_path *at,
                       const Pb__Overload__OverloadAction *m, struct overload_limits *limits)
{
    uint32_t shrink; /* memory goes back to the system whenever it is quiet */
    const struct {
        struct str name;
        uint32_t *to;
    } rows[] = {
        {STR("envoy.overload_actions.stop_accepting_connections"), &limits->accept_percent},
        {STR("envoy.overload_actions.stop_accepting_requests"), &limits->shed_percent},
        {STR("envoy.overload_actions.shrink_heap"), &shrink},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (!str_eq(str_from_c(m->name), rows[i].name))
            continue;
        if (m->n_triggers != 1)
            return decode_fail(d, PB_AT(at, "triggers"), "one trigger is needed");
        return load_trigger(d, PB_AT_I(at, "triggers", 0), m->triggers[0], limits, rows[i].to);
    }
    return decode_fail(d, PB_AT(at, "name"), "action \"%s\" is not supported",
                       m->name != NULL ? m->name : "");
}

int overload_load(struct decode *d, const struct pb_path *at,
                  const Pb__Overload__OverloadManager *m, struct overload_limits *to)
{
    if (m == NULL)
        return 0;
    for (size_t i = 0; i < m->n_resource_monitors; i++) {
        if (load_monitor(d, PB_AT_I(at, "resource_monitors", i), m->resource_monitors[i], to) != 0)
            return -ERR_INVALID;
    }
    for (size_t i = 0; i < m->n_actions; i++) {
        if (load_action(d, PB_AT_I(at, "actions", i), m->actions[i], to) != 0)
            return -ERR_INVALID;
    }
    return 0;
}
