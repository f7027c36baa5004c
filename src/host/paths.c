#include "host/paths.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "host/spec.h"

static bool is_own_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid();
}

static const char *absolute_env(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] == '/' ? value : NULL;
}

/* Only folders that nobody else can write: who may make our run root may be taken for our mesh. */
static void find_run_root(char buf[PATH_LEN_MAX])
{
    char user[32];
    const char *runtime = absolute_env("XDG_RUNTIME_DIR"), *home = absolute_env("HOME");
    snprintf(user, sizeof user, "/run/user/%u", geteuid());
    if (geteuid() == 0)
        snprintf(buf, PATH_LEN_MAX, "/run/tulle");
    else if (runtime != NULL && is_own_dir(runtime))
        snprintf(buf, PATH_LEN_MAX, "%s/tulle", runtime);
    else if (is_own_dir(user))
        snprintf(buf, PATH_LEN_MAX, "%s/tulle", user);
    else
        snprintf(buf, PATH_LEN_MAX, "%s/.local/state/tulle/run", home != NULL ? home : "");
}

const char *paths_run_root(void)
{
    static char found[PATH_LEN_MAX];
    const char *named = absolute_env("TULLE_RUN");
    if (named != NULL)
        return named;
    if (found[0] == '\0')
        find_run_root(found);
    return found;
}

bool box_name_is_valid(const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len > BOX_NAME_LEN_MAX || name[0] == '-' || name[0] == '_')
        return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") == len;
}

char *paths_mesh(const char *mesh, char buf[PATH_LEN_MAX])
{
    snprintf(buf, PATH_LEN_MAX, "%s/%s", paths_run_root(), mesh);
    return buf;
}

char *paths_in_mesh(const char *mesh, const char *leaf, char buf[PATH_LEN_MAX])
{
    snprintf(buf, PATH_LEN_MAX, "%s/%s/%s", paths_run_root(), mesh, leaf);
    return buf;
}

char *paths_replica_dir(const char *mesh, const char *slug, char buf[PATH_LEN_MAX])
{
    snprintf(buf, PATH_LEN_MAX, "%s/%s/replicas/%s", paths_run_root(), mesh, slug);
    return buf;
}

char *paths_bypass(const char *mesh, const char *slug, char buf[PATH_LEN_MAX])
{
    snprintf(buf, PATH_LEN_MAX, "%s/%s/bypass/%s", paths_run_root(), mesh, slug);
    return buf;
}

char *paths_log(const char *mesh, const char *slug, bool is_proxy, char buf[PATH_LEN_MAX])
{
    snprintf(buf, PATH_LEN_MAX, "%s/%s/logs/%s%s.log", paths_run_root(), mesh, slug,
             is_proxy ? ".proxy" : "");
    return buf;
}

int paths_make_dir(const char *path, unsigned mode)
{
    char part[PATH_LEN_MAX];
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof part || path[0] != '/')
        return -ERR_INVALID;
    for (size_t i = 1; i <= len; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, i == len ? (mode_t)mode : 0755) != 0 && errno != EEXIST)
            return err_from_errno(errno);
    }
    return chmod(path, (mode_t)mode) == 0 ? 0 : err_from_errno(errno);
}

/* Takes over dir_fd. Depth is bounded by PATH_MAX of what was made there. */
static int remove_entries(int dir_fd, dev_t dev, int depth)
{
    DIR *dir = fdopendir(dir_fd);
    if (dir == NULL) {
        close(dir_fd);
        return err_from_errno(errno);
    }
    int result = 0;
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        int flags = 0;
        if (S_ISDIR(st.st_mode)) {
            int fd =
                depth > 0 && st.st_dev == dev
                    ? openat(dirfd(dir), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                    : -1;
            if (fd >= 0)
                remove_entries(fd, dev, depth - 1);
            flags = AT_REMOVEDIR;
        }
        if (unlinkat(dirfd(dir), e->d_name, flags) != 0 && errno != ENOENT)
            result = err_from_errno(errno);
    }
    closedir(dir);
    return result;
}

int paths_remove_tree(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : err_from_errno(errno);
    if (fstat(fd, &st) != 0) {
        close(fd);
        return -ERR_SYSTEM;
    }
    int err = remove_entries(fd, st.st_dev, 16);
    if (err == 0 && rmdir(path) != 0 && errno != ENOENT)
        err = err_from_errno(errno);
    return err;
}

void paths_each_mesh(paths_mesh_fn *fn, void *arg)
{
    DIR *dir = opendir(paths_run_root());
    if (dir == NULL)
        return;
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        if (box_name_is_valid(e->d_name))
            fn(arg, e->d_name);
    closedir(dir);
}
