#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/uio.h>

#include <cmocka.h>

#include "base/chain.h"
#include "base/random.h"

static struct str text_of(const struct chain *c, char *buf, size_t cap)
{
    return str_from(buf, chain_peek(c, 0, buf, cap));
}

static void assert_chain(const struct chain *c, const char *text)
{
    char buf[256];

    assert_true(str_eq(text_of(c, buf, sizeof(buf)), str_from_c(text)));
    assert_int_equal(c->len, strlen(text));
}

static void test_add_and_skip(void **state)
{
    struct chunk_pool pool;
    struct chain_account top = {0}, account = {.parent = &top};
    struct chain c;

    chunk_pool_init(&pool, 4);
    chain_init(&c, &pool, &account);
    chain_add(&c, STR("hello "));
    chain_printf(&c, "%s %d", "world", 7);
    chain_add(&c, STR_NULL);
    assert_chain(&c, "hello world 7");
    assert_int_equal(c.count, 1);
    assert_int_equal(account.bytes, 13);
    assert_int_equal(top.bytes, 13);
    chain_skip(&c, 6);
    assert_chain(&c, "world 7");
    assert_int_equal(top.bytes, 7);
    chain_skip(&c, 7);
    assert_true(chain_is_empty(&c));
    assert_null(chain_first(&c).ptr);
    assert_int_equal(pool.live_count, 0);
    assert_int_equal(pool.free_count, 1);
    chain_deinit(&c);
    assert_int_equal(top.bytes, 0);
    chunk_pool_deinit(&pool);
}

static void test_printf_longer_than_a_chunk(void **state)
{
    struct chain c;

    chain_init(&c, NULL, NULL);
    chain_printf(&c, "%*d", 2 * CHUNK_LEN, 5);
    assert_int_equal(c.len, 2 * CHUNK_LEN);
    chain_printf(&c, "%*d", 300, 5);
    assert_int_equal(c.len, 2 * CHUNK_LEN + 300);
    chain_deinit(&c);
}

static void test_pool_is_lifo_and_bounded(void **state)
{
    struct chunk_pool pool;
    struct chain a, b;
    const char *first;

    chunk_pool_init(&pool, 1);
    chain_init(&a, &pool, NULL);
    chain_init(&b, &pool, NULL);
    chain_add(&a, STR("a"));
    chain_add(&b, STR("b"));
    first = chain_first(&b).ptr;
    chain_clear(&b);
    chain_clear(&a);
    assert_int_equal(pool.free_count, 1);
    chain_add(&a, STR("c"));
    assert_ptr_equal(chain_first(&a).ptr, first);
    chain_deinit(&a);
    chain_deinit(&b);
    chunk_pool_deinit(&pool);
}

/* What was needed at once stays for the next time, what was not goes. */
static void test_pool_is_trimmed(void **state)
{
    struct chunk_pool pool;
    struct chain c;

    chunk_pool_init(&pool, 100);
    chain_init(&c, &pool, NULL);
    for (unsigned period = 0; period < 3; period++) {
        for (unsigned i = 0; i < 20 * CHUNK_LEN; i += 1000)
            chain_add(&c, str_from((char[1000]){0}, 1000));
        chain_clear(&c);
        assert_in_range(pool.free_count, 20, 22);
        assert_true(chunk_pool_shrink(&pool, 4));
        assert_in_range(pool.free_count, 20, 22); /* all were in use */
    }
    uint64_t before = mem_alloc_count();
    chain_add(&c, STR("x"));
    chain_clear(&c);
    assert_int_equal(mem_alloc_count(), before);
    assert_true(chunk_pool_shrink(&pool, 4) == false);
    assert_int_equal(pool.free_count, 4);
    chain_deinit(&c);
    chunk_pool_deinit(&pool);
}

static void test_reserve(void **state)
{
    struct chunk_pool pool;
    struct chain c, other;
    size_t room;

    chunk_pool_init(&pool, 4);
    chain_init(&c, &pool, NULL);
    chain_init(&other, &pool, NULL);
    memcpy(chain_reserve(&c, 1, &room), "abc", 3);
    assert_int_equal(room, CHUNK_LEN);
    chain_commit(&c, 3);
    memcpy(chain_reserve(&c, 1, &room), "def", 3);
    assert_int_equal(room, CHUNK_LEN - 3);
    chain_commit(&c, 3);
    assert_chain(&c, "abcdef");
    assert_int_equal(c.count, 1);
    assert_non_null(chain_reserve(&c, CHUNK_LEN, &room)); /* left unused, then thrown away */
    assert_int_equal(pool.live_count, 2);
    chain_add(&other, STR("x"));
    chain_move(&c, &other, 1);
    assert_chain(&c, "abcdefx");
    assert_non_null(chain_reserve(&c, CHUNK_LEN + 1, &room));
    chain_commit(&c, 0);
    chain_skip(&c, 7);
    assert_int_equal(pool.live_count, 0);
    assert_non_null(chain_reserve(&c, 1, &room));
    assert_true(chain_is_empty(&c));
    assert_int_equal(chain_iovecs(&c, (struct iovec[1]){{0}}, 1), 0);
    chain_deinit(&c);
    chain_deinit(&other);
    chunk_pool_deinit(&pool);
}

