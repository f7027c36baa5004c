/* tulle capture: the rules that lead a host's connections through its sidecar.
 *
 * A host that is set up over the network must not be lost by a wrong rule. So SSH is left alone,
 * and rules that nobody has confirmed lapse in the kernel by themselves (host/capture.h). */
#include "host/capture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/bypass.h"
#include "cli/opt.h"
#include "host/paths.h"
#include "host/proc.h"

enum { PORTS_MAX = OPT_LIST_MAX + 2, PORT_SSH = 22, LISTING_MAX = 256 * 1024, TCP_MAX = 4 << 20 };

struct options {
    struct opt_list inbound, outbound, ranges;
    const char *confirm_within;
    bool is_confirmed, is_confirming;
    struct bypass_options bypass;
};

/* What install left for verify to compare with. */
static const char *listing_path(char buf[PATH_LEN_MAX])
{
    snprintf(buf, PATH_LEN_MAX, "%s/capture.rules", paths_run_root());
    return buf;
}

static int look(struct cli *cli, enum capture_state *ret_state, struct str_buf *ret_listing)
{
    int err = capture_look(ret_state, ret_listing);
    if (err == 0)
        return CLI_OK;
    return cli_fail(cli, CLI_ERROR,
                    err == -ERR_NOT_FOUND ? "nft is not there (Debian: nftables): %s" : "nft: %s",
                    err_text(err));
}

/* --- install --- */

static bool add_ports(const struct opt_list *list, uint16_t *ports, size_t *count)
{
    for (size_t i = 0; i < list->count; i++) {
        uint64_t port;
        if (!str_to_u64(str_from_c(list->items[i]), UINT16_MAX, &port) || port == 0)
            return false;
        ports[(*count)++] = (uint16_t)port;
    }
    return true;
}

/* "CLIENT PORT SERVER PORT": the port by which whoever runs this has come. */
static void add_ssh(uint16_t *ports, size_t *count)
{
    const char *text = getenv("SSH_CONNECTION");
    uint64_t port = 0;
    ports[(*count)++] = PORT_SSH;
    if (text == NULL)
        return;
    struct str rest = str_from_c(text), last = STR_NULL;
    while (rest.len > 0)
        last = str_split(&rest, ' ');
    if (str_to_u64(last, UINT16_MAX, &port) && port != 0 && port != PORT_SSH)
        ports[(*count)++] = (uint16_t)port;
}

static int keep_listing(struct cli *cli)
{
    char path[PATH_LEN_MAX];
    enum capture_state state;
    struct str_buf listing = STR_BUF_INIT(LISTING_MAX);
    int code = look(cli, &state, &listing);
    int err = code == CLI_OK ? paths_make_dir(paths_run_root(), 0755) : 0;
    if (err == 0 && code == CLI_OK)
        err = proc_write_file(listing_path(path), str_buf_str(&listing), 0644);
    if (err != 0)
        code = cli_fail(cli, CLI_ERROR, "%s: %s", listing_path(path), err_text(err));
    str_buf_deinit(&listing);
    return code;
}

static int apply(struct cli *cli, const struct box_capture *exclude, uint32_t armed_s)
{
    int err = capture_apply(exclude, armed_s);
    if (err != 0)
        return cli_fail(cli, CLI_ERROR, "the rules were not taken: %s%s", err_text(err),
                        err == -ERR_NOT_FOUND ? " (Debian: nftables)" : "");
    int code = keep_listing(cli);
    if (code != CLI_OK)
        (void)capture_remove();
    else if (armed_s == 0)
        fprintf(cli->out, "in force\n");
    else
        fprintf(cli->out,
                "in force for %u seconds; to keep it, from a session that you open now:\n"
                "  tulle capture verify --confirm\n",
                armed_s);
    return code;
}

