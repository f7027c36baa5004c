#include "control/api/kind.h"

#include "base/util.h"
#include "control/api/nearest_priv.h"

#define TULLE "tulle.dev"
#define NETWORKING "networking.istio.io"
#define SECURITY "security.istio.io"

static const struct api_kind_info kinds[] = {
    {API_KIND_NAMESPACE, "Namespace", "namespace", "namespaces", {"ns"}, "", {"v1"}, false},
    {API_KIND_SERVICE_ACCOUNT,
     "ServiceAccount",
     "serviceaccount",
     "serviceaccounts",
     {"sa"},
     "",
     {"v1"},
     true},
    {API_KIND_SERVICE, "Service", "service", "services", {"svc"}, "", {"v1"}, true},
    {API_KIND_WORKLOAD, "Workload", "workload", "workloads", {"wl"}, TULLE, {"v1"}, true},
    {API_KIND_MESH, "Mesh", "mesh", "meshes", {NULL}, TULLE, {"v1"}, false},
    {API_KIND_VIRTUAL_SERVICE,
     "VirtualService",
     "virtualservice",
     "virtualservices",
     {"vs"},
     NETWORKING,
     {"v1", "v1beta1", "v1alpha3"},
     true},
    {API_KIND_DESTINATION_RULE,
     "DestinationRule",
     "destinationrule",
     "destinationrules",
     {"dr"},
     NETWORKING,
     {"v1", "v1beta1", "v1alpha3"},
     true},
    {API_KIND_PEER_AUTHENTICATION,
     "PeerAuthentication",
     "peerauthentication",
     "peerauthentications",
     {"pa"},
     SECURITY,
     {"v1", "v1beta1"},
     true},
    {API_KIND_AUTHORIZATION_POLICY,
     "AuthorizationPolicy",
     "authorizationpolicy",
     "authorizationpolicies",
     {"ap"},
     SECURITY,
     {"v1", "v1beta1"},
     true},
};
_Static_assert(ARRAY_LEN(kinds) == API_KIND_COUNT, "one row for each kind");

const struct api_kind_info *api_kind_info(enum api_kind kind)
{
    ASSERT((size_t)kind < ARRAY_LEN(kinds) && kinds[kind].kind == kind);
    return &kinds[kind];
}

static bool has_name(const struct api_kind_info *k, struct str name)
{
    if (str_eq_nocase(name, str_from_c(k->singular)) || str_eq_nocase(name, str_from_c(k->plural)))
        return true;
    for (const char *const *s = k->short_names; *s != NULL; s++)
        if (str_eq_nocase(name, str_from_c(*s)))
            return true;
    return false;
}

const struct api_kind_info *api_kind_parse(struct str name)
{
    struct str group = name;
    struct str plain = str_split(&group, '.');
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (group.ptr != NULL && !str_eq_nocase(group, str_from_c(kinds[i].group)))
            continue;
        if (has_name(&kinds[i], plain))
            return &kinds[i];
    }
    return NULL;
}

bool api_kind_has_version(const struct api_kind_info *k, struct str version)
{
    for (const char *const *v = k->versions; *v != NULL; v++)
        if (str_eq(version, str_from_c(*v)))
            return true;
    return false;
}

bool api_kind_is_first_of_group(const struct api_kind_info *info)
{
    for (int k = 0; k < (int)info->kind; k++) {
        if (strcmp(api_kind_info((enum api_kind)k)->group, info->group) == 0)
            return false;
    }
    return true;
}

const struct api_kind_info *api_kind_by_path(struct str group, struct str version,
                                             struct str plural)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_eq(group, str_from_c(kinds[i].group)) && api_kind_has_version(&kinds[i], version) &&
            str_eq(plural, str_from_c(kinds[i].plural)))
            return &kinds[i];
    return NULL;
}

/* "networking.istio.io/v1" -> group and version; "v1" has the empty group. */
static void split_api_version(struct str api_version, struct str *ret_group,
                              struct str *ret_version)
{
    ptrdiff_t slash = str_find(api_version, '/');
    *ret_group = slash < 0 ? STR("") : str_sub(api_version, 0, (size_t)slash);
    *ret_version = slash < 0 ? api_version : str_skip(api_version, (size_t)slash + 1);
}

const struct api_kind_info *api_kind_by_document(struct str api_version, struct str kind)
{
    struct str group, version;
    split_api_version(api_version, &group, &version);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_eq(group, str_from_c(kinds[i].group)) && api_kind_has_version(&kinds[i], version) &&
            str_eq(kind, str_from_c(kinds[i].name)))
            return &kinds[i];
    return NULL;
}

/* Groups whose every other kind is taken for one that exists but is not built. */
static const char *const foreign_groups[] = {
    NETWORKING,
    SECURITY,
    "telemetry.istio.io",
    "extensions.istio.io",
    "install.istio.io",
    "gateway.networking.k8s.io",
    "gateway.networking.x-k8s.io",
    "inference.networking.k8s.io",
    "multicluster.x-k8s.io",
    "apps",
    "batch",
    "autoscaling",
    "policy",
    "networking.k8s.io",
    "rbac.authorization.k8s.io",
    "apiextensions.k8s.io",
    TULLE,
};

static const char *const foreign_kinds[] = {
    "Gateway",
    "ServiceEntry",
    "Sidecar",
    "EnvoyFilter",
    "WorkloadEntry",
    "WorkloadGroup",
    "ProxyConfig",
    "RequestAuthentication",
    "Telemetry",
    "WasmPlugin",
    "TrafficExtension",
    "IstioOperator",
    "GatewayClass",
    "HTTPRoute",
    "GRPCRoute",
    "TLSRoute",
    "TCPRoute",
    "UDPRoute",
    "ReferenceGrant",
    "BackendTLSPolicy",
    "ListenerSet",
    "XBackend",
    "XBackendTrafficPolicy",
    "InferencePool",
    "ServiceExport",
    "ServiceImport",
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "ReplicaSet",
    "Job",
    "CronJob",
    "Pod",
    "ConfigMap",
    "Secret",
    "Endpoints",
    "PersistentVolumeClaim",
    "Ingress",
    "NetworkPolicy",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "HorizontalPodAutoscaler",
    "PodDisruptionBudget",
    "RateLimit",
};

static bool is_in(struct str s, const char *const *list, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (str_eq(s, str_from_c(list[i])))
            return true;
    return false;
}

bool api_kind_is_known_elsewhere(struct str api_version, struct str kind)
{
    struct str group, version;
    split_api_version(api_version, &group, &version);
    if (!is_in(kind, foreign_kinds, ARRAY_LEN(foreign_kinds)))
        return false;
    return group.len == 0 || is_in(group, foreign_groups, ARRAY_LEN(foreign_groups));
}

const char *api_kind_nearest(struct str name)
{
    const char *best = NULL;
    unsigned best_distance = nearest_distance_max(name.len) + 1;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        unsigned d = nearest_distance(name, str_from_c(kinds[i].name), best_distance);
        if (d < best_distance) {
            best_distance = d;
            best = kinds[i].name;
        }
    }
    return best;
}
