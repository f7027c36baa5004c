/* Which mode of mutual TLS a port of a workload demands (Istio PeerAuthentication). */
#include "control/translate/translate_priv.h"

enum level { LEVEL_NAMESPACE, LEVEL_WORKLOAD };

static bool applies(const struct api_document *policy, const struct api_document *workload,
                    enum level level)
{
    const struct api_selector *selector = &policy->spec.peer_authentication->selector;
    bool is_selecting = selector->is_set && selector->labels.len > 0;
    if (level == LEVEL_NAMESPACE)
        return !is_selecting;
    return is_selecting && api_labels_match(&selector->labels, &workload->labels);
}

static enum api_mtls_mode port_mode(const struct api_peer_authentication *p, uint16_t port)
{
    for (size_t i = 0; i < p->port_count; i++) {
        if (p->ports[i].port == port)
            return p->ports[i].mode;
    }
    return API_MTLS_UNSET;
}

/* Of the namespace's policies for this level the first by name that says something. port 0: what
 * they say of all ports. */
static enum api_mtls_mode mode_at(struct job *j, struct str namespace_,
                                  const struct api_document *workload, uint16_t port,
                                  enum level level, struct mtls_source *source)
{
    struct registry_docs docs = job_docs(j, API_KIND_PEER_AUTHENTICATION, namespace_);
    for (size_t i = 0; i < docs.len; i++) {
        if (!applies(docs.ptr[i], workload, level))
            continue;
        const struct api_peer_authentication *p = docs.ptr[i]->spec.peer_authentication;
        enum api_mtls_mode mode = port != 0 ? port_mode(p, port) : p->mode;
        if (mode != API_MTLS_UNSET) {
            *source = (struct mtls_source){docs.ptr[i], port};
            return mode;
        }
    }
    return API_MTLS_UNSET;
}

enum api_mtls_mode mtls_mode_from(struct job *j, const struct api_document *workload, uint16_t port,
                                  struct mtls_source *source)
{
    enum api_mtls_mode mode = API_MTLS_UNSET;
    if (port != 0)
        mode = mode_at(j, workload->namespace, workload, port, LEVEL_WORKLOAD, source);
    if (mode == API_MTLS_UNSET)
        mode = mode_at(j, workload->namespace, workload, 0, LEVEL_WORKLOAD, source);
    if (mode == API_MTLS_UNSET)
        mode = mode_at(j, workload->namespace, workload, 0, LEVEL_NAMESPACE, source);
    if (mode == API_MTLS_UNSET)
        mode = mode_at(j, STR(REGISTRY_ROOT_NAMESPACE), workload, 0, LEVEL_NAMESPACE, source);
    if (mode == API_MTLS_UNSET)
        mode = job_mesh(j)->mtls_mode;
    return mode == API_MTLS_UNSET ? API_MTLS_PERMISSIVE : mode;
}

enum api_mtls_mode mtls_mode(struct job *j, const struct api_document *workload, uint16_t port)
{
    struct mtls_source source;
    return mtls_mode_from(j, workload, port, &source);
}

void mtls_ports(struct job *j, const struct api_document *workload,
                void (*each)(void *ctx, uint16_t port), void *ctx)
{
    struct registry_docs docs = job_docs(j, API_KIND_PEER_AUTHENTICATION, workload->namespace);
    for (size_t i = 0; i < docs.len; i++) {
        const struct api_peer_authentication *p = docs.ptr[i]->spec.peer_authentication;
        if (!applies(docs.ptr[i], workload, LEVEL_WORKLOAD))
            continue;
        for (size_t n = 0; n < p->port_count; n++)
            each(ctx, p->ports[n].port);
    }
}
