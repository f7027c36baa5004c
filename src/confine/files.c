/* Landlock, by the kernel's own calls: its header is younger than the C library's. */
#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "confine/confine.h"
#include "confine/confine_priv.h"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

/* include/uapi/linux/landlock.h */
enum {
    CREATE_VERSION = 1,
    RULE_PATH_BENEATH = 1,
    SCOPE_ABSTRACT_SOCKET = 1,
    SCOPE_SIGNAL = 2,
};
enum {
    FS_EXECUTE = 1 << 0,
    FS_WRITE_FILE = 1 << 1,
    FS_READ_FILE = 1 << 2,
    FS_READ_DIR = 1 << 3,
    FS_REMOVE_DIR = 1 << 4,
    FS_REMOVE_FILE = 1 << 5,
    FS_MAKE_CHAR = 1 << 6,
    FS_MAKE_DIR = 1 << 7,
    FS_MAKE_REG = 1 << 8,
    FS_MAKE_SOCK = 1 << 9,
    FS_MAKE_FIFO = 1 << 10,
    FS_MAKE_BLOCK = 1 << 11,
    FS_MAKE_SYM = 1 << 12,
    FS_REFER = 1 << 13,     /* since version 2 */
    FS_TRUNCATE = 1 << 14,  /* 3 */
    FS_IOCTL_DEV = 1 << 15, /* 5 */

    FS_OF_1 = (1 << 13) - 1,
    FS_OF_FILES = FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV,
};

struct ruleset {
    uint64_t files, net, scoped;
};

struct __attribute__((packed)) path_rule {
    uint64_t allowed;
    int32_t fd;
};

static const uint64_t of_use[] = {
    [CONFINE_READ] = FS_READ_FILE | FS_READ_DIR,
    [CONFINE_WRITE] = FS_READ_FILE | FS_WRITE_FILE | FS_TRUNCATE,
    [CONFINE_FOLDER] = FS_READ_FILE | FS_WRITE_FILE | FS_TRUNCATE | FS_READ_DIR | FS_REMOVE_FILE |
                       FS_MAKE_REG | FS_MAKE_DIR,
    [CONFINE_SOCKETS] = FS_READ_FILE | FS_WRITE_FILE | FS_TRUNCATE | FS_READ_DIR | FS_REMOVE_FILE |
                        FS_MAKE_REG | FS_MAKE_DIR | FS_MAKE_SOCK,
};

static uint64_t files_of(long version)
{
    uint64_t files = FS_OF_1;
    files |= version >= 2 ? FS_REFER : 0;
    files |= version >= 3 ? FS_TRUNCATE : 0;
    files |= version >= 5 ? FS_IOCTL_DEV : 0;
    return files;
}

static int make(enum confine_scope scope, struct ruleset *set)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION);
    if (version < 1)
        return -ERR_UNSUPPORTED;
    *set = (struct ruleset){.files = files_of(version)};
    if (scope == CONFINE_SCOPE_OPEN)
        set->files &= FS_EXECUTE | FS_MAKE_CHAR | FS_MAKE_BLOCK;
    else if (version >= 6)
        set->scoped = SCOPE_ABSTRACT_SOCKET | SCOPE_SIGNAL;
    /* Older kernels refuse fields that they do not know, unless these are zero. */
    size_t len = version >= 6 ? sizeof *set : version >= 4 ? 16 : 8;
    int fd = (int)syscall(SYS_landlock_create_ruleset, set, len, 0);
    return fd >= 0 ? fd : err_from_errno(errno);
}

static int allow(int ruleset, const struct ruleset *set, int fd, uint64_t allowed)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_from_errno(errno);
    if (!S_ISDIR(st.st_mode))
        allowed &= FS_OF_FILES;
    struct path_rule rule = {allowed & set->files, fd};
    if (rule.allowed == 0)
        return 0;
    long result = syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0);
    return result == 0 ? 0 : err_from_errno(errno);
}

static int allow_path(int ruleset, const struct ruleset *set, const struct confine_path *p)
{
    int fd = p->path != NULL ? open(p->path, O_PATH | O_CLOEXEC) : -1;
    if (fd < 0)
        return p->path == NULL || errno == ENOENT ? 0 : err_from_errno(errno);
    int err = allow(ruleset, set, fd, of_use[p->use]);
    close(fd);
    return err;
}

/* /dev/stdout is opened anew by who logs there. What is no file (a pipe, a socket) needs no rule,
 * and takes none. */
static void allow_streams(int ruleset, const struct ruleset *set)
{
    static const char *const streams[] = {"/proc/self/fd/1", "/proc/self/fd/2", "/dev/null"};
    for (size_t i = 0; i < ARRAY_LEN(streams); i++)
        (void)allow_path(ruleset, set, &(struct confine_path){streams[i], CONFINE_WRITE});
}

int confine_files(enum confine_scope scope, const struct confine_path *paths, size_t count)
{
    struct ruleset set;
    int ruleset = make(scope, &set), err = 0;
    if (ruleset < 0)
        return ruleset;
    for (size_t i = 0; err == 0 && i < count; i++)
        err = allow_path(ruleset, &set, &paths[i]);
    for (size_t i = 0; err == 0 && i < confine_sanitizer_path_count; i++)
        err = allow_path(ruleset, &set, &confine_sanitizer_paths[i]);
    allow_streams(ruleset, &set);
    if (err == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        err = err_from_errno(errno);
    if (err == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
        err = err_from_errno(errno);
    close(ruleset);
    return err;
}
