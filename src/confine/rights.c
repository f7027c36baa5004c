#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "confine/confine.h"

enum { CAP_WORDS = 2, CAP_BITS_MAX = 64 };

static int os_error(int result)
{
    return result == 0 ? 0 : err_from_errno(errno);
}

static int get_permitted(uint64_t *ret_mask)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[CAP_WORDS];
    int err = os_error((int)syscall(SYS_capget, &head, data));
    if (err == 0)
        *ret_mask = data[0].permitted | (uint64_t)data[1].permitted << 32;
    return err;
}

static int set_caps(uint64_t mask)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[CAP_WORDS];
    for (int i = 0; i < CAP_WORDS; i++) {
        uint32_t word = (uint32_t)(mask >> (32 * i));
        data[i] = (struct __user_cap_data_struct){word, word, 0};
    }
    return os_error((int)syscall(SYS_capset, &head, data));
}

/* The bounding set takes CAP_SETPCAP; who has not that cannot gain by it either. */
static void drop_bounding(uint64_t keep)
{
    for (unsigned cap = 0; cap < CAP_BITS_MAX; cap++) {
        if ((keep & CONFINE_CAP(cap)) == 0)
            (void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
    }
}

int confine_rights(uint64_t keep)
{
    uint64_t permitted = 0;
    int err = get_permitted(&permitted);
    if (err != 0)
        return err;
    drop_bounding(keep);
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    err = set_caps(permitted & keep);
    if (err == 0)
        err = os_error(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    if (err == 0)
        err = os_error(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
    if (err == 0)
        err = os_error(setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}));
    return err;
}

int confine_find_user(const char *name, struct confine_user *ret_user)
{
    uint64_t number;
    const struct passwd *entry = getpwnam(name);
    if (entry != NULL) {
        *ret_user = (struct confine_user){entry->pw_uid, entry->pw_gid};
        return 0;
    }
    if (!str_to_u64(str_from_c(name), INT32_MAX, &number))
        return -ERR_NOT_FOUND;
    *ret_user = (struct confine_user){(unsigned)number, (unsigned)number};
    return 0;
}

int confine_become(const struct confine_user *user, uint64_t keep)
{
    uint64_t permitted = 0;
    int err = get_permitted(&permitted);
    if (err == 0)
        err = os_error(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
    if (err == 0)
        err = os_error(setgroups(0, NULL));
    if (err == 0)
        err = os_error(setresgid(user->gid, user->gid, user->gid));
    if (err == 0)
        err = os_error(setresuid(user->uid, user->uid, user->uid));
    return err != 0 ? err : set_caps(permitted & keep);
}
