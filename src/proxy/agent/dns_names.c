#include "proxy/agent/dns_names.h"

#include <stdlib.h>

#include "base/map.h"
#include "mesh/model/directory.h"

enum { NAME_MAX_LEN = 512 };

struct dns_names {
    struct str own_namespace; /* own memory */
    struct map directories;   /* name -> struct resource */
    struct str suffix;        /* of any directory: "svc.cluster.local" */
};

struct dns_names *dns_names_new(struct str own_namespace)
{
    struct dns_names *n = NEW(struct dns_names);
    n->own_namespace = str_from(str_dup_c(own_namespace), own_namespace.len);
    n->suffix = STR("svc.cluster.local");
    map_init(&n->directories);
    return n;
}

struct dns_names *dns_names_free(struct dns_names *n)
{
    if (n == NULL)
        return NULL;
    size_t iter = 0;
    void *value;
    while (map_next(&n->directories, &iter, NULL, &value))
        resource_unref(value);
    map_deinit(&n->directories);
    free((void *)(uintptr_t)n->own_namespace.ptr);
    free(n);
    return NULL;
}

static void find_suffix(struct dns_names *n)
{
    size_t iter = 0;
    void *value;
    n->suffix = STR("svc.cluster.local");
    while (map_next(&n->directories, &iter, NULL, &value)) {
        const struct directory *d = ((const struct resource *)value)->directory;
        if (d->dns_suffix.len > 0)
            n->suffix = d->dns_suffix;
    }
}

void dns_names_set(struct dns_names *n, struct str directory_name, struct resource *directory)
{
    struct resource *old = directory != NULL
                               ? map_put(&n->directories, directory_name, resource_hold(directory))
                               : map_remove(&n->directories, directory_name);
    find_suffix(n);
    resource_unref(old);
}

static unsigned labels_of(struct str name)
{
    unsigned count = name.len > 0;
    for (size_t i = 0; i < name.len; i++)
        count += name.ptr[i] == '.';
    return count;
}

static bool is_below(struct str name, struct str zone)
{
    return name.len > zone.len && str_ends_with(name, zone) &&
           name.ptr[name.len - zone.len - 1] == '.';
}

/* "cluster.local" of "svc.cluster.local": nothing below it is anybody else's either. */
static struct str zone_of(const struct dns_names *n)
{
    struct str zone = n->suffix;
    str_split(&zone, '.');
    return zone.len > 0 ? zone : n->suffix;
}

/* The full name that a short form stands for; empty: none. */
static struct str full_name(const struct dns_names *n, struct str name, char buf[NAME_MAX_LEN])
{
    struct str_buf b = STR_BUF_INIT(NAME_MAX_LEN - 1);
    unsigned labels = labels_of(name);
    if (is_below(name, n->suffix))
        str_buf_add(&b, name);
    else if (labels == 1)
        str_buf_printf(&b, "%.*s.%.*s.%.*s", STR_FMT(name), STR_FMT(n->own_namespace),
                       STR_FMT(n->suffix));
    else if (labels == 2)
        str_buf_printf(&b, "%.*s.%.*s", STR_FMT(name), STR_FMT(n->suffix));
    else if (labels == 3 && str_ends_with(name, STR(".svc")))
        str_buf_printf(&b, "%.*s.%.*s", STR_FMT(name), STR_FMT(zone_of(n)));
    size_t len = b.is_overflown ? 0 : b.len;
    if (len > 0)
        memcpy(buf, b.ptr, len);
    str_buf_deinit(&b);
    return str_from(buf, len);
}

static const struct directory_service *find_host(const struct dns_names *n, struct str host)
{
    const struct directory_service *s = NULL;
    size_t iter = 0;
    void *value;
    while (s == NULL && map_next(&n->directories, &iter, NULL, &value))
        s = directory_find_host(((const struct resource *)value)->directory, host);
    return s;
}

enum dns_names_result dns_names_find(const struct dns_names *n, struct str name,
                                     struct ip_addr ret_addrs[2], size_t *ret_count)
{
    char buf[NAME_MAX_LEN];
    const struct directory_service *s = find_host(n, full_name(n, name, buf));
    *ret_count = 0;
    if (s != NULL) {
        for (size_t i = 0; i < 2; i++) {
            if (s->addresses[i].family != IP_NONE)
                ret_addrs[(*ret_count)++] = s->addresses[i];
        }
        return DNS_NAMES_FOUND;
    }
    return is_below(name, zone_of(n)) || str_eq(name, zone_of(n)) ? DNS_NAMES_UNKNOWN
                                                                  : DNS_NAMES_FOREIGN;
}
