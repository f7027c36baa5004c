#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/upstream/host_file.h"

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void assert_text(struct host_file *f, const char *want)
{
    struct str text = host_file_text(f);
    assert_int_equal(text.len, strlen(want));
    assert_memory_equal(text.len > 0 ? text.ptr : "", want, text.len);
}

static void test_it_is_read_when_it_has_changed(void **state)
{
    char path[] = "/tmp/tulle-hosts-XXXXXX", other[sizeof path + 4];
    struct host_file f;
    (void)state;
    close(mkstemp(path));
    put(path, "one\n");
    host_file_init(&f, path);
    uint64_t before = host_file_reads();
    for (int i = 0; i < 5; i++)
        assert_text(&f, "one\n");
    assert_int_equal(host_file_reads() - before, 1);
    put(path, "another\n");
    assert_text(&f, "another\n");
    assert_int_equal(host_file_reads() - before, 2);
    /* As editors do: another file of that name, even of the same size. */
    snprintf(other, sizeof other, "%s.new", path);
    put(other, "renamed\n");
    assert_int_equal(rename(other, path), 0);
    assert_text(&f, "renamed\n");
    unlink(path);
    assert_text(&f, "");
    put(path, "back\n");
    assert_text(&f, "back\n");
    host_file_deinit(&f);
    unlink(path);
}

static void test_what_is_no_file_or_too_long_is_empty(void **state)
{
    char path[] = "/tmp/tulle-hosts-XXXXXX";
    struct host_file f;
    (void)state;
    host_file_init(&f, "/tmp");
    assert_text(&f, "");
    host_file_deinit(&f);
    int fd = mkstemp(path);
    assert_int_equal(ftruncate(fd, HOST_FILE_LEN_MAX + 1), 0);
    close(fd);
    host_file_init(&f, path);
    assert_text(&f, "");
    host_file_deinit(&f);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_is_read_when_it_has_changed),
        cmocka_unit_test(test_what_is_no_file_or_too_long_is_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
