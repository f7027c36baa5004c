/* What inbound and outbound listeners share: access logs and settings of HTTP. */
#include "control/translate/translate_priv.h"

/* What an own proxy writes as JSON without being told; Envoy writes nothing then. */
#define FIELD(key, format)                                                                         \
    {                                                                                              \
        {key, sizeof key - 1},                                                                     \
        {                                                                                          \
            format, sizeof format - 1                                                              \
        }                                                                                          \
    }
static const struct format_json envoy_json[] = {
    FIELD("start_time", "%START_TIME%"),
    FIELD("method", "%REQ(:METHOD)%"),
    FIELD("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    FIELD("protocol", "%PROTOCOL%"),
    FIELD("response_code", "%RESPONSE_CODE%"),
    FIELD("response_flags", "%RESPONSE_FLAGS%"),
    FIELD("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    FIELD("bytes_received", "%BYTES_RECEIVED%"),
    FIELD("bytes_sent", "%BYTES_SENT%"),
    FIELD("duration", "%DURATION%"),
    FIELD("request_id", "%REQ(X-REQUEST-ID)%"),
    FIELD("authority", "%REQ(:AUTHORITY)%"),
    FIELD("upstream_host", "%UPSTREAM_HOST%"),
    FIELD("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    FIELD("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    FIELD("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    FIELD("route_name", "%ROUTE_NAME%"),
};
#undef FIELD

const struct access_log_config *access_logs(struct job *j, size_t *ret_count)
{
    const struct api_mesh *mesh = job_mesh(j);
    struct access_log_config *log = ARENA_NEW(j->a, struct access_log_config);
    log->path = STR("/dev/stdout");
    log->format.is_json = mesh->access_log_format == API_ACCESS_LOG_JSON;
    if (log->format.is_json && job_is_envoy(j)) {
        log->format.fields = envoy_json;
        log->format.field_count = ARRAY_LEN(envoy_json);
    }
    *ret_count = mesh->is_access_log_enabled ? 1 : 0;
    return log;
}

static void set_path_normalization(struct hcm *hcm, enum api_path_normalization how)
{
    hcm->normalize_path = how != API_PATHS_NONE;
    hcm->merge_slashes =
        how == API_PATHS_MERGE_SLASHES || how == API_PATHS_DECODE_AND_MERGE_SLASHES;
    hcm->escaped_slashes =
        how == API_PATHS_DECODE_AND_MERGE_SLASHES ? SLASHES_UNESCAPE_FORWARD : SLASHES_KEEP;
}

static const struct upgrade_config websocket = {.type = {"websocket", 9}, .is_enabled = true};

/* Envoy's own defaults under Istio (reference: HttpConnectionManager), which ends no stream for
 * being idle: gRPC streams and WebSockets may be silent for hours. */
void hcm_defaults(struct job *j, struct hcm *hcm)
{
    hcm->codec = HCM_CODEC_AUTO;
    set_path_normalization(hcm, job_mesh(j)->path_normalization);
    hcm->generate_request_id = true;
    hcm->idle_timeout_us = 3600ull * 1000 * 1000;
    hcm->drain_timeout_us = 5ull * 1000 * 1000;
    hcm->upgrades = &websocket;
    hcm->upgrade_count = 1;
    hcm->http2.allow_connect = true;
    hcm->access_logs = access_logs(j, &hcm->access_log_count);
}
