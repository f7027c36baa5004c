/* The HTTP filters of a listener, and what routes say to them (typed_per_filter_config). */
#include "base/err.h"
#include "mesh/xds/any.h"
#include "mesh/xds/codec_priv.h"

/* --- decoding: faults --- */

static int decode_delay(struct decode *d, const struct pb_path *at,
                        const Pb__FaultCommon__FaultDelay *m, struct fault_policy *fault)
{
    if (m == NULL)
        return 0;
    if (m->fault_delay_secifier_case !=
        PB__FAULT_COMMON__FAULT_DELAY__FAULT_DELAY_SECIFIER_FIXED_DELAY)
        return decode_fail(d, PB_AT(at, "fixed_delay"), "a time is needed");
    if (decode_duration(d, PB_AT(at, "fixed_delay"), m->fixed_delay, 0, &fault->delay_us) != 0)
        return -ERR_INVALID;
    return decode_fraction(d, PB_AT(at, "percentage"), m->percentage, 0, &fault->delay_parts);
}

static int decode_abort(struct decode *d, const struct pb_path *at, const Pb__Fault__FaultAbort *m,
                        struct fault_policy *fault)
{
    enum { GRPC_STATUS_MAX = 16 };
    if (m == NULL)
        return 0;
    switch ((int)m->error_type_case) {
    case PB__FAULT__FAULT_ABORT__ERROR_TYPE_HTTP_STATUS:
        if (m->http_status < 200 || m->http_status > 599)
            return decode_fail(d, PB_AT(at, "http_status"), "%u is not a final status",
                               m->http_status);
        fault->abort_status = (uint16_t)m->http_status;
        break;
    case PB__FAULT__FAULT_ABORT__ERROR_TYPE_GRPC_STATUS:
        if (m->grpc_status > GRPC_STATUS_MAX)
            return decode_fail(d, PB_AT(at, "grpc_status"), "%u is not a status", m->grpc_status);
        fault->abort_grpc_status = (uint16_t)m->grpc_status;
        break;
    default:
        return decode_fail(d, at, "http_status or grpc_status is needed");
    }
    return decode_fraction(d, PB_AT(at, "percentage"), m->percentage, 0, &fault->abort_parts);
}

/* One that does nothing is NULL. */
static int decode_fault(struct decode *d, const struct pb_path *at, const Pb__Fault__HTTPFault *m,
                        const struct fault_policy **ret_fault)
{
    struct fault_policy *fault = ARENA_NEW(d->arena, struct fault_policy);
    struct header_match *headers = ARENA_ARRAY(d->arena, struct header_match, m->n_headers);
    fault->upstream_cluster = decode_str(d, m->upstream_cluster);
    fault->headers = m->n_headers > 0 ? headers : NULL;
    fault->header_count = m->n_headers;
    for (size_t i = 0; i < m->n_headers; i++) {
        if (decode_header_match(d, PB_AT_I(at, "headers", i), m->headers[i], &headers[i]) != 0)
            return -ERR_INVALID;
    }
    if (decode_delay(d, PB_AT(at, "delay"), m->delay, fault) != 0 ||
        decode_abort(d, PB_AT(at, "abort"), m->abort, fault) != 0)
        return -ERR_INVALID;
    *ret_fault = m->delay != NULL || m->abort != NULL ? fault : NULL;
    return 0;
}

/* --- decoding: CORS --- */

static int decode_cors(struct decode *d, const struct pb_path *at, const Pb__Cors__CorsPolicy *m,
                       const struct cors_policy **ret_cors)
{
    struct cors_policy *cors = ARENA_NEW(d->arena, struct cors_policy);
    size_t count = m->n_allow_origin_string_match;
    struct string_match *origins = ARENA_ARRAY(d->arena, struct string_match, count);
    for (size_t i = 0; i < count; i++) {
        if (decode_string_match(d, PB_AT_I(at, "allow_origin_string_match", i),
                                m->allow_origin_string_match[i], &origins[i]) != 0)
            return -ERR_INVALID;
    }
    cors->origins = count > 0 ? origins : NULL;
    cors->origin_count = count;
    cors->allow_credentials = decode_bool(m->allow_credentials, false);
    cors->forwards_unmatched_preflights = decode_bool(m->forward_not_matching_preflights, true);
    const struct {
        const char *name, *value;
        struct str *to;
    } rows[] = {
        {"allow_methods", m->allow_methods, &cors->methods},
        {"allow_headers", m->allow_headers, &cors->headers},
        {"expose_headers", m->expose_headers, &cors->exposed},
        {"max_age", m->max_age, &cors->max_age},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (!decode_is_header_value(rows[i].value))
            return decode_fail(d, PB_AT(at, rows[i].name), "bytes that no header holds");
        *rows[i].to = decode_str(d, rows[i].value);
    }
    const Pb__Type__FractionalPercent *enabled =
        m->filter_enabled != NULL ? m->filter_enabled->default_value : NULL;
    if (decode_fraction(d, PB_AT(at, "filter_enabled.default_value"), enabled, MODEL_PARTS_ALL,
                        &cors->enabled_parts) != 0)
        return -ERR_INVALID;
    *ret_cors = cors;
    return 0;
}

/* --- decoding: what routes say --- */

