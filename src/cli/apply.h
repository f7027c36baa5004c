/* Reading documents and handing them to a mesh: for apply, delete and up. */
#pragma once

#include "cli/cli.h"
#include "codec/json.h"
#include "control/api/document.h"

/* Reads what the paths name; prints what is wrong. CLI_OK, or CLI_ERROR when there is an error or
 * no document. The list is initialised by the caller. */
int apply_read(struct cli *cli, const char *const *paths, size_t count, const char *namespace,
               struct api_document_list *list);

/* POST /tulle/v1/apply?query; prints findings and refusals. 0 with the answer, or -ERR_X. */
int apply_documents(struct cli *cli, const char *mesh, const char *query,
                    const struct api_document_list *list, struct arena *a,
                    const struct json **ret_root);

/* "VirtualService/shop/catalog configured", one line each. */
void apply_print_changes(struct cli *cli, const struct json *root);
void apply_print_findings(struct cli *cli, struct api_findings *f, bool is_warnings_too);
