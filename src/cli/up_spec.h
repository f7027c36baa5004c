/* From documents to what a box runs. */
#pragma once

#include "control/api/document.h"
#include "host/spec.h"

/* Fills the spec from the Workloads and the Mesh document of the list; folders are those of the
 * documents' files. Texts live in the arena. */
void up_spec_from_documents(const struct api_document_list *list, struct arena *a,
                            struct box_spec *ret_spec);
void up_spec_deinit(struct box_spec *spec);

/* A mesh's name from its folder's: lower case, other characters become '-'; "mesh" when nothing is
 * left. In the arena. */
const char *up_spec_name(const char *dir, struct arena *a);