/* Members of a map of google.protobuf.Any, whose generated types differ by where they stand. */
static int decode_override(struct decode *d, const struct pb_path *at, const char *name,
                           const Pb__Any *any, struct filter_override *to)
{
    const ProtobufCMessageDescriptor *desc;
    const void *config = decode_any(d, at, any, &desc);
    if (config == NULL)
        return -ERR_INVALID;
    to->name = decode_str(d, name);
    if (desc == &pb__fault__httpfault__descriptor)
        return decode_fault(d, at, config, &to->fault);
    if (desc == &pb__cors__cors_policy__descriptor)
        return decode_cors(d, at, config, &to->cors);
    return decode_fail(d, at, "%s says nothing to a filter of a route", desc->name);
}

int decode_overrides(struct decode *d, const struct pb_path *at, const struct decode_override *in,
                     size_t count, struct filter_overrides *ret_overrides)
{
    const struct pb_path *here = PB_AT(at, "typed_per_filter_config");
    if (count == 0)
        return 0;
    struct filter_override *items = ARENA_ARRAY(d->arena, struct filter_override, count);
    for (size_t i = 0; i < count; i++) {
        const struct pb_path one = {here, "", -1, str_from_c(in[i].name), {NULL, 0}, 0};
        if (decode_override(d, &one, in[i].name, in[i].config, &items[i]) != 0)
            return -ERR_INVALID;
    }
    *ret_overrides = (struct filter_overrides){items, count};
    return 0;
}

/* --- decoding: the list of a listener --- */

static int decode_http_filter(struct decode *d, const struct pb_path *parent,
                              const Pb__Hcm__HttpFilter *m, struct http_filter *filter,
                              bool *ret_is_kept)
{
    const struct pb_path *at = PB_AT(parent, "typed_config");
    const ProtobufCMessageDescriptor *desc;
    const void *config = decode_any(d, at, m->typed_config, &desc);
    if (config == NULL)
        return -ERR_INVALID;
    filter->name = decode_str(d, m->name);
    *ret_is_kept = true;
    if (desc == &pb__router__router__descriptor) {
        filter->kind = HTTP_FILTER_ROUTER;
        return 0;
    }
    if (desc == &pb__http_rbac__rbac__descriptor) {
        filter->kind = HTTP_FILTER_RBAC;
        return decode_rbac(d, PB_AT(at, "rules"), ((const Pb__HttpRbac__RBAC *)config)->rules,
                           &filter->rbac);
    }
    if (desc == &pb__fault__httpfault__descriptor) {
        filter->kind = HTTP_FILTER_FAULT;
        return decode_fault(d, at, config, &filter->fault);
    }
    if (desc == &pb__cors__cors__descriptor) {
        filter->kind = HTTP_FILTER_CORS;
        return 0;
    }
    *ret_is_kept = false;
    return any_only_observes(desc, config, str_from_c(m->typed_config->type_url))
               ? 0
               : decode_fail(d, at, "%s is not an HTTP filter that is supported",
                             decode_any_name(desc, config));
}

int decode_http_filters(struct decode *d, const struct pb_path *at,
                        const Pb__Hcm__HttpConnectionManager *m, struct hcm *hcm)
{
    struct http_filter *filters = ARENA_ARRAY(d->arena, struct http_filter, m->n_http_filters);
    size_t count = 0;
    for (size_t i = 0; i < m->n_http_filters; i++) {
        const struct pb_path *here = PB_AT_I(at, "http_filters", i);
        bool is_kept;
        if (m->http_filters[i]->disabled)
            return decode_fail(d, PB_AT(here, "disabled"), "only false is supported");
        if (decode_http_filter(d, here, m->http_filters[i], &filters[count], &is_kept) != 0)
            return -ERR_INVALID;
        if ((filters[count].kind == HTTP_FILTER_ROUTER && is_kept) != (i + 1 == m->n_http_filters))
            return decode_fail(d, here, "the router is the last filter");
        if (is_kept)
            count++;
        else
            filters[count] = (struct http_filter){0};
    }
    if (count == 0)
        return decode_fail(d, PB_AT(at, "http_filters"), "the router is needed");
    hcm->filters = filters;
    hcm->filter_count = count;
    return 0;
}

/* --- encoding --- */

Pb__Hcm__HttpFilter *encode_http_filter(struct encode *e, const struct http_filter *in)
{
    Pb__Hcm__HttpFilter *m = PB_NEW(e, Pb__Hcm__HttpFilter, pb__hcm__http_filter);
    switch (in->kind) {
    case HTTP_FILTER_RBAC: {
        Pb__HttpRbac__RBAC *rbac = PB_NEW(e, Pb__HttpRbac__RBAC, pb__http_rbac__rbac);
        rbac->rules = encode_rbac(e, in->rbac);
        m->name = "envoy.filters.http.rbac";
        m->typed_config = encode_any(e, &rbac->base);
        break;
    }
    case HTTP_FILTER_FAULT:
        /* Nobody here makes one that does something of its own. */
        if (in->fault != NULL)
            e->rc = -ERR_UNSUPPORTED;
        m->name = "envoy.filters.http.fault";
        m->typed_config =
            encode_any(e, &PB_NEW(e, Pb__Fault__HTTPFault, pb__fault__httpfault)->base);
        break;
    case HTTP_FILTER_CORS:
        m->name = "envoy.filters.http.cors";
        m->typed_config = encode_any(e, &PB_NEW(e, Pb__Cors__Cors, pb__cors__cors)->base);
        break;
    case HTTP_FILTER_ROUTER:
        m->name = "envoy.filters.http.router";
        m->typed_config = encode_any(e, &PB_NEW(e, Pb__Router__Router, pb__router__router)->base);
        break;
    }
    if (in->name.len > 0)
        m->name = encode_str(e, in->name);
    return m;
}
