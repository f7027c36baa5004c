#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "confine/confine.h"
#include "confine/confine_priv.h"

/* Each test runs its body in a child, which ends with the number of the line that failed. */
#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            _exit(__LINE__ % 250 + 1);                                                             \
    } while (0)

enum { SKIPPED = 255 };

typedef void body_fn(void);

static void in_child(body_fn *body)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        body();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
        skip();
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("status 0x%x: line %d of 250", status, WEXITSTATUS(status) - 1);
}

static bool fails(long result, int with)
{
    return result < 0 && errno == with;
}

static void need(int err)
{
    if (err == -ERR_UNSUPPORTED)
        _exit(SKIPPED);
    CHECK(err == 0);
}

/* --- calls --- */

static void try_what_nobody_may(void)
{
    static char *const argv[] = {(char *)(uintptr_t) "true", NULL};
    CHECK(fails(execve("/bin/true", argv, argv + 1), EPERM));
    CHECK(fails(socket(AF_NETLINK, SOCK_RAW, 0), EPERM));
    CHECK(fails(socket(AF_PACKET, SOCK_RAW, 0), EPERM));
    CHECK(fails(socket(AF_INET, SOCK_RAW, 1), EPERM));
    CHECK(fails(syscall(SYS_mount, "none", "/mnt", "tmpfs", 0, NULL), EPERM));
    CHECK(fails(syscall(SYS_unshare, 0x10000000), EPERM));
    CHECK(fails(syscall(SYS_bpf, 0, NULL, 0), EPERM));
    CHECK(fails(syscall(425 /* io_uring_setup */, 1, NULL), EPERM));
    CHECK(fails(syscall(999), ENOSYS));
    if (!CONFINE_IS_SANITIZED) {
        CHECK(fails(fork(), EPERM));
        CHECK(fails(kill(getppid(), 0), EPERM));
        CHECK(fails(syscall(SYS_ptrace, 0, 0, 0, 0), EPERM));
        CHECK(fails(prctl(PR_SET_DUMPABLE, 1), EPERM));
        CHECK(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
              MAP_FAILED);
    }
}

static void *say_yes(void *arg)
{
    (void)arg;
    return say_yes;
}

static bool is_thread_made(void)
{
    pthread_t thread;
    void *result = NULL;
    if (pthread_create(&thread, NULL, say_yes, NULL) != 0)
        return false;
    pthread_join(thread, &result);
    return result != NULL;
}

static int listen_somewhere(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd < 0 ? -1 : listen(fd, 1);
}

static void run_proxy(void)
{
    need(confine_calls(CONFINE_PROXY));
    try_what_nobody_may();
    CHECK(listen_somewhere() == 0);
    CHECK(is_thread_made());
    CHECK(open("/etc/passwd", O_RDONLY) >= 0);
}

static void run_sealed(void)
{
    need(confine_calls(CONFINE_PROXY));
    CHECK(is_thread_made());
    CHECK(confine_calls(CONFINE_PROXY_SEALED) == 0);
    try_what_nobody_may();
    CHECK(fails(listen_somewhere(), EPERM));
    CHECK(CONFINE_IS_SANITIZED || !is_thread_made());
    CHECK(socket(AF_INET6, SOCK_DGRAM, 0) >= 0 || errno == EAFNOSUPPORT);
}

static void run_control(void)
{
    need(confine_calls(CONFINE_CONTROL));
    try_what_nobody_may();
    CHECK(fails(socket(AF_INET, SOCK_STREAM, 0), EPERM));
    CHECK(fails(socket(AF_UNIX, SOCK_STREAM, 0), EPERM));
    CHECK(is_thread_made());
}

static void run_signer(void)
{
    need(confine_calls(CONFINE_SIGNER));
    try_what_nobody_may();
    CHECK(fails(socket(AF_UNIX, SOCK_STREAM, 0), EPERM));
    CHECK(CONFINE_IS_SANITIZED || !is_thread_made());
}

/* A filter that comes later holds for threads that are there already. */
static int pipes[2][2];

static void *listen_when_told(void *arg)
{
    char byte;
    (void)arg;
    (void)!read(pipes[0][0], &byte, 1);
    byte = (char)(fails(listen_somewhere(), EPERM) ? 'y' : 'n');
    (void)!write(pipes[1][1], &byte, 1);
    return NULL;
}

static void run_other_threads(void)
{
    pthread_t thread;
    char byte = 0;
    CHECK(pipe(pipes[0]) == 0 && pipe(pipes[1]) == 0);
    CHECK(pthread_create(&thread, NULL, listen_when_told, NULL) == 0);
    need(confine_calls(CONFINE_PROXY_SEALED));
    CHECK(write(pipes[0][1], "x", 1) == 1 && read(pipes[1][0], &byte, 1) == 1);
    pthread_join(thread, NULL);
    CHECK(byte == 'y');
}

static void run_abort(void)
{
    need(confine_calls(CONFINE_PROXY_SEALED));
    (void)setvbuf(stderr, NULL, _IONBF, 0);
    signal(SIGABRT, SIG_DFL);
    abort();
}

