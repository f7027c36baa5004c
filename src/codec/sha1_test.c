#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "codec/base64.h"
#include "codec/sha1.h"

static void check(struct str data, const char *hex)
{
    uint8_t digest[SHA1_LEN];
    struct str_buf text = STR_BUF_INIT(2 * SHA1_LEN);

    sha1(data, digest);
    hex_encode(&text, str_from((const char *)digest, sizeof digest));
    assert_string_equal(text.ptr, hex);
    str_buf_deinit(&text);
}

/* FIPS 180's examples, and lengths around the end of a block (values of sha1sum). */
static void test_known_digests(void **state)
{
    static char as[200];

    (void)state;
    check(STR(""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    check(STR("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
    check(STR("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
          "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    memset(as, 'a', sizeof as);
    check(str_from(as, 55), "c1c8bbdc22796e28c0e15163d20899b65621d65a");
    check(str_from(as, 56), "c2db330f6083854c99d4b5bfb6e8f29f201be699");
    check(str_from(as, 63), "03f09f5b158a7a8cdad920bddc29b81c18a551f5");
    check(str_from(as, 64), "0098ba824b5c16427bd7a1122a5a442a25ec644d");
    check(str_from(as, 119), "ee971065aaa017e0632a8ca6c77bb3bf8b1dfc56");
    check(str_from(as, 200), "e61cfffe0d9195a525fc6cf06ca2d77119c24a40");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_known_digests)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
