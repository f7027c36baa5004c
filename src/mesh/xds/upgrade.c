/* upgrade_configs: which tunnels requests may ask for, of a listener and of a route. */
#include "base/err.h"
#include "mesh/xds/codec_priv.h"

/* --- decoding --- */

/* Envoy compares without regard to case, and so a type that is there twice is refused likewise. */
static int decode_type(struct decode *d, const struct pb_path *at, const char *type,
                       const struct upgrade_config *before, size_t count, struct upgrade_config *to)
{
    if (!decode_is_set(type))
        return decode_fail(d, PB_AT(at, "upgrade_type"), "a name is needed");
    to->type = decode_str_lower(d, type);
    for (size_t i = 0; i < count; i++) {
        if (str_eq(before[i].type, to->type))
            return decode_fail(d, PB_AT(at, "upgrade_type"), "\"%.*s\" is there twice",
                               STR_FMT(to->type));
    }
    return 0;
}

int decode_hcm_upgrades(struct decode *d, const struct pb_path *at,
                        const Pb__Hcm__HttpConnectionManager *m, struct hcm *hcm)
{
    struct upgrade_config *upgrades =
        ARENA_ARRAY(d->arena, struct upgrade_config, m->n_upgrade_configs);
    for (size_t i = 0; i < m->n_upgrade_configs; i++) {
        const Pb__Hcm__HttpConnectionManager__UpgradeConfig *in = m->upgrade_configs[i];
        if (decode_type(d, PB_AT_I(at, "upgrade_configs", i), in->upgrade_type, upgrades, i,
                        &upgrades[i]) != 0)
            return -ERR_INVALID;
        upgrades[i].is_enabled = decode_bool(in->enabled, true);
    }
    hcm->upgrades = m->n_upgrade_configs > 0 ? upgrades : NULL;
    hcm->upgrade_count = m->n_upgrade_configs;
    return 0;
}

int decode_route_upgrades(struct decode *d, const struct pb_path *at,
                          const Pb__Route__RouteAction *m, struct route *route)
{
    struct upgrade_config *upgrades =
        ARENA_ARRAY(d->arena, struct upgrade_config, m->n_upgrade_configs);
    for (size_t i = 0; i < m->n_upgrade_configs; i++) {
        const Pb__Route__RouteAction__UpgradeConfig *in = m->upgrade_configs[i];
        const struct pb_path *here = PB_AT_I(at, "upgrade_configs", i);
        if (decode_type(d, here, in->upgrade_type, upgrades, i, &upgrades[i]) != 0)
            return -ERR_INVALID;
        upgrades[i].is_enabled = decode_bool(in->enabled, true);
        upgrades[i].is_ended_here = in->connect_config != NULL;
        if (upgrades[i].is_ended_here && !str_eq(upgrades[i].type, STR("connect")))
            return decode_fail(d, PB_AT(here, "connect_config"), "only for the type CONNECT");
    }
    route->upgrades = m->n_upgrade_configs > 0 ? upgrades : NULL;
    route->upgrade_count = m->n_upgrade_configs;
    return 0;
}

/* --- encoding --- */

void encode_hcm_upgrades(struct encode *e, const struct hcm *in, Pb__Hcm__HttpConnectionManager *m)
{
    m->n_upgrade_configs = in->upgrade_count;
    m->upgrade_configs =
        PB_PTRS(e, Pb__Hcm__HttpConnectionManager__UpgradeConfig, in->upgrade_count);
    for (size_t i = 0; i < in->upgrade_count; i++) {
        Pb__Hcm__HttpConnectionManager__UpgradeConfig *to =
            PB_NEW(e, Pb__Hcm__HttpConnectionManager__UpgradeConfig,
                   pb__hcm__http_connection_manager__upgrade_config);
        to->upgrade_type = encode_str(e, in->upgrades[i].type);
        to->enabled = in->upgrades[i].is_enabled ? NULL : encode_bool(e, false);
        m->upgrade_configs[i] = to;
    }
}

void encode_route_upgrades(struct encode *e, const struct route *in, Pb__Route__RouteAction *m)
{
    m->n_upgrade_configs = in->upgrade_count;
    m->upgrade_configs = PB_PTRS(e, Pb__Route__RouteAction__UpgradeConfig, in->upgrade_count);
    for (size_t i = 0; i < in->upgrade_count; i++) {
        Pb__Route__RouteAction__UpgradeConfig *to = PB_NEW(e, Pb__Route__RouteAction__UpgradeConfig,
                                                           pb__route__route_action__upgrade_config);
        to->upgrade_type = encode_str(e, in->upgrades[i].type);
        to->enabled = in->upgrades[i].is_enabled ? NULL : encode_bool(e, false);
        if (in->upgrades[i].is_ended_here)
            to->connect_config = PB_NEW(e, Pb__Route__RouteAction__UpgradeConfig__ConnectConfig,
                                        pb__route__route_action__upgrade_config__connect_config);
        m->upgrade_configs[i] = to;
    }
}
