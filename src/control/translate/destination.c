/* Destinations of routes: which cluster, with which weight and header edits. */
#include "control/translate/translate_priv.h"

/* The port as written, else that of the call, else the only one of the service. */
static uint16_t destination_port(const struct api_destination *d, const struct registry_service *s,
                                 uint16_t called)
{
    if (d->port != 0)
        return d->port;
    const struct api_service *service = s->doc->spec.service;
    if (api_service_find_port(service, called) == NULL && service->port_count == 1)
        return service->ports[0].port;
    return called;
}

struct str destination_cluster(struct job *j, const struct api_destination *d,
                               struct str namespace_, uint16_t port, bool is_tcp)
{
    struct str host = api_host_fqdn(j->a, d->host, namespace_);
    const struct registry_service *s = job_service(j, host);
    uint16_t to = s != NULL ? destination_port(d, s, port) : d->port != 0 ? d->port : port;
    /* Bytes of a TCP route go as TCP, whatever else the port may speak. */
    bool is_other = false;
    if (s != NULL) {
        const struct api_service_port *p = api_service_find_port(s->doc->spec.service, to);
        is_other = p != NULL && p->protocol != API_PROTOCOL_TCP && p->protocol != API_PROTOCOL_TLS;
    }
    return name_format(j->a, host, to, d->subset, is_tcp && is_other);
}

struct header_edits destination_edits(struct job *j, const struct api_labels *set,
                                      const struct api_labels *add, const struct api_strs *remove)
{
    struct header_edit *edits = ARENA_ARRAY(j->a, struct header_edit, set->len + add->len + 1);
    size_t count = 0;
    for (size_t i = 0; i < set->len; i++)
        edits[count++] = (struct header_edit){set->v[i].key, set->v[i].value, HEADER_SET};
    for (size_t i = 0; i < add->len; i++)
        edits[count++] = (struct header_edit){add->v[i].key, add->v[i].value, HEADER_APPEND};
    return (struct header_edits){edits, count, remove->v, remove->len};
}

const struct weighted_cluster *destination_weighted(struct job *j,
                                                    const struct api_weighted_destination *d,
                                                    size_t count, struct str namespace_,
                                                    uint16_t port, bool is_tcp, size_t *ret_count)
{
    struct weighted_cluster *clusters = ARENA_ARRAY(j->a, struct weighted_cluster, count + 1);
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        if (d[i].weight == 0)
            continue;
        const struct api_headers *h = &d[i].headers;
        clusters[used++] = (struct weighted_cluster){
            .name = destination_cluster(j, &d[i].destination, namespace_, port, is_tcp),
            .weight = d[i].weight,
            .request = destination_edits(j, &h->request_set, &h->request_add, &h->request_remove),
            .response =
                destination_edits(j, &h->response_set, &h->response_add, &h->response_remove),
        };
    }
    *ret_count = used;
    return clusters;
}
