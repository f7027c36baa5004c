/* tulle config: what a sidecar runs, from its admin interface. */
#include "base/err.h"
#include "cli/mesh.h"
#include "cli/opt.h"
#include "codec/json.h"
#include "codec/json_writer.h"
#include "host/http_call.h"
#include "host/netns.h"

#include <unistd.h>

enum { PORT_ADMIN = 15000, CALL_TIMEOUT_MS = 10000, OUTPUT_MAX = 128 * 1024 * 1024 };

static const struct {
    const char *name, *type; /* type: as in "...admin.v3.ListenersConfigDump"; NULL: /certs */
} parts[] = {
    {"listeners", "ListenersConfigDump"},
    {"routes", "RoutesConfigDump"},
    {"clusters", "ClustersConfigDump"},
    {"endpoints", "EndpointsConfigDump"},
    {"secrets", NULL}, /* whose, until when: what people look for; never a key */
};

/* Where a part is asked for; *ret_type: the section of the answer, NULL: all. False: no such part.
 */
static bool part_find(const char *name, const char **ret_path, const char **ret_type)
{
    *ret_path = "/config_dump?include_eds";
    *ret_type = NULL;
    if (name == NULL)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (strcmp(parts[i].name, name) != 0)
            continue;
        *ret_type = parts[i].type;
        if (parts[i].type == NULL)
            *ret_path = "/certs";
        return true;
    }
    return false;
}

/* The section of that type; NULL: there is none. */
static const struct json *find_part(const struct json *root, const char *type)
{
    const struct json *configs = json_get(root, "configs");
    for (size_t i = 0; i < json_count(configs); i++) {
        struct str have = json_text_at(json_at(configs, i), "@type");
        if (str_ends_with(have, str_from_c(type)))
            return json_at(configs, i);
    }
    return NULL;
}

static int print_dump(struct cli *cli, struct str text, const char *type)
{
    struct arena a;
    const struct json *root;
    arena_init(&a, 65536);
    if (json_parse(&a, text, HTTP_CALL_BODY_MAX, &root, NULL) != 0) {
        arena_deinit(&a);
        return cli_fail(cli, CLI_ERROR, "the sidecar's answer is not JSON");
    }
    const struct json *part = type != NULL ? find_part(root, type) : root;
    struct str_buf out = STR_BUF_INIT(OUTPUT_MAX);
    struct json_writer w;
    json_writer_init(&w, &out, 2);
    if (part != NULL)
        json_writer_tree(&w, NULL, part);
    else
        str_buf_add_c(&out, "{}");
    str_buf_add_c(&out, "\n");
    fwrite(out.ptr, 1, out.len, cli->out);
    str_buf_deinit(&out);
    arena_deinit(&a);
    return CLI_OK;
}

static int dump(struct cli *cli, const struct state_replica *r, const char *path, const char *type)
{
    struct http_answer answer;
    int netns = netns_of(r->init.pid);
    if (netns < 0 || !proc_is_alive(r->init))
        return cli_fail(cli, CLI_ERROR, "%.*s/%u is not running", STR_FMT(r->workload), r->index);
    struct http_call call = {
        .address = "127.0.0.1",
        .port = PORT_ADMIN,
        .netns_fd_plus_1 = netns + 1,
        .path = path,
        .timeout_ms = CALL_TIMEOUT_MS,
    };
    int err = http_call(&call, &answer);
    int code;
    if (err != 0)
        code = cli_fail(cli, CLI_ERROR, "the sidecar does not answer: %s", err_text(err));
    else if (answer.status != 200)
        code = cli_fail(cli, CLI_ERROR, "the sidecar answers with status %d", answer.status);
    else
        code = print_dump(cli, str_buf_str(&answer.body), type);
    http_answer_deinit(&answer);
    close(netns);
    return code;
}

int cli_config(struct cli *cli)
{
    const char *mesh_name = NULL, *namespace = NULL, *output_text = NULL;
    const struct opt opts[] = {
        {"mesh", 0, OPT_VALUE, &mesh_name},
        {"namespace", 'n', OPT_VALUE, &namespace},
        {"output", 'o', OPT_VALUE, &output_text},
    };
    struct opt_result args;
    struct state state;
    struct mesh_target target;
    enum cli_output output;
    int code;
    if (!opt_parse_verb(cli, opts, ARRAY_LEN(opts), &args, &code))
        return code;
    if (!opt_output(cli, output_text, false, &output)) /* JSON it is in any case */
        return CLI_USAGE;
    if (args.count < 1 || args.count > 2)
        return cli_fail(cli, CLI_USAGE, "say which replica, and at most one part");
    const char *path, *type;
    if (!part_find(args.count == 2 ? args.args[1] : NULL, &path, &type))
        return cli_fail(cli, CLI_USAGE,
                        "no such part: %s (listeners, routes, clusters, endpoints, secrets)",
                        args.args[1]);
    struct state_replica *r =
        mesh_open_replica(cli, mesh_name, namespace, args.args[0], &state, &target, &code);
    if (r != NULL)
        code = dump(cli, r, path, type);
    state_deinit(&state);
    return code;
}
