/* Any bytes as documents: parsed, checked across, printed; what is good is good again from its own
 * JSON. */
#include <stdint.h>

#include "base/err.h"
#include "control/api/check.h"

static void parse(struct str text, struct api_document_list *list, struct api_findings *findings)
{
    struct api_source source = {.file = STR("fuzz.yaml"), .text = text, .is_locatable = true};
    api_document_parse(&source, list, findings);
    api_check_documents(list, findings);
    api_findings_sort(findings);
}

static void check_json(const struct api_document *d)
{
    struct api_document_list list;
    struct api_findings findings;
    struct api_source source = {.file = STR("again.json"), .text = d->json};
    api_document_list_init(&list);
    api_findings_init(&findings);
    ASSERT(api_document_parse(&source, &list, &findings) == 0);
    ASSERT(list.docs.len == 1 && str_eq(list.docs.ptr[0]->json, d->json));
    api_findings_deinit(&findings);
    api_document_list_deinit(&list);
}

/* As the command line does: the line, and the place of the path in whichever document has it. */
static void show_finding(const struct api_document_list *list, struct api_findings *findings,
                         const struct api_finding *finding)
{
    struct api_place place;
    api_finding_line(findings, finding);
    for (size_t i = 0; i < list->docs.len; i++)
        ASSERT(api_document_locate(list->docs.ptr[i], finding->path, &place));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct api_document_list list;
    struct api_findings findings;
    struct str_buf json = STR_BUF_INIT(1 << 22);
    api_document_list_init(&list);
    api_findings_init(&findings);
    parse(str_from((const char *)data, size), &list, &findings);
    for (size_t i = 0; i < findings.list.len; i++)
        show_finding(&list, &findings, &findings.list.ptr[i]);
    api_findings_add_json(&findings, &json);
    for (size_t i = 0; i < list.docs.len; i++)
        check_json(list.docs.ptr[i]);
    str_buf_deinit(&json);
    api_findings_deinit(&findings);
    api_document_list_deinit(&list);
    return 0;
}
