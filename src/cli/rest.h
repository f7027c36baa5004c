/* Talking to the mesh's control plane over its unix socket, and saying what went wrong. */
#pragma once

#include "base/arena.h"
#include "cli/cli.h"
#include "codec/json.h"
#include "control/api/document.h"
#include "host/http_call.h"

/* One call; a body is JSON. 0 when an answer came (any status); else says why and returns -ERR_X.
 * The answer is initialised either way. */
int rest_call(struct cli *cli, const char *mesh, const char *method, const char *path,
              struct str body, uint32_t timeout_ms, struct http_answer *ret_answer);

/* rest_call whose answer must be 2xx with JSON; else says why ("findings", a Status' "message", or
 * the text) and returns -ERR_X. */
int rest_json(struct cli *cli, const char *mesh, const char *method, const char *path,
              struct str body, uint32_t timeout_ms, struct arena *a, const struct json **ret_root);

/* "/apis/GROUP/VERSION/namespaces/NS/PLURAL/NAME"; namespace and name may be empty. */
struct str rest_path(struct arena *a, const struct api_kind_info *kind, struct str namespace,
                     struct str name);

/* Adds "key=value&" with the value escaped; nothing when it is NULL. */
void rest_add_query(struct str_buf *path, const char *key, const char *value);

/* The kind of that name; NULL: said which is nearest. */
const struct api_kind_info *rest_kind(struct cli *cli, const char *name);

/* Documents as the body of an apply, each with its file and line. */
void rest_documents(const struct api_document_list *list, struct str_buf *out);

/* Prints {"findings": [...]} of an answer, one a line, in the place of the local document that each
 * is about (local may be NULL). False when there are none. */
bool rest_print_findings(struct cli *cli, const struct json *root,
                         const struct api_document_list *local);

/* What --wait asks: until revision is true everywhere. Prints the result, returns the exit code;
 * the answer is in ret_root (NULL when there was none). is_quiet: for -o json. */
int rest_wait(struct cli *cli, const char *mesh, uint64_t revision, uint64_t timeout_ms,
              bool is_quiet, struct arena *a, const struct json **ret_root);
/* The value of --wait[=TIME]: 0 not asked. False: said why. */
bool rest_wait_option(struct cli *cli, const char *text, uint64_t *ret_timeout_ms);

/* `"revision"` of an answer; false when it has none. */
bool rest_revision(const struct json *root, uint64_t *ret_revision);

/* A whole answer on cli->out, for -o json. */
void rest_print_json(struct cli *cli, const struct json *root);
