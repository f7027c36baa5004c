/* The command line: a table of verbs (cli.def), each in a file of its own, and what they share.
 *
 * A verb gets its own arguments and returns an exit code. It prints results on `out`, and errors,
 * progress and warnings on `err`. Sequential code: a verb may block, fork and wait.
 * Lifetime: one `struct cli` a process. Thread: one. */
#pragma once

#include <stdio.h>

#include "base/str.h"

/* Documented in `tulle help`; scripts rely on them. */
enum cli_exit {
    CLI_OK = 0,
    CLI_ERROR = 1,   /* it was tried and failed; lint: errors were found */
    CLI_USAGE = 2,   /* the command line is wrong, or does not say which mesh */
    CLI_NACK = 3,    /* a proxy refused the configuration */
    CLI_TIMEOUT = 4, /* --wait: not everywhere in time */
};

enum cli_output { CLI_OUTPUT_TEXT, CLI_OUTPUT_JSON, CLI_OUTPUT_YAML };

struct cli {
    const char *verb;
    int argc; /* arguments behind the verb */
    char **argv;
    FILE *out, *err;
    bool is_color;    /* out is a terminal and NO_COLOR is not set */
    const char *self; /* path of this program */
};

typedef int cli_verb_fn(struct cli *cli);

struct cli_verb {
    const char *name, *args, *summary, *help;
    cli_verb_fn *run;
};

/* Every verb: `int cli_NAME(struct cli *cli)`, returning an enum cli_exit. */
#define CLI_VERB(name, args, summary, help) int cli_##name(struct cli *cli);
#include "cli/cli.def"
#undef CLI_VERB

/* The whole program: finds the verb and runs it. */
int cli_main(int argc, char **argv);

/* The table, in the order of cli.def; NULL when there is no such verb. */
const struct cli_verb *cli_verb_find(const char *name);
const struct cli_verb *cli_verbs(size_t *ret_count);
/* Prints usage, summary, help and the exit codes that matter. */
void cli_verb_print_help(FILE *f, const struct cli_verb *verb);

/* "tulle VERB: text" on cli->err; returns code, so that a verb may `return cli_fail(...)`. */
int cli_fail(struct cli *cli, enum cli_exit code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
