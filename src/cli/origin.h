/* Origins of an answer of the control plane, brought to the very line: the control plane knows
 * where a document begins; the file, when it still says the same, tells where each part of it
 * stands. Thread: one. */
#pragma once

#include "codec/json.h"
#include "control/api/document.h"

/* The answer with every origin {"document", "path", "file", "line", "hash"} as {"document", "path",
 * "file", "line", "exact"}: exact when the file has that document as it is in force, and then the
 * line is that of the path. Documents of the list are looked at first, then the files named. File
 * names below the present folder become relative to it. In the arena. */
const struct json *origin_refine(struct arena *a, const struct json *answer,
                                 const struct api_document_list *list);

/* "FILE:LINE" of a refined origin, with what is to be said of it; the document where no file is
 * known; empty: null. */
struct str origin_place(struct arena *a, const struct json *origin);
