/* What upstream knows, as JSON for the admin's /clusters. */
#include "codec/json_writer.h"
#include "proxy/upstream/upstream_priv.h"

static uint32_t ejections(const struct upstream_host *h)
{
    if (h->share == NULL)
        return 0;
    pthread_mutex_lock(&h->cluster->share->lock);
    uint32_t count = h->share->ejections;
    pthread_mutex_unlock(&h->cluster->share->lock);
    return count;
}

static void render_host(const struct upstream_host *h, struct json_writer *w)
{
    char text[ADDR_TEXT_LEN];
    unsigned connections = 0;
    LIST_FOREACH (&h->links, l, struct upstream_link, link) {
        connections += l->client != NULL;
    }
    json_writer_object(w, NULL);
    json_writer_str(w, "address", addr_format(&h->info.address, text));
    json_writer_str(w, "identity", h->identity);
    json_writer_u64(w, "weight", h->weight);
    json_writer_u64(w, "active_requests", h->active);
    json_writer_u64(w, "connections", connections);
    json_writer_bool(w, "healthy", host_is_usable(h));
    json_writer_bool(w, "ejected", h->is_ejected);
    json_writer_u64(w, "ejections", ejections(h));
    json_writer_end(w);
}

static void render_cluster(const struct upstream_cluster *c, struct json_writer *w)
{
    json_writer_object(w, NULL);
    json_writer_str(w, "name", c->name);
    json_writer_u64(w, "connections", c->share->connections);
    json_writer_u64(w, "requests", c->share->requests);
    json_writer_u64(w, "pending", c->share->pending);
    json_writer_u64(w, "retries", c->share->retries);
    json_writer_array(w, "hosts");
    for (size_t i = 0; i < c->hosts.len; i++)
        render_host(c->hosts.ptr[i], w);
    json_writer_end(w);
    json_writer_end(w);
}

void upstream_render(const struct upstream *u, struct str_buf *to)
{
    struct json_writer w;
    json_writer_init(&w, to, 0);
    json_writer_array(&w, NULL);
    size_t iter = 0;
    void *value;
    while (map_next(&u->clusters, &iter, NULL, &value))
        render_cluster(value, &w);
    json_writer_end(&w);
}
