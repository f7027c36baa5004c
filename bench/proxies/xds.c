/* Delta xDS: subscriptions with the versions at hand, acknowledgements, and what came. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxies.h"

#define T "type.googleapis.com/"

static const char *const URLS[TYPE_COUNT] = {
    [CLUSTER] = T "envoy.config.cluster.v3.Cluster",
    [ENDPOINTS] = T "envoy.config.endpoint.v3.ClusterLoadAssignment",
    [LISTENER] = T "envoy.config.listener.v3.Listener",
    [ROUTE] = T "envoy.config.route.v3.RouteConfiguration",
    [DIRECTORY] = T "tulle.mesh.v1.Directory",
    [SECRET] = T "envoy.extensions.transport_sockets.tls.v3.Secret",
};

static bool is_wild(enum type type)
{
    return type == CLUSTER || type == LISTENER || type == DIRECTORY;
}

/* --- what it holds --- */

static struct held *slot_of(struct proxy *p, uint32_t name)
{
    uint32_t at = name * 2654435769u & (p->held_cap - 1);
    while (p->held[at].name != NONE && p->held[at].name != name)
        at = (at + 1) & (p->held_cap - 1);
    return &p->held[at];
}

static void grow(struct proxy *p)
{
    struct held *old = p->held;
    uint32_t old_cap = p->held_cap;
    p->held_cap = old_cap == 0 ? 64 : old_cap * 2;
    p->held = must(malloc(p->held_cap * sizeof *p->held));
    for (uint32_t i = 0; i < p->held_cap; i++)
        p->held[i] = (struct held){.name = NONE};
    for (uint32_t i = 0; i < old_cap; i++) {
        if (old[i].name != NONE)
            *slot_of(p, old[i].name) = old[i];
    }
    free(old);
}

static struct held *hold(struct proxy *p, uint32_t name)
{
    if (p->held_len * 4 >= p->held_cap * 3)
        grow(p);
    struct held *h = slot_of(p, name);
    if (h->name == NONE) {
        p->held_len++;
        *h = (struct held){.name = name};
    }
    return h;
}

static void want(struct proxy *p, enum type type, const char *name)
{
    struct held *h = hold(p, name_id(type, name, strlen(name)));
    h->is_named = true;
}

/* The four of a service that is called, and the roots. */
static void want_all(struct proxy *p)
{
    want(p, SECRET, "ROOTCA");
    for (uint32_t i = 0; i < p->dest_count; i++) {
        const char *name = measure_host_port(p->dests[i].service);
        want(p, CLUSTER, name);
        want(p, ENDPOINTS, name);
        want(p, LISTENER, name);
        want(p, ROUTE, name);
    }
}

/* --- requests --- */

static void add_text(struct buffer *b, unsigned field, const char *text)
{
    buffer_add_field(b, field, text, strlen(text));
}

/* An entry of google.protobuf.Struct; value: a whole Value. */
static void add_entry(struct buffer *b, const char *key, const struct buffer *value)
{
    struct buffer entry = {0};
    add_text(&entry, 1, key);
    buffer_add_field(&entry, 2, value->ptr, value->len);
    buffer_add_field(b, 1, entry.ptr, entry.len);
    buffer_free(&entry);
}

static void add_text_entry(struct buffer *b, const char *key, const char *text)
{
    struct buffer value = {0};
    add_text(&value, 3, text);
    add_entry(b, key, &value);
    buffer_free(&value);
}

static void add_number_entry(struct buffer *b, const char *key, double number)
{
    struct buffer value = {0};
    buffer_add(&value, "\x11", 1);
    buffer_add(&value, &number, sizeof number);
    add_entry(b, key, &value);
    buffer_free(&value);
}

static void add_addresses(struct buffer *b, const struct proxy *p)
{
    struct buffer text = {0}, list = {0}, value = {0};
    add_text(&text, 3, p->address);
    buffer_add_field(&list, 1, text.ptr, text.len);
    buffer_add_field(&value, 6, list.ptr, list.len);
    add_entry(b, "ADDRESSES", &value);
    buffer_free(&text);
    buffer_free(&list);
    buffer_free(&value);
}

static void add_node(struct buffer *b, const struct proxy *p)
{
    struct buffer metadata = {0}, node = {0}, ready = {0};
    add_text_entry(&metadata, "NAMESPACE", p->namespace_);
    add_text_entry(&metadata, "WORKLOAD", p->workload);
    add_text_entry(&metadata, "DIALECT", "tulle");
    add_number_entry(&metadata, "INDEX", p->index);
    add_addresses(&metadata, p);
    if (p->is_ready) {
        buffer_add(&ready, "\x20\x01", 2);
        add_entry(&metadata, "READY", &ready);
    }
    add_text(&node, 1, p->workload);
    buffer_add_field(&node, 3, metadata.ptr, metadata.len);
    buffer_add_field(b, 1, node.ptr, node.len);
    buffer_free(&metadata);
    buffer_free(&node);
    buffer_free(&ready);
}

static void add_version(struct buffer *b, const struct name *n, uint64_t version)
{
    char text[17];
    struct buffer entry = {0};
    snprintf(text, sizeof text, "%016llx", (unsigned long long)version);
    buffer_add_field(&entry, 1, n->text, n->len);
    add_text(&entry, 2, text);
    buffer_add_field(b, 5, entry.ptr, entry.len);
    buffer_free(&entry);
}

