#include "cli/diff.h"

#include <stdlib.h>

#include "base/util.h"
#include "base/vec.h"

/* Cells of the table of the longest common subsequence. */
enum { CELLS_MAX = 4 * 1024 * 1024 };

struct line {
    char mark; /* ' ', '-', '+' */
    struct str text;
};

struct lines {
    VEC(struct str) list;
};

struct diff {
    struct lines before, after;
    VEC(struct line) out;
};

static void split(struct str text, struct lines *to)
{
    if (str_ends_with(text, STR("\n")))
        text.len--;
    for (struct str rest = text; rest.ptr != NULL && text.len > 0;)
        VEC_PUSH(&to->list, str_split(&rest, '\n'));
}

static void put(struct diff *d, char mark, struct str text)
{
    VEC_PUSH(&d->out, ((struct line){mark, text}));
}

/* common[i * (m + 1) + j]: the longest common subsequence of what begins at i and at j. */
static void fill(uint32_t *common, const struct str *a, size_t n, const struct str *b, size_t m)
{
    for (size_t i = n; i-- > 0;) {
        for (size_t j = m; j-- > 0;) {
            uint32_t *at = &common[i * (m + 1) + j];
            *at = str_eq(a[i], b[j]) ? at[m + 2] + 1 : MAX(at[m + 1], at[1]);
        }
    }
}

static void walk(struct diff *d, const uint32_t *common, const struct str *a, size_t n,
                 const struct str *b, size_t m)
{
    size_t i = 0, j = 0;
    while (i < n || j < m) {
        const uint32_t *at = &common[i * (m + 1) + j];
        if (i < n && j < m && str_eq(a[i], b[j])) {
            put(d, ' ', a[i++]);
            j++;
        } else if (i < n && (j == m || at[m + 1] >= at[1])) {
            put(d, '-', a[i++]);
        } else {
            put(d, '+', b[j++]);
        }
    }
}

static void compare(struct diff *d, const struct str *a, size_t n, const struct str *b, size_t m)
{
    if ((n + 1) * (m + 1) <= CELLS_MAX) {
        uint32_t *common = calloc((n + 1) * (m + 1), sizeof *common);
        if (common == NULL)
            abort();
        fill(common, a, n, b, m);
        walk(d, common, a, n, b, m);
        free(common);
        return;
    }
    for (size_t i = 0; i < n; i++)
        put(d, '-', a[i]);
    for (size_t j = 0; j < m; j++)
        put(d, '+', b[j]);
}

/* Equal lines at both ends need no table. */
static void compare_all(struct diff *d)
{
    const struct str *a = d->before.list.ptr, *b = d->after.list.ptr;
    size_t n = d->before.list.len, m = d->after.list.len, head = 0, tail = 0;
    while (head < n && head < m && str_eq(a[head], b[head]))
        head++;
    while (tail < n - head && tail < m - head && str_eq(a[n - 1 - tail], b[m - 1 - tail]))
        tail++;
    for (size_t i = 0; i < head; i++)
        put(d, ' ', a[i]);
    compare(d, a + head, n - head - tail, b + head, m - head - tail);
    for (size_t i = n - tail; i < n; i++)
        put(d, ' ', a[i]);
}

static bool is_near_change(const struct diff *d, size_t at, unsigned context)
{
    size_t from = at > context ? at - context : 0, to = MIN(at + context + 1, d->out.len);
    for (size_t i = from; i < to; i++) {
        if (d->out.ptr[i].mark != ' ')
            return true;
    }
    return false;
}

static void print(const struct diff *d, unsigned context, struct str_buf *out)
{
    bool is_gap = false, is_any = false;
    for (size_t i = 0; i < d->out.len; i++) {
        const struct line *l = &d->out.ptr[i];
        if (!is_near_change(d, i, context)) {
            is_gap = true;
            continue;
        }
        if (is_gap && is_any)
            str_buf_add_c(out, "...\n");
        is_gap = false;
        is_any = true;
        str_buf_printf(out, "%c %.*s\n", l->mark, STR_FMT(l->text));
    }
}

void diff_add(struct str before, struct str after, unsigned context, struct str_buf *out)
{
    struct diff d = {0};
    split(before, &d.before);
    split(after, &d.after);
    compare_all(&d);
    print(&d, context, out);
    VEC_DEINIT(&d.before.list);
    VEC_DEINIT(&d.after.list);
    VEC_DEINIT(&d.out);
}
