#include "host/bypass.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "host/capture.h"
#include "host/proc.h"

enum { FILE_LEN_MAX = 16 * 1024, RULES_LEN_MAX = 64 * 1024 };

/* --- what is lifted --- */

static ptrdiff_t find(const struct bypass *b, uint16_t port)
{
    for (size_t i = 0; i < b->count; i++)
        if (b->rules[i].port == port)
            return (ptrdiff_t)i;
    return -1;
}

int bypass_add(struct bypass *b, struct bypass_rule rule)
{
    ptrdiff_t at = find(b, rule.port);
    if (at < 0 && b->count == BYPASS_RULES_MAX)
        return -ERR_LIMIT;
    b->rules[at < 0 ? b->count++ : (size_t)at] = rule;
    return 0;
}

bool bypass_drop(struct bypass *b, uint16_t port)
{
    ptrdiff_t at = find(b, port);
    if (at >= 0)
        b->rules[at] = b->rules[--b->count];
    return at >= 0;
}

void bypass_prune(struct bypass *b, uint64_t now_ms)
{
    for (size_t i = b->count; i-- > 0;) {
        uint64_t until_ms = b->rules[i].until_ms;
        if (until_ms <= now_ms || until_ms - now_ms > BYPASS_MS_MAX)
            b->rules[i] = b->rules[--b->count];
    }
}

/* --- the file: "PORT SIDES UNTIL_MS", a line each --- */

static bool parse_line(struct str line, struct bypass_rule *ret_rule)
{
    uint64_t port, sides, until_ms;
    if (!str_to_u64(str_split(&line, ' '), UINT16_MAX, &port) ||
        !str_to_u64(str_split(&line, ' '), HOST_BYPASS_INBOUND | HOST_BYPASS_OUTBOUND, &sides) ||
        !str_to_u64(line, UINT64_MAX, &until_ms))
        return false;
    *ret_rule = (struct bypass_rule){(uint16_t)port, (unsigned)sides, until_ms};
    return true;
}

void bypass_read(const char *path, struct bypass *ret_bypass)
{
    size_t len;
    char *text = proc_read_file(path, FILE_LEN_MAX, &len);
    struct str rest = text != NULL ? str_from(text, len) : STR_NULL;
    ret_bypass->count = 0;
    while (rest.len > 0) {
        struct bypass_rule rule;
        if (parse_line(str_split(&rest, '\n'), &rule))
            (void)bypass_add(ret_bypass, rule);
    }
    free(text);
}

int bypass_write(const char *path, const struct bypass *b)
{
    if (b->count == 0) {
        unlink(path);
        return 0;
    }
    struct str_buf text = STR_BUF_INIT(FILE_LEN_MAX);
    for (size_t i = 0; i < b->count; i++)
        str_buf_printf(&text, "%u %u %llu\n", b->rules[i].port, b->rules[i].sides,
                       (unsigned long long)b->rules[i].until_ms);
    int err = proc_write_file(path, str_buf_str(&text), 0600);
    str_buf_deinit(&text);
    return err;
}

uint64_t bypass_now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* --- the rules --- */

/* Rounded up, so that what the kernel holds does not end before what people are told. */
static unsigned long long seconds(const struct bypass_rule *r, uint64_t now_ms)
{
    return (r->until_ms - now_ms + 999) / 1000;
}

static void add_elements(const struct bypass *b, uint64_t now_ms, unsigned side, const char *name,
                         struct str_buf *out)
{
    for (size_t i = 0; i < b->count; i++) {
        const struct bypass_rule *r = &b->rules[i];
        unsigned long long s = seconds(r, now_ms);
        if ((r->sides & side) == 0)
            continue;
        if (r->port == 0)
            str_buf_printf(out,
                           "add element inet tulle_bypass all_%s { tcp timeout %llus, "
                           "udp timeout %llus }\n",
                           name, s, s);
        else
            str_buf_printf(out, "add element inet tulle_bypass ports_%s { %u timeout %llus }\n",
                           name, r->port, s);
    }
}

#define MARK_IT "ct mark set " CAPTURE_CT_CANDIDATE " return\n"

static const char marking[] =
    "    set all_in { type inet_proto; flags timeout; }\n"
    "    set all_out { type inet_proto; flags timeout; }\n"
    "    set ports_in { type inet_service; flags timeout; }\n"
    "    set ports_out { type inet_service; flags timeout; }\n"
    /* Behind conntrack (-200), before capture (-100). */
    "    chain outbound {\n"
    "        type filter hook output priority -150; policy accept;\n"
    "        ct state != new return\n"
    "        ip daddr { 127.0.0.0/8, 240.240.0.0/16 } return\n"
    "        ip6 daddr { ::1, fd77:7e11::/32 } return\n"
    "        meta l4proto @all_out " MARK_IT "        tcp dport @ports_out " MARK_IT "    }\n"
    "    chain inbound {\n"
    "        type filter hook prerouting priority -150; policy accept;\n"
    "        iifname \"lo\" return\n"
    "        ct state != new return\n"
    "        meta l4proto @all_in " MARK_IT "        tcp dport @ports_in " MARK_IT "    }\n";

/* What was let past ends when nothing lets it past any more: in both hooks, for its packets come
 * from both sides. */
static void add_ending(const char *hook, struct str_buf *out)
{
    bool is_leaving = strcmp(hook, "output") == 0;
    str_buf_printf(out,
                   "    chain end_%s {\n"
                   "        type filter hook %s priority 10; policy accept;\n"
                   "        ct mark != { " CAPTURE_CT_PAST_IN ", " CAPTURE_CT_PAST_OUT " } return\n"
                   "        ct mark " CAPTURE_CT_PAST_IN " meta l4proto @all_in return\n"
                   "        ct mark " CAPTURE_CT_PAST_OUT " meta l4proto @all_out return\n"
                   "        ct mark " CAPTURE_CT_PAST_IN " tcp %s @ports_in return\n"
                   "        ct mark " CAPTURE_CT_PAST_OUT " tcp %s @ports_out return\n"
                   /* Our own, on its way. */
                   "        tcp flags rst return\n"
                   "        meta l4proto tcp reject with tcp reset\n"
                   "        drop\n"
                   "    }\n",
                   hook, hook, is_leaving ? "sport" : "dport", is_leaving ? "dport" : "sport");
}

int bypass_rules(const struct bypass *b, uint64_t now_ms, struct str_buf *out)
{
    struct bypass lasting = *b;
    bypass_prune(&lasting, now_ms);
    str_buf_add_c(out, "table inet tulle_bypass\ndelete table inet tulle_bypass\n"
                       "table inet tulle_bypass {\n");
    str_buf_add_c(out, marking);
    add_ending("output", out);
    add_ending("input", out);
    str_buf_add_c(out, "}\n");
    add_elements(&lasting, now_ms, HOST_BYPASS_INBOUND, "in", out);
    add_elements(&lasting, now_ms, HOST_BYPASS_OUTBOUND, "out", out);
    return out->is_overflown ? -ERR_TOO_LARGE : 0;
}

int bypass_apply(const struct bypass *b, uint64_t now_ms)
{
    struct str_buf rules = STR_BUF_INIT(RULES_LEN_MAX);
    int err = bypass_rules(b, now_ms, &rules);
    if (err == 0)
        err = capture_run_nft(str_buf_str(&rules));
    str_buf_deinit(&rules);
    return err;
}
