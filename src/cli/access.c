/* tulle access: tokens and identities that may use the API. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "cli/mesh.h"
#include "cli/opt.h"
#include "cli/rest.h"
#include "cli/table.h"
#include "codec/base64.h"
#include "codec/json_writer.h"

enum { CALL_TIMEOUT_MS = 30000, OUTPUT_MAX = 16 * 1024 * 1024, URL_LEN_MAX = 512 };

struct options {
    const char *mesh, *role, *identity, *lifetime, *server, *output;
    struct opt_list verbs, kinds, namespaces;
    bool is_kubeconfig;
};

/* --- create --- */

static void write_list(struct json_writer *w, const char *key, const struct opt_list *list)
{
    json_writer_array(w, key);
    for (size_t i = 0; i < list->count; i++)
        json_writer_c(w, NULL, list->items[i]);
    json_writer_end(w);
}

static void write_request(const struct options *o, const char *name, uint64_t lifetime_ms,
                          struct str_buf *out)
{
    struct json_writer w;
    json_writer_init(&w, out, 0);
    json_writer_object(&w, NULL);
    json_writer_c(&w, "name", name);
    json_writer_c(&w, "role", o->role != NULL ? o->role : "");
    json_writer_c(&w, "identity", o->identity != NULL ? o->identity : "");
    if (lifetime_ms > 0)
        json_writer_u64(&w, "expiresInSeconds", MAX(lifetime_ms / 1000, (uint64_t)1));
    write_list(&w, "verbs", &o->verbs);
    write_list(&w, "kinds", &o->kinds);
    write_list(&w, "namespaces", &o->namespaces);
    json_writer_end(&w);
}

static int print_kubeconfig(struct cli *cli, const struct options *o, const struct json *root)
{
    struct str server = json_text_at(root, "server");
    struct str_buf ca = STR_BUF_INIT(OUTPUT_MAX), url = STR_BUF_INIT(URL_LEN_MAX);
    if (o->server != NULL)
        str_buf_add_c(&url, o->server);
    else if (server.len > 0)
        str_buf_printf(&url, "https://%.*s", STR_FMT(server));
    else
        return cli_fail(cli, CLI_ERROR, "the control plane has no --api address; say --server URL");
    base64_encode(&ca, BASE64_STD, json_text_at(root, "ca"));
    fprintf(cli->out,
            "apiVersion: v1\nkind: Config\n"
            "clusters:\n- name: tulle\n  cluster:\n    server: %.*s\n"
            "    tls-server-name: tulled\n    certificate-authority-data: %.*s\n"
            "users:\n- name: %.*s\n  user:\n    token: %.*s\n"
            "contexts:\n- name: tulle\n  context: { cluster: tulle, user: %.*s }\n"
            "current-context: tulle\n",
            STR_FMT(str_buf_str(&url)), STR_FMT(str_buf_str(&ca)),
            STR_FMT(json_text_at(root, "name")), STR_FMT(json_text_at(root, "token")),
            STR_FMT(json_text_at(root, "name")));
    str_buf_deinit(&ca);
    str_buf_deinit(&url);
    return CLI_OK;
}

static int print_created(struct cli *cli, const struct options *o, enum cli_output output,
                         const struct json *root)
{
    struct str token = json_text_at(root, "token");
    if (o->is_kubeconfig)
        return print_kubeconfig(cli, o, root);
    if (output == CLI_OUTPUT_JSON)
        rest_print_json(cli, root);
    else if (token.len > 0)
        fprintf(cli->out, "%.*s\n", STR_FMT(token));
    else
        fprintf(cli->out, "%s may use the API\n", o->identity);
    return CLI_OK;
}

static int create(struct cli *cli, const struct options *o, enum cli_output output,
                  const char *name)
{
    struct str_buf body = STR_BUF_INIT(64 * 1024);
    struct arena a;
    const struct json *root;
    uint64_t lifetime_ms = 0;
    if (o->lifetime != NULL && !opt_lifetime_ms(o->lifetime, &lifetime_ms))
        return cli_fail(cli, CLI_USAGE, "--for is a time such as 30m or 720h");
    if (o->is_kubeconfig && o->identity != NULL)
        return cli_fail(cli, CLI_USAGE, "a kubeconfig is made for a token, not for --identity");
    write_request(o, name, lifetime_ms, &body);
    arena_init(&a, 16384);
    int err = rest_json(cli, o->mesh, "POST", "/tulle/v1/access", str_buf_str(&body),
                        CALL_TIMEOUT_MS, &a, &root);
    int code = err == 0 ? print_created(cli, o, output, root) : CLI_ERROR;
    arena_deinit(&a);
    str_buf_deinit(&body);
    return code;
}

/* --- list --- */

