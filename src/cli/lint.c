/* tulle lint PATH...: what is wrong with documents, without a mesh. */
#include "cli/documents.h"
#include "cli/opt.h"
#include "control/api/check.h"

enum { JSON_BYTES_MAX = 16 * 1024 * 1024 };

static void print_lines(struct cli *cli, struct api_findings *f)
{
    for (size_t i = 0; i < f->list.len; i++) {
        struct str line = api_finding_line(f, &f->list.ptr[i]);
        fprintf(cli->out, "%.*s\n", STR_FMT(line));
    }
}

static void print_json(struct cli *cli, const struct api_findings *f)
{
    struct str_buf json = STR_BUF_INIT(JSON_BYTES_MAX);
    api_findings_add_json(f, &json);
    fprintf(cli->out, "%.*s\n", STR_FMT(str_buf_str(&json)));
    str_buf_deinit(&json);
}

static void print_count(FILE *f, size_t count, const char *what, const char *behind)
{
    fprintf(f, "%zu %s%s%s", count, what, count == 1 ? "" : "s", behind);
}

static void print_summary(struct cli *cli, const struct api_document_list *list,
                          const struct api_findings *f, size_t file_count)
{
    print_count(cli->err, list->docs.len + list->broken.len, "document", " in ");
    print_count(cli->err, file_count, "file", ": ");
    print_count(cli->err, f->error_count, "error", ", ");
    print_count(cli->err, f->warning_count, "warning", "\n");
}

int cli_lint(struct cli *cli)
{
    const char *output_text = NULL, *namespace = NULL;
    const struct opt opts[] = {
        {"output", 'o', OPT_VALUE, &output_text},
        {"namespace", 'n', OPT_VALUE, &namespace},
    };
    struct opt_result args;
    enum cli_output output;
    int code;
    if (!opt_parse_verb(cli, opts, ARRAY_LEN(opts), &args, &code))
        return code;
    if (!opt_output(cli, output_text, false, &output))
        return CLI_USAGE;
    if (args.count == 0)
        return cli_fail(cli, CLI_USAGE, "which files or folders?");

    struct api_document_list list;
    struct api_findings findings;
    size_t file_count = 0;
    api_document_list_init(&list);
    api_findings_init(&findings);
    for (size_t i = 0; i < args.count; i++)
        documents_read(args.args[i], str_from_c(namespace), &list, &findings, &file_count);
    api_check_documents(&list, &findings);
    api_findings_sort(&findings);
    if (output == CLI_OUTPUT_JSON) {
        print_json(cli, &findings);
    } else {
        print_lines(cli, &findings);
        print_summary(cli, &list, &findings, file_count);
    }
    code = findings.error_count > 0 ? CLI_ERROR : CLI_OK;
    api_findings_deinit(&findings);
    api_document_list_deinit(&list);
    return code;
}
