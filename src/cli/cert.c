/* tulle cert: the CA, its roots, whose leaves are whose. */
#include "cli/cert.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "cli/mesh.h"
#include "cli/opt.h"
#include "cli/rest.h"
#include "cli/table.h"

enum { CALL_TIMEOUT_MS = 30000, DAY_S = 24 * 3600 };

struct str cert_text(const struct json *v, const char *key)
{
    return json_text_at(v, key);
}

uint64_t cert_number(const struct json *v, const char *key)
{
    uint64_t number = 0;
    (void)json_u64(json_get(v, key), &number);
    return number;
}

bool cert_is(const struct json *v, const char *key)
{
    bool is_it = false;
    (void)json_bool(json_get(v, key), &is_it);
    return is_it;
}

const char *cert_left(int64_t seconds, char buf[CERT_LEFT_LEN])
{
    long long s = seconds;
    if (s <= 0)
        snprintf(buf, CERT_LEFT_LEN, "over");
    else if (s >= 2 * DAY_S)
        snprintf(buf, CERT_LEFT_LEN, "%lldd", s / DAY_S);
    else if (s >= 3600)
        snprintf(buf, CERT_LEFT_LEN, "%lldh%02lldm", s / 3600, s % 3600 / 60);
    else
        snprintf(buf, CERT_LEFT_LEN, "%lldm%02llds", s / 60, s % 60);
    return buf;
}

/* --- status --- */

static void add_left(struct table *t, const struct json *v)
{
    char buf[CERT_LEFT_LEN];
    int64_t left = 0;
    if (json_i64(json_get(v, "secondsLeft"), &left))
        table_cell(t, "%s", cert_left(left, buf));
    else
        table_cell(t, "-");
}

static void add_text(struct table *t, const struct json *v, const char *key)
{
    struct str text = cert_text(v, key);
    table_cell(t, "%.*s", STR_FMT(text.len > 0 ? text : STR("-")));
}

static void print_roots(struct cli *cli, const struct json *root)
{
    static const char *const head[] = {"ROOT",        "SIGNS",   "LEFT", "VALID UNTIL",
                                       "KEY ON DISK", "SUBJECT", NULL};
    const struct json *roots = json_get(root, "roots");
    struct table t;
    table_init(&t, head);
    for (size_t i = 0; i < json_count(roots); i++) {
        const struct json *r = json_at(roots, i);
        add_text(&t, r, "id");
        table_cell(&t, "%s", cert_is(r, "signs") ? "yes" : "no");
        add_left(&t, r);
        add_text(&t, r, "notAfter");
        add_text(&t, r, "keyAtRest");
        add_text(&t, r, "subject");
    }
    table_print(&t, cli->out);
    table_deinit(&t);
}

static void add_leaf(struct table *t, struct str name, const struct json *leaf, const char *trusts)
{
    table_cell(t, "%.*s", STR_FMT(name));
    add_left(t, leaf);
    add_text(t, leaf, "root");
    table_cell(t, "%s", trusts);
    add_text(t, leaf, "identity");
    add_text(t, leaf, "why");
}

/* tulled's own, the proxies', those that were issued by hand. */
static void print_leaves(struct cli *cli, const struct json *root)
{
    static const char *const head[] = {"LEAF OF",  "LEFT", "ROOT", "TRUSTS ALL",
                                       "IDENTITY", "NOTE", NULL};
    const struct json *proxies = json_get(root, "proxies"), *issued = json_get(root, "issued");
    struct table t;
    table_init(&t, head);
    if (json_get(root, "own") != NULL)
        add_leaf(&t, STR("control plane"), json_get(root, "own"), "yes");
    for (size_t i = 0; i < json_count(proxies); i++) {
        const struct json *p = json_at(proxies, i);
        add_leaf(&t, cert_text(p, "proxy"), p, cert_is(p, "trusting") ? "yes" : "no");
    }
    for (size_t i = 0; i < json_count(issued); i++)
        add_leaf(&t, STR("issued by hand"), json_at(issued, i), "-");
    table_print(&t, cli->out);
    table_deinit(&t);
}

static void print_stage(struct cli *cli, const struct json *root)
{
    struct str stage = cert_text(root, "stage");
    unsigned of = (unsigned)cert_number(root, "of");
    if (str_eq(stage, STR("trust")))
        fprintf(cli->out,
                "\nthe root is being rotated since %.*s: the new one is being made known, %u of "
                "%u proxies trust it\n",
                STR_FMT(cert_text(root, "since")), (unsigned)cert_number(root, "trusting"), of);
    else if (str_eq(stage, STR("sign")))
        fprintf(cli->out,
                "\nthe root is being rotated since %.*s: the new one signs, %u of %u proxies have "
                "a leaf of it\n",
                STR_FMT(cert_text(root, "since")), (unsigned)cert_number(root, "renewed"), of);
}

int cert_status(struct cli *cli, const struct cert_options *o)
{
    struct arena a;
    const struct json *root;
    arena_init(&a, 65536);
    int err = rest_json(cli, o->mesh, "GET", "/tulle/v1/ca", STR_NULL, CALL_TIMEOUT_MS, &a, &root);
    if (err == 0 && o->output == CLI_OUTPUT_JSON) {
        rest_print_json(cli, root);
    } else if (err == 0) {
        print_roots(cli, root);
        fputc('\n', cli->out);
        print_leaves(cli, root);
        print_stage(cli, root);
    }
    arena_deinit(&a);
    return err == 0 ? CLI_OK : CLI_ERROR;
}

/* --- the verb --- */

static int run(struct cli *cli, const struct cert_options *o, const struct opt_result *args)
{
    const char *const *words = args->args;
    if (args->count == 1 && strcmp(words[0], "status") == 0)
        return cert_status(cli, o);
    if (args->count == 2 && strcmp(words[0], "issue") == 0)
        return cert_issue(cli, o, words[1]);
    if (args->count == 2 && strcmp(words[0], "verify") == 0)
        return cert_verify_file(cli, o, words[1]);
    if (args->count == 2 && strcmp(words[0], "root") == 0 && strcmp(words[1], "rotate") == 0)
        return cert_root_rotate(cli, o);
    return cli_fail(cli, CLI_USAGE, "say status, issue IDENTITY, verify FILE or root rotate");
}

int cli_cert(struct cli *cli)
{
    struct cert_options o = {0};
    const char *output = NULL;
    const struct opt opts[] = {
        {"out", 0, OPT_VALUE, &o.out},
        {"lifetime", 0, OPT_VALUE, &o.lifetime},
        {"name", 0, OPT_VALUE, &o.name},
        {"bundle", 0, OPT_VALUE, &o.bundle},
        {"to", 0, OPT_VALUE, &o.to},
        {"timeout", 0, OPT_VALUE, &o.timeout},
        {"message", 'm', OPT_VALUE, &o.message},
        {"force", 0, OPT_FLAG, &o.is_forced},
        {"cancel", 0, OPT_FLAG, &o.is_cancelled},
        {"output", 'o', OPT_VALUE, &output},
        {"mesh", 0, OPT_VALUE, &o.mesh},
    };
    struct opt_result args;
    int code;
    if (!opt_parse_verb(cli, opts, ARRAY_LEN(opts), &args, &code))
        return code;
    if (!opt_output(cli, output, false, &o.output))
        return CLI_USAGE;
    bool is_offline = args.count == 2 && strcmp(args.args[0], "verify") == 0 && o.bundle != NULL;
    if (!is_offline && (o.mesh = mesh_choose(cli, o.mesh, &code)) == NULL)
        return code;
    return run(cli, &o, &args);
}
