/* What is wrong with documents: all of it, each with its place and with what to write instead.
 *
 * Owner: whoever embeds the struct; its texts live until api_findings_deinit. Thread: one.
 * Bounded: after list_max a last finding says that the rest is left out. */
#pragma once

#include <stdio.h>

#include "base/arena.h"
#include "base/vec.h"
#include "control/api/value.h"

enum api_severity { API_ERROR, API_WARNING };

enum {
    API_FINDINGS_MAX = 1000,
    API_FINDINGS_CHECKED_MAX = 1000 * 1000, /* where what is left out would be taken for good */
};

struct api_finding {
    enum api_severity severity;
    struct str file;
    struct api_place place;
    struct str subject; /* "VirtualService/shop/catalog", or empty when it belongs to no document */
    struct str path;    /* "spec.http[2].route[0].weight", or empty */
    struct str text;
    struct str hint; /* what to write instead; may be empty */
    /* It refers to something that is not there: an error of a set that is meant to be whole, but
     * where documents come one by one the other may come yet. */
    bool is_unmet;
};

struct api_findings {
    struct arena arena;
    VEC(struct api_finding) list;
    size_t error_count, warning_count;
    size_t list_max; /* API_FINDINGS_MAX unless it is set after api_findings_init */
};

void api_findings_init(struct api_findings *f);
void api_findings_deinit(struct api_findings *f);

/* Copies the finding's texts. */
void api_findings_add(struct api_findings *f, const struct api_finding *finding);

/* By file, line, column, severity, text; the same finding twice is kept once. */
void api_findings_sort(struct api_findings *f);

/* `file:line:col: error|warning: text (hint)`, without a newline, in the findings' arena. Control
 * characters that come from a document are written as `?`. */
struct str api_finding_line(struct api_findings *f, const struct api_finding *finding);

/* Appends [{"severity", "file", "line", "column", "path", "text", "hint", "document"}, ...]. */
void api_findings_add_json(const struct api_findings *f, struct str_buf *out);
