/* What the tests of documents share: parse a text, look at the one document or at the findings. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/err.h"
#include "control/api/check.h"
#include "control/api/document.h"

struct parsed {
    struct api_document_list list;
    struct api_findings findings;
    int result;
};

static inline struct parsed parse(const char *text)
{
    struct parsed p;
    struct api_source source = {.file = STR("test.yaml"), .text = str_from_c(text)};
    api_document_list_init(&p.list);
    api_findings_init(&p.findings);
    p.result = api_document_parse(&source, &p.list, &p.findings);
    return p;
}

/* For documents that are good: their number is `count`. */
static inline struct parsed parse_good(const char *text, size_t count)
{
    struct parsed p = parse(text);
    for (size_t i = 0; i < p.findings.list.len; i++)
        if (p.findings.list.ptr[i].severity == API_ERROR)
            print_error("%.*s\n", STR_FMT(api_finding_line(&p.findings, &p.findings.list.ptr[i])));
    assert_int_equal(p.result, 0);
    assert_int_equal(p.list.docs.len, count);
    return p;
}

static inline const struct api_document *parsed_doc(const struct parsed *p, size_t i)
{
    assert_true(i < p->list.docs.len);
    return p->list.docs.ptr[i];
}

static inline void parsed_free(struct parsed *p)
{
    api_findings_deinit(&p->findings);
    api_document_list_deinit(&p->list);
}

static inline void assert_str(struct str s, const char *expected)
{
    if (!str_eq(s, str_from_c(expected)))
        fail_msg("\"%.*s\" != \"%s\"", STR_FMT(s), expected);
}

/* Whether a finding with these words is there. */
static inline bool has_finding(const struct parsed *p, enum api_severity severity,
                               const char *words)
{
    for (size_t i = 0; i < p->findings.list.len; i++)
        if (p->findings.list.ptr[i].severity == severity &&
            str_contains(p->findings.list.ptr[i].text, str_from_c(words)))
            return true;
    return false;
}
