/* /clusters: what the workers know of clusters and hosts, as one. Limits and ejections are shared
 * and each worker tells the same; what a worker holds itself (connections, requests under way) is
 * added up. */
#include "base/map.h"
#include "codec/json.h"
#include "codec/json_writer.h"
#include "proxy/agent/admin_priv.h"

enum { SUMS = 2 };
static const char *const summed[SUMS] = {"active_requests", "connections"};

struct row {
    struct row *next;
    const struct json *host; /* of the first worker that has it */
    uint64_t sums[SUMS];
};

struct cluster_rows {
    struct cluster_rows *next;
    const struct json *cluster;
    struct row *first, **last;
};

struct table {
    struct arena *arena;
    struct map clusters, rows; /* by name; by name, address and identity */
    struct cluster_rows *first, **last;
};

static struct str text_of(const struct json *v, const char *key)
{
    return json_text_at(v, key);
}

static struct cluster_rows *cluster_of(struct table *t, const struct json *cluster)
{
    struct str name = text_of(cluster, "name");
    struct cluster_rows *c = map_get(&t->clusters, name);
    if (c != NULL)
        return c;
    c = ARENA_NEW(t->arena, struct cluster_rows);
    c->cluster = cluster;
    c->last = &c->first;
    map_put(&t->clusters, name, c);
    *t->last = c;
    t->last = &c->next;
    return c;
}

static void add_host(struct table *t, struct cluster_rows *c, const struct json *host)
{
    struct str key =
        arena_printf(t->arena, "%.*s|%.*s|%.*s", STR_FMT(text_of(c->cluster, "name")),
                     STR_FMT(text_of(host, "address")), STR_FMT(text_of(host, "identity")));
    struct row *row = map_get(&t->rows, key);
    if (row == NULL) {
        row = ARENA_NEW(t->arena, struct row);
        row->host = host;
        map_put(&t->rows, key, row);
        *c->last = row;
        c->last = &row->next;
    }
    for (int i = 0; i < SUMS; i++) {
        uint64_t n = 0;
        if (json_u64(json_get(host, summed[i]), &n))
            row->sums[i] += n;
    }
}

static void add_worker(struct table *t, const struct json *clusters)
{
    for (size_t i = 0; i < json_count(clusters); i++) {
        struct cluster_rows *c = cluster_of(t, json_at(clusters, i));
        const struct json *hosts = json_get(json_at(clusters, i), "hosts");
        for (size_t k = 0; k < json_count(hosts); k++)
            add_host(t, c, json_at(hosts, k));
    }
}

/* The value of the i-th member of a host, summed where it is a worker's own. */
static void write_value(struct json_writer *w, const char *key, const struct row *row, uint32_t i)
{
    for (int k = 0; k < SUMS; k++) {
        if (str_eq(row->host->keys[i], str_from_c(summed[k]))) {
            json_writer_u64(w, key, row->sums[k]);
            return;
        }
    }
    json_writer_tree(w, key, row->host->items[i]);
}

static void write_host(struct json_writer *w, const struct row *row)
{
    json_writer_object(w, NULL);
    for (uint32_t i = 0; i < row->host->count; i++) {
        json_writer_key(w, row->host->keys[i]);
        write_value(w, NULL, row, i);
    }
    json_writer_end(w);
}

static void write_cluster(struct json_writer *w, const struct cluster_rows *c)
{
    json_writer_object(w, NULL);
    for (uint32_t i = 0; i < c->cluster->count; i++) {
        if (str_eq(c->cluster->keys[i], STR("hosts")))
            continue;
        json_writer_key(w, c->cluster->keys[i]);
        json_writer_tree(w, NULL, c->cluster->items[i]);
    }
    json_writer_array(w, "hosts");
    for (const struct row *row = c->first; row != NULL; row = row->next)
        write_host(w, row);
    json_writer_end(w);
    json_writer_end(w);
}

static void write_json(const struct table *t, struct str_buf *to)
{
    struct json_writer w;
    json_writer_init(&w, to, 0);
    json_writer_object(&w, NULL);
    json_writer_array(&w, "clusters");
    for (const struct cluster_rows *c = t->first; c != NULL; c = c->next)
        write_cluster(&w, c);
    json_writer_end(&w);
    json_writer_end(&w);
    str_buf_add_char(to, '\n');
}

/* As text for people: a line per fact, as Envoy's. */
static void write_text(const struct table *t, struct str_buf *to)
{
    for (const struct cluster_rows *c = t->first; c != NULL; c = c->next) {
        for (const struct row *row = c->first; row != NULL; row = row->next) {
            for (uint32_t i = 0; i < row->host->count; i++) {
                struct json_writer w;
                if (str_eq(row->host->keys[i], STR("address")))
                    continue;
                str_buf_printf(to, "%.*s::%.*s::%.*s::", STR_FMT(text_of(c->cluster, "name")),
                               STR_FMT(text_of(row->host, "address")), STR_FMT(row->host->keys[i]));
                json_writer_init(&w, to, 0);
                write_value(&w, NULL, row, i);
                str_buf_add_char(to, '\n');
            }
        }
    }
}

int admin_clusters_render(struct arena *a, struct str workers, bool is_json, struct str_buf *to)
{
    const struct json *root;
    int err = json_parse(a, workers, ADMIN_BODY_MAX, &root, NULL);
    if (err != 0)
        return err;
    struct table t = {.arena = a, .last = &t.first};
    map_init(&t.clusters);
    map_init(&t.rows);
    for (size_t w = 0; w < json_count(root); w++)
        add_worker(&t, json_at(root, w));
    (is_json ? write_json : write_text)(&t, to);
    map_deinit(&t.clusters);
    map_deinit(&t.rows);
    return 0;
}
