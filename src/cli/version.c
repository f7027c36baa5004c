#include "cli/opt.h"

int cli_version(struct cli *cli)
{
    const char *output_text = NULL;
    const struct opt opts[] = {{"output", 'o', OPT_VALUE, &output_text}};
    struct opt_result args;
    int code;
    if (!opt_parse_verb(cli, opts, ARRAY_LEN(opts), &args, &code))
        return code;
    enum cli_output output;
    if (!opt_output(cli, output_text, false, &output))
        return CLI_USAGE;
    if (output == CLI_OUTPUT_JSON)
        fprintf(cli->out, "{\"version\":\"" TULLE_VERSION "\"}\n");
    else
        fprintf(cli->out, "tulle " TULLE_VERSION "\n");
    return CLI_OK;
}
