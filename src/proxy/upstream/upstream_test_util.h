/* For the tests of upstream, filter and flow: a simulated world with a turn, clusters built by
 * hand, and HTTP/1 origins that do as they are told. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "http/service.h"
#include "io/sim.h"
#include "proxy/upstream/upstream_priv.h"

enum { ORIGINS_MAX = 12, MS = 1000, SECOND = 1000 * 1000 };

enum origin_mode {
    ORIGIN_ANSWERS,
    ORIGIN_HANGS,         /* takes the request, says nothing */
    ORIGIN_RESETS,        /* resets when a request came */
    ORIGIN_CLOSES_REUSED, /* answers the first request of a connection, closes at the next */
};

struct app {
    struct listen_socket *socket;
    struct addr addr;
    enum origin_mode mode;
    unsigned status;
    unsigned requests, conns, open;
    struct str_buf last; /* the last request's head and body */
    const char *extra;   /* header lines, each with its CRLF */
};

struct app_conn {
    struct app *origin;
    unsigned requests;
};

static struct rig {
    struct sim_world *sim;
    struct turn *turn;
    struct limits limits;
    struct metrics *metrics;
    struct tls_store *tls;
    struct upstream *upstream;
    struct app origins[ORIGINS_MAX];
} rig;

/* --- origins --- */

static size_t message_len(struct str s)
{
    for (size_t i = 0; i + 4 <= s.len; i++) {
        if (memcmp(s.ptr + i, "\r\n\r\n", 4) != 0)
            continue;
        uint64_t body = 0;
        struct str head = str_sub(s, 0, i);
        for (size_t at = 0; at + 16 < head.len; at++) {
            if (str_starts_with_nocase(str_skip(head, at), STR("content-length: ")))
                body = strtoull(head.ptr + at + 16, NULL, 10);
        }
        return s.len >= i + 4 + body ? i + 4 + (size_t)body : 0;
    }
    return 0;
}

static bool origin_request(struct app_conn *oc, struct conn *c, struct str request)
{
    struct app *o = oc->origin;
    o->requests++;
    oc->requests++;
    str_buf_reset(&o->last);
    str_buf_add(&o->last, request);
    switch (o->mode) {
    case ORIGIN_HANGS:
        return true;
    case ORIGIN_RESETS:
        conn_abort(c, -ERR_RESET);
        return false;
    case ORIGIN_CLOSES_REUSED:
        if (oc->requests > 1) {
            conn_close(c);
            return false;
        }
        break;
    case ORIGIN_ANSWERS:
        break;
    }
    chain_printf(&c->out, "HTTP/1.1 %u X\r\n%sContent-Length: 2\r\n\r\nok", o->status,
                 o->extra != NULL ? o->extra : "");
    conn_mark_dirty(c);
    return true;
}

static void origin_on_input(struct conn *c)
{
    struct app_conn *oc = c->ctx;
    size_t len;
    while ((len = message_len(chain_pullup(&c->in, c->in.len))) > 0) {
        char *copy = mem_strndup(chain_first(&c->in).ptr, len);
        chain_skip(&c->in, len);
        bool goes_on = origin_request(oc, c, str_from(copy, len));
        free(copy);
        if (!goes_on)
            return;
    }
    if (conn_is_in_ended(c))
        conn_end(c);
}

static void origin_on_close(struct conn *c, int err)
{
    struct app_conn *oc = c->ctx;
    oc->origin->open--;
    free(oc);
}

static const struct conn_handler origin_handler = {.on_input = origin_on_input,
                                                   .on_close = origin_on_close};

static void origin_accept(void *ctx, struct conn *c)
{
    struct app *o = ctx;
    struct app_conn *oc = NEW(struct app_conn);
    oc->origin = o;
    o->conns++;
    o->open++;
    c->read_max = 1024 * 1024;
    conn_set_handler(c, &origin_handler, oc);
}

static struct addr origin_addr(unsigned i)
{
    char text[32];
    struct addr a;
    snprintf(text, sizeof text, "10.0.0.%u", i + 1);
    assert_true(addr_parse_ip(str_from_c(text), 80, &a));
    return a;
}

static void origin_open(unsigned i)
{
    struct app *o = &rig.origins[i];
    static const struct listen_options options = {.inherited_fd = -1};
    o->addr = origin_addr(i);
    o->status = 200;
    o->last = (struct str_buf)STR_BUF_INIT(1024 * 1024);
    assert_int_equal(listen_open(rig.turn, &o->addr, &options, origin_accept, o, &o->socket), 0);
}

/* --- the world --- */

static void rig_open(unsigned origins)
{
    static const struct sim_options options = {
        .seed = 7, .latency_us_min = 100, .latency_us_max = 300, .pipe_bytes_max = 256 * 1024};
    memset(&rig, 0, sizeof rig);
    rig.sim = sim_world_new(&options);
    rig.turn = turn_new_sim(rig.sim);
    limits_init(&rig.limits);
    rig.metrics = metrics_new(&rig.limits);
    rig.tls = tls_store_new(NULL);
    rig.upstream = upstream_new(&(struct upstream_env){.turn = rig.turn,
                                                       .limits = &rig.limits,
                                                       .tls = rig.tls,
                                                       .metrics = rig.metrics,
                                                       .mark_outbound = 1,
                                                       .mark_inbound = 1});
    for (unsigned i = 0; i < origins; i++)
        origin_open(i);
}

static void rig_run(uint64_t us)
{
    sim_world_run(rig.sim, sim_world_now_us(rig.sim) + us);
    turn_once(rig.turn, 0); /* so that what follows sees the time as it is */
}