static void add_list(struct table *t, const struct json *list, const char *none)
{
    struct str_buf text = STR_BUF_INIT(1000);
    for (size_t i = 0; i < json_count(list); i++)
        str_buf_printf(&text, "%s%.*s", i > 0 ? "," : "",
                       STR_FMT(json_str_or(json_at(list, i), STR_NULL)));
    table_cell(t, "%.*s", STR_FMT(text.len > 0 ? str_buf_str(&text) : str_from_c(none)));
    str_buf_deinit(&text);
}

static void print_list(struct cli *cli, const struct json *items)
{
    static const char *const head[] = {"NAME",       "BY",      "VERBS",   "KINDS",
                                       "NAMESPACES", "CREATED", "EXPIRES", NULL};
    struct table t;
    table_init(&t, head);
    for (size_t i = 0; i < json_count(items); i++) {
        const struct json *g = json_at(items, i);
        struct str identity = json_text_at(g, "identity"), expires = json_text_at(g, "expiresAt");
        table_cell(&t, "%.*s", STR_FMT(json_text_at(g, "name")));
        table_cell(&t, "%.*s", STR_FMT(identity.len > 0 ? identity : STR("token")));
        add_list(&t, json_get(g, "verbs"), "-");
        add_list(&t, json_get(g, "kinds"), "all");
        add_list(&t, json_get(g, "namespaces"), "all");
        table_cell(&t, "%.*s", STR_FMT(json_text_at(g, "createdAt")));
        table_cell(&t, "%.*s", STR_FMT(expires.len > 0 ? expires : STR("never")));
    }
    if (json_count(items) > 0)
        table_print(&t, cli->out);
    else
        fprintf(cli->err, "nobody but root and the control plane's own user\n");
    table_deinit(&t);
}

static int list(struct cli *cli, const struct options *o, enum cli_output output)
{
    struct arena a;
    const struct json *root;
    arena_init(&a, 16384);
    int err =
        rest_json(cli, o->mesh, "GET", "/tulle/v1/access", STR_NULL, CALL_TIMEOUT_MS, &a, &root);
    if (err == 0 && output == CLI_OUTPUT_JSON)
        rest_print_json(cli, root);
    else if (err == 0)
        print_list(cli, json_get(root, "items"));
    arena_deinit(&a);
    return err == 0 ? CLI_OK : CLI_ERROR;
}

static int revoke(struct cli *cli, const struct options *o, const char *name)
{
    static const char label[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
    struct arena a;
    const struct json *root;
    if (strspn(name, label) != strlen(name))
        return cli_fail(cli, CLI_USAGE, "'%s' is not a name of 'tulle access list'", name);
    arena_init(&a, 4096);
    struct str path = arena_printf(&a, "/tulle/v1/access/%s", name);
    int err = rest_json(cli, o->mesh, "DELETE", path.ptr, STR_NULL, CALL_TIMEOUT_MS, &a, &root);
    if (err == 0)
        fprintf(cli->out, "access %s revoked\n", name);
    arena_deinit(&a);
    return err == 0 ? CLI_OK : CLI_ERROR;
}

/* --- the verb --- */

static int run(struct cli *cli, struct options *o, const struct opt_result *args,
               enum cli_output output)
{
    const char *what = args->count > 0 ? args->args[0] : "";
    int code;
    bool is_list = strcmp(what, "list") == 0, is_create = strcmp(what, "create") == 0,
         is_revoke = strcmp(what, "revoke") == 0;
    if ((!is_list && !is_create && !is_revoke) || args->count != (is_list ? 1u : 2u))
        return cli_fail(cli, CLI_USAGE, "say create NAME, list, or revoke NAME");
    o->mesh = mesh_choose(cli, o->mesh, &code);
    if (o->mesh == NULL)
        return code;
    if (is_list)
        return list(cli, o, output);
    return is_create ? create(cli, o, output, args->args[1]) : revoke(cli, o, args->args[1]);
}

int cli_access(struct cli *cli)
{
    struct options o = {0};
    const struct opt opts[] = {
        {"role", 'r', OPT_VALUE, &o.role},
        {"verb", 0, OPT_LIST, &o.verbs},
        {"kind", 0, OPT_LIST, &o.kinds},
        {"namespace", 'n', OPT_LIST, &o.namespaces},
        {"identity", 0, OPT_VALUE, &o.identity},
        {"for", 0, OPT_VALUE, &o.lifetime},
        {"kubeconfig", 0, OPT_FLAG, &o.is_kubeconfig},
        {"server", 0, OPT_VALUE, &o.server},
        {"output", 'o', OPT_VALUE, &o.output},
        {"mesh", 0, OPT_VALUE, &o.mesh},
    };
    struct opt_result args;
    enum cli_output output;
    int code;
    if (!opt_parse_verb(cli, opts, ARRAY_LEN(opts), &args, &code))
        return code;
    if (!opt_output(cli, o.output, false, &output))
        return CLI_USAGE;
    return run(cli, &o, &args, output);
}