/* An assertion still ends the process, by its own signal. */
static void test_abort(void **state)
{
    (void)state;
    int status;
    pid_t pid = fork();
    if (pid == 0)
        run_abort();
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
        skip();
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* --- files --- */

static char folder[64];

static int open_in(const char *name, int flags)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, flags, 0600);
    if (fd >= 0)
        close(fd);
    return fd;
}

static void run_files(void)
{
    char ours[128], file[128], from[200], to[200];
    snprintf(ours, sizeof ours, "%s/ours", folder);
    snprintf(file, sizeof file, "%s/file", folder);
    const struct confine_path paths[] = {
        {ours, CONFINE_FOLDER},       {file, CONFINE_WRITE}, {"/etc", CONFINE_READ},
        {"/not/there", CONFINE_READ}, {NULL, CONFINE_READ},
    };
    need(confine_files(CONFINE_SCOPE_STRICT, paths, ARRAY_LEN(paths)));
    CHECK(open_in("ours/new", O_RDWR | O_CREAT) >= 0);
    CHECK(open_in("file", O_RDWR | O_TRUNC) >= 0);
    snprintf(from, sizeof from, "%s/new", ours);
    snprintf(to, sizeof to, "%s/newer", ours);
    CHECK(rename(from, to) == 0 && unlink(to) == 0);
    CHECK(open("/etc/passwd", O_RDONLY) >= 0);
    CHECK(fails(open("/etc/passwd", O_WRONLY), EACCES));
    CHECK(fails(open_in("secret", O_RDONLY), EACCES));
    CHECK(fails(open_in("made", O_RDWR | O_CREAT), EACCES));
    CHECK(fails(open("/", O_RDONLY), EACCES));
    snprintf(to, sizeof to, "%s/secret", folder);
    CHECK(fails(unlink(to), EACCES) && fails(rename(to, file), EACCES));
    CHECK(fails(link(to, from), EXDEV) || errno == EACCES);
    static char *const argv[] = {(char *)(uintptr_t) "true", NULL};
    CHECK(fails(execve("/bin/true", argv, argv + 1), EACCES));
}

static void run_open_scope(void)
{
    static char *const argv[] = {(char *)(uintptr_t) "true", NULL};
    need(confine_files(CONFINE_SCOPE_OPEN, NULL, 0));
    CHECK(open_in("made", O_RDWR | O_CREAT) >= 0);
    CHECK(fails(execve("/bin/true", argv, argv + 1), EACCES));
}

static void make_file(const char *name)
{
    assert_true(open_in(name, O_RDWR | O_CREAT) >= 0);
}

static int setup(void **state)
{
    char path[128];
    (void)state;
    strcpy(folder, "/tmp/tulle-confine-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/ours", folder);
    mkdir(path, 0700);
    make_file("file");
    make_file("secret");
    return 0;
}

static int teardown(void **state)
{
    static const char *const names[] = {"file", "secret", "made", "ours/new", "ours/newer"};
    char path[128];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/ours", folder);
    rmdir(path);
    rmdir(folder);
    return 0;
}

/* --- rights --- */

static void run_rights(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    const uint64_t keep = CONFINE_CAP(CAP_NET_ADMIN);
    CHECK(confine_rights(keep) == 0);
    CHECK(syscall(SYS_capget, &head, data) == 0);
    CHECK((data[0].permitted & ~(uint32_t)keep) == 0 && data[1].permitted == 0);
    CHECK(data[0].inheritable == 0);
    CHECK(geteuid() != 0 || data[0].permitted == (uint32_t)keep);
    CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 && prctl(PR_GET_DUMPABLE) == 0);
    CHECK(geteuid() != 0 || prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN) == 0);
}

static void run_become(void)
{
    struct confine_user user;
    if (geteuid() != 0)
        _exit(SKIPPED);
    CHECK(confine_find_user("no such user", &user) == -ERR_NOT_FOUND);
    CHECK(confine_find_user("root", &user) == 0 && user.uid == 0);
    CHECK(confine_find_user("12345", &user) == 0 && user.uid == 12345 && user.gid == 12345);
    CHECK(confine_become(&user, 0) == 0);
    CHECK(getuid() == 12345 && geteuid() == 12345 && getegid() == 12345);
    CHECK(getgroups(0, NULL) == 0);
    CHECK(fails(setuid(0), EPERM));
    CHECK(confine_rights(0) == 0);
}

#define CHILD_TEST(name)                                                                           \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        in_child(run_##name);                                                                      \
    }
CHILD_TEST(proxy)
CHILD_TEST(sealed)
CHILD_TEST(control)
CHILD_TEST(signer)
CHILD_TEST(other_threads)
CHILD_TEST(files)
CHILD_TEST(open_scope)
CHILD_TEST(rights)
CHILD_TEST(become)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_proxy),
        cmocka_unit_test(test_sealed),
        cmocka_unit_test(test_control),
        cmocka_unit_test(test_signer),
        cmocka_unit_test(test_other_threads),
        cmocka_unit_test(test_abort),
        cmocka_unit_test_setup_teardown(test_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_open_scope, setup, teardown),
        cmocka_unit_test(test_rights),
        cmocka_unit_test(test_become),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
