/* tulle logs: what an app or its sidecar wrote. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/mesh.h"
#include "cli/opt.h"
#include "host/box.h"
#include "host/logfile.h"

enum { PART_LEN = 65536, FOLLOW_MS = 1000 };

/* Copies what lies behind *at; a file that became shorter starts anew. False: output is gone. */
static bool copy_on(struct cli *cli, int fd, off_t *at)
{
    struct stat st;
    char part[PART_LEN];
    if (fstat(fd, &st) == 0 && st.st_size < *at)
        *at = 0;
    for (;;) {
        ssize_t n = pread(fd, part, sizeof part, *at);
        if (n <= 0)
            break;
        if (fwrite(part, 1, (size_t)n, cli->out) != (size_t)n)
            return false;
        *at += n;
    }
    return fflush(cli->out) == 0;
}

static off_t tail_offset(int fd, uint64_t lines)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return 0;
    size_t len = (size_t)MIN(st.st_size, (off_t)(8 * 1024 * 1024));
    off_t from = st.st_size - (off_t)len;
    char *buf = mem_alloc(len + 1);
    ssize_t n = pread(fd, buf, len, from);
    off_t at =
        from + (off_t)logfile_tail_offset(str_from(buf, n > 0 ? (size_t)n : 0), (unsigned)lines);
    free(buf);
    return lines == 0 ? st.st_size : at;
}

static void follow(struct cli *cli, const char *mesh, const char *path, int fd, off_t at)
{
    int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watch >= 0)
        inotify_add_watch(watch, path, IN_MODIFY);
    while (copy_on(cli, fd, &at) && box_is_running(mesh)) {
        char events[4096];
        struct pollfd pfd = {watch, POLLIN, 0};
        poll(&pfd, 1, FOLLOW_MS);
        while (watch >= 0 && read(watch, events, sizeof events) > 0)
            ;
    }
    if (watch >= 0)
        close(watch);
}

int cli_logs(struct cli *cli)
{
    const char *mesh_name = NULL, *namespace = NULL, *tail = NULL;
    bool is_proxy = false, is_follow = false;
    const struct opt opts[] = {
        {"proxy", 'p', OPT_FLAG, &is_proxy},
        {"follow", 'f', OPT_FLAG, &is_follow},
        {"tail", 0, OPT_VALUE, &tail},
        {"mesh", 0, OPT_VALUE, &mesh_name},
        {"namespace", 'n', OPT_VALUE, &namespace},
    };
    struct opt_result args;
    struct state state;
    struct mesh_target target;
    uint64_t lines = 0;
    int code;
    if (!opt_parse_verb(cli, opts, ARRAY_LEN(opts), &args, &code))
        return code;
    if (args.count != 1)
        return cli_fail(cli, CLI_USAGE, "say which replica");
    if (tail != NULL && !str_to_u64(str_from_c(tail), 1000000, &lines))
        return cli_fail(cli, CLI_USAGE, "--tail %s is not a number of lines", tail);
    struct state_replica *r =
        mesh_open_replica(cli, mesh_name, namespace, args.args[0], &state, &target, &code);
    if (r != NULL) {
        char path[PATH_LEN_MAX], mesh[BOX_NAME_LEN_MAX + 1], slug[600];
        snprintf(mesh, sizeof mesh, "%.*s", STR_FMT(state.name));
        snprintf(slug, sizeof slug, "%.*s", STR_FMT(r->slug));
        int fd = open(paths_log(mesh, slug, is_proxy, path), O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            code = cli_fail(cli, CLI_ERROR, "%s: %s", path, strerror(errno));
        } else {
            off_t at = tail != NULL ? tail_offset(fd, lines) : 0;
            copy_on(cli, fd, &at);
            if (is_follow)
                follow(cli, mesh, path, fd, at);
            close(fd);
        }
    }
    state_deinit(&state);
    return code;
}
