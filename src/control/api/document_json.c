#include "base/err.h"
#include "codec/json.h"
#include "codec/json_writer.h"
#include "control/api/document_priv.h"

static size_t tree_bytes(const struct yaml_node *n, size_t left)
{
    size_t used = 8 + n->text.len; /* quotes, comma, colon */
    for (uint32_t i = 0; n->kind != YAML_SCALAR && i < n->count && used <= left; i++) {
        if (n->kind == YAML_MAP)
            used += n->keys[i]->text.len;
        if (used <= left)
            used += tree_bytes(n->items[i], left - used);
    }
    return used;
}

bool document_json_fits(const struct yaml_node *root)
{
    return tree_bytes(root, API_DOCUMENT_BYTES_MAX) <= API_DOCUMENT_BYTES_MAX;
}

const struct yaml_node *document_json_too_long(const struct yaml_node *root)
{
    if (root->kind == YAML_SCALAR)
        return NULL;
    if (root->count > API_ITEMS_MAX)
        return root;
    const struct yaml_node *found = NULL;
    for (uint32_t i = 0; i < root->count && found == NULL; i++)
        found = document_json_too_long(root->items[i]);
    return found;
}

static bool is_in(struct str s, const char *const *names)
{
    for (; *names != NULL; names++)
        if (str_eq(s, str_from_c(*names)))
            return true;
    return false;
}

/* What a server adds to metadata; a new version gets its own. */
static const char *const server_fields[] = {
    "resourceVersion", "uid", "creationTimestamp", "generation", "managedFields", "selfLink", NULL,
};

static const struct json *metadata_json(struct arena *a, const struct yaml_node *n,
                                        const struct api_document *d)
{
    struct json *out = json_new_object(a);
    bool has_name = yaml_get(n, "name") != NULL;
    bool has_namespace = !yaml_is_null(yaml_get(n, "namespace"));
    if (!has_name)
        json_object_add(a, out, STR("name"), json_new_str(a, d->name));
    for (uint32_t i = 0; n != NULL && n->kind == YAML_MAP && i < n->count; i++) {
        struct str key = n->keys[i]->text;
        if (is_in(key, server_fields) || (!has_namespace && str_eq(key, STR("namespace"))))
            continue;
        json_object_add(a, out, key, yaml_to_json(a, n->items[i]));
        if (!has_namespace && d->namespace.len > 0 && str_eq(key, STR("name")))
            json_object_add(a, out, STR("namespace"), json_new_str(a, d->namespace));
    }
    return out;
}

static const struct json *document_json(struct arena *a, const struct yaml_node *root,
                                        const struct api_document *d)
{
    struct json *out = json_new_object(a);
    const struct yaml_node *metadata = yaml_get(root, "metadata");
    for (uint32_t i = 0; i < root->count; i++) {
        struct str key = root->keys[i]->text;
        if (str_eq(key, STR("status")))
            continue;
        if (str_eq(key, STR("metadata")))
            json_object_add(a, out, key, metadata_json(a, metadata, d));
        else
            json_object_add(a, out, key, yaml_to_json(a, root->items[i]));
    }
    if (metadata == NULL)
        json_object_add(a, out, STR("metadata"), metadata_json(a, NULL, d));
    return out;
}

int document_json_write(struct arena *scratch, const struct yaml_node *root, struct api_document *d)
{
    struct str_buf buf = STR_BUF_INIT(2 * API_DOCUMENT_BYTES_MAX);
    struct json_writer w;
    json_writer_init(&w, &buf, 0);
    json_writer_tree(&w, NULL, document_json(scratch, root, d));
    bool is_overflown = buf.is_overflown;
    if (!is_overflown)
        d->json = arena_str(&d->arena, str_buf_str(&buf));
    str_buf_deinit(&buf);
    return is_overflown ? -ERR_TOO_LARGE : 0;
}