static int install(struct cli *cli, const struct options *o)
{
    uint16_t inbound[PORTS_MAX], outbound[PORTS_MAX];
    const char *ranges[OPT_LIST_MAX];
    uint64_t within_ms = 60 * 1000;
    struct box_capture exclude = {.exclude_inbound_ports = inbound,
                                  .exclude_outbound_ports = outbound,
                                  .exclude_outbound_ranges = ranges,
                                  .exclude_ranges_count = o->ranges.count};
    memcpy(ranges, o->ranges.items, sizeof ranges);
    add_ssh(inbound, &exclude.exclude_inbound_count);
    if (!add_ports(&o->inbound, inbound, &exclude.exclude_inbound_count) ||
        !add_ports(&o->outbound, outbound, &exclude.exclude_outbound_count))
        return cli_fail(cli, CLI_USAGE, "--exclude-inbound and --exclude-outbound take a port");
    if (o->confirm_within != NULL &&
        (!opt_duration_ms(o->confirm_within, &within_ms) || within_ms < 1000))
        return cli_fail(cli, CLI_USAGE, "--confirm-within takes a time like 60s");
    return apply(cli, &exclude, o->is_confirmed ? 0 : (uint32_t)(within_ms / 1000));
}

/* --- bypass: this host's half of `tulle bypass` --- */

static const char *bypass_path(char buf[PATH_LEN_MAX])
{
    snprintf(buf, PATH_LEN_MAX, "%s/capture.bypass", paths_run_root());
    return buf;
}

static void print_rules(struct cli *cli, const struct bypass *b, uint64_t now_ms)
{
    char port[16];
    for (size_t i = 0; i < b->count; i++) {
        const struct bypass_rule *r = &b->rules[i];
        uint64_t left_s = (r->until_ms - now_ms + 999) / 1000;
        fprintf(cli->out, "ALARM: %s, %s, past the sidecar for %llum%02llus more\n",
                bypass_port_text(r->port, port), bypass_sides_text(r->sides),
                (unsigned long long)left_s / 60, (unsigned long long)left_s % 60);
    }
}

static void read_bypass(struct bypass *ret_bypass)
{
    char path[PATH_LEN_MAX];
    bypass_read(bypass_path(path), ret_bypass);
    bypass_prune(ret_bypass, bypass_now_ms());
}

/* Recorded before it is done. The kernel ends it, whatever becomes of this host's programs. */
static int change_bypass(struct cli *cli, struct bypass_options *o)
{
    char path[PATH_LEN_MAX], log[PATH_LEN_MAX];
    struct bypass b;
    if (!bypass_options_check(cli, o))
        return CLI_USAGE;
    read_bypass(&b);
    if (o->is_list) {
        print_rules(cli, &b, bypass_now_ms());
        return CLI_OK;
    }
    if (!bypass_change(&b, o))
        return cli_fail(cli, CLI_ERROR,
                        o->is_end ? "nothing of that is lifted (--list)"
                                  : "so many ports are lifted already");
    int err = paths_make_dir(paths_run_root(), 0755);
    snprintf(log, sizeof log, "%s/bypass.log", paths_run_root());
    bypass_audit(log, o, "capture bypass,");
    syslog(LOG_AUTHPRIV | LOG_WARNING, "tulle capture bypass by uid %u: %s", getuid(),
           o->message != NULL ? o->message : "no reason given");
    if (err == 0)
        err = bypass_write(bypass_path(path), &b);
    if (err == 0)
        err = bypass_apply(&b, bypass_now_ms());
    if (err != 0)
        return cli_fail(cli, CLI_ERROR, "%s", err_text(err));
    print_rules(cli, &b, bypass_now_ms());
    if (o->is_end)
        fprintf(cli->out, "through the sidecar again\n");
    return CLI_OK;
}

/* --- verify --- */

/* Lines of /proc/net/tcp: "  0: 0100007F:3A99 00000000:0000 0A ..."; 0A is LISTEN. */
static bool has_listener(struct str table, uint16_t port)
{
    char needle[16];
    snprintf(needle, sizeof needle, ":%04X", port);
    while (table.len > 0) {
        struct str line = str_trim(str_split(&table, '\n'));
        (void)str_split(&line, ' '); /* number */
        struct str local = str_split(&line, ' ');
        (void)str_split(&line, ' '); /* remote */
        if (str_ends_with(local, str_from_c(needle)) && str_starts_with(line, STR("0A")))
            return true;
    }
    return false;
}