static void fill(struct chain *c, char byte, size_t len)
{
    size_t room;
    char *at = chain_reserve(c, len, &room);

    memset(at, byte, len);
    chain_commit(c, len);
}

static void test_move_takes_large_and_copies_small(void **state)
{
    struct chain from, to;
    const char *bytes;

    chain_init(&from, NULL, NULL);
    chain_init(&to, NULL, NULL);
    fill(&from, 'L', 5000);
    bytes = chain_first(&from).ptr;
    chain_move(&to, &from, 4000);
    assert_ptr_equal(chain_first(&to).ptr, bytes);
    assert_int_equal(from.len, 1000);
    chain_move(&to, &from, 600); /* below the bound: copied, contents the same */
    assert_int_equal(to.len, 4600);
    chain_move(&to, &from, SIZE_MAX);
    assert_int_equal(to.len, 5000);
    assert_true(chain_is_empty(&from));
    for (size_t i = 0; i < 5000; i++) {
        assert_int_equal(chain_first(&to).ptr[0], 'L');
        chain_skip(&to, 1);
    }
    /* The last user of a chunk hands it on, however little is in it. */
    chain_add(&from, STR("tiny"));
    bytes = chain_first(&from).ptr;
    chain_move(&to, &from, 4);
    assert_ptr_equal(chain_first(&to).ptr, bytes);
    chain_deinit(&from);
    chain_deinit(&to);
}

static void test_shared_chunk_has_one_writer(void **state)
{
    struct chain a, b;
    char buf[8];

    chain_init(&a, NULL, NULL);
    chain_init(&b, NULL, NULL);
    fill(&a, 'x', 2000);
    chain_share(&b, &a, 0, SIZE_MAX);
    assert_ptr_equal(chain_first(&a).ptr, chain_first(&b).ptr);
    chain_add(&a, STR("AA"));
    chain_add(&b, STR("BB"));
    assert_int_equal(chain_peek(&a, 1999, buf, sizeof(buf)), 3);
    assert_memory_equal(buf, "xAA", 3);
    assert_int_equal(chain_peek(&b, 1999, buf, sizeof(buf)), 3);
    assert_memory_equal(buf, "xBB", 3);
    chain_clear(&b);
    chain_share(&b, &a, 1999, 2);
    assert_chain(&b, "xA");
    chain_share(&b, &a, 5000, 2);
    assert_chain(&b, "xA");
    chain_deinit(&a);
    chain_deinit(&b);
}

static void test_pullup(void **state)
{
    struct chain_account account = {0};
    struct chain c, piece;

    chain_init(&c, NULL, &account);
    chain_init(&piece, NULL, NULL);
    for (int i = 0; i < 5; i++) {
        fill(&piece, (char)('a' + i), 1500);
        chain_move(&c, &piece, 1500);
    }
    assert_true(c.count > 1);
    struct str s = chain_pullup(&c, 4000);
    assert_int_equal(s.len, 4000);
    assert_int_equal(s.ptr[0], 'a');
    assert_int_equal(s.ptr[3999], 'c');
    assert_int_equal(c.len, 7500);
    assert_int_equal(account.bytes, 7500);
    assert_ptr_equal(chain_pullup(&c, 10).ptr, s.ptr);
    assert_int_equal(chain_pullup(&c, 7500).ptr[7499], 'e');
    assert_null(chain_pullup(&c, 0).ptr);
    chain_deinit(&c);
    chain_deinit(&piece);
    assert_int_equal(account.bytes, 0);
}

/* Three chains against a model of plain strings, in a random order of operations. */
static void step(struct random *r, struct chain *chains, struct str_buf *models)
{
    uint32_t i = random_below(r, 3), j = (i + 1 + random_below(r, 2)) % 3;
    struct chain *c = &chains[i];
    struct str_buf *m = &models[i];
    size_t len = random_below(r, 8) == 0 ? random_below(r, 40000) : random_below(r, 3000);
    char text[64];

    switch (random_below(r, 6)) {
    case 0:
        for (size_t k = 0; k < len / 64; k++) {
            memset(text, (char)random_u64(r), sizeof(text));
            chain_add(c, str_from(text, sizeof(text)));
            str_buf_add(m, str_from(text, sizeof(text)));
        }
        break;
    case 1: {
        size_t room;
        char *at = chain_reserve(c, random_below(r, 2) ? len : 0, &room);
        len = MIN(len, room);
        memset(at, (char)len, len);
        str_buf_add(m, str_from(at, len));
        chain_commit(c, len);
        break;
    }
    case 2:
        len = MIN(len, c->len);
        chain_move(&chains[j], c, len);
        str_buf_add(&models[j], str_from(m->ptr, len));
        memmove(m->ptr, m->ptr + len, m->len - len);
        m->len -= len;
        break;
    case 3: {
        size_t from = random_below(r, 2000);
        chain_share(&chains[j], c, from, len);
        str_buf_add(&models[j], str_sub(str_buf_str(m), from, len));
        break;
    }
    case 4:
        len = MIN(len * 2, c->len);
        chain_skip(c, len);
        if (len > 0)
            memmove(m->ptr, m->ptr + len, m->len - len);
        m->len -= len;
        break;
    case 5:
        len = MIN(len, c->len);
        assert_true(str_eq(chain_pullup(c, len), str_from(m->ptr, len)));
        break;
    }
    if (c->len > 300000) {
        chain_clear(c);
        m->len = 0;
    }
}

