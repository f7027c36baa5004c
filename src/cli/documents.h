/* Documents from files, folders and standard input, for the verbs that take a PATH.
 *
 * Folders are walked down, their *.yaml and *.yml in the order of their names; names that start
 * with a dot and links to folders are passed over. Thread: one. */
#pragma once

#include "control/api/document.h"

/* Reads what `path` names ("-": standard input) into the list. What cannot be read is a finding
 * too. Returns 0, or -ERR_INVALID when there was an error among the findings of this call. The
 * number of files read is added to *file_count. */
int documents_read(const char *path, struct str default_namespace, struct api_document_list *list,
                   struct api_findings *findings, size_t *file_count);
