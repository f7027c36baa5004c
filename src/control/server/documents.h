/* Documents that come from a folder (tulled --documents): what lies there is what runs.
 *
 * A load reads the files that changed, checks their documents together with all that is there, and
 * writes what is good as one change, by owner "directory"; what the folder no longer has goes. It
 * fails static, document by document: one that is wrong keeps its last good content, and says why
 * in `documents_write_*`; a file that does not parse keeps all of its documents, a document that
 * stands in two files keeps what ran before. Nothing is deleted while a part of the folder cannot
 * be read, and a folder that is not there, or has no file at all, changes nothing.
 *
 * Documents of other owners (written by the API before there was a folder) stay until they are
 * deleted by hand or stand in the folder. Records of the store (tokens, the CA's state, replicas,
 * addresses) and the history are not documents: they stay where they are.
 *
 * Owner: the server. Thread: the brain's. */
#pragma once

#include "base/str.h"
#include "codec/json_writer.h"
#include "control/store/store.h"

struct server;
struct documents;

#define DOCUMENTS_OWNER "directory"

/* Loads at once what lies there (unless Git is writing it), then follows it. path: absolute. */
struct documents *documents_new(struct server *s, struct str path);
struct documents *documents_free(struct documents *d);

/* Where the API's own writers are to go instead; the message is for people. */
enum documents_say {
    DOCUMENTS_FREE,   /* the API may do it */
    DOCUMENTS_FROM,   /* it comes from a file of the folder: ret_where is "FILE:LINE" */
    DOCUMENTS_FOLDER, /* documents have to be put into the folder: ret_where is its path */
};
enum documents_say documents_may_write(const struct documents *d, const struct store_object *o,
                                       bool is_delete, struct arena *a, struct str *ret_where);

/* The reason why the folder's document is not what runs, as "FILE:LINE:COLUMN: TEXT" in the arena;
 * the null string: there is none. */
struct str documents_problem(const struct documents *d, enum api_kind kind, struct str namespace_,
                             struct str name, struct arena *a);
/* Member "documents" of status. */
void documents_write_status(const struct documents *d, struct json_writer *w);
void documents_render_metrics(const struct documents *d, struct str_buf *to);
