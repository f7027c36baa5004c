#include "cli/cli.h"

#include <string.h>

static void print_overview(FILE *f)
{
    fprintf(f, "usage: tulle COMMAND [ARG...]\n\n"
               "Tulle " TULLE_VERSION ": a service mesh. On one machine: tulle up DIR\n\n");
    size_t count;
    const struct cli_verb *verbs = cli_verbs(&count);
    for (size_t i = 0; i < count; i++)
        fprintf(f, "  %-9s %s\n", verbs[i].name, verbs[i].summary);
    fprintf(f, "\n"
               "Which mesh: --mesh NAME, else $TULLE_MESH, else the only one that runs.\n"
               "Exit codes: 0 done; 1 failed; 2 wrong usage, or which mesh is not clear;\n"
               "            3 a proxy refused the configuration; 4 --wait ran out of time.\n"
               "'tulle help COMMAND' says more about one command.\n");
}

int cli_help(struct cli *cli)
{
    if (cli->argc == 0) {
        print_overview(cli->out);
        return CLI_OK;
    }
    const struct cli_verb *verb = cli_verb_find(cli->argv[0]);
    if (verb == NULL && strcmp(cli->argv[0], "--help") == 0)
        verb = cli_verb_find("help");
    if (verb == NULL)
        return cli_fail(cli, CLI_USAGE, "no such command: %s", cli->argv[0]);
    cli_verb_print_help(cli->out, verb);
    return CLI_OK;
}
