#include "control/folder/folder_git.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

static bool has_lock(const char *git_dir)
{
    char path[PATH_MAX];
    struct stat st;
    int len = snprintf(path, sizeof path, "%s/index.lock", git_dir);
    return len > 0 && (size_t)len < sizeof path && lstat(path, &st) == 0;
}

/* `.git` of a linked worktree is a file: "gitdir: PATH". */
static bool is_linked_busy(const char *file, const char *folder)
{
    static const char key[] = "gitdir: ";
    char text[PATH_MAX], path[2 * PATH_MAX];
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text) : -1;
    if (fd >= 0)
        close(fd);
    struct str rest = str_from(text, n > 0 ? (size_t)n : 0);
    struct str target = str_skip(str_split(&rest, '\n'), sizeof key - 1);
    if (n <= 0 || !str_starts_with(str_from(text, (size_t)n), str_from_c(key)) || target.len == 0)
        return false;
    if (target.ptr[0] == '/')
        snprintf(path, sizeof path, "%.*s", STR_FMT(target));
    else
        snprintf(path, sizeof path, "%s/%.*s", folder, STR_FMT(target));
    return has_lock(path);
}

bool folder_git_is_busy(const char *folder)
{
    char at[PATH_MAX], git[PATH_MAX + 8];
    struct stat st;
    if (realpath(folder, at) == NULL)
        return false;
    /* The nearest checkout around it. */
    for (;;) {
        snprintf(git, sizeof git, "%s/.git", at);
        if (stat(git, &st) == 0)
            return S_ISDIR(st.st_mode) ? has_lock(git) : is_linked_busy(git, at);
        char *slash = strrchr(at, '/');
        if (slash == NULL)
            return false;
        *slash = '\0';
    }
}
