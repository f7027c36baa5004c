/* What is read and written as YAML means the same when it is read again. */
#include "codec/json.h"
#include "codec/json_writer.h"
#include "codec/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_json(struct str_buf *out, const struct json *v)
{
    struct json_writer w;

    json_writer_init(&w, out, 0);
    json_writer_tree(&w, NULL, v);
}

static void check_round_trip(struct arena *a, const struct yaml_node *document)
{
    struct str_buf yaml = STR_BUF_INIT(SIZE_MAX);
    struct str_buf once = STR_BUF_INIT(SIZE_MAX), twice = STR_BUF_INIT(SIZE_MAX);
    const struct json *v = yaml_to_json(a, document);
    struct yaml_stream again;

    yaml_write(&yaml, v);
    ASSERT(yaml_parse(a, str_buf_str(&yaml), NULL, &again) == 0);
    if (v->type == JSON_NULL) {
        str_buf_deinit(&yaml);
        return;
    }
    ASSERT(again.document_count == 1);
    write_json(&once, v);
    write_json(&twice, yaml_to_json(a, again.documents[0]));
    ASSERT(str_eq(str_buf_str(&once), str_buf_str(&twice)));
    str_buf_deinit(&yaml);
    str_buf_deinit(&once);
    str_buf_deinit(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct yaml_limits limits = {1 << 16, 2000, 32, 20};
    struct yaml_stream s;
    struct arena a;

    arena_init(&a, 0);
    int err = yaml_parse(&a, str_from((const char *)data, size), &limits, &s);
    ASSERT((err != 0) == (s.error_count > 0));
    for (uint32_t i = 0; i < s.error_count; i++)
        ASSERT(s.errors[i].line > 0 && s.errors[i].column > 0);
    for (uint32_t i = 0; i < s.document_count; i++)
        check_round_trip(&a, s.documents[i]);
    arena_deinit(&a);
    return 0;
}
