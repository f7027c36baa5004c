#include "control/api/destination_rule.h"

#include "control/api/reader_priv.h"

/* --- Load balancing ------------------------------------------------------------------------- */

static void read_simple_lb(const struct in *in, void *out)
{
    static const char *const names[] = {"LEAST_REQUEST", "ROUND_ROBIN", "RANDOM",
                                        "LEAST_CONN",    "UNSPECIFIED", NULL};
    static const char *const not_yet[] = {"PASSTHROUGH", NULL};
    /* The old name, and no choice at all, are the default. */
    static const enum api_lb meaning[] = {API_LB_LEAST_REQUEST, API_LB_ROUND_ROBIN, API_LB_RANDOM,
                                          API_LB_LEAST_REQUEST, API_LB_LEAST_REQUEST};
    int index = in_enum(in, names, not_yet);
    if (index >= 0)
        *(enum api_lb *)out = meaning[index];
}

static void read_load_balancer(const struct in *in, void *out)
{
    static const struct field fields[] = {
        {"simple", read_simple_lb, 0, FIELD_OPTIONAL},
        FIELD_NOT_YET("consistentHash"),
        FIELD_NOT_YET("localityLbSetting"),
        FIELD_NOT_YET("zoneAwareLbSetting"),
        FIELD_NOT_YET("warmupDurationSecs"),
        FIELD_NOT_YET("warmup"),
    };
    struct api_traffic_policy *policy = out;
    enum api_lb *lb = ARENA_NEW(in->reader->arena, enum api_lb);
    *lb = API_LB_LEAST_REQUEST;
    IN_OBJECT(in, fields, lb);
    policy->lb = lb;
}

/* --- Connection pool ------------------------------------------------------------------------ */

/* Ours: what moves much over a long way is bounded by a stream's window for each round trip. */
static void read_multiplex(const struct in *in, void *out)
{
    struct api_connection_pool *pool = out;
    struct in at = *in;
    bool value = true;
    at.place = in->key_place;
    struct str path = in_path(in);
    in_warning(&at, "Istio does not know it: there each TCP connection goes by itself",
               "\"%.*s\" says whether TCP connections share one between sidecars", STR_FMT(path));
    read_bool(in, &value);
    pool->is_tcp_alone = !value;
}

static void read_keepalive(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD("probes", read_opt_positive, struct api_tcp_keepalive, probes),
        FIELD("time", read_opt_ms, struct api_tcp_keepalive, time_ms),
        FIELD("interval", read_opt_ms, struct api_tcp_keepalive, interval_ms),
    };
    struct api_connection_pool *pool = out;
    struct api_tcp_keepalive *k = ARENA_NEW(in->reader->arena, struct api_tcp_keepalive);
    IN_OBJECT(in, fields, k);
    pool->tcp_keepalive = k;
}

static void read_tcp_pool(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD("maxConnections", read_opt_positive, struct api_connection_pool, max_connections),
        FIELD("connectTimeout", read_opt_ms, struct api_connection_pool, connect_timeout_ms),
        FIELD("idleTimeout", read_opt_ms, struct api_connection_pool, tcp_idle_timeout_ms),
        FIELD_WHOLE("multiplex", read_multiplex),
        FIELD_WHOLE("tcpKeepalive", read_keepalive),
        FIELD_NOT_YET("maxConnectionDuration"),
    };
    IN_OBJECT(in, fields, out);
}

static void read_upgrade_policy(const struct in *in, void *out)
{
    static const char *const names[] = {"DEFAULT", NULL};
    static const char *const not_yet[] = {"DO_NOT_UPGRADE", "UPGRADE", NULL};
    (void)out;
    in_enum(in, names, not_yet);
}

static void read_http_pool(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD("http1MaxPendingRequests", read_opt_positive, struct api_connection_pool,
              http1_max_pending_requests),
        FIELD("http2MaxRequests", read_opt_positive, struct api_connection_pool,
              http2_max_requests),
        FIELD("maxRequestsPerConnection", read_opt_u32, struct api_connection_pool,
              max_requests_per_connection),
        FIELD("maxRetries", read_opt_positive, struct api_connection_pool, max_retries),
        FIELD("idleTimeout", read_opt_ms, struct api_connection_pool, http_idle_timeout_ms),
        FIELD_WHOLE("h2UpgradePolicy", read_upgrade_policy),
        FIELD_WHOLE("useClientProtocol", read_false_only),
        FIELD_NOT_YET("maxConcurrentStreams"),
        FIELD_NOT_YET("http2KeepAlive"),
    };
    IN_OBJECT(in, fields, out);
}

static void read_connection_pool(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD_WHOLE("tcp", read_tcp_pool),
        FIELD_WHOLE("http", read_http_pool),
    };
    struct api_traffic_policy *policy = out;
    struct api_connection_pool *pool = ARENA_NEW(in->reader->arena, struct api_connection_pool);
    IN_OBJECT(in, fields, pool);
    policy->connection_pool = pool;
}

