/* GET /tulle/v1/backup: one file with the documents, their history, addresses, and the CA. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "control/server/server_priv.h"
#include "crypto/digest.h"

enum { PATH_LEN_MAX = 4096, READ_LEN = 1024 * 1024 };

static int read_back(const char *path, struct str_buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), err = fd >= 0 ? 0 : -ERR_SYSTEM;
    for (ssize_t n = 1; err == 0 && n != 0;) {
        char *room = str_buf_reserve(out, READ_LEN);
        n = room != NULL ? read(fd, room, READ_LEN) : -1;
        if (n > 0)
            str_buf_grow(out, (size_t)n);
        else if (n < 0)
            err = room == NULL ? -ERR_TOO_LARGE : errno == EINTR ? 0 : -ERR_SYSTEM;
    }
    if (fd >= 0)
        close(fd);
    return err;
}

/* By a file in a folder of its own, the one that a confined tulled may write in, which is gone
 * again when this returns. */
static int copy(struct rest_call *c, const struct store_file *files, size_t count,
                struct str_buf *why, struct str_buf *out)
{
    char path[PATH_LEN_MAX];
    struct str state = c->server->args.state_dir;
    int len = snprintf(path, sizeof path, "%.*s/tmp", STR_FMT(state));
    if (len < 0 || len >= (int)sizeof path - (int)sizeof "/backup.part")
        return -ERR_TOO_LARGE;
    (void)mkdir(path, 0700); /* a confined tulled has made it before */
    snprintf(path + len, sizeof path - (size_t)len, "/backup.part");
    (void)unlink(path); /* of a run that was killed */
    int err = store_backup(c->server->args.store, str_from_c(path), files, count, why);
    if (err == 0)
        err = read_back(path, out);
    (void)unlink(path);
    return err;
}

/* Those of the next root are there while the root is being rotated. */
static int make(struct rest_call *c, struct str_buf *why, struct str_buf *out)
{
    struct str_buf pems[CA_FILE_COUNT];
    struct store_file files[CA_FILE_COUNT];
    size_t count = 0;
    int err = 0;
    for (size_t i = 0; i < CA_FILE_COUNT; i++) {
        pems[i] = STR_BUF_INIT(CA_FILE_BYTES_MAX);
        int read_err = ca_export(c->server->args.ca, i, &pems[i]);
        if (read_err == 0)
            files[count++] = (struct store_file){ca_file_names[i], str_buf_str(&pems[i])};
        else if (read_err != -ERR_NOT_FOUND)
            err = read_err;
    }
    if (err == 0)
        err = copy(c, files, count, why, out);
    for (size_t i = 0; i < CA_FILE_COUNT; i++) {
        if (pems[i].ptr != NULL)
            secret_wipe(pems[i].ptr, pems[i].cap);
        str_buf_deinit(&pems[i]);
    }
    return err;
}

bool rest_backup(struct rest_call *c)
{
    if (!rest_is_own(c, "backup") || c->path_count != 3)
        return false;
    if (!rest_is_method(c, "GET")) {
        rest_fail(c, 405, "MethodNotAllowed", "GET only");
        return true;
    }
    if (!rest_may(c, ACCESS_ADMIN, NULL, STR_NULL))
        return true;
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX), why = STR_BUF_INIT(1024);
    struct store_author by = rest_author(c, "backup");
    int err = store_audit(c->server->args.store, &by);
    if (err == 0)
        err = make(c, &why, &out);
    if (err == -ERR_NO_SPACE) {
        rest_fail_store(c, err, NULL);
    } else if (err != 0) {
        rest_fail(c, 500, "InternalError", "no backup: %s %.*s", err_text(err),
                  STR_FMT(str_buf_str(&why)));
    } else {
        log_event(LOG_INFO, "backup_taken", LF("by", by.who), LF("from", by.source));
        c->is_done = true;
        service_reply(c->s, 200, STR("application/vnd.sqlite3"), str_buf_str(&out));
    }
    str_buf_deinit(&out);
    str_buf_deinit(&why);
    return true;
}
