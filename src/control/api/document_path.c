#include "base/str.h"
#include "control/api/document_priv.h"

enum { PATH_LEN_MAX = 4096 };

static size_t count_nodes(const struct yaml_node *n)
{
    size_t count = 1;
    for (uint32_t i = 0; n->kind != YAML_SCALAR && i < n->count; i++)
        count += count_nodes(n->items[i]);
    return count;
}

static uint64_t path_hash(struct str path)
{
    return str_hash(path, 0);
}

struct indexer {
    struct str_buf path;
    struct api_path_place *v;
    size_t len;
};

static void index_node(struct indexer *x, const struct yaml_node *n)
{
    size_t before = x->path.len;
    x->v[x->len++] = (struct api_path_place){
        path_hash(str_buf_str(&x->path)),
        {n->line, n->column},
    };
    for (uint32_t i = 0; n->kind != YAML_SCALAR && i < n->count; i++) {
        if (n->kind == YAML_SEQ)
            str_buf_printf(&x->path, "[%u]", i);
        else
            str_buf_printf(&x->path, "%s%.*s", before > 0 ? "." : "", STR_FMT(n->keys[i]->text));
        index_node(x, n->items[i]);
        x->path.len = before;
    }
}

void document_path_index(const struct yaml_node *root, struct api_document *d)
{
    struct indexer x = {.path = STR_BUF_INIT(PATH_LEN_MAX)};
    x.v = ARENA_ARRAY(&d->arena, struct api_path_place, count_nodes(root));
    index_node(&x, root);
    d->paths = x.v;
    d->path_count = x.len;
    str_buf_deinit(&x.path);
}

/* The path without its last step: "a.b[2]" -> "a.b" -> "a" -> "". */
static struct str path_parent(struct str path)
{
    size_t len = path.len;
    while (len > 0 && path.ptr[len - 1] != '.' && path.ptr[len - 1] != '[')
        len--;
    return str_sub(path, 0, len > 0 ? len - 1 : 0);
}

bool api_document_locate(const struct api_document *d, struct str path, struct api_place *ret_place)
{
    if (d->path_count == 0)
        return false;
    for (;;) {
        uint64_t hash = path_hash(path);
        for (size_t i = 0; i < d->path_count; i++) {
            if (d->paths[i].hash == hash) {
                *ret_place = d->paths[i].place;
                return true;
            }
        }
        if (path.len == 0)
            return false;
        path = path_parent(path);
    }
}
