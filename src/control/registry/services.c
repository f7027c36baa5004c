/* Services of the registry: their hosts and their addresses, allocated once and persisted. */
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/log.h"
#include "control/registry/registry_priv.h"

#define ADDRESS_TABLE "addresses"

enum { ADDRESS_COUNT_MAX = 65534 };

/* --- addresses: index n is 240.240.(n / 256).(n % 256) and fd77:7e11::n --- */

static void address_of(uint32_t index, struct ip_addr ret_addresses[2])
{
    uint8_t v6[16] = {0xfd, 0x77, 0x7e, 0x11};
    v6[14] = (uint8_t)(index >> 8);
    v6[15] = (uint8_t)index;
    ret_addresses[0] = ip_v4(240, 240, (uint8_t)(index >> 8), (uint8_t)index);
    ret_addresses[1] = ip_from_bytes(v6, sizeof v6);
}

static void on_address(void *ctx, struct str key, struct str value)
{
    struct registry *r = ctx;
    uint64_t index;
    (void)key;
    if (str_to_u64(value, ADDRESS_COUNT_MAX, &index) && index >= r->next_address)
        r->next_address = (uint32_t)index + 1;
}

bool services_load_addresses(struct registry *r)
{
    r->next_address = 1;
    return store_record_list(r->store, STR(ADDRESS_TABLE), on_address, r) == 0;
}

/* The index of a host, given once and kept for good; a new one is in the store when the commit has
 * been told. 0: none is left, or the store failed. */
static uint32_t allocate(struct registry *r, struct str host, bool *ret_is_new)
{
    struct arena a;
    arena_init(&a, 256);
    struct str text;
    uint64_t index = 0;
    int err = store_record_get(r->store, STR(ADDRESS_TABLE), host, &a, &text);
    if (err == 0 && !str_to_u64(text, ADDRESS_COUNT_MAX, &index))
        index = 0;
    if (err == -ERR_NOT_FOUND && r->next_address <= ADDRESS_COUNT_MAX) {
        index = r->next_address;
        text = arena_printf(&a, "%llu", (unsigned long long)index);
        if (store_record_put(r->store, STR(ADDRESS_TABLE), host, text) == 0)
            r->next_address++;
        else
            index = 0;
        *ret_is_new = index != 0;
    }
    arena_deinit(&a);
    return (uint32_t)index;
}

/* --- services --- */

static struct registry_service *service_new(struct registry *r, struct api_document *d)
{
    struct registry_service *s = NEW(struct registry_service);
    struct str_buf host = STR_BUF_INIT(1024);
    str_buf_printf(&host, "%.*s.%.*s." API_DNS_SUFFIX, STR_FMT(d->name), STR_FMT(d->namespace));
    size_t len = host.len;
    s->host = str_from(str_buf_take(&host), len);
    s->doc = api_document_ref(d);
    bool is_new = false;
    uint32_t index = allocate(r, s->host, &is_new);
    if (index != 0)
        address_of(index, s->addresses);
    else
        log_event(LOG_ERROR, "service_without_address", LF("host", s->host));
    if (is_new)
        VEC_PUSH(&r->fresh, s);
    return s;
}

/* Nobody has been told an address by then. One that is not kept is not given: after a restart it
 * would be another host's. */
void services_told(struct registry *r, int err)
{
    for (size_t i = 0; err != 0 && i < r->fresh.len; i++) {
        memset(r->fresh.ptr[i]->addresses, 0, sizeof r->fresh.ptr[i]->addresses);
        log_event(LOG_ERROR, "service_without_address", LF("host", r->fresh.ptr[i]->host));
    }
    r->fresh.len = 0;
}

static void forget_fresh(struct registry *r, const struct registry_service *s)
{
    for (size_t i = r->fresh.len; i-- > 0;) {
        if (r->fresh.ptr[i] == s)
            VEC_REMOVE_SWAP(&r->fresh, i);
    }
}

static void service_free(struct registry_service *s)
{
    free((void *)(uintptr_t)s->host.ptr);
    api_document_unref((struct api_document *)(uintptr_t)s->doc);
    free(s);
}

