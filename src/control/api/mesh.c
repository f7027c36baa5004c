#include "control/api/mesh.h"

#include "control/api/reader_priv.h"

#define TRUST_DOMAIN_DEFAULT "cluster.local"
enum { LEAF_LIFETIME_MS_DEFAULT = 24 * 3600 * 1000 };

const struct api_mesh *api_mesh_default(void)
{
    static const struct api_mesh mesh = {
        .trust_domain = {TRUST_DOMAIN_DEFAULT, sizeof TRUST_DOMAIN_DEFAULT - 1},
        .is_access_log_enabled = true,
        .leaf_lifetime_ms = LEAF_LIFETIME_MS_DEFAULT,
    };
    return &mesh;
}

/* SPIFFE ID 2.1: lower-case letters, digits, dots, dashes, underscores. */
static bool is_trust_domain(struct str s)
{
    if (s.len == 0 || s.len > 255)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '.' && c != '-' && c != '_')
            return false;
    }
    return true;
}

static void read_trust_domain(const struct in *in, void *out)
{
    struct api_mesh *mesh = out;
    struct str text;
    if (!in_text(in, &text))
        return;
    mesh->trust_domain_place = in->place;
    if (is_trust_domain(text))
        mesh->trust_domain = text;
    else
        in_error(in, "a-z, 0-9, ., - and _", "\"%.*s\" is no valid trust domain", STR_CLIP(text));
}

static void read_outbound_mode(const struct in *in, void *out)
{
    static const char *const names[] = {"ALLOW_ANY", "REGISTRY_ONLY", NULL};
    int index = in_enum(in, names, NULL);
    if (index >= 0)
        *(enum api_outbound_mode *)out = (enum api_outbound_mode)index;
}

static void read_outbound(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD("mode", read_outbound_mode, struct api_mesh, outbound_mode),
        FIELD_NOT_YET("egressProxy"),
    };
    IN_OBJECT(in, fields, out);
}

static void read_log_format(const struct in *in, void *out)
{
    static const char *const names[] = {"TEXT", "JSON", NULL};
    int index = in_enum(in, names, NULL);
    if (index >= 0)
        *(enum api_access_log_format *)out = (enum api_access_log_format)index;
}

static void read_access_log(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD("enabled", read_bool, struct api_mesh, is_access_log_enabled),
        FIELD("format", read_log_format, struct api_mesh, access_log_format),
    };
    IN_OBJECT(in, fields, out);
}

static void read_normalization(const struct in *in, void *out)
{
    static const char *const names[] = {"BASE", "NONE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES",
                                        NULL};
    int index = in_enum(in, names, NULL);
    if (index >= 0)
        *(enum api_path_normalization *)out = (enum api_path_normalization)index;
}

static void read_path_normalization(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD("normalization", read_normalization, struct api_mesh, path_normalization),
    };
    IN_OBJECT(in, fields, out);
}

static void read_leaf_lifetime(const struct in *in, void *out)
{
    uint64_t ms;
    if (!in_duration_ms(in, false, &ms))
        return;
    if (ms < API_LEAF_LIFETIME_MS_MIN)
        in_error(in, NULL, "a certificate must live %d s at least",
                 API_LEAF_LIFETIME_MS_MIN / 1000);
    if (ms > API_LEAF_LIFETIME_MS_MAX)
        in_warning(in, "2160h", "certificates of workloads live 90 days at most");
    if (ms >= API_LEAF_LIFETIME_MS_MIN)
        *(uint64_t *)out = MIN(ms, (uint64_t)API_LEAF_LIFETIME_MS_MAX);
}

static void read_certificates(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD("leafLifetime", read_leaf_lifetime, struct api_mesh, leaf_lifetime_ms),
    };
    IN_OBJECT(in, fields, out);
}

static void read_mesh_mtls(const struct in *in, void *out)
{
    struct api_mesh *mesh = out;
    read_mtls(in, &mesh->mtls_mode);
}

void mesh_read(const struct in *spec, struct api_document *d)
{
    static const struct field fields[] = {
        FIELD_WHOLE("trustDomain", read_trust_domain),
        FIELD_WHOLE("mtls", read_mesh_mtls),
        FIELD_WHOLE("outboundTrafficPolicy", read_outbound),
        FIELD_WHOLE("accessLog", read_access_log),
        FIELD_WHOLE("pathNormalization", read_path_normalization),
        FIELD_WHOLE("certificates", read_certificates),
    };
    struct api_mesh *mesh = ARENA_NEW(&d->arena, struct api_mesh);
    *mesh = *api_mesh_default();
    IN_OBJECT(spec, fields, mesh);
    d->spec.mesh = mesh;
}
