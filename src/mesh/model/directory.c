#include "mesh/model/directory.h"

#include "base/random.h"

/* A slot is 0, or one more than a key: hosts of services come first, then the two addresses of each
 * service, then those of workloads. */
struct key {
    enum { KEY_HOST, KEY_SERVICE, KEY_WORKLOAD } kind;
    size_t index;
    unsigned address; /* which of the two */
};

static struct key key_of(const struct directory *d, uint32_t slot)
{
    size_t code = slot - 1;
    if (code < d->service_count)
        return (struct key){KEY_HOST, code, 0};
    code -= d->service_count;
    if (code < 2 * d->service_count)
        return (struct key){KEY_SERVICE, code / 2, code % 2};
    code -= 2 * d->service_count;
    return (struct key){KEY_WORKLOAD, code / 2, code % 2};
}

static uint32_t slot_of(const struct directory *d, struct key k)
{
    size_t code = k.index;
    if (k.kind != KEY_HOST)
        code = d->service_count + 2 * k.index + k.address;
    if (k.kind == KEY_WORKLOAD)
        code += 2 * d->service_count;
    return (uint32_t)(code + 1);
}

/* Strangers choose names: the seed is the process'. */
static uint32_t first_slot(const struct directory *d, uint64_t hash)
{
    return (uint32_t)((hash >> 32) * d->slot_count >> 32);
}

static uint32_t next_slot(const struct directory *d, uint32_t at)
{
    return at + 1 < d->slot_count ? at + 1 : 0;
}

/* --- hosts --- */

/* Where the host is, or would be: there is always a free slot. */
static uint32_t find_host(const struct directory *d, struct str host)
{
    uint32_t at = first_slot(d, str_hash(host, random_process_seed()));
    for (; d->slots[at] != 0; at = next_slot(d, at)) {
        struct key k = key_of(d, d->slots[at]);
        if (k.kind == KEY_HOST && str_eq(d->services[k.index].host, host))
            break;
    }
    return at;
}

const struct directory_service *directory_find_host(const struct directory *d, struct str host)
{
    if (d->slot_count == 0)
        return NULL;
    uint32_t slot = d->slots[find_host(d, host)];
    return slot != 0 ? &d->services[key_of(d, slot).index] : NULL;
}

/* --- addresses --- */

static bool has_address(const struct directory *d, struct key k, const struct ip_addr *ip)
{
    switch (k.kind) {
    case KEY_HOST:
        return false;
    case KEY_SERVICE:
        return ip_eq(&d->services[k.index].addresses[k.address], ip);
    case KEY_WORKLOAD:
        return ip_eq(&d->workloads[k.index].addresses[k.address], ip);
    }
    return false;
}

static uint32_t find_ip(const struct directory *d, const struct ip_addr *ip)
{
    uint32_t at = first_slot(d, ip_hash(ip, random_process_seed()));
    while (d->slots[at] != 0 && !has_address(d, key_of(d, d->slots[at]), ip))
        at = next_slot(d, at);
    return at;
}

void directory_find_ip(const struct directory *d, const struct ip_addr *ip,
                       const struct directory_service **ret_service,
                       const struct directory_workload **ret_workload)
{
    uint32_t slot = d->slot_count > 0 && ip->family != IP_NONE ? d->slots[find_ip(d, ip)] : 0;
    if (slot == 0)
        return;
    struct key k = key_of(d, slot);
    if (k.kind == KEY_SERVICE)
        *ret_service = &d->services[k.index];
    else
        *ret_workload = &d->workloads[k.index];
}

/* --- making --- */

static void add_addresses(const struct directory *d, uint32_t *slots,
                          const struct ip_addr addresses[2], struct key k)
{
    for (; k.address < 2; k.address++) {
        if (addresses[k.address].family == IP_NONE)
            continue;
        uint32_t at = find_ip(d, &addresses[k.address]);
        /* A service's address is the registry's to give, a replica's is its own word in part. */
        if (k.kind == KEY_WORKLOAD && slots[at] != 0 && key_of(d, slots[at]).kind == KEY_SERVICE)
            continue;
        slots[at] = slot_of(d, k);
    }
}

void directory_index(struct directory *d, struct arena *a)
{
    size_t keys = 3 * d->service_count + 2 * d->workload_count;
    d->slot_count = (uint32_t)(keys + keys / 2 + 1);
    uint32_t *slots = ARENA_ARRAY(a, uint32_t, d->slot_count);
    d->slots = slots;
    for (size_t i = 0; i < d->service_count; i++) {
        slots[find_host(d, d->services[i].host)] = slot_of(d, (struct key){KEY_HOST, i, 0});
        add_addresses(d, slots, d->services[i].addresses, (struct key){KEY_SERVICE, i, 0});
    }
    for (size_t i = 0; i < d->workload_count; i++)
        add_addresses(d, slots, d->workloads[i].addresses, (struct key){KEY_WORKLOAD, i, 0});
}

struct str directory_detail_name(struct arena *a, struct str host, uint16_t port)
{
    return arena_printf(a, "%.*s:%u", STR_FMT(host), (unsigned)port);
}