/* --- Outlier detection ---------------------------------------------------------------------- */

static void read_old_consecutive_errors(const struct in *in, void *out)
{
    (void)out;
    in_error_not_yet(in, "write consecutive5xxErrors or consecutiveGatewayErrors");
}

static void read_outlier_detection(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD("consecutive5xxErrors", read_opt_u32, struct api_outlier_detection,
              consecutive_5xx_errors),
        FIELD("consecutiveGatewayErrors", read_opt_u32, struct api_outlier_detection,
              consecutive_gateway_errors),
        FIELD("interval", read_opt_ms, struct api_outlier_detection, interval_ms),
        FIELD("baseEjectionTime", read_opt_ms, struct api_outlier_detection, base_ejection_time_ms),
        FIELD("maxEjectionPercent", read_opt_percent, struct api_outlier_detection,
              max_ejection_percent),
        FIELD("minHealthPercent", read_opt_percent, struct api_outlier_detection,
              min_health_percent),
        FIELD_WHOLE("splitExternalLocalOriginErrors", read_false_only),
        FIELD_WHOLE("consecutiveErrors", read_old_consecutive_errors),
        FIELD_NOT_YET("consecutiveLocalOriginFailures"),
        FIELD_NOT_YET("outlierDetectionHttpErrorCodes"),
    };
    struct api_traffic_policy *policy = out;
    struct api_outlier_detection *outlier =
        ARENA_NEW(in->reader->arena, struct api_outlier_detection);
    IN_OBJECT(in, fields, outlier);
    policy->outlier_detection = outlier;
}

/* --- TLS ------------------------------------------------------------------------------------ */

static void read_tls_mode(const struct in *in, void *out)
{
    static const char *const names[] = {"DISABLE", "ISTIO_MUTUAL", NULL};
    static const char *const not_yet[] = {"SIMPLE", "MUTUAL", NULL};
    int index = in_enum(in, names, not_yet);
    if (index >= 0)
        *(enum api_client_tls_mode *)out = (enum api_client_tls_mode)index;
}

static void read_client_tls(const struct in *in, void *out)
{
    static const struct field fields[] = {
        /* Istio takes a missing mode for DISABLE; clear text by omission is refused. */
        FIELD_MUST("mode", read_tls_mode, struct api_client_tls, mode),
        FIELD("sni", read_host_ref, struct api_client_tls, sni),
        FIELD("subjectAltNames", read_strs, struct api_client_tls, subject_alt_names),
        FIELD_NOT_YET("clientCertificate"),
        FIELD_NOT_YET("privateKey"),
        FIELD_NOT_YET("caCertificates"),
        FIELD_NOT_YET("caCrl"),
        FIELD_NOT_YET("credentialName"),
        FIELD_NOT_YET("insecureSkipVerify"),
    };
    struct api_traffic_policy *policy = out;
    struct api_client_tls *tls = ARENA_NEW(in->reader->arena, struct api_client_tls);
    tls->mode = API_CLIENT_TLS_ISTIO_MUTUAL;
    IN_OBJECT(in, fields, tls);
    policy->tls = tls;
}

/* --- Policies ------------------------------------------------------------------------------- */

static void read_port_number(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD_MUST("number", read_port, struct api_port_policy, port),
    };
    IN_OBJECT(in, fields, out);
}

static void read_port_policy(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD_WHOLE_MUST("port", read_port_number),
        FIELD("loadBalancer", read_load_balancer, struct api_port_policy, policy),
        FIELD("connectionPool", read_connection_pool, struct api_port_policy, policy),
        FIELD("outlierDetection", read_outlier_detection, struct api_port_policy, policy),
        FIELD("tls", read_client_tls, struct api_port_policy, policy),
    };
    struct api_port_policy *port = out;
    port->place = in->place;
    IN_OBJECT(in, fields, port);
}

static void read_port_policies(const struct in *in, void *out)
{
    struct api_policy_block *block = out;
    block->ports = in_array(in, sizeof *block->ports, read_port_policy, &block->port_count);
    for (size_t i = 0; i < block->port_count; i++)
        for (size_t j = 0; j < i; j++)
            if (block->ports[i].port != 0 && block->ports[i].port == block->ports[j].port) {
                struct in item = in_item(in, i);
                in_error(&item, NULL, "port %u is there twice", block->ports[i].port);
            }
}

/* The first leniency: Istio knows retries in routes only. */
static void read_lenient_retries(const struct in *in, void *out)
{
    struct api_traffic_policy *policy = out;
    struct in at = *in;
    at.place = in->key_place;
    struct str path = in_path(in);
    in_warning(&at, "Istio does not know it: there it stands in the VirtualService",
               "\"%.*s\" applies to routes that set no retries", STR_FMT(path));
    read_retries(in, &policy->retries);
}