static void rig_close(void)
{
    rig.upstream = upstream_free(rig.upstream);
    rig_run(10 * SECOND);
    for (unsigned i = 0; i < ORIGINS_MAX; i++) {
        if (rig.origins[i].socket != NULL)
            listen_close(rig.origins[i].socket);
        str_buf_deinit(&rig.origins[i].last);
    }
    rig_run(10 * SECOND);
    metrics_free(rig.metrics);
    tls_store_free(rig.tls);
    assert_int_equal(turn_account(rig.turn)->bytes, 0);
    turn_free(rig.turn);
    sim_world_free(rig.sim);
}

/* --- configuration by hand --- */

static struct model_addr to_model(const struct addr *a)
{
    struct model_addr m = {.port = a->port};
    m.ip = ip_from_bytes(a->ip, a->family == ADDR_IP4 ? 4 : 16);
    return m;
}

static struct endpoint endpoint_of(unsigned origin)
{
    struct addr a = origin_addr(origin);
    return (struct endpoint){.address = to_model(&a), .weight = 1};
}

static struct resource *endpoints_new(const char *name, const struct endpoint *items, size_t count)
{
    struct resource *r = resource_new(RESOURCE_ENDPOINTS, str_from_c(name));
    struct endpoints *e = ARENA_NEW(&r->arena, struct endpoints);
    struct endpoint *copy = ARENA_ARRAY(&r->arena, struct endpoint, count + 1);
    if (count > 0)
        memcpy(copy, items, sizeof *items * count);
    for (size_t i = 0; i < count; i++)
        copy[i].identity = arena_str(&r->arena, items[i].identity);
    *e = (struct endpoints){.cluster_name = r->name, .items = copy, .count = count};
    r->endpoints = e;
    return r;
}

static struct cluster cluster_defaults(void)
{
    return (struct cluster){
        .kind = CLUSTER_EDS,
        .lb = LB_ROUND_ROBIN,
        .least_request_choices = 2,
        .connect_timeout_us = 1 * SECOND,
        .idle_timeout_us = 3600ull * SECOND,
        .protocol = UPSTREAM_HTTP1,
        .breaker = {1024, 1024, 1024, MODEL_UNSET_U32, 0, 0},
        .outlier = {.consecutive_5xx = 5,
                    .enforcing_consecutive_5xx = 100,
                    .interval_us = 10ull * SECOND,
                    .base_ejection_us = 30ull * SECOND,
                    .max_ejection_us = 300ull * SECOND,
                    .max_ejection_percent = 100},
    };
}

static void set_cluster(const char *name, const struct cluster *model)
{
    struct resource *r = resource_new(RESOURCE_CLUSTER, str_from_c(name));
    struct cluster *c = ARENA_NEW(&r->arena, struct cluster);
    *c = *model;
    c->name = r->name;
    r->cluster = c;
    upstream_set_cluster(rig.upstream, r->name, r);
    resource_unref(r);
}

static void set_endpoints(const char *name, const struct endpoint *items, size_t count)
{
    struct resource *r = endpoints_new(name, items, count);
    upstream_set_endpoints(rig.upstream, r->name, r);
    resource_unref(r);
}

/* A cluster "c" of the first `count` origins. */
static void set_simple(const struct cluster *model, unsigned count)
{
    struct endpoint items[ORIGINS_MAX];
    for (unsigned i = 0; i < count; i++)
        items[i] = endpoint_of(i);
    set_endpoints("c", items, count);
    set_cluster("c", model);
}

/* A cluster "c" of names, for which nobody answers. */
static inline void set_named(const char *const *names, size_t count)
{
    struct resource *r = resource_new(RESOURCE_CLUSTER, STR("c"));
    struct cluster *c = ARENA_NEW(&r->arena, struct cluster);
    struct endpoints *list = ARENA_NEW(&r->arena, struct endpoints);
    struct endpoint *items = ARENA_ARRAY(&r->arena, struct endpoint, count + 1);
    struct model_addr *server = ARENA_NEW(&r->arena, struct model_addr);
    struct addr silent;
    assert_true(addr_parse_ip(STR("10.9.9.9"), 53, &silent));
    *server = to_model(&silent);
    for (size_t i = 0; i < count; i++)
        items[i] =
            (struct endpoint){.address.port = 80, .hostname = str_from_c(names[i]), .weight = 1};
    *list = (struct endpoints){.cluster_name = r->name, .items = items, .count = count};
    *c = cluster_defaults();
    c->name = r->name;
    c->kind = CLUSTER_STRICT_DNS;
    c->inline_endpoints = list;
    c->dns =
        (struct dns_options){.refresh_us = 5ull * SECOND, .resolvers = server, .resolver_count = 1};
    r->cluster = c;
    upstream_set_cluster(rig.upstream, r->name, r);
    resource_unref(r);
}

static struct upstream_cluster *the_cluster(void)
{
    return upstream_find(rig.upstream, STR("c"));
}

static inline struct upstream_host *host_at(unsigned origin);

/* Failures in a row, as all workers see them. */
static inline unsigned host_failures(unsigned origin)
{
    const struct host_share *share = host_at(origin)->share;
    return share != NULL ? share->consecutive_5xx : 0;
}

static inline struct upstream_host *find_host(unsigned origin)
{
    struct upstream_cluster *c = the_cluster();
    for (size_t i = 0; i < c->hosts.len; i++) {
        if (addr_eq(&c->hosts.ptr[i]->info.address, &rig.origins[origin].addr))
            return c->hosts.ptr[i];
    }
    return NULL;
}

static inline struct upstream_host *host_at(unsigned origin)
{
    struct upstream_host *h = find_host(origin);
    ASSERT(h != NULL);
    return h;
}
