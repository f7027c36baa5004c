#include "cli/cli.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct cli_verb verbs[] = {
#define CLI_VERB(name, args, summary, help) {#name, args, summary, help, cli_##name},
#include "cli/cli.def"
#undef CLI_VERB
};

const struct cli_verb *cli_verbs(size_t *ret_count)
{
    *ret_count = ARRAY_LEN(verbs);
    return verbs;
}

const struct cli_verb *cli_verb_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

void cli_verb_print_help(FILE *f, const struct cli_verb *verb)
{
    fprintf(f, "usage: tulle %s %s\n\n%s.\n", verb->name, verb->args, verb->summary);
    if (verb->help[0] != '\0')
        fprintf(f, "\n%s", verb->help);
}

int cli_fail(struct cli *cli, enum cli_exit code, const char *fmt, ...)
{
    fprintf(cli->err, "tulle %s: ", cli->verb);
    va_list ap;
    va_start(ap, fmt);
    vfprintf(cli->err, fmt, ap);
    va_end(ap);
    fputc('\n', cli->err);
    return code;
}

static char *self_path(void)
{
    char buf[4096];
    ssize_t n = readlink("/proc/self/exe", buf, sizeof buf);
    return n > 0 && (size_t)n < sizeof buf ? mem_strndup(buf, (size_t)n) : mem_strndup("tulle", 5);
}

static int run_verb(const struct cli_verb *verb, int argc, char **argv)
{
    char *self = self_path();
    struct cli cli = {
        .verb = verb->name,
        .argc = argc,
        .argv = argv,
        .out = stdout,
        .err = stderr,
        .is_color = isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL,
        .self = self,
    };
    int code = verb->run(&cli);
    free(self);
    if (fflush(stdout) != 0 && code == CLI_OK)
        code = CLI_ERROR;
    return code;
}

int cli_main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "help";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    const struct cli_verb *verb = cli_verb_find(name);
    if (verb == NULL) {
        fprintf(stderr, "tulle: no such command: %s (see 'tulle help')\n", name);
        return CLI_USAGE;
    }
    return run_verb(verb, argc > 2 ? argc - 2 : 0, argc > 2 ? argv + 2 : argv + argc);
}
