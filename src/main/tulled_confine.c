/* The sockets listen, the store is open, the signer runs: what is left is to read and write what is
 * open, and to make backups. */
#include "main/tulled_confine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "confine/confine.h"

enum { PATH_LEN_MAX = 4096 };

struct paths {
    char folder[PATH_LEN_MAX], temporary[PATH_LEN_MAX], db[PATH_LEN_MAX], wal[PATH_LEN_MAX],
        shm[PATH_LEN_MAX];
};

/* The folder's name was used before: it is short enough. */
static void name_paths(const struct tulled_options *o, struct paths *p)
{
    (void)!snprintf(p->folder, sizeof p->folder, "%s", o->state);
    (void)!snprintf(p->temporary, sizeof p->temporary, "%s/tmp", o->state);
    (void)!snprintf(p->db, sizeof p->db, "%s/store.db", o->state);
    (void)!snprintf(p->wal, sizeof p->wal, "%s/store.db-wal", o->state);
    (void)!snprintf(p->shm, sizeof p->shm, "%s/store.db-shm", o->state);
}

/* The folder stays root's, for others to pass through only: what lies in it is for root alone, but
 * the store. */
static int give_to(const struct paths *p, const struct confine_user *user)
{
    const char *const given[] = {p->temporary, p->db, p->wal, p->shm};
    for (size_t i = 0; i < ARRAY_LEN(given); i++) {
        if (lchown(given[i], user->uid, user->gid) != 0 && errno != ENOENT)
            return err_from_errno(errno);
    }
    bool is_passed = chown(p->folder, (uid_t)-1, user->gid) == 0 && chmod(p->folder, 0710) == 0;
    return is_passed ? 0 : err_from_errno(errno);
}

static int change_user(const struct tulled_options *o, const struct paths *p, struct str_buf *why)
{
    struct confine_user user;
    if (o->user == NULL || geteuid() != 0)
        return 0;
    int err = confine_find_user(o->user, &user);
    if (err == 0)
        err = give_to(p, &user);
    if (err == 0)
        err = confine_become(&user, 0);
    if (err != 0)
        str_buf_printf(why, "--user %s: %s", o->user, err_text(err));
    return err;
}

static const char *holds(int err)
{
    return err == 0 ? "on" : err == -ERR_UNSUPPORTED ? "not in this kernel" : err_text(err);
}

/* --- the folder of documents --- */

static bool real(const char *path, char to[PATH_LEN_MAX])
{
    return path != NULL && realpath(path, to) != NULL;
}

/* Whether all below `folder` may be read: neither the CA's files nor their passphrase are there. */
static bool is_harmless(const char *folder, const char *const *secrets, size_t count)
{
    char at[PATH_LEN_MAX], secret[PATH_LEN_MAX];
    if (!real(folder, at))
        return false;
    size_t len = strcmp(at, "/") == 0 ? 0 : strlen(at);
    for (size_t i = 0; i < count; i++) {
        if (real(secrets[i], secret) && strncmp(secret, at, len) == 0 &&
            (secret[len] == '/' || secret[len] == '\0'))
            return false;
    }
    return true;
}

static const char *parent_of(const char *path, char parent[PATH_LEN_MAX])
{
    snprintf(parent, PATH_LEN_MAX, "%s/..", path);
    return parent;
}

static const char *parent_of_name(const char *path, char parent[PATH_LEN_MAX])
{
    int len = snprintf(parent, PATH_LEN_MAX, "%s", path);
    while (len > 1 && len < PATH_LEN_MAX && parent[len - 1] == '/')
        parent[--len] = '\0';
    char *slash = strrchr(parent, '/');
    if (slash == NULL)
        return ".";
    slash[slash == parent ? 1 : 0] = '\0';
    return parent;
}

/* The folder, and those in which another one may take its place: where its name is, and where it is
 * if the name is a link. Entries that would lead to a secret become NULL. */
static void add_documents(const struct tulled_options *o, const char *passphrase_file,
                          struct confine_path to[3])
{
    static char beside_name[PATH_LEN_MAX], beside_folder[PATH_LEN_MAX];
    const char *const secrets[] = {o->state, passphrase_file};
    const char *const folders[] = {o->documents, parent_of_name(o->documents, beside_name),
                                   parent_of(o->documents, beside_folder)};
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        bool is_given = is_harmless(folders[i], secrets, ARRAY_LEN(secrets));
        to[i] = (struct confine_path){is_given ? folders[i] : NULL, CONFINE_READ};
        if (!is_given)
            log_event(LOG_WARN, "documents_confined", LFC("folder", folders[i]),
                      LFC("reason", "the state directory or the passphrase lies below: it is not "
                                    "read, nor a folder that takes the documents' place in it"));
    }
}

/* What this kernel has not is done without; what it has and refuses is not. */
static int judge(int files, int calls, struct str_buf *why)
{
    bool is_bad = files != 0 && files != -ERR_UNSUPPORTED;
    int err = is_bad ? files : calls != -ERR_UNSUPPORTED ? calls : 0;
    if (err != 0)
        str_buf_printf(why, "giving up %s: %s (--confine off goes on without)",
                       is_bad ? "files" : "system calls", err_text(err));
    return err;
}

static int give_up(const struct tulled_options *o, const struct paths *p,
                   const char *passphrase_file, struct str_buf *why)
{
    struct confine_path kept[] = {
        {p->db, CONFINE_WRITE},
        {p->wal, CONFINE_WRITE},
        {p->shm, CONFINE_WRITE},
        {p->temporary, CONFINE_FOLDER},
        {0},
        {0},
        {0},
    };
    if (o->documents != NULL)
        add_documents(o, passphrase_file, &kept[4]);
    int err = confine_rights(0);
    if (err != 0) {
        str_buf_printf(why, "giving up capabilities: %s", err_text(err));
        return err;
    }
    int files = confine_files(CONFINE_SCOPE_STRICT, kept, ARRAY_LEN(kept));
    int calls = confine_calls(CONFINE_CONTROL);
    log_event(files == 0 && calls == 0 ? LOG_INFO : LOG_WARN, "confined", LFC("rights", "on"),
              LFC("files", holds(files)), LFC("calls", holds(calls)));
    return judge(files, calls, why);
}

int tulled_confine(const struct tulled_options *o, const char *passphrase_file, struct str_buf *why)
{
    struct paths p;
    name_paths(o, &p);
    if (mkdir(p.temporary, 0700) != 0 && errno != EEXIST) {
        str_buf_printf(why, "%s: %s", p.temporary, strerror(errno));
        return -ERR_SYSTEM;
    }
    int err = change_user(o, &p, why);
    if (err != 0 || strcmp(o->confine, "on") == 0)
        return err != 0 ? err : give_up(o, &p, passphrase_file, why);
    log_event(LOG_WARN, "not_confined", LFC("reason", "--confine off"));
    return 0;
}
