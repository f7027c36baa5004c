/* The table of bad documents: each file of tests/documents/bad says in its first lines what is to
 * be found in it, as `# expect: LINE:COL text (hint)` or `# expect-warning: ...`; these findings,
 * and no others, must come. */
#include <dirent.h>
#include <stdio.h>

#include "control/api/test_priv.h"

enum { TEXT_MAX = 64 * 1024, FILES_MIN = 25 };

static struct str read_file(const char *name, char *buf)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/documents/bad/%s", TESTS_DIR, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t len = fread(buf, 1, TEXT_MAX, f);
    fclose(f);
    assert_true(len < TEXT_MAX);
    return str_from(buf, len);
}

/* The lines behind "FILE:" of all findings, in the form of the files' own first lines. */
static void print_findings(struct parsed *p, struct str_buf *out)
{
    api_findings_sort(&p->findings);
    for (size_t i = 0; i < p->findings.list.len; i++) {
        const struct api_finding *f = &p->findings.list.ptr[i];
        str_buf_printf(out, "# expect%s: %u:%u %.*s", f->severity == API_ERROR ? "" : "-warning",
                       f->place.line, f->place.column, STR_FMT(f->text));
        if (f->hint.len > 0)
            str_buf_printf(out, " (%.*s)", STR_FMT(f->hint));
        str_buf_add_char(out, '\n');
    }
}

static void check_file(const char *name)
{
    char buf[TEXT_MAX];
    struct parsed p = {0};
    struct api_source source = {.file = str_from_c(name), .text = read_file(name, buf)};
    struct str_buf found = STR_BUF_INIT(1 << 20);
    api_document_list_init(&p.list);
    api_findings_init(&p.findings);
    api_document_parse(&source, &p.list, &p.findings);
    api_check_documents(&p.list, &p.findings);
    assert_true(p.findings.error_count > 0);
    print_findings(&p, &found);
    struct str rest = str_skip(source.text, found.len);
    if (!str_starts_with(source.text, str_buf_str(&found)) ||
        str_starts_with(rest, STR("# expect")))
        fail_msg("%s gives\n%.*s", name, STR_FMT(str_buf_str(&found)));
    str_buf_deinit(&found);
    parsed_free(&p);
}

static void test_bad_documents(void **state)
{
    size_t count = 0;
    DIR *dir = opendir(TESTS_DIR "/documents/bad");
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (!str_ends_with(str_from_c(e->d_name), STR(".yaml")))
            continue;
        check_file(e->d_name);
        count++;
    }
    closedir(dir);
    assert_true(count >= FILES_MIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bad_documents)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
