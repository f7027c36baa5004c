/* tulle token create: what a host needs to join the mesh, as one text. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "cli/mesh.h"
#include "cli/opt.h"
#include "cli/rest.h"
#include "codec/json_writer.h"

enum { CALL_TIMEOUT_MS = 30000, BODY_MAX = 1024 };

struct options {
    const char *mesh, *namespace, *replica, *lifetime, *message, *output;
};

static bool write_body(const struct options *o, struct str_buf *out)
{
    struct json_writer w;
    uint64_t replica, lifetime_ms;
    json_writer_init(&w, out, 0);
    json_writer_object(&w, NULL);
    json_writer_bool(&w, "join", true);
    if (o->replica != NULL) {
        if (!str_to_u64(str_from_c(o->replica), UINT32_MAX, &replica))
            return false;
        json_writer_u64(&w, "replica", replica);
    }
    if (o->lifetime != NULL) {
        if (!opt_duration_ms(o->lifetime, &lifetime_ms) || lifetime_ms < 1000)
            return false;
        json_writer_u64(&w, "lifetimeSeconds", lifetime_ms / 1000);
    }
    json_writer_end(&w);
    return true;
}

static void print(struct cli *cli, const struct json *root, enum cli_output output)
{
    struct str join = json_text_at(root, "join");
    const struct json *pins = json_get(root, "pins");
    uint64_t lifetime_s = 0;
    (void)json_u64(json_get(root, "expiresInSeconds"), &lifetime_s);
    if (output == CLI_OUTPUT_JSON) {
        struct str_buf out = STR_BUF_INIT(64 * 1024);
        struct json_writer w;
        json_writer_init(&w, &out, 2);
        json_writer_tree(&w, NULL, root);
        fprintf(cli->out, "%.*s\n", STR_FMT(str_buf_str(&out)));
        str_buf_deinit(&out);
        return;
    }
    fprintf(cli->out, "%.*s\n", STR_FMT(join));
    for (size_t i = 0; i < json_count(pins); i++)
        fprintf(cli->err, "root sha256:%.*s\n", STR_FMT(json_str_or(json_at(pins, i), STR_NULL)));
    fprintf(cli->err,
            "works once, within %llu minutes: tulle-proxy join --mesh-state DIR --token TEXT "
            "--control-plane HOST:PORT\n",
            (unsigned long long)(lifetime_s + 59) / 60);
}

static int create(struct cli *cli, const struct options *o, const char *workload,
                  enum cli_output output)
{
    struct arena a;
    const struct json *root;
    struct str_buf body = STR_BUF_INIT(BODY_MAX), path = STR_BUF_INIT(8192);
    if (!write_body(o, &body)) {
        str_buf_deinit(&body);
        return cli_fail(cli, CLI_USAGE, "--replica is a number, --for a time like 30m");
    }
    arena_init(&a, 4096);
    str_buf_printf(&path, "%.*s/token?",
                   STR_FMT(rest_path(&a, api_kind_info(API_KIND_WORKLOAD), str_from_c(o->namespace),
                                     str_from_c(workload))));
    rest_add_query(&path, "note", o->message);
    int err =
        rest_json(cli, o->mesh, "POST", path.ptr, str_buf_str(&body), CALL_TIMEOUT_MS, &a, &root);
    if (err == 0)
        print(cli, root, output);
    arena_deinit(&a);
    str_buf_deinit(&body);
    str_buf_deinit(&path);
    return err == 0 ? CLI_OK : CLI_ERROR;
}

int cli_token(struct cli *cli)
{
    struct options o = {.namespace = "default"};
    const struct opt opts[] = {
        {"namespace", 'n', OPT_VALUE, &o.namespace}, {"replica", 0, OPT_VALUE, &o.replica},
        {"for", 0, OPT_VALUE, &o.lifetime},          {"message", 'm', OPT_VALUE, &o.message},
        {"output", 'o', OPT_VALUE, &o.output},       {"mesh", 0, OPT_VALUE, &o.mesh},
    };
    struct opt_result args;
    enum cli_output output;
    int code;
    if (!opt_parse_verb(cli, opts, ARRAY_LEN(opts), &args, &code))
        return code;
    if (!opt_output(cli, o.output, false, &output))
        return CLI_USAGE;
    if (args.count != 2 || strcmp(args.args[0], "create") != 0)
        return cli_fail(cli, CLI_USAGE, "say create WORKLOAD");
    o.mesh = mesh_choose(cli, o.mesh, &code);
    return o.mesh != NULL ? create(cli, &o, args.args[1], output) : code;
}
