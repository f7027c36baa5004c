/* What is measured: how long a change takes to the last proxy that it concerns.
 *
 * Endpoints: a replica says that it is not ready, or ready again; the change has arrived at a
 * caller when its endpoints are without that address, or have it. Of a service one change is under
 * way at a time. Policies: the next inbound listener that a proxy of the namespace gets. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxies.h"

enum { REPLICAS_MAX = 64, KNOWN_MAX = 8, LATE_US = 10 * 1000 * 1000, LOOK_US = 20 * 1000 };

struct caller {
    struct proxy *proxy;
    bool is_waited_for;
};

/* Which replicas a version of a service's endpoints holds. */
struct known {
    uint64_t version, replicas;
};

struct service {
    const char *host_port, *namespace_, *workload;
    struct proxy *replicas[REPLICAS_MAX];
    uint32_t replica_count, next;
    struct caller *callers;
    uint32_t caller_count, waited_for;
    uint64_t changed_us; /* 0: nothing is under way */
    uint32_t changed;    /* which replica */
    bool is_ready;       /* what it became */
    struct known known[KNOWN_MAX];
    unsigned known_next;
};

struct samples {
    uint64_t *us;
    size_t len, cap;
};

static struct service *services;
static uint32_t service_count, service_cap;

static struct {
    double rate;
    uint64_t start_us, end_us, next_us, look_us; /* next: change; look: whether all have arrived */
    uint32_t next_service;
    uint64_t changes, busy, callers;
    struct samples samples; /* of the last caller of each change */
} churn;

static struct {
    uint64_t start_us;
    uint32_t count, left;
    struct samples samples;
} armed;

static void add_sample(struct samples *s, uint64_t us)
{
    if (s->len == s->cap) {
        s->cap = s->cap == 0 ? 256 : s->cap * 2;
        s->us = must(realloc(s->us, s->cap * sizeof *s->us));
    }
    s->us[s->len++] = us;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double ms_at(struct samples *s, double share)
{
    if (s->len == 0)
        return 0;
    size_t at = (size_t)((double)s->len * share);
    return (double)s->us[at < s->len ? at : s->len - 1] / 1000;
}

static void print_ms(struct samples *s)
{
    qsort(s->us, s->len, sizeof *s->us, compare);
    printf("\"p50\": %.1f, \"p99\": %.1f, \"max\": %.1f", ms_at(s, 0.5), ms_at(s, 0.99),
           ms_at(s, 1));
    s->len = 0;
}

/* --- services --- */

void measure_add_service(const char *host_port, const char *namespace_, const char *workload)
{
    if (service_count == service_cap) {
        service_cap = service_cap == 0 ? 256 : service_cap * 2;
        services = must(realloc(services, service_cap * sizeof *services));
    }
    services[service_count++] =
        (struct service){.host_port = host_port, .namespace_ = namespace_, .workload = workload};
}

const char *measure_host_port(uint32_t service)
{
    return services[service].host_port;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct service *)a)->host_port, ((const struct service *)b)->host_port);
}

uint32_t measure_service(const char *host_port)
{
    struct service key = {.host_port = host_port};
    const struct service *s = bsearch(&key, services, service_count, sizeof key, by_name);
    return s != NULL ? (uint32_t)(s - services) : NONE;
}

static void add_callers(struct proxy *p)
{
    for (uint32_t i = 0; i < p->dest_count; i++) {
        struct service *s = &services[p->dests[i].service];
        if ((s->caller_count & (s->caller_count - 1)) == 0) {
            size_t cap = s->caller_count == 0 ? 1 : s->caller_count * 2;
            s->callers = must(realloc(s->callers, cap * sizeof *s->callers));
        }
        p->dests[i].slot = s->caller_count;
        s->callers[s->caller_count++] = (struct caller){p, false};
    }
}

void measure_sort(void)
{
    if (service_count > 0)
        qsort(services, service_count, sizeof *services, by_name);
}

/* Proxies of a workload lie side by side: its service is found once. */
void measure_link(void)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < world.proxy_count; i++) {
        struct proxy *p = &world.proxies[i];
        for (uint32_t n = 0; n < service_count; n++, at = (at + 1) % service_count) {
            struct service *s = &services[at];
            if (strcmp(s->workload, p->workload) != 0 || strcmp(s->namespace_, p->namespace_) != 0)
                continue;
            if (s->replica_count < REPLICAS_MAX)
                s->replicas[s->replica_count++] = p;
            break;
        }
        add_callers(p);
    }
}

/* --- endpoints --- */

/* The address as protobuf has it: SocketAddress.address, field 2. */
static bool holds(const unsigned char *wire, size_t len, const struct proxy *p)
{
    char text[64];
    int n = snprintf(text, sizeof text, "\x12%c%s", (int)strlen(p->address), p->address);
    return memmem(wire, len, text, (size_t)n) != NULL;
}

static uint64_t replicas_of(struct service *s, uint64_t version, const unsigned char *wire,
                            size_t len)
{
    for (unsigned i = 0; i < KNOWN_MAX; i++) {
        if (s->known[i].version == version)
            return s->known[i].replicas;
    }
    uint64_t replicas = 0;
    for (uint32_t i = 0; i < s->replica_count; i++)
        replicas |= (uint64_t)holds(wire, len, s->replicas[i]) << i;
    s->known[s->known_next++ % KNOWN_MAX] = (struct known){version, replicas};
    return replicas;
}

