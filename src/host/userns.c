#include "host/userns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "host/proc.h"

enum { MAP_LEN_MAX = 65536 };

/* In place, and in one write: the kernel wants a map whole, and /proc knows no rename. */
static int write_map(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return err_from_errno(errno);
    int err = write(fd, text, strlen(text)) < 0 ? err_from_errno(errno) : 0;
    close(fd);
    return err;
}

int userns_enter(void)
{
    char uid_map[32], gid_map[32];
    snprintf(uid_map, sizeof uid_map, "0 %u 1", geteuid());
    snprintf(gid_map, sizeof gid_map, "0 %u 1", getegid());
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        return err_from_errno(errno);
    int err = write_map("/proc/self/uid_map", uid_map);
    /* Without setgroups: a group that takes rights away could else be shed. */
    if (err == 0)
        err = write_map("/proc/self/setgroups", "deny");
    return err == 0 ? write_map("/proc/self/gid_map", gid_map) : err;
}

/* A line of the map: first uid here, first uid outside, how many. */
static bool line_has(struct str line, unsigned uid)
{
    uint64_t numbers[3];
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        line = str_trim(line);
        if (!str_to_u64(str_split(&line, ' '), UINT32_MAX, &numbers[i]))
            return false;
    }
    return uid >= numbers[0] && uid - numbers[0] < numbers[2];
}

bool userns_has_uid(unsigned uid)
{
    size_t len;
    char *text = proc_read_file("/proc/self/uid_map", MAP_LEN_MAX, &len);
    struct str rest = text != NULL ? str_from(text, len) : STR_NULL;
    bool has = false;
    while (rest.len > 0 && !has)
        has = line_has(str_split(&rest, '\n'), uid);
    free(text);
    return has;
}

unsigned userns_uid_or_own(unsigned uid)
{
    return userns_has_uid(uid) ? uid : geteuid();
}

bool userns_is_other(pid_t pid)
{
    char path[64];
    struct stat own, other;
    snprintf(path, sizeof path, "/proc/%d/ns/user", (int)pid);
    return stat("/proc/self/ns/user", &own) == 0 && stat(path, &other) == 0 &&
           (own.st_ino != other.st_ino || own.st_dev != other.st_dev);
}
