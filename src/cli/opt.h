/* Options of a verb, from a table: `--name VALUE`, `--name=VALUE`, `-n VALUE`, `-nVALUE`, flags.
 * Options and positional arguments may be mixed; "--" ends the options and everything behind it is
 * kept apart (opt_result.rest). */
#pragma once

#include "cli/cli.h"

enum opt_kind {
    OPT_FLAG,     /* bool *value */
    OPT_VALUE,    /* const char **value */
    OPT_OPTIONAL, /* const char **value: "" when given bare; a value only by `=` */
    OPT_LIST,     /* struct opt_list *value: may be repeated */
};

enum { OPT_LIST_MAX = 64, OPT_POSITIONAL_MAX = 64 };

struct opt_list {
    const char *items[OPT_LIST_MAX];
    size_t count;
};

struct opt {
    const char *name; /* without dashes */
    char letter;      /* 0: none */
    enum opt_kind kind;
    void *value;
};

struct opt_result {
    const char *args[OPT_POSITIONAL_MAX];
    size_t count;
    char **rest;  /* behind "--", NULL-terminated; NULL when there was no "--" */
    bool is_help; /* --help or -h was given */
};

/* 0, or -ERR_INVALID with the reason in ret_why (static or pointing into argv; for people). */
int opt_parse(int argc, char **argv, const struct opt *opts, size_t opts_count,
              struct opt_result *ret_result, char *ret_why, size_t why_len);

/* opt_parse with the verb's messages: prints the reason or the help. Returns true to go on;
 * otherwise *ret_code is what the verb returns. */
bool opt_parse_verb(struct cli *cli, const struct opt *opts, size_t opts_count,
                    struct opt_result *ret_result, int *ret_code);

/* "30s", "500ms", "2m", "1h", "1d" or seconds without unit; at most a day. */
bool opt_duration_ms(const char *text, uint64_t *ret_ms);
/* The same, of a second to ten years. */
bool opt_lifetime_ms(const char *text, uint64_t *ret_ms);
/* "json" or "yaml" (allowed says whether); NULL gives text. False: prints why. */
bool opt_output(struct cli *cli, const char *text, bool is_yaml_allowed,
                enum cli_output *ret_output);