static bool is_listening(uint16_t port)
{
    static const char *const tables[] = {"/proc/net/tcp", "/proc/net/tcp6"};
    bool is_it = false;
    for (size_t i = 0; i < ARRAY_LEN(tables) && !is_it; i++) {
        size_t len;
        char *text = proc_read_file(tables[i], TCP_MAX, &len);
        is_it = text != NULL && has_listener(str_from(text, len), port);
        free(text);
    }
    return is_it;
}

static bool is_as_installed(struct str listing)
{
    char path[PATH_LEN_MAX];
    size_t len;
    char *text = proc_read_file(listing_path(path), LISTING_MAX, &len);
    bool is_it = text != NULL && str_eq(str_from(text, len), listing);
    free(text);
    return is_it;
}

static unsigned check(struct cli *cli, enum capture_state state, struct str listing)
{
    static const uint16_t ports[] = {CAPTURE_PORT_OUTBOUND, CAPTURE_PORT_INBOUND};
    unsigned findings = 0;
    if (state == CAPTURE_NONE || state == CAPTURE_LAPSED) {
        fprintf(cli->out, "%s\n",
                state == CAPTURE_NONE
                    ? "nothing is captured: tulle capture install"
                    : "nothing is captured: the rules were not confirmed in time");
        return 1;
    }
    struct bypass lifted;
    read_bypass(&lifted);
    print_rules(cli, &lifted, bypass_now_ms());
    findings += (unsigned)lifted.count;
    if (!is_as_installed(listing)) {
        fprintf(cli->out, "the rules are not those that were installed: somebody changed them\n");
        findings++;
    }
    for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
        if (is_listening(ports[i]))
            continue;
        fprintf(cli->out, "no sidecar listens on port %u: connections are refused\n", ports[i]);
        findings++;
    }
    return findings;
}

static int verify(struct cli *cli, const struct options *o)
{
    enum capture_state state = CAPTURE_NONE;
    struct str_buf listing = STR_BUF_INIT(LISTING_MAX);
    int code = look(cli, &state, &listing);
    unsigned findings = code == CLI_OK ? check(cli, state, str_buf_str(&listing)) : 1;
    str_buf_deinit(&listing);
    if (findings > 0)
        return CLI_ERROR;
    if (o->is_confirming && state == CAPTURE_ARMED) {
        if (capture_confirm() != 0)
            return cli_fail(cli, CLI_ERROR, "too late: the rules have lapsed");
        state = CAPTURE_KEPT;
    }
    fprintf(cli->out, "in force%s\n",
            state == CAPTURE_ARMED ? ", not confirmed yet: tulle capture verify --confirm" : "");
    return CLI_OK;
}

/* --- the verb --- */

static int take_away(struct cli *cli)
{
    char path[PATH_LEN_MAX];
    int err = capture_remove();
    if (err != 0)
        return cli_fail(cli, CLI_ERROR, "%s", err_text(err));
    (void)remove(listing_path(path));
    (void)remove(bypass_path(path));
    fprintf(cli->out, "nothing is captured\n");
    return CLI_OK;
}

int cli_capture(struct cli *cli)
{
    struct options o = {0};
    const struct opt opts[] = {
        {"exclude-inbound", 0, OPT_LIST, &o.inbound},
        {"exclude-outbound", 0, OPT_LIST, &o.outbound},
        {"exclude-range", 0, OPT_LIST, &o.ranges},
        {"confirm-within", 0, OPT_VALUE, &o.confirm_within},
        {"confirmed", 0, OPT_FLAG, &o.is_confirmed},
        {"confirm", 0, OPT_FLAG, &o.is_confirming},
        BYPASS_OPTS(o.bypass),
    };
    struct opt_result args;
    int code;
    if (!opt_parse_verb(cli, opts, ARRAY_LEN(opts), &args, &code))
        return code;
    if (args.count == 1 && strcmp(args.args[0], "install") == 0)
        return install(cli, &o);
    if (args.count == 1 && strcmp(args.args[0], "verify") == 0)
        return verify(cli, &o);
    if (args.count == 1 && strcmp(args.args[0], "remove") == 0)
        return take_away(cli);
    if (args.count == 1 && strcmp(args.args[0], "bypass") == 0)
        return change_bypass(cli, &o.bypass);
    return cli_fail(cli, CLI_USAGE, "say install, verify, bypass or remove");
}
