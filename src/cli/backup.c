/* tulle backup FILE: everything that the control plane keeps, in one file. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/mesh.h"
#include "cli/opt.h"
#include "cli/rest.h"

enum { CALL_TIMEOUT_MS = 120000, PART_LEN_MAX = 4096 };

static bool write_all(int fd, struct str bytes)
{
    while (bytes.len > 0) {
        ssize_t n = write(fd, bytes.ptr, bytes.len);
        if (n < 0 && errno != EINTR)
            return false;
        bytes = str_skip(bytes, n > 0 ? (size_t)n : 0);
    }
    return fsync(fd) == 0;
}

/* Whole or not at all, and never readable by others: it holds the CA's key. */
static int save(struct cli *cli, const char *path, struct str bytes)
{
    char part[PART_LEN_MAX];
    if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
        return cli_fail(cli, CLI_ERROR, "the path is too long");
    (void)unlink(part);
    int fd = open(part, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    bool is_saved = fd >= 0 && write_all(fd, bytes);
    if (fd >= 0)
        is_saved = close(fd) == 0 && is_saved;
    is_saved = is_saved && rename(part, path) == 0;
    if (is_saved)
        return CLI_OK;
    int code = cli_fail(cli, CLI_ERROR, "%s: %s", path, strerror(errno));
    (void)unlink(part);
    return code;
}

static int run(struct cli *cli, const char *mesh, const char *path)
{
    struct http_answer answer;
    int code = CLI_ERROR;
    int err = rest_call(cli, mesh, "GET", "/tulle/v1/backup", STR_NULL, CALL_TIMEOUT_MS, &answer);
    struct str body = str_buf_str(&answer.body);
    if (err == 0 && answer.status == 200)
        code = save(cli, path, body);
    else if (err == 0)
        cli_fail(cli, CLI_ERROR, "no backup (status %d): %.*s", answer.status,
                 STR_FMT(str_sub(body, 0, 2000)));
    if (code == CLI_OK)
        fprintf(cli->out,
                "%s: %zu bytes: documents, history, addresses, and the CA's key; keep it secret\n"
                "to make a control plane's state of it: tulled --state DIR --restore %s\n",
                path, body.len, path);
    http_answer_deinit(&answer);
    return code;
}

int cli_backup(struct cli *cli)
{
    const char *mesh_name = NULL;
    const struct opt opts[] = {{"mesh", 0, OPT_VALUE, &mesh_name}};
    struct opt_result args;
    int code;
    if (!opt_parse_verb(cli, opts, ARRAY_LEN(opts), &args, &code))
        return code;
    if (args.count != 1)
        return cli_fail(cli, CLI_USAGE, "say which FILE to write");
    const char *mesh = mesh_choose(cli, mesh_name, &code);
    return mesh != NULL ? run(cli, mesh, args.args[0]) : code;
}
