#include "mesh/xds/ads_node.h"

#include "mesh/xds/pb_json.h"

enum { METADATA_LEN_MAX = 1 << 20 };

static const char *copy_c(struct arena *a, struct str s)
{
    return s.len > 0 ? arena_str(a, s).ptr : NULL;
}

static Pb__Struct *encode_metadata(struct arena *a, struct str text)
{
    const struct json *root;
    AUTO(str_buf_deinit) struct str_buf wire = STR_BUF_INIT(METADATA_LEN_MAX);
    if (text.len == 0 || json_parse(a, text, METADATA_LEN_MAX, &root, NULL) != 0 ||
        pb_json_read(&pb__struct__descriptor, root, NULL, NULL, &wire) != 0)
        return NULL;
    Pb__Struct *m = arena_alloc(a, sizeof *m);
    const Pb__Struct *unpacked =
        pb_unpack(a, &pb__struct__descriptor, arena_str(a, str_buf_str(&wire)));
    if (unpacked == NULL)
        return NULL;
    *m = *unpacked;
    return m;
}

Pb__Core__Node *ads_node_encode(struct arena *a, const struct ads_node *in)
{
    Pb__Core__Node *m = arena_alloc(a, sizeof *m);
    pb__core__node__init(m);
    m->id = copy_c(a, in->id);
    m->cluster = copy_c(a, in->cluster);
    m->user_agent_name = copy_c(a, in->user_agent);
    m->metadata = encode_metadata(a, in->metadata_json);
    return m;
}

static struct str decode_metadata(struct arena *a, const Pb__Struct *m)
{
    if (m == NULL)
        return STR_NULL;
    AUTO(str_buf_deinit) struct str_buf wire = STR_BUF_INIT(METADATA_LEN_MAX);
    AUTO(str_buf_deinit) struct str_buf text = STR_BUF_INIT(METADATA_LEN_MAX);
    struct json_writer w;
    pb_pack(&m->base, &wire);
    json_writer_init(&w, &text, 0);
    pb_json_write(&pb__struct__descriptor, str_buf_str(&wire), &w, NULL);
    return text.is_overflown ? STR_NULL : arena_str(a, str_buf_str(&text));
}

void ads_node_decode(struct arena *a, const Pb__Core__Node *m, struct ads_node *ret_node)
{
    *ret_node = (struct ads_node){
        .id = arena_str(a, str_from_c(m->id)),
        .cluster = arena_str(a, str_from_c(m->cluster)),
        .user_agent = arena_str(a, str_from_c(m->user_agent_name)),
        .metadata_json = decode_metadata(a, m->metadata),
    };
}
