#include "proxy/agent/dns.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/random.h"
#include "codec/dns.h"
#include "io/conn.h"
#include "io/dgram.h"
#include "proxy/agent/dns_names.h"
#include "proxy/worker/egress.h"

enum {
    PENDING_MAX = 1024,
    PENDING_US = 5 * 1000 * 1000,
    TTL_S = 30,
    TCP_IDLE_US = 10 * 1000 * 1000,
    TCP_CLIENTS_MAX = 256,
};

struct tcp_client {
    struct dns *dns;
    struct conn *conn;
    struct list link;
    struct timer idle;
    struct grave grave;
};

/* A question that was forwarded. */
struct pending {
    struct dns *dns;
    struct list link;
    uint16_t id;            /* towards the resolver */
    struct dns_query query; /* its question points into packet */
    struct str packet;      /* own memory */
    struct addr from;       /* UDP */
    struct dgram *socket;
    struct tcp_client *client; /* TCP; NULL once it has left */
    bool is_tcp;
    struct timer timer;
};

struct dns {
    struct dns_args args;
    struct dns_names *names;
    struct dgram *udp[2]; /* IPv4, IPv6 (may be NULL) */
    struct listen_socket *tcp[2];
    struct dgram *upstream; /* NULL: not opened yet, or lost */
    struct egress_client *egress;
    struct list pending, clients;
    unsigned pending_count, client_count;
    uint64_t requests;
    bool is_closed;
};

/* --- answering --- */

static void send_tcp(struct tcp_client *client, struct str payload)
{
    const char prefix[2] = {(char)(payload.len >> 8), (char)payload.len};
    chain_add(&client->conn->out, str_from(prefix, sizeof prefix));
    chain_add(&client->conn->out, payload);
    conn_mark_dirty(client->conn);
}

struct asker {
    struct dgram *socket; /* UDP */
    const struct addr *from;
    struct tcp_client *client; /* TCP */
};

static void answer(const struct asker *to, const struct dns_query *q, const struct dns_answer *a)
{
    uint8_t buf[DNS_UDP_LEN_MAX];
    bool is_udp = to->client == NULL;
    size_t len = dns_answer_build(q, a, is_udp, buf, sizeof buf);
    struct str payload = str_from((const char *)buf, len);
    if (is_udp)
        (void)dgram_send(to->socket, to->from, payload);
    else
        send_tcp(to->client, payload);
}

static void answer_code(const struct asker *to, const struct dns_query *q, enum dns_rcode rcode)
{
    struct dns_answer a = {.rcode = rcode, .is_recursion_available = true};
    answer(to, q, &a);
}

/* --- forwarding --- */

/* The first nameserver that is not ourselves. */
static bool read_resolver(struct str path, struct addr *ret_addr)
{
    char *file = str_dup_c(path), text[4096];
    FILE *f = fopen(file, "re");
    free(file);
    bool is_found = false;
    while (f != NULL && !is_found && fgets(text, sizeof text, f) != NULL) {
        struct str line = str_trim(str_from_c(text));
        if (!str_starts_with(line, STR("nameserver")))
            continue;
        struct str ip = str_trim(str_skip(line, strlen("nameserver")));
        while (ip.len > 0 && (ip.ptr[ip.len - 1] == '\n' || ip.ptr[ip.len - 1] == '\r'))
            ip.len--;
        is_found = addr_parse_ip(ip, 53, ret_addr) && !addr_is_loopback(ret_addr);
    }
    if (f != NULL)
        fclose(f);
    return is_found;
}

static int open_resolver_socket(const struct dns_args *args)
{
    struct addr to;
    struct sockaddr_storage sa;
    if (!read_resolver(args->resolv_conf, &to))
        return -ERR_NOT_FOUND;
    unsigned len = addr_to_sockaddr(&to, &sa);
    int fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -ERR_SYSTEM;
    bool is_marked =
        args->mark == 0 || setsockopt(fd, SOL_SOCKET, SO_MARK, &args->mark, sizeof args->mark) == 0;
    if (!is_marked || connect(fd, (const void *)&sa, len) != 0) {
        close(fd);
        return -ERR_UNREACHABLE;
    }
    return fd;
}

static void on_upstream(void *ctx, const struct addr *from, struct str payload);

static int open_upstream(struct dns *d)
{
    if (d->upstream != NULL)
        return 0;
    int fd = d->egress != NULL ? egress_client_dns(d->egress) : open_resolver_socket(&d->args);
    if (fd < 0)
        return fd;
    d->upstream = dgram_adopt_fd(d->args.turn, fd, on_upstream, d);
    return d->upstream != NULL ? 0 : -ERR_SYSTEM;
}

static void pending_free(struct pending *p)
{
    timer_stop(&p->timer);
    list_remove(&p->link);
    p->dns->pending_count--;
    free((void *)(uintptr_t)p->packet.ptr);
    free(p);
}

