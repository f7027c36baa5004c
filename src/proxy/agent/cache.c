#include "proxy/agent/cache.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/log.h"
#include "proxy/agent/file.h"

enum {
    PACK_BYTES_MAX = 256 << 20,
    WRITE_DELAY_US = 250 * 1000,
    HEAD_LEN = 8,
    RECORD_HEAD_LEN = 14, /* type, flags, three lengths of 4 bytes */
    FLAG_DETAIL = 1,
    FLAG_WILDCARD = 2,
};

static const char head[HEAD_LEN] = {'t', 'u', 'l', 'l', 'e', 'c', 'f', '1'};

struct cache {
    struct turn *turn;
    struct config *config;
    char path[600];
    struct timer timer;
    uint64_t written_hash;
    bool is_usable;
};

/* --- the format --- */

static void put_u32(struct str_buf *to, size_t value)
{
    char bytes[4];
    for (int i = 0; i < 4; i++)
        bytes[i] = (char)((value >> (8 * i)) & 0xff);
    str_buf_add(to, str_from(bytes, 4));
}

static size_t get_u32(const char *p)
{
    size_t value = 0;
    for (int i = 3; i >= 0; i--)
        value = value << 8 | (uint8_t)p[i];
    return value;
}

void cache_append(struct str_buf *to, const struct cache_record *r)
{
    if (to->len == 0)
        str_buf_add(to, str_from(head, HEAD_LEN));
    str_buf_add_char(to, (char)r->type);
    str_buf_add_char(
        to, (char)((r->is_detail ? FLAG_DETAIL : 0) | (r->is_wildcard ? FLAG_WILDCARD : 0)));
    put_u32(to, r->name.len);
    put_u32(to, r->version.len);
    put_u32(to, r->wire.len);
    str_buf_add(to, r->name);
    str_buf_add(to, r->version);
    str_buf_add(to, r->wire);
}

bool cache_parse(struct str pack, cache_record_fn *each, void *ctx)
{
    if (pack.len < HEAD_LEN || memcmp(pack.ptr, head, HEAD_LEN) != 0)
        return false;
    pack = str_skip(pack, HEAD_LEN);
    while (pack.len > 0) {
        if (pack.len < RECORD_HEAD_LEN)
            return false;
        uint8_t type = (uint8_t)pack.ptr[0], flags = (uint8_t)pack.ptr[1];
        size_t name = get_u32(pack.ptr + 2), version = get_u32(pack.ptr + 6),
               wire = get_u32(pack.ptr + 10);
        pack = str_skip(pack, RECORD_HEAD_LEN);
        if (type >= RESOURCE_TYPE_COUNT || name + version + wire > pack.len)
            return false;
        const struct cache_record r = {
            .type = (enum resource_type)type,
            .is_detail = (flags & FLAG_DETAIL) != 0,
            .is_wildcard = (flags & FLAG_WILDCARD) != 0,
            .name = str_sub(pack, 0, name),
            .version = str_sub(pack, name, version),
            .wire = str_sub(pack, name + version, wire),
        };
        each(ctx, &r);
        pack = str_skip(pack, name + version + wire);
    }
    return true;
}

/* --- loading --- */

struct load {
    struct cache *cache;
    struct ads_client *ads;
    size_t count;
};

static void load_record(void *ctx, const struct cache_record *record)
{
    struct load *l = ctx;
    struct resource *r = NULL;
    struct str_buf why = STR_BUF_INIT(1024);
    if (record->type == RESOURCE_SECRET)
        return;
    if (xds_decode(record->type, record->wire, &why, &r) == 0 && str_eq(r->name, record->name)) {
        r->version = arena_str(&r->arena, record->version);
        ads_client_preload(l->ads, r->type, r->name, r->version);
        config_restore(l->cache->config, r, record->is_detail, record->is_wildcard);
        l->count++;
    } else {
        log_event(LOG_WARN, "cache_record", LF("name", record->name),
                  LF("reason", str_buf_str(&why)));
    }
    resource_unref(r);
    str_buf_deinit(&why);
}

size_t cache_load(struct cache *c, struct ads_client *ads)
{
    struct load l = {.cache = c, .ads = ads};
    struct str_buf pack = STR_BUF_INIT(PACK_BYTES_MAX);
    int err = c->is_usable ? file_read(c->path, PACK_BYTES_MAX, &pack) : -ERR_NOT_FOUND;
    if (err == 0 && !cache_parse(str_buf_str(&pack), load_record, &l))
        log_event(LOG_WARN, "cache_damaged", LFC("path", c->path));
    str_buf_deinit(&pack);
    return l.count;
}

/* --- writing --- */

static void add_item(void *ctx, const struct config_item *item)
{
    struct str_buf *pack = ctx;
    const struct resource *r = item->running;
    if (r == NULL || item->is_local || r->type == RESOURCE_SECRET)
        return;
    cache_append(pack, &(struct cache_record){.type = r->type,
                                              .is_detail = item->is_detail,
                                              .is_wildcard = item->is_wildcard,
                                              .name = r->name,
                                              .version = r->version,
                                              .wire = r->wire});
}

static void write_pack(struct cache *c)
{
    struct str_buf pack = STR_BUF_INIT(PACK_BYTES_MAX);
    for (unsigned t = 0; t < RESOURCE_TYPE_COUNT; t++) {
        if (t != RESOURCE_SECRET)
            config_each(c->config, (enum resource_type)t, add_item, &pack);
    }
    uint64_t hash = str_hash(str_buf_str(&pack), 0);
    if (pack.len > 0 && !pack.is_overflown && hash != c->written_hash) {
        int err = file_write(c->path, str_buf_str(&pack));
        if (err != 0)
            log_event(LOG_WARN, "cache_not_written", LFC("error", err_text(err)));
        else
            c->written_hash = hash;
    }
    str_buf_deinit(&pack);
}

static void on_timer(struct timer *t)
{
    write_pack(CONTAINER_OF(t, struct cache, timer));
}

void cache_mark(struct cache *c)
{
    if (c->is_usable && !timer_is_started(&c->timer))
        timer_start(c->turn, &c->timer, WRITE_DELAY_US);
}

struct cache *cache_new(struct turn *t, struct str state_dir, struct config *config)
{
    struct cache *c = NEW(struct cache);
    c->turn = t;
    c->config = config;
    timer_init(&c->timer, on_timer);
    char dir[512];
    int len = snprintf(dir, sizeof dir, "%.*s/config", STR_FMT(state_dir));
    c->is_usable = len > 0 && (size_t)len < sizeof dir && file_make_dir(dir) == 0;
    if (c->is_usable)
        snprintf(c->path, sizeof c->path, "%s/pack", dir);
    else
        log_event(LOG_WARN, "cache_off", LFC("reason", "the state directory cannot be used"));
    return c;
}

struct cache *cache_free(struct cache *c)
{
    if (c == NULL)
        return NULL;
    if (timer_is_started(&c->timer)) {
        timer_stop(&c->timer);
        write_pack(c);
    }
    free(c);
    return NULL;
}