/* Small pieces of many chunks, as of a stream among others, between large ones. */
static void test_tighten(void **state)
{
    static const size_t lens[] = {CHUNK_LEN, 1100, 1100, 3000, 5, 1100, CHUNK_LEN - 9, 1100};
    struct chain_account account = {0};
    struct chunk_pool pool;
    struct chain c, from;
    char block[CHUNK_LEN], got[4 * CHUNK_LEN], want[4 * CHUNK_LEN];
    size_t len = 0;

    chunk_pool_init(&pool, 4);
    chain_init(&c, &pool, &account);
    chain_init(&from, &pool, NULL);
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        memset(block, (int)('a' + i), sizeof(block));
        memset(want + len, (int)('a' + i), lens[i]);
        chain_add(&from, str_from(block, lens[i]));
        chain_share(&c, &from, 0, from.len);
        chain_clear(&from);
        len += lens[i];
    }
    const char *first = chain_first(&c).ptr;
    assert_true(chain_held_bytes(&c) > 4 * CHUNK_LEN);
    assert_int_equal(chain_held_bytes(&c), pool.live_bytes);
    chain_tighten(&c, 16 * CHUNK_LEN); /* that much may be */
    assert_true(chain_held_bytes(&c) > 4 * CHUNK_LEN);
    chain_tighten(&c, 3 * CHUNK_LEN);
    assert_int_equal(chain_held_bytes(&c), 3 * CHUNK_LEN);
    assert_int_equal(pool.live_bytes, 3 * CHUNK_LEN);
    assert_ptr_equal(chain_first(&c).ptr, first); /* a full chunk stays where it is */
    assert_int_equal(c.len, len);
    assert_int_equal(account.bytes, len);
    assert_int_equal(chain_peek(&c, 0, got, sizeof(got)), len);
    assert_memory_equal(got, want, len);
    uint32_t count = c.count;
    chain_tighten(&c, CHUNK_LEN); /* nothing to gain: three are needed */
    assert_int_equal(c.count, count);
    chain_add(&c, STR("!"));
    assert_int_equal(c.len, len + 1);
    chain_deinit(&c);
    chain_deinit(&from);
    assert_int_equal(account.bytes, 0);
    chunk_pool_deinit(&pool);
}

static void test_model(void **state)
{
    struct chunk_pool pool;
    struct chain_account account = {0};
    struct chain chains[3];
    struct str_buf models[3];
    struct random r;

    random_init(&r, 42);
    chunk_pool_init(&pool, 8);
    for (int i = 0; i < 3; i++) {
        chain_init(&chains[i], &pool, &account);
        models[i] = STR_BUF_INIT(SIZE_MAX);
        str_buf_add_char(&models[i], ' ');
        models[i].len = 0;
    }
    for (int n = 0; n < 3000; n++) {
        size_t sum = 0;

        step(&r, chains, models);
        for (int i = 0; i < 3; i++) {
            size_t at = 0;

            assert_int_equal(chains[i].len, models[i].len);
            for (uint32_t k = 0; k < chains[i].count; k++) {
                struct str s = chain_slice_str(&chains[i], k);
                assert_true(str_eq(s, str_from(models[i].ptr + at, s.len)));
                at += s.len;
            }
            assert_int_equal(at, models[i].len);
            sum += at;
        }
        assert_int_equal(account.bytes, sum);
    }
    for (int i = 0; i < 3; i++) {
        chain_deinit(&chains[i]);
        str_buf_deinit(&models[i]);
    }
    chunk_pool_deinit(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add_and_skip),
        cmocka_unit_test(test_printf_longer_than_a_chunk),
        cmocka_unit_test(test_pool_is_lifo_and_bounded),
        cmocka_unit_test(test_pool_is_trimmed),
        cmocka_unit_test(test_reserve),
        cmocka_unit_test(test_move_takes_large_and_copies_small),
        cmocka_unit_test(test_shared_chunk_has_one_writer),
        cmocka_unit_test(test_pullup),
        cmocka_unit_test(test_tighten),
        cmocka_unit_test(test_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
