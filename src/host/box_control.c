/* A mesh from outside its supervisor: its lock, its end, what it left. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "host/box.h"

enum { LEFTOVER_MS = 5000 };

/* The lock file may have been removed by `down` between opening and locking it. */
static bool is_still_at(int fd, const char *path)
{
    struct stat mine, there;
    return fstat(fd, &mine) == 0 && stat(path, &there) == 0 && mine.st_ino == there.st_ino &&
           mine.st_dev == there.st_dev;
}

static int try_lock(const char *path, int flags)
{
    for (;;) {
        int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
        if (fd < 0)
            return err_from_errno(errno);
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            int err = errno == EWOULDBLOCK ? -ERR_EXISTS : err_from_errno(errno);
            close(fd);
            return err;
        }
        if (is_still_at(fd, path))
            return fd;
        close(fd);
    }
}

int box_lock(const char *mesh)
{
    char path[PATH_LEN_MAX];
    int err = paths_make_dir(paths_run_root(), 0755);
    if (err == 0)
        err = paths_make_dir(paths_mesh(mesh, path), 0700);
    return err != 0 ? err : try_lock(paths_in_mesh(mesh, "lock", path), O_CREAT);
}

bool box_is_running(const char *mesh)
{
    char path[PATH_LEN_MAX];
    int fd = try_lock(paths_in_mesh(mesh, "lock", path), 0);
    if (fd >= 0)
        close(fd);
    return fd == -ERR_EXISTS;
}

static void end(struct proc p)
{
    proc_signal(p, SIGKILL);
    proc_wait_gone(p, LEFTOVER_MS);
}

void box_end_leftovers(const char *mesh)
{
    struct state s;
    if (state_load(mesh, &s) == 0) {
        for (size_t i = 0; i < s.replicas.len; i++)
            end(s.replicas.ptr[i].init);
        end(s.tulled);
    }
    state_deinit(&s);
}

int box_remove(const char *mesh)
{
    char path[PATH_LEN_MAX];
    int err = paths_remove_tree(paths_mesh(mesh, path));
    rmdir(paths_run_root()); /* with the last mesh */
    return err;
}

/* The supervisor cleans up itself; -ERR_TIMEOUT when it had to be killed. */
static int end_supervisor(const char *mesh)
{
    struct state s;
    int err = state_load(mesh, &s);
    if (err == 0) {
        proc_signal(s.supervisor, SIGTERM);
        if (!proc_wait_gone(s.supervisor, BOX_STOP_MS)) {
            end(s.supervisor);
            err = -ERR_TIMEOUT;
        }
    }
    state_deinit(&s);
    return err;
}

int box_down(const char *mesh)
{
    char path[PATH_LEN_MAX];
    struct stat st;
    if (lstat(paths_mesh(mesh, path), &st) != 0)
        return -ERR_NOT_FOUND;
    if (box_is_running(mesh))
        end_supervisor(mesh);
    if (lstat(path, &st) != 0)
        return 0;
    int lock = box_lock(mesh);
    if (lock < 0)
        return lock;
    box_end_leftovers(mesh);
    int err = box_remove(mesh);
    close(lock);
    return err;
}