static void one_less(struct service *s, struct caller *c, uint64_t now)
{
    c->is_waited_for = false;
    if (--s->waited_for > 0)
        return;
    add_sample(&churn.samples, now - s->changed_us);
    s->changed_us = 0;
}

void measure_endpoints(struct proxy *p, uint32_t service, uint64_t version,
                       const unsigned char *wire, size_t len)
{
    struct service *s = &services[service];
    if (s->changed_us == 0)
        return;
    uint64_t replicas = replicas_of(s, version, wire, len);
    if ((replicas >> s->changed & 1) != s->is_ready)
        return;
    for (uint32_t i = 0; i < p->dest_count; i++) {
        struct caller *c = &s->callers[p->dests[i].slot];
        if (p->dests[i].service == service && c->is_waited_for)
            one_less(s, c, now_us());
    }
}

static void report(struct proxy *p, bool is_ready)
{
    char text[512];
    int len = snprintf(text, sizeof text,
                       "{\"namespace\":\"%s\",\"workload\":\"%s\",\"index\":%u,\"state\":\"%s\"}",
                       p->namespace_, p->workload, p->index, is_ready ? "ready" : "unready");
    p->is_ready = is_ready;
    http2_call(p, "/tulle.mesh.v1.Agent/Report", text, (size_t)len);
}

/* The same replica goes and comes back; then it is the next one's turn. */
static void change(struct service *s, uint64_t now)
{
    struct proxy *p = s->replicas[s->next % s->replica_count];
    if (s->changed_us != 0 || !xds_is_synced(p)) {
        churn.busy++;
        return;
    }
    s->changed = s->next % s->replica_count;
    s->is_ready = !p->is_ready;
    s->next += s->is_ready;
    s->changed_us = now;
    for (uint32_t i = 0; i < s->caller_count; i++) {
        bool is_there = xds_is_synced(s->callers[i].proxy);
        s->callers[i].is_waited_for = is_there;
        s->waited_for += is_there;
    }
    churn.changes++;
    churn.callers += s->waited_for;
    if (s->waited_for == 0)
        s->changed_us = 0;
    report(p, s->is_ready);
}

void measure_churn(double rate, double secs)
{
    churn.rate = rate;
    churn.start_us = churn.next_us = now_us();
    churn.end_us = churn.start_us + (uint64_t)(secs * 1e6);
    churn.changes = churn.busy = churn.callers = churn.samples.len = 0;
}

static void end_churn(void)
{
    uint64_t late = 0;
    for (uint32_t i = 0; i < service_count; i++) {
        late += services[i].changed_us != 0;
    }
    printf("{\"event\": \"churn\", \"changes\": %llu, \"late\": %llu, \"busy\": %llu, "
           "\"callers\": %llu, ",
           (unsigned long long)churn.changes, (unsigned long long)late,
           (unsigned long long)churn.busy, (unsigned long long)churn.callers);
    print_ms(&churn.samples);
    printf("}\n");
    fflush(stdout);
    churn.rate = 0;
}

static bool is_any_under_way(void)
{
    for (uint32_t i = 0; i < service_count; i++) {
        if (services[i].changed_us != 0)
            return true;
    }
    return false;
}

static void run_churn(uint64_t now)
{
    while (churn.next_us <= now && churn.next_us < churn.end_us) {
        struct service *s = &services[churn.next_service++ % service_count];
        if (s->replica_count > 0)
            change(s, now_us());
        churn.next_us += (uint64_t)(1e6 / churn.rate);
    }
    if (churn.next_us < churn.end_us)
        return;
    /* What is under way has its time. */
    if (!is_any_under_way() || now > churn.end_us + LATE_US)
        end_churn();
    else
        churn.look_us = now + LOOK_US;
}

uint64_t measure_run(uint64_t now)
{
    if (churn.rate > 0 && service_count > 0)
        run_churn(now);
    if (churn.rate == 0)
        return UINT64_MAX;
    return churn.next_us < churn.end_us ? churn.next_us : churn.look_us;
}

/* --- policies --- */

static void end_armed(void)
{
    printf("{\"event\": \"armed\", \"count\": %u, ", armed.count);
    print_ms(&armed.samples);
    printf("}\n");
    fflush(stdout);
}

void measure_arm(const char *namespace_)
{
    bool is_all = strcmp(namespace_, "*") == 0;
    armed.start_us = now_us();
    armed.count = armed.left = 0;
    armed.samples.len = 0;
    for (uint32_t i = 0; i < world.proxy_count; i++) {
        struct proxy *p = &world.proxies[i];
        p->is_armed = xds_is_synced(p) && (is_all || strcmp(p->namespace_, namespace_) == 0);
        armed.left += p->is_armed;
    }
    armed.count = armed.left;
    printf("{\"armed\": %u}\n", armed.count);
    fflush(stdout);
    if (armed.count == 0)
        end_armed();
}

static void disarm(struct proxy *p)
{
    p->is_armed = false;
    if (--armed.left == 0)
        end_armed();
}

void measure_inbound(struct proxy *p)
{
    if (!p->is_armed)
        return;
    add_sample(&armed.samples, now_us() - armed.start_us);
    disarm(p);
}

/* Who is not there any more is not waited for. */
void measure_lost(struct proxy *p)
{
    if (p->is_armed)
        disarm(p);
    for (uint32_t i = 0; i < p->dest_count; i++) {
        struct service *s = &services[p->dests[i].service];
        struct caller *c = &s->callers[p->dests[i].slot];
        if (!c->is_waited_for)
            continue;
        c->is_waited_for = false;
        if (--s->waited_for == 0)
            s->changed_us = 0;
    }
}