static bool is_still_asked(const struct pending *p)
{
    return !p->is_tcp || p->client != NULL;
}

static void on_pending_timeout(struct timer *t)
{
    struct pending *p = CONTAINER_OF(t, struct pending, timer);
    struct asker to = {.socket = p->socket, .from = &p->from, .client = p->client};
    if (is_still_asked(p))
        answer_code(&to, &p->query, DNS_SERVFAIL);
    /* A socket to a resolver that moved answers nothing: the next question opens it anew. */
    if (p->dns->upstream != NULL) {
        dgram_close(p->dns->upstream);
        p->dns->upstream = NULL;
    }
    pending_free(p);
}

static struct pending *find_pending(struct dns *d, struct str packet)
{
    uint16_t id = dns_id(packet);
    LIST_FOREACH (&d->pending, p, struct pending, link) {
        if (p->id == id && dns_response_matches(packet, &p->query, id))
            return p;
    }
    return NULL;
}

static void on_upstream(void *ctx, const struct addr *from, struct str payload)
{
    struct dns *d = ctx;
    (void)from; /* the socket is connected */
    struct pending *p = payload.len >= DNS_HEADER_LEN ? find_pending(d, payload) : NULL;
    if (p == NULL)
        return;
    if (is_still_asked(p)) {
        char *copy = mem_strndup(payload.ptr, payload.len);
        dns_set_id(copy, p->query.id);
        if (p->is_tcp)
            send_tcp(p->client, str_from(copy, payload.len));
        else
            (void)dgram_send(p->socket, &p->from, str_from(copy, payload.len));
        free(copy);
    }
    pending_free(p);
}

static struct pending *pending_new(struct dns *d, const struct asker *by, struct str packet)
{
    struct pending *p = NEW(struct pending);
    p->dns = d;
    p->packet = str_from(mem_strndup(packet.ptr, packet.len), packet.len);
    (void)dns_query_parse(p->packet, &p->query);
    random_secret(&p->id, sizeof p->id);
    p->is_tcp = by->client != NULL;
    p->client = by->client;
    p->socket = by->socket;
    if (by->from != NULL)
        p->from = *by->from;
    timer_init(&p->timer, on_pending_timeout);
    timer_start(d->args.turn, &p->timer, PENDING_US);
    list_push_back(&d->pending, &p->link);
    d->pending_count++;
    return p;
}

static void forward(struct dns *d, const struct asker *by, const struct dns_query *q,
                    struct str packet)
{
    int err = d->pending_count < PENDING_MAX ? open_upstream(d) : -ERR_LIMIT;
    if (err != 0) {
        log_event(LOG_WARN, "dns_forward_failed", LFC("error", err_text(err)));
        answer_code(by, q, DNS_SERVFAIL);
        return;
    }
    const struct pending *p = pending_new(d, by, packet);
    char *copy = mem_strndup(packet.ptr, packet.len);
    dns_set_id(copy, p->id);
    (void)dgram_send(d->upstream, NULL, str_from(copy, packet.len));
    free(copy);
}

/* --- questions --- */

static void on_question(struct dns *d, const struct asker *by, struct str packet)
{
    struct dns_query q;
    struct ip_addr addrs[2];
    size_t count = 0;
    d->requests++;
    int err = dns_query_parse(packet, &q);
    if (err == -ERR_PROTOCOL)
        return;
    if (err != 0) {
        answer_code(by, &q, err == -ERR_UNSUPPORTED ? DNS_NOTIMP : DNS_FORMERR);
        return;
    }
    enum dns_names_result result = q.class == DNS_CLASS_IN
                                       ? dns_names_find(d->names, dns_query_name(&q), addrs, &count)
                                       : DNS_NAMES_FOREIGN;
    if (result == DNS_NAMES_FOREIGN) {
        forward(d, by, &q, packet);
        return;
    }
    struct dns_answer a = {
        .rcode = result == DNS_NAMES_FOUND ? DNS_NOERROR : DNS_NXDOMAIN,
        .is_authoritative = true,
        .is_recursion_available = true,
        .ttl_s = TTL_S,
        .addrs = addrs,
        .addr_count = count,
    };
    answer(by, &q, &a);
}

static void on_udp4(void *ctx, const struct addr *from, struct str payload)
{
    struct dns *d = ctx;
    on_question(d, &(struct asker){.socket = d->udp[0], .from = from}, payload);
}

static void on_udp6(void *ctx, const struct addr *from, struct str payload)
{
    struct dns *d = ctx;
    on_question(d, &(struct asker){.socket = d->udp[1], .from = from}, payload);
}

/* --- TCP (RFC 7766) --- */

static void free_client(struct grave *g)
{
    free(CONTAINER_OF(g, struct tcp_client, grave));
}

