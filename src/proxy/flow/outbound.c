/* Captured outgoing connections: the original destination decides, by the directory.
 *
 *   service address, port known  -> the listener "HOST:PORT"; parked until its detail is here
 *   a replica's own address      -> "direct": mTLS with its identity; in clear to a port that its
 *                                   sidecar does not capture
 *   of the mesh, nobody's        -> refused
 *   anything else                -> "passthrough", unless only the registry is allowed
 */
#include "proxy/flow/flow_priv.h"

static void on_parked_input(struct conn *c)
{
    (void)c; /* stays in `in`, bounded by read_max */
}

static void on_parked_close(struct conn *c, int err)
{
    (void)err;
    conn_gone(c->ctx);
}

static const struct conn_handler parked_handler = {
    .on_input = on_parked_input,
    .on_close = on_parked_close,
};

struct str outbound_identity(const struct flow_conn *fc)
{
    return fc->more != NULL ? fc->more->direct_identity : STR_NULL;
}

void outbound_gone(struct flow_conn *fc)
{
    if (fc->more == NULL || !list_is_linked(&fc->more->parked_link))
        return;
    list_remove(&fc->more->parked_link);
    fc->flow->parked_count--;
}

static void refuse(struct flow_conn *fc, struct str details)
{
    metrics_add(fc->flow->env.metrics, COUNTER_UNKNOWN_REFUSED, 1);
    conn_set_handler(fc->conn, &parked_handler, fc);
    conn_refuse(fc, FLAG_BIT(NO_ROUTE), details, STR_NULL);
}

static void park(struct flow_conn *fc, struct str name)
{
    struct flows *f = fc->flow;
    if (f->parked_count >= f->env.limits->parked_connections_max) {
        metrics_add(f->env.metrics, COUNTER_PARKED_OVERFLOWS, 1);
        refuse(fc, STR("too_many_parked_connections"));
        return;
    }
    conn_set_handler(fc->conn, &parked_handler, fc);
    conn_more(fc)->wanted = name;
    list_push_back(&f->parked, &fc->more->parked_link);
    f->parked_count++;
    if (map_put(&f->wanted, name, f) == NULL)
        f->env.on_detail_wanted(f->env.ctx, name);
}

static void to_listener(struct flow_conn *fc, struct str name, struct str otherwise)
{
    struct flow_listener *l = listener_find(fc->flow, name);
    if (l != NULL)
        conn_dispatch(fc, l);
    else
        refuse(fc, otherwise);
}

static bool has_port(const struct directory_service *s, uint16_t port)
{
    for (size_t i = 0; i < s->port_count; i++) {
        if (s->ports[i].port == port)
            return true;
    }
    return false;
}

static void to_service(struct flow_conn *fc, const struct directory_service *s, uint16_t port)
{
    if (!has_port(s, port)) {
        refuse(fc, STR("service_has_no_such_port"));
        return;
    }
    struct arena scratch; /* who need not wait keeps no name */
    arena_init(&scratch, 256);
    struct str name = directory_detail_name(&scratch, s->host, port);
    struct flow_listener *l = listener_find(fc->flow, name);
    if (l != NULL)
        conn_dispatch(fc, l);
    else
        park(fc, arena_str(&fc->arena, name));
    arena_deinit(&scratch);
}

static bool is_clear(const struct directory_workload *w, uint16_t port)
{
    for (size_t i = 0; i < w->clear_port_count; i++) {
        if (w->clear_ports[i] == port)
            return true;
    }
    return false;
}

/* use_original_dst as others mean it: the listener of that address, else the chains of the one that
 * captured. In a mesh of ours nobody can tell the mesh from the world without any directory, and
 * nothing is let past. */
static void without_directory(struct flow_conn *fc, const struct addr *to)
{
    struct flow_listener *own = listener_find_addr(fc->flow, to);
    if (own != NULL)
        conn_dispatch(fc, own);
    else if (fc->flow->env.is_capture_chain_used)
        conn_dispatch(fc, fc->listener);
    else
        refuse(fc, STR("directory_not_known_yet"));
}

void outbound_dispatch(struct flow_conn *fc)
{
    struct flows *f = fc->flow;
    const struct addr *to = &fc->conn->original_dst;
    /* Somebody talks to the capture port itself: going on would be a loop. */
    if (to->family == ADDR_NONE ||
        (addr_eq_ip(to, &fc->conn->local) && to->port == fc->conn->local.port)) {
        refuse(fc, STR("not_captured"));
        return;
    }
    if (map_len(&f->directories) == 0) {
        without_directory(fc, to);
        return;
    }
    struct ip_addr ip = flow_ip(to);
    struct directory_hit hit = directories_find(f, &ip);
    if (hit.service != NULL) {
        to_service(fc, hit.service, to->port);
    } else if (hit.workload != NULL && hit.workload->is_mtls && !is_clear(hit.workload, to->port)) {
        conn_more(fc)->direct_identity = arena_str(&fc->arena, hit.workload->identity);
        to_listener(fc, STR(FLOW_LISTENER_DIRECT), STR("no_direct_listener"));
    } else if (hit.workload != NULL) {
        to_listener(fc, STR(FLOW_LISTENER_PASSTHROUGH), STR("no_passthrough_listener"));
    } else if (hit.is_in_range) {
        refuse(fc, STR("unassigned_mesh_address"));
    } else {
        struct flow_listener *l = listener_find_addr(f, to);
        if (l != NULL)
            conn_dispatch(fc, l);
        else if (hit.is_registry_only)
            refuse(fc, STR("outbound_policy_registry_only"));
        else
            to_listener(fc, STR(FLOW_LISTENER_PASSTHROUGH), STR("no_passthrough_listener"));
    }
}

void outbound_unpark(struct flows *f, struct str name, struct str why_not)
{
    if (map_remove(&f->wanted, name) == NULL)
        return;
    LIST_FOREACH (&f->parked, more, struct flow_more, parked_link) {
        struct flow_conn *fc = more->fc;
        if (!str_eq(more->wanted, name))
            continue;
        outbound_gone(fc);
        struct flow_listener *l = listener_find(f, name);
        if (l != NULL && why_not.len == 0)
            conn_dispatch(fc, l);
        else
            conn_refuse(fc, FLAG_BIT(NO_CLUSTER), arena_str(&fc->arena, why_not), STR_NULL);
    }
}
