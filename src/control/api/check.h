/* Checks across documents: duplicates, references, conflicts, and warnings about what is likely
 * not meant, as `istioctl analyze` does. */
#pragma once

#include "control/api/document.h"

/* Adds what is wrong with the set as a whole; findings name the document that has to change in
 * `subject`. References are only errors where the set can know better: a host without a Service is
 * one when the set has a Service in that namespace. */
void api_check_documents(const struct api_document_list *set, struct api_findings *findings);

/* Only whether documents are there twice: what a set can tell without what it will be added to. */
void api_check_duplicates(const struct api_document_list *set, struct api_findings *findings);

/* The Mesh document of the set, or api_mesh_default(). */
const struct api_mesh *api_check_mesh(const struct api_document_list *set);
