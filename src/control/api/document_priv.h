/* Inside of document.h: from a tree to the JSON that is stored. */
#pragma once

#include "codec/yaml.h"
#include "control/api/document.h"

/* Whether the texts of the tree, aliases expanded, stay below the limit of a document. Asked
 * before anything is copied, so that a small text with many aliases stays small. */
bool document_json_fits(const struct yaml_node *root);

/* The first list or map with more than API_ITEMS_MAX items; NULL when there is none. */
const struct yaml_node *document_json_too_long(const struct yaml_node *root);

/* The canonical text of api_document.json, in the document's arena; d's kind, namespace and name
 * are known. 0, or -ERR_TOO_LARGE. */
int document_json_write(struct arena *scratch, const struct yaml_node *root,
                        struct api_document *d);

/* Fills d->paths from the tree. */
void document_path_index(const struct yaml_node *root, struct api_document *d);