static size_t lower_bound(const struct registry *r, struct str namespace_, struct str name)
{
    size_t from = 0, to = r->services.len;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        const struct api_document *d = r->services.ptr[mid]->doc;
        int order = str_cmp(d->namespace, namespace_);
        if (order == 0)
            order = str_cmp(d->name, name);
        if (order < 0)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

static struct registry_service *find(const struct registry *r, struct str namespace_,
                                     struct str name)
{
    size_t at = lower_bound(r, namespace_, name);
    if (at == r->services.len)
        return NULL;
    struct registry_service *s = r->services.ptr[at];
    return str_eq(s->doc->namespace, namespace_) && str_eq(s->doc->name, name) ? s : NULL;
}

const struct registry_service *registry_service(const struct registry *r, struct str namespace_,
                                                struct str name)
{
    return find(r, namespace_, name);
}

const struct registry_service *registry_service_by_host(const struct registry *r, struct str host)
{
    struct str name, namespace_;
    return api_host_split(host, &name, &namespace_) ? find(r, namespace_, name) : NULL;
}

void registry_services(const struct registry *r, struct str namespace_,
                       void (*each)(void *ctx, const struct registry_service *s), void *ctx)
{
    size_t i = namespace_.len > 0 ? lower_bound(r, namespace_, STR_NULL) : 0;
    for (; i < r->services.len; i++) {
        const struct registry_service *s = r->services.ptr[i];
        if (namespace_.len > 0 && !str_eq(s->doc->namespace, namespace_))
            return;
        each(ctx, s);
    }
}

/* Whom it selects has its first label, at least. */
static void each_selector(struct registry *r, struct registry_service *s, bool is_added)
{
    const struct api_labels *selector = &s->doc->spec.service->selector;
    char text[LOOKUP_KEY_MAX];
    if (selector->len == 0)
        return;
    struct str key = lookup_label_key(text, s->doc->namespace, selector->v);
    if (is_added)
        lookup_add(&r->services_by_label, key, s);
    else
        lookup_remove(&r->services_by_label, key, s);
}

static void remove_service(struct registry *r, const struct api_document *d)
{
    struct registry_service *s = find(r, d->namespace, d->name);
    if (s == NULL)
        return;
    size_t at = lower_bound(r, d->namespace, d->name);
    memmove(r->services.ptr + at, r->services.ptr + at + 1,
            (r->services.len - 1 - at) * sizeof *r->services.ptr);
    r->services.len--;
    each_selector(r, s, false);
    forget_fresh(r, s);
    service_free(s);
}

static void insert_service(struct registry *r, struct registry_service *s)
{
    size_t at = lower_bound(r, s->doc->namespace, s->doc->name);
    VEC_PUSH(&r->services, s);
    memmove(r->services.ptr + at + 1, r->services.ptr + at,
            (r->services.len - 1 - at) * sizeof *r->services.ptr);
    r->services.ptr[at] = s;
    each_selector(r, s, true);
}

void services_changed(struct registry *r, const struct api_document *old, struct api_document *now)
{
    const struct api_document *d = now != NULL ? now : old;
    ASSERT(d != NULL);
    if (old != NULL)
        remove_service(r, old);
    if (now != NULL)
        insert_service(r, service_new(r, now));
    if (old == NULL ? registry_namespace_use(r, d->namespace)
                    : now == NULL && registry_namespace_leave(r, d->namespace))
        registry_tell(r, "namespaces");
    registry_tell(r, "services/%.*s", STR_FMT(d->namespace));
    registry_tell(r, "service/%.*s/%.*s", STR_FMT(d->namespace), STR_FMT(d->name));
    registry_tell(r, "endpoints/%.*s/%.*s", STR_FMT(d->namespace), STR_FMT(d->name));
}

void services_free(struct registry *r)
{
    for (size_t i = 0; i < r->services.len; i++)
        service_free(r->services.ptr[i]);
    VEC_DEINIT(&r->services);
    VEC_DEINIT(&r->fresh);
}

/* An empty selector selects nobody: Kubernetes' services without selector have no endpoints of
 * their own. */
bool service_selects(const struct registry_service *s, const struct api_document *workload)
{
    const struct api_labels *selector = &s->doc->spec.service->selector;
    return selector->len > 0 && str_eq(s->doc->namespace, workload->namespace) &&
           api_labels_match(selector, &workload->labels);
}

/* --- namespaces --- */

/* Where the namespace is, or would be. */
static size_t namespace_at(const struct registry *r, struct str namespace_)
{
    size_t from = 0, to = r->namespaces.len;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (str_cmp(r->namespaces.ptr[mid].name, namespace_) < 0)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

static bool is_namespace(const struct registry *r, size_t at, struct str namespace_)
{
    return at < r->namespaces.len && str_eq(r->namespaces.ptr[at].name, namespace_);
}

bool registry_namespace_use(struct registry *r, struct str namespace_)
{
    size_t at = namespace_at(r, namespace_);
    if (is_namespace(r, at, namespace_)) {
        r->namespaces.ptr[at].count++;
        return false;
    }
    struct registry_namespace n = {str_from(str_dup_c(namespace_), namespace_.len), 1};
    VEC_PUSH(&r->namespaces, n);
    struct registry_namespace *ptr = r->namespaces.ptr;
    memmove(ptr + at + 1, ptr + at, (r->namespaces.len - 1 - at) * sizeof *ptr);
    ptr[at] = n;
    return true;
}

bool registry_namespace_leave(struct registry *r, struct str namespace_)
{
    size_t at = namespace_at(r, namespace_);
    ASSERT(is_namespace(r, at, namespace_));
    struct registry_namespace *n = &r->namespaces.ptr[at];
    if (--n->count > 0)
        return false;
    free((void *)(uintptr_t)n->name.ptr);
    memmove(n, n + 1, (r->namespaces.len - 1 - at) * sizeof *n);
    r->namespaces.len--;
    return true;
}

void namespaces_free(struct registry *r)
{
    for (size_t i = 0; i < r->namespaces.len; i++)
        free((void *)(uintptr_t)r->namespaces.ptr[i].name.ptr);
    VEC_DEINIT(&r->namespaces);
}

void registry_namespaces(const struct registry *r, void (*each)(void *ctx, struct str namespace_),
                         void *ctx)
{
    for (size_t i = 0; i < r->namespaces.len; i++)
        each(ctx, r->namespaces.ptr[i].name);
}
