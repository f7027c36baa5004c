/* What a process gives up once it has started: rights, files, calls of the kernel.
 *
 * Three means, each by itself: capabilities and the user (POSIX), files (Landlock), system calls
 * (seccomp). The last two are asked of the kernel directly; where it has them not, the process goes
 * on and says so. All only ever narrow, are inherited, and cannot be taken back.
 *
 * Thread: confine_rights and confine_files count for the calling thread and those that it makes
 * later: before there are any. confine_calls counts for all threads of the process. */
#pragma once

#include "base/str.h"

/* --- rights --- */

/* Capabilities by their bits: 1 << CAP_X of <linux/capability.h>. */
#define CONFINE_CAP(n) (UINT64_C(1) << (n))

/* Keeps of the capabilities those in the mask, for itself and for what it executes; no new ones by
 * execution, no tracing by others of the same user, no core file. 0 or -ERR_X. */
int confine_rights(uint64_t keep);

struct confine_user {
    unsigned uid, gid;
};
/* A name of /etc/passwd, or a number (its group then has the same). -ERR_NOT_FOUND. */
int confine_find_user(const char *name, struct confine_user *ret_user);
/* Becomes it for good, with no other group; capabilities in `keep` stay. For root. 0 or -ERR_X. */
int confine_become(const struct confine_user *user, uint64_t keep);

/* --- files --- */

enum confine_use {
    CONFINE_READ,    /* a file, or all below a folder */
    CONFINE_WRITE,   /* one file that is there: read and written */
    CONFINE_FOLDER,  /* all below: read, written, made, renamed, removed */
    CONFINE_SOCKETS, /* and sockets made */
};

struct confine_path {
    const char *path; /* NULL, and what is not there, is skipped */
    enum confine_use use;
};

enum confine_scope {
    CONFINE_SCOPE_STRICT, /* only the paths; no signals to others, no abstract sockets of others */
    CONFINE_SCOPE_OPEN,   /* whatever its user may, but execute and make devices */
};

/* 0: from now on only these; -ERR_UNSUPPORTED: this kernel has no Landlock; -ERR_X. The paths where
 * the standard streams lead may be written in any case. */
int confine_files(enum confine_scope scope, const struct confine_path *paths, size_t count);

/* --- calls --- */

enum confine_role {
    CONFINE_PROXY,        /* files, sockets of IP and unix, threads */
    CONFINE_PROXY_SEALED, /* that, and nothing new to listen at, and no new thread */
    CONFINE_CONTROL,      /* files, sockets that it has, threads */
    CONFINE_SIGNER,       /* files, the socket that it has */
};

/* 0: everything else is refused (EPERM) and noted in the kernel's log: executing, processes,
 * tracing, mounts, namespaces, other kinds of sockets, executable memory, ... -ERR_UNSUPPORTED:
 * this kernel or machine has no such filter; -ERR_X. May be called again, to narrow. */
int confine_calls(enum confine_role role);
