/* What a document speaks of outside its own namespace, so that a check of a change need not look at
 * everything. Pure; any thread. */
#pragma once

#include "control/api/document.h"

/* Calls each(ctx, place) for the namespaces of the hosts and principals that the document names,
 * and for each host that is in none, its name; its own namespace is left out, others may come more
 * than once. `place` is borrowed for the call. */
void api_document_references(const struct api_document *d,
                             void (*each)(void *ctx, struct str place), void *ctx);
