#include "control/folder/folder_scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"

enum { READ_BYTES = 16 * 1024 };

bool folder_stamp_is_equal(const struct folder_stamp *a, const struct folder_stamp *b)
{
    return a->device == b->device && a->inode == b->inode && a->bytes == b->bytes &&
           a->modified_ns == b->modified_ns && a->changed_ns == b->changed_ns;
}

static uint64_t ns_of(struct timespec t)
{
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static struct folder_stamp stamp_of(const struct stat *st)
{
    return (struct folder_stamp){st->st_dev, st->st_ino, (uint64_t)st->st_size, ns_of(st->st_mtim),
                                 ns_of(st->st_ctim)};
}

static void add_problem(struct folder_scan *s, struct str path, const char *text)
{
    s->is_partial = true;
    if (s->problems.len >= FOLDER_PROBLEMS_MAX)
        return;
    struct folder_problem p = {path, arena_str(&s->arena, str_from_c(text))};
    VEC_PUSH(&s->problems, p);
}

static const char *reason_of(int code)
{
    switch (code) {
    case EXDEV:
        return "the link leads out of the folder (or begins with /)";
    case ELOOP:
        return "the links lead in a circle";
    case ENOENT:
        return "the link leads to nothing";
    case ENOSYS:
        return "links are followed with Linux 5.6 and later only";
    default:
        return strerror(code);
    }
}

/* --- opening below the root --- */

/* A kernel without openat2, or a sandbox that does not know it: then no link is followed at all. */
static int open_plain(int root, const char *path, uint64_t flags)
{
    int fd = openat(root, path, (int)flags | O_NOFOLLOW);
    if (fd >= 0 || errno != ELOOP)
        return fd;
    errno = ENOSYS;
    return -1;
}

static int open_beneath(int root, struct str path, uint64_t flags)
{
    char text[FOLDER_PATH_LEN_MAX + 1];
    struct open_how how = {
        .flags = flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    if ((flags & O_PATH) != 0)
        how.flags = flags | O_CLOEXEC;
    snprintf(text, sizeof text, "%.*s", STR_FMT(path));
    for (int i = 0; i < 10; i++) {
        long fd = syscall(SYS_openat2, root, text, &how, sizeof how);
        if (fd >= 0)
            return (int)fd;
        if (errno == ENOSYS || errno == EPERM)
            return open_plain(root, text, how.flags);
        if (errno != EAGAIN) /* something was renamed meanwhile */
            return -1;
    }
    return -1;
}

/* --- names --- */

static bool is_document_name(struct str name)
{
    return str_ends_with(name, STR(".yaml")) || str_ends_with(name, STR(".yml")) ||
           str_ends_with(name, STR(".json"));
}

static struct str join(struct folder_scan *s, struct str folder, struct str name)
{
    return folder.len == 0 ? arena_str(&s->arena, name)
                           : arena_printf(&s->arena, "%.*s/%.*s", STR_FMT(folder), STR_FMT(name));
}

static size_t depth_of(struct str path)
{
    size_t depth = 0;
    for (size_t i = 0; i < path.len; i++)
        depth += path.ptr[i] == '/';
    return depth;
}

/* False: it was reached before. */
static bool is_first(struct folder_scan *s, const struct stat *st)
{
    char key[64];
    int len = snprintf(key, sizeof key, "%llx:%llx", (unsigned long long)st->st_dev,
                       (unsigned long long)st->st_ino);
    return map_put(&s->seen, str_from(key, (size_t)len), s) == NULL;
}

/* --- what is found --- */

static void add_file(struct folder_scan *s, struct str path, const struct stat *st)
{
    if (s->files.len >= FOLDER_FILES_MAX) {
        s->is_too_many = true;
        return;
    }
    if (!is_first(s, st))
        return;
    struct folder_file f = {.path = path, .stamp = stamp_of(st)};
    VEC_PUSH(&s->files, f);
}

static void add_folder(struct folder_scan *s, struct str path)
{
    if (depth_of(path) >= FOLDER_DEPTH_MAX)
        add_problem(s, path, "too many folders in one another");
    else
        VEC_PUSH(&s->folders, path);
}

static void add_name(struct folder_scan *s, int fd, struct str folder, struct str name)
{
    struct stat st;
    struct str path = join(s, folder, name);
    if (path.len > FOLDER_PATH_LEN_MAX)
        add_problem(s, str_sub(path, 0, FOLDER_PATH_LEN_MAX), "the path is too long");
    else if (fstatat(fd, path.ptr + path.len - name.len, &st, AT_SYMLINK_NOFOLLOW) != 0)
        s->is_partial = true; /* gone since: whoever watches hears of it */
    else if (S_ISDIR(st.st_mode))
        add_folder(s, path);
    else if (S_ISLNK(st.st_mode))
        VEC_PUSH(&s->links, path);
    else if (S_ISREG(st.st_mode) && is_document_name(name))
        add_file(s, path, &st);
    else if (is_document_name(name))
        add_problem(s, path, "this is no file");
}

static int by_name(const void *left, const void *right)
{
    const struct str *a = left, *b = right;
    return str_cmp(*a, *b);
}

static void look_into(struct folder_scan *s, struct str folder, int fd)
{
    VEC(struct str) names = {0};
    int list_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    DIR *d = list_fd >= 0 ? fdopendir(list_fd) : NULL;
    if (d == NULL) {
        add_problem(s, folder, strerror(errno));
        if (list_fd >= 0)
            close(list_fd);
        return;
    }
    errno = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL && names.len <= FOLDER_FILES_MAX;) {
        if (e->d_name[0] != '.')
            VEC_PUSH(&names, arena_str(&s->arena, str_from_c(e->d_name)));
    }
    if (errno != 0)
        add_problem(s, folder, strerror(errno));
    if (names.len > 0)
        qsort(names.ptr, names.len, sizeof *names.ptr, by_name);
    for (size_t i = 0; i < names.len; i++)
        add_name(s, fd, folder, names.ptr[i]);
    closedir(d);
    VEC_DEINIT(&names);
}

static void visit(struct folder_scan *s, struct str folder)
{
    struct stat st;
    int fd = open_beneath(s->root, folder.len > 0 ? folder : STR("."), O_RDONLY | O_DIRECTORY);
    if (fd < 0 || fstat(fd, &st) != 0) {
        add_problem(s, folder, strerror(errno));
    } else if (is_first(s, &st)) {
        if (s->on_folder != NULL)
            s->on_folder(s->ctx, fd);
        look_into(s, folder, fd);
    }
    if (fd >= 0)
        close(fd);
}

static void follow(struct folder_scan *s, struct str path)
{
    struct stat st;
    int fd = open_beneath(s->root, path, O_PATH);
    if (fd < 0 || fstat(fd, &st) != 0)
        add_problem(s, path, reason_of(errno));
    else if (S_ISLNK(st.st_mode))
        add_problem(s, path, reason_of(ENOSYS));
    else if (S_ISDIR(st.st_mode))
        add_folder(s, path);
    else if (is_document_name(path) && S_ISREG(st.st_mode))
        add_file(s, path, &st);
    else if (is_document_name(path))
        add_problem(s, path, "the link leads to no file");
    if (fd >= 0)
        close(fd);
}

/* --- the scan --- */

void folder_scan_start(struct folder_scan *s, const char *path,
                       void (*on_folder)(void *ctx, int fd), void *ctx)
{
    *s = (struct folder_scan){.on_folder = on_folder, .ctx = ctx};
    arena_init(&s->arena, 16 * 1024);
    map_init(&s->seen);
    s->root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->root < 0)
        add_problem(s, STR_NULL, strerror(errno));
    else
        VEC_PUSH(&s->folders, STR_NULL);
}

