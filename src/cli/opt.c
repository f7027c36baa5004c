#include "cli/opt.h"

#include <string.h>

#include "base/err.h"

#define DAY_MS 86400000ull

static const struct opt *find_long(const struct opt *opts, size_t n, struct str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(str_from_c(opts[i].name), name))
            return &opts[i];
    return NULL;
}

static const struct opt *find_letter(const struct opt *opts, size_t n, char letter)
{
    for (size_t i = 0; i < n; i++)
        if (opts[i].letter != 0 && opts[i].letter == letter)
            return &opts[i];
    return NULL;
}

static int store_value(const struct opt *o, const char *value)
{
    struct opt_list *list;
    switch (o->kind) {
    case OPT_FLAG:
        *(bool *)o->value = true;
        return 0;
    case OPT_VALUE:
    case OPT_OPTIONAL:
        *(const char **)o->value = value;
        return 0;
    case OPT_LIST:
        list = o->value;
        if (list->count == OPT_LIST_MAX)
            return -ERR_LIMIT;
        list->items[list->count++] = value;
        return 0;
    }
    return -ERR_INTERNAL;
}

struct cursor {
    int argc, i;
    char **argv;
    char *why;
    size_t why_len;
};

static int complain(struct cursor *c, const char *what, const char *arg)
{
    snprintf(c->why, c->why_len, "%s: %s", arg, what);
    return -ERR_INVALID;
}

/* Gives the option at argv[i] its value: `inline_value` behind = or the letter, else the next
 * argument. */
static int take_value(struct cursor *c, const struct opt *o, const char *inline_value)
{
    const char *arg = c->argv[c->i];
    if (o->kind == OPT_FLAG) {
        if (inline_value != NULL)
            return complain(c, "takes no value", arg);
    } else if (o->kind == OPT_OPTIONAL) {
        if (inline_value == NULL)
            inline_value = "";
    } else if (inline_value == NULL) {
        if (c->i + 1 >= c->argc)
            return complain(c, "needs a value", arg);
        inline_value = c->argv[++c->i];
    }
    if (store_value(o, inline_value) != 0)
        return complain(c, "is given too often", arg);
    return 0;
}

static int parse_long(struct cursor *c, const struct opt *opts, size_t n)
{
    const char *arg = c->argv[c->i];
    const char *eq = strchr(arg, '=');
    struct str name = eq != NULL ? str_from(arg + 2, (size_t)(eq - arg - 2)) : str_from_c(arg + 2);
    const struct opt *o = find_long(opts, n, name);
    if (o == NULL)
        return complain(c, "no such option", arg);
    return take_value(c, o, eq != NULL ? eq + 1 : NULL);
}

/* -x, -xVALUE, and flags together: -pf. */
static int parse_letters(struct cursor *c, const struct opt *opts, size_t n)
{
    const char *arg = c->argv[c->i];
    for (const char *p = arg + 1; *p != '\0'; p++) {
        const struct opt *o = find_letter(opts, n, *p);
        if (o == NULL)
            return complain(c, "no such option", arg);
        if (o->kind == OPT_FLAG || o->kind == OPT_OPTIONAL) {
            store_value(o, "");
            continue;
        }
        const char *value = p[1] == '=' ? p + 2 : p[1] != '\0' ? p + 1 : NULL;
        return take_value(c, o, value);
    }
    return 0;
}

int opt_parse(int argc, char **argv, const struct opt *opts, size_t opts_count,
              struct opt_result *ret_result, char *ret_why, size_t why_len)
{
    struct opt_result r = {0};
    struct cursor c = {argc, 0, argv, ret_why, why_len};
    for (; c.i < argc; c.i++) {
        const char *arg = argv[c.i];
        if (strcmp(arg, "--") == 0) {
            r.rest = argv + c.i + 1;
            break;
        }
        if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            r.is_help = true;
            continue;
        }
        if (arg[0] == '-' && arg[1] != '\0') {
            int err = arg[1] == '-' ? parse_long(&c, opts, opts_count)
                                    : parse_letters(&c, opts, opts_count);
            if (err != 0)
                return err;
            continue;
        }
        if (r.count == OPT_POSITIONAL_MAX)
            return complain(&c, "too many arguments", arg);
        r.args[r.count++] = arg;
    }
    *ret_result = r;
    return 0;
}

bool opt_parse_verb(struct cli *cli, const struct opt *opts, size_t opts_count,
                    struct opt_result *ret_result, int *ret_code)
{
    char why[256];
    const struct cli_verb *verb = cli_verb_find(cli->verb);
    if (opt_parse(cli->argc, cli->argv, opts, opts_count, ret_result, why, sizeof why) != 0) {
        *ret_code = cli_fail(cli, CLI_USAGE, "%s\nusage: tulle %s %s", why, verb->name, verb->args);
        return false;
    }
    if (ret_result->is_help) {
        cli_verb_print_help(cli->out, verb);
        *ret_code = CLI_OK;
        return false;
    }
    return true;
}

static bool parse_duration(const char *text, uint64_t max_ms, uint64_t *ret_ms)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {"", 1000}};
    size_t digits = strspn(text, "0123456789");
    uint64_t value;
    if (!str_to_u64(str_from(text, digits), max_ms, &value))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (strcmp(text + digits, units[i].unit) != 0)
            continue;
        if (value > max_ms / units[i].ms)
            return false;
        *ret_ms = value * units[i].ms;
        return true;
    }
    return false;
}

bool opt_duration_ms(const char *text, uint64_t *ret_ms)
{
    return parse_duration(text, DAY_MS, ret_ms);
}

bool opt_lifetime_ms(const char *text, uint64_t *ret_ms)
{
    return parse_duration(text, 3650 * DAY_MS, ret_ms) && *ret_ms >= 1000;
}

bool opt_output(struct cli *cli, const char *text, bool is_yaml_allowed,
                enum cli_output *ret_output)
{
    if (text == NULL)
        *ret_output = CLI_OUTPUT_TEXT;
    else if (strcmp(text, "json") == 0)
        *ret_output = CLI_OUTPUT_JSON;
    else if (is_yaml_allowed && strcmp(text, "yaml") == 0)
        *ret_output = CLI_OUTPUT_YAML;
    else {
        cli_fail(cli, CLI_USAGE, "-o %s: must be %s", text,
                 is_yaml_allowed ? "yaml or json" : "json");
        return false;
    }
    return true;
}