static void ask(struct proxy *p, enum type type, bool is_first)
{
    struct buffer m = {0};
    bool is_any_named = false;
    if (is_first)
        add_node(&m, p);
    add_text(&m, 2, URLS[type]);
    for (uint32_t i = 0; i < p->held_cap; i++) {
        const struct held *h = &p->held[i];
        const struct name *n = h->name != NONE ? name_of(h->name) : NULL;
        if (n == NULL || n->type != type)
            continue;
        if (h->is_named) {
            buffer_add_field(&m, 3, n->text, n->len);
            is_any_named = true;
        }
        if (h->version != 0 && h->version != UINT64_MAX)
            add_version(&m, n, h->version);
    }
    if (is_any_named && is_wild(type))
        add_text(&m, 3, "*");
    http2_send(p, m.ptr, m.len);
    world.counts.requests++;
    buffer_free(&m);
}

void xds_start(struct proxy *p)
{
    if (p->held == NULL)
        want_all(p);
    p->awaited = 0;
    for (uint32_t i = 0; i < p->held_cap; i++)
        p->awaited += p->held[i].name != NONE && p->held[i].is_named && p->held[i].version == 0;
    for (int type = 0; type < TYPE_COUNT; type++)
        ask(p, (enum type)type, type == 0);
}

bool xds_is_synced(const struct proxy *p)
{
    const uint8_t all = 1 << CLUSTER | 1 << LISTENER | 1 << DIRECTORY;
    return p->link.is_open && p->held != NULL && p->awaited == 0 && (p->wild_seen & all) == all;
}

/* --- responses --- */

struct field {
    uint64_t number;
    const unsigned char *ptr; /* of a length-delimited one */
    uint64_t len;
};

static const unsigned char *read_varint(const unsigned char *at, const unsigned char *end,
                                        uint64_t *ret_n)
{
    uint64_t n = 0;
    for (unsigned shift = 0; at < end && shift < 64; shift += 7) {
        n |= (uint64_t)(*at & 127) << shift;
        if ((*at++ & 128) == 0) {
            *ret_n = n;
            return at;
        }
    }
    die("a malformed response");
}

/* The next field; those that are no bytes have none. False: there is none. */
static bool next_field(const unsigned char **at, const unsigned char *end, struct field *ret_field)
{
    uint64_t tag;
    if (*at >= end)
        return false;
    *at = read_varint(*at, end, &tag);
    *ret_field = (struct field){.number = tag >> 3};
    if ((tag & 7) == 0) {
        *at = read_varint(*at, end, &tag);
    } else if ((tag & 7) == 2) {
        *at = read_varint(*at, end, &ret_field->len);
        ret_field->ptr = *at;
        if (ret_field->len > (uint64_t)(end - *at))
            die("a malformed response");
        *at += ret_field->len;
    } else {
        *at += (tag & 7) == 1 ? 8 : 4;
    }
    return true;
}

static struct field find_field(const struct field *in, uint64_t number)
{
    const unsigned char *at = in->ptr, *end = in->ptr + in->len;
    struct field f = {0};
    while (at != NULL && next_field(&at, end, &f)) {
        if (f.number == number)
            return f;
    }
    return (struct field){0};
}

static uint64_t version_from(const struct field *f)
{
    char text[17] = "";
    if (f->len != 16)
        die("a version that is none of tulled's");
    memcpy(text, f->ptr, 16);
    return strtoull(text, NULL, 16);
}

static bool is_inbound(const struct name *n)
{
    return n->type == LISTENER && strcmp(n->text, "virtualInbound") == 0;
}

static void take_resource(struct proxy *p, enum type type, const struct field *resource)
{
    struct field name = find_field(resource, 3), version = find_field(resource, 1);
    struct field any = find_field(resource, 2), wire = find_field(&any, 2);
    uint32_t id = name_id(type, (const char *)name.ptr, name.len);
    uint64_t v = version_from(&version);
    struct held *h = hold(p, id);
    world.counts.resources++;
    world.counts.types[type]++;
    world.counts.resent += h->version == v;
    p->awaited -= h->is_named && h->version == 0;
    h->version = v;
    if (type == ENDPOINTS && name_of(id)->service != NONE)
        measure_endpoints(p, name_of(id)->service, v, wire.ptr, wire.len);
    if (is_inbound(name_of(id)))
        measure_inbound(p);
}

static void take_removed(struct proxy *p, enum type type, const struct field *name)
{
    struct held *h = hold(p, name_id(type, (const char *)name->ptr, name->len));
    world.counts.removed++;
    p->awaited -= h->is_named && h->version == 0;
    /* Not there, and so answered: told apart from nothing by a version that nobody has. */
    h->version = h->is_named ? UINT64_MAX : 0;
}

static void acknowledge(struct proxy *p, enum type type, const struct field *nonce)
{
    struct buffer m = {0};
    add_text(&m, 2, URLS[type]);
    buffer_add_field(&m, 6, nonce->ptr, nonce->len);
    http2_send(p, m.ptr, m.len);
    world.counts.requests++;
    buffer_free(&m);
}

static enum type type_of(const struct field *url)
{
    for (int i = 0; i < TYPE_COUNT; i++) {
        if (strlen(URLS[i]) == url->len && memcmp(URLS[i], url->ptr, url->len) == 0)
            return (enum type)i;
    }
    die("a response of an unknown type");
}

void xds_recv(struct proxy *p, const unsigned char *message, size_t len)
{
    const struct field all = {0, message, len};
    struct field url = find_field(&all, 4), nonce = find_field(&all, 5), f;
    const unsigned char *at = message, *end = message + len;
    enum type type = type_of(&url);
    world.counts.responses++;
    /* It acknowledges first: what is measured is looked at when the answer is on its way. */
    acknowledge(p, type, &nonce);
    while (next_field(&at, end, &f)) {
        if (f.number == 2)
            take_resource(p, type, &f);
        else if (f.number == 6)
            take_removed(p, type, &f);
    }
    p->wild_seen |= (uint8_t)(1u << type);
}
