/* Inside documents*.c only. */
#pragma once

#include "control/folder/folder.h"
#include "control/server/documents.h"
#include "control/server/server_priv.h"

enum { DOCUMENTS_PROBLEMS_MAX = 1000, DOCUMENTS_SHOWN_MAX = 100 };

/* A document's name in a file. */
struct documents_ref {
    struct documents_file *file;
    struct str subject; /* in the file's arena */
    uint32_t line;
    bool is_twice; /* in another place, too */
};

struct documents_file {
    struct str path; /* from the folder on; allocated with it */
    struct folder_stamp stamp;
    bool is_clean; /* what it says is what runs: to be read again only when it changes */
    bool is_seen, is_read, is_fresh; /* in the present load */
    bool is_torn;                    /* does not parse: nothing is taken of it */
    VEC(struct documents_ref) refs;
    struct arena arena;
};

struct documents_problem {
    struct str subject; /* empty: of no document */
    struct str file;    /* as shown */
    uint32_t line, column;
    struct str text;
};

/* What is wrong; texts in the arena. */
struct documents_problems {
    VEC(struct documents_problem) list; /* DOCUMENTS_PROBLEMS_MAX at most */
    size_t count;
    struct map by_subject;
    struct arena arena;
};

struct documents {
    struct server *server;
    char *path;
    struct folder *folder;
    struct map files;                  /* by path */
    VEC(struct documents_file *) seen; /* of the present load, by path */
    struct map by_subject;             /* struct documents_ref *, of those; while loading */
    struct change change;              /* the present load's */
    bool has_change;
    bool is_partial, is_usable; /* the present load */
    struct documents_problems next, now;
    size_t document_count, stranger_count;
    struct str_buf strangers; /* the first of them */
    uint64_t loads, failures, loaded_ms, loaded_revision;
};

/* --- documents_problems.c --- */

void documents_problems_init(struct documents_problems *p);
void documents_problems_deinit(struct documents_problems *p);
void documents_problem_add(struct documents_problems *p, const struct documents_problem *problem);
/* next becomes now: logged, and told to who watches the documents concerned. */
void documents_publish(struct documents *d);

/* --- documents_load.c --- */

extern const struct folder_ops documents_ops;
struct str documents_shown_path(const struct documents *d, struct arena *a, struct str path);
void documents_file_free(struct documents_file *f);
void documents_end_load(struct documents *d);