static void read_policy_block(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD("loadBalancer", read_load_balancer, struct api_policy_block, policy),
        FIELD("connectionPool", read_connection_pool, struct api_policy_block, policy),
        FIELD("outlierDetection", read_outlier_detection, struct api_policy_block, policy),
        FIELD("tls", read_client_tls, struct api_policy_block, policy),
        FIELD("retries", read_lenient_retries, struct api_policy_block, policy),
        FIELD_WHOLE("portLevelSettings", read_port_policies),
        FIELD_NOT_YET("tunnel"),
        FIELD_NOT_YET("proxyProtocol"),
        FIELD_NOT_YET("retryBudget"),
    };
    IN_OBJECT(in, fields, out);
}

static void read_subset_name(const struct in *in, void *out)
{
    struct str text;
    if (!in_text(in, &text))
        return;
    if (text.len > 0 && name_is_label_value(text))
        *(struct str *)out = text;
    else
        in_error(in, "letters, digits, - _ . and at most 63 of them",
                 "\"%.*s\" is no valid subset name", STR_CLIP(text));
}

static void read_subset(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD_MUST("name", read_subset_name, struct api_subset, name),
        FIELD("labels", read_k8s_labels, struct api_subset, labels),
        FIELD("trafficPolicy", read_policy_block, struct api_subset, traffic_policy),
    };
    struct api_subset *subset = out;
    subset->place = in->place;
    struct in labels;
    if (IN_OBJECT(in, fields, subset) && (!in_get(in, "labels", &labels) || in_count(&labels) == 0))
        in_warning(in, "add labels", "a subset without labels is every endpoint of the host");
}

static void read_subsets(const struct in *in, void *out)
{
    struct api_destination_rule *rule = out;
    rule->subsets = in_array(in, sizeof *rule->subsets, read_subset, &rule->subset_count);
    for (size_t i = 0; i < rule->subset_count; i++)
        for (size_t j = 0; j < i; j++)
            if (rule->subsets[i].name.len > 0 &&
                str_eq(rule->subsets[i].name, rule->subsets[j].name)) {
                struct in item = in_item(in, i);
                in_error(&item, NULL, "subset \"%.*s\" is there twice",
                         STR_FMT(rule->subsets[i].name));
            }
}

static void read_host(const struct in *in, void *out)
{
    struct api_destination_rule *rule = out;
    rule->host_place = in->place;
    read_host_ref(in, &rule->host);
}

void destination_rule_read(const struct in *spec, struct api_document *d)
{
    static const struct field fields[] = {
        FIELD_WHOLE_MUST("host", read_host),
        FIELD("trafficPolicy", read_policy_block, struct api_destination_rule, traffic_policy),
        FIELD_WHOLE("subsets", read_subsets),
        FIELD_WHOLE("exportTo", read_everywhere),
        FIELD_NOT_YET("workloadSelector"),
    };
    struct api_destination_rule *rule = ARENA_NEW(&d->arena, struct api_destination_rule);
    IN_OBJECT(spec, fields, rule);
    d->spec.destination_rule = rule;
}

/* --- What holds ----------------------------------------------------------------------------- */

const struct api_subset *api_destination_rule_find_subset(const struct api_destination_rule *rule,
                                                          struct str subset)
{
    for (size_t i = 0; subset.len > 0 && i < rule->subset_count; i++)
        if (str_eq(rule->subsets[i].name, subset))
            return &rule->subsets[i];
    return NULL;
}

static struct api_traffic_policy block_policy(const struct api_policy_block *block, uint16_t port)
{
    for (size_t i = 0; port != 0 && i < block->port_count; i++) {
        if (block->ports[i].port != port)
            continue;
        struct api_traffic_policy policy = block->ports[i].policy;
        policy.retries = block->policy.retries;
        return policy;
    }
    return block->policy;
}

struct api_traffic_policy api_destination_rule_policy(const struct api_destination_rule *rule,
                                                      struct str subset, uint16_t port)
{
    struct api_traffic_policy policy = block_policy(&rule->traffic_policy, port);
    const struct api_subset *s = api_destination_rule_find_subset(rule, subset);
    if (s == NULL)
        return policy;
    struct api_traffic_policy over = block_policy(&s->traffic_policy, port);
    if (over.lb != NULL)
        policy.lb = over.lb;
    if (over.connection_pool != NULL)
        policy.connection_pool = over.connection_pool;
    if (over.outlier_detection != NULL)
        policy.outlier_detection = over.outlier_detection;
    if (over.tls != NULL)
        policy.tls = over.tls;
    if (over.retries != NULL)
        policy.retries = over.retries;
    return policy;
}