void folder_scan_deinit(struct folder_scan *s)
{
    if (s->root >= 0)
        close(s->root);
    VEC_DEINIT(&s->files);
    VEC_DEINIT(&s->problems);
    VEC_DEINIT(&s->folders);
    VEC_DEINIT(&s->links);
    map_deinit(&s->seen);
    arena_deinit(&s->arena);
    *s = (struct folder_scan){.root = -1};
}

static int by_path(const void *left, const void *right)
{
    const struct folder_file *a = left, *b = right;
    return str_cmp(a->path, b->path);
}

bool folder_scan_step(struct folder_scan *s)
{
    /* Links come last: what has a name of its own is known by it. */
    if (s->folders.len > 0)
        visit(s, s->folders.ptr[--s->folders.len]);
    else if (s->links.len > 0)
        follow(s, s->links.ptr[--s->links.len]);
    if (!s->is_too_many && s->folders.len + s->links.len > 0)
        return true;
    if (s->files.len > 0)
        qsort(s->files.ptr, s->files.len, sizeof *s->files.ptr, by_path);
    return false;
}

/* --- reading --- */

static bool is_as_found(int fd, const struct folder_file *f)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return false;
    struct folder_stamp now = stamp_of(&st);
    return folder_stamp_is_equal(&now, &f->stamp);
}

static int read_all(int fd, struct str_buf *to)
{
    char block[READ_BYTES];
    ssize_t n = 1;
    while (n != 0 && !to->is_overflown) {
        n = read(fd, block, sizeof block);
        if (n < 0 && errno != EINTR)
            return -ERR_SYSTEM;
        if (n > 0)
            str_buf_add(to, str_from(block, (size_t)n));
    }
    return to->is_overflown ? -ERR_TOO_LARGE : 0;
}

int folder_scan_read(const struct folder_scan *s, const struct folder_file *f, struct str_buf *to)
{
    int fd = open_beneath(s->root, f->path, O_RDONLY);
    if (fd < 0)
        return errno == ENOENT ? -ERR_NOT_FOUND : -ERR_SYSTEM;
    int err = is_as_found(fd, f) ? read_all(fd, to) : -ERR_AGAIN;
    if (err == 0 && !is_as_found(fd, f))
        err = -ERR_AGAIN;
    close(fd);
    return err;
}
