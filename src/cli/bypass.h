/* The way around the mesh for a while: `tulle bypass` (a box, or a control plane by its socket) and
 * `tulle capture bypass` (this host). The same words mean the same. */
#pragma once

#include "cli/opt.h"
#include "host/bypass.h"

struct bypass_options {
    const char *port_text, *for_text, *message;
    bool is_inbound, is_outbound, is_end, is_list;
    /* What they say: */
    struct bypass_rule rule;
    uint64_t for_ms;
};

/* Members of an option table. */
#define BYPASS_OPTS(o)                                                                             \
    {"port", 'p', OPT_VALUE, &(o).port_text}, {"for", 0, OPT_VALUE, &(o).for_text},                \
        {"message", 'm', OPT_VALUE, &(o).message}, {"inbound", 0, OPT_FLAG, &(o).is_inbound},      \
        {"outbound", 0, OPT_FLAG, &(o).is_outbound}, {"end", 0, OPT_FLAG, &(o).is_end},            \
    {                                                                                              \
        "list", 0, OPT_FLAG, &(o).is_list                                                          \
    }

/* Fills in what they say; false: said what is wrong. */
bool bypass_options_check(struct cli *cli, struct bypass_options *o);

/* "inbound", "outbound", "both". */
const char *bypass_sides_text(unsigned sides);
/* "8080", "all ports". */
const char *bypass_port_text(uint16_t port, char buf[16]);

/* A line in a file that is only appended to: when, who, from where, what, why. */
void bypass_audit(const char *path, const struct bypass_options *o, const char *what);

/* Changes a bypass file as the options say. False: --end, and there is nothing to end. */
bool bypass_change(struct bypass *b, const struct bypass_options *o);
