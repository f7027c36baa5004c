#include "control/api/peer_authentication.h"

#include "control/api/reader_priv.h"

static const char *const mode_names[] = {"UNSET", "DISABLE", "PERMISSIVE", "STRICT", NULL};

static void read_mode(const struct in *in, void *out)
{
    int index = in_enum(in, mode_names, NULL);
    if (index >= 0)
        *(enum api_mtls_mode *)out = (enum api_mtls_mode)index;
}

void read_mtls(const struct in *in, void *out)
{
    static const struct field fields[] = {{"mode", read_mode, 0, FIELD_OPTIONAL}};
    IN_OBJECT(in, fields, out);
}

static void read_port_level(const struct in *in, void *out)
{
    struct api_peer_authentication *pa = out;
    if (!in_is_mapping(in)) {
        in_object(in, NULL, 0, NULL); /* says what it should be */
        return;
    }
    size_t len = 0;
    struct api_port_mtls *ports =
        ARENA_ARRAY(in->reader->arena, struct api_port_mtls, in_count(in));
    for (size_t i = 0; i < in_count(in); i++) {
        struct in entry = in_entry(in, i);
        uint64_t port;
        if (!str_to_u64(entry.key, UINT16_MAX, &port) || entry.key.ptr[0] == '0') {
            in_error_key(&entry, NULL, "\"%.*s\" is no port number", STR_CLIP(entry.key));
            continue;
        }
        ports[len].port = (uint16_t)port;
        if (!in_is_null(&entry))
            read_mtls(&entry, &ports[len].mode);
        len++;
    }
    pa->ports = ports;
    pa->port_count = len;
}

/* Istio ignores such a policy; to ignore it could leave open what it was to close. */
static void check_root_namespace(const struct in *spec, const struct api_document *d)
{
    struct in selector;
    if (str_eq(d->namespace, STR(API_ROOT_NAMESPACE)) &&
        d->spec.peer_authentication->selector.labels.len > 0 && in_get(spec, "selector", &selector))
        in_error_key(&selector, "put it into the namespace of its workloads",
                     "a PeerAuthentication of namespace " API_ROOT_NAMESPACE
                     " is the whole mesh's: it cannot have a selector");
}

void peer_authentication_read(const struct in *spec, struct api_document *d)
{
    static const struct field fields[] = {
        FIELD("selector", read_selector, struct api_peer_authentication, selector),
        FIELD("mtls", read_mtls, struct api_peer_authentication, mode),
        FIELD_WHOLE("portLevelMtls", read_port_level),
    };
    struct api_peer_authentication *pa = ARENA_NEW(&d->arena, struct api_peer_authentication);
    IN_OBJECT(spec, fields, pa);
    d->spec.peer_authentication = pa;
    check_root_namespace(spec, d);
    struct in ports;
    if (pa->port_count > 0 && pa->selector.labels.len == 0 && in_get(spec, "portLevelMtls", &ports))
        in_error_key(&ports, "add selector.matchLabels",
                     "portLevelMtls needs a selector: ports belong to workloads");
}