/* Clients tell of their end in the next turn; the last one frees. */
static void free_if_done(struct dns *d)
{
    if (!d->is_closed || d->client_count > 0)
        return;
    egress_client_free(d->egress);
    dns_names_free(d->names);
    free(d);
}

static void on_tcp_close(struct conn *c, int err)
{
    struct tcp_client *client = c->ctx;
    struct dns *d = client->dns;
    (void)err;
    timer_stop(&client->idle);
    LIST_FOREACH (&d->pending, p, struct pending, link) {
        if (p->client == client)
            p->client = NULL;
    }
    list_remove(&client->link);
    d->client_count--;
    turn_bury(d->args.turn, &client->grave, free_client);
    free_if_done(d);
}

static void on_tcp_input(struct conn *c)
{
    struct tcp_client *client = c->ctx;
    uint8_t prefix[2];
    timer_start(client->dns->args.turn, &client->idle, TCP_IDLE_US);
    while (chain_peek(&c->in, 0, prefix, sizeof prefix) == sizeof prefix) {
        size_t len = (size_t)prefix[0] << 8 | prefix[1];
        if (c->in.len < sizeof prefix + len)
            return;
        chain_skip(&c->in, sizeof prefix);
        /* The question is looked at in place; forwarding copies it. */
        struct str packet = chain_pullup(&c->in, len);
        on_question(client->dns, &(struct asker){.client = client}, packet);
        chain_skip(&c->in, len);
    }
}

static void on_tcp_idle(struct timer *t)
{
    conn_close(CONTAINER_OF(t, struct tcp_client, idle)->conn);
}

static const struct conn_handler tcp_handler = {.on_input = on_tcp_input, .on_close = on_tcp_close};

static void on_tcp_accept(void *ctx, struct conn *c)
{
    struct dns *d = ctx;
    struct tcp_client *client = NEW(struct tcp_client);
    client->dns = d;
    client->conn = c;
    timer_init(&client->idle, on_tcp_idle);
    list_push_back(&d->clients, &client->link);
    d->client_count++;
    c->read_max = 2 + DNS_TCP_LEN_MAX;
    conn_set_handler(c, &tcp_handler, client);
    timer_start(d->args.turn, &client->idle, TCP_IDLE_US);
    if (d->client_count > TCP_CLIENTS_MAX)
        conn_abort(c, -ERR_LIMIT);
}

/* --- life --- */

static int open_sockets(struct dns *d, struct str_buf *why)
{
    static dgram_fn *const receive[2] = {on_udp4, on_udp6};
    /* On the loopback, where capture leads queries: an answer must come from the address that the
     * query went to, or the kernel does not know it as one. */
    static const struct str loopbacks[2] = {{"127.0.0.1", 9}, {"::1", 3}};
    for (int i = 0; i < 2; i++) {
        struct addr at;
        addr_parse_ip(loopbacks[i], d->args.port, &at);
        struct listen_options options = {.backlog = 128, .inherited_fd = -1, .is_v6_only = true};
        int err = dgram_open(d->args.turn, &at, 0, receive[i], d, &d->udp[i]);
        if (err == 0)
            err = listen_open(d->args.turn, &at, &options, on_tcp_accept, d, &d->tcp[i]);
        /* Machines without IPv6 exist. */
        if (err != 0 && i == 0) {
            str_buf_printf(why, "DNS at port %u: %s", d->args.port, err_text(err));
            return err;
        }
    }
    return 0;
}

int dns_open(const struct dns_args *args, struct str_buf *why, struct dns **ret_dns)
{
    struct dns *d = NEW(struct dns);
    d->args = *args;
    d->names = dns_names_new(args->own_namespace);
    list_init(&d->pending);
    list_init(&d->clients);
    if (args->egress_socket.len > 0)
        d->egress = egress_client_new(args->egress_socket);
    int err = open_sockets(d, why);
    if (err != 0) {
        dns_close(d);
        return err;
    }
    *ret_dns = d;
    return 0;
}

struct dns *dns_close(struct dns *d)
{
    if (d == NULL)
        return NULL;
    LIST_FOREACH (&d->pending, p, struct pending, link) {
        pending_free(p);
    }
    for (int i = 0; i < 2; i++) {
        if (d->udp[i] != NULL)
            dgram_close(d->udp[i]);
        if (d->tcp[i] != NULL)
            listen_close(d->tcp[i]);
    }
    if (d->upstream != NULL)
        dgram_close(d->upstream);
    LIST_FOREACH (&d->clients, client, struct tcp_client, link) {
        conn_abort(client->conn, -ERR_CANCELED);
    }
    d->is_closed = true;
    free_if_done(d);
    return NULL;
}

void dns_set_directory(struct dns *d, struct str name, struct resource *directory)
{
    dns_names_set(d->names, name, directory);
}

uint64_t dns_requests(const struct dns *d)
{
    return d->requests;
}
