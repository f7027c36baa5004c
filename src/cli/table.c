#include "cli/table.h"

#include <stdarg.h>

enum { CELL_LEN_MAX = 1024, GAP = 3 };

void table_init(struct table *t, const char *const *head)
{
    *t = (struct table){0};
    arena_init(&t->arena, 4096);
    for (; head[t->columns] != NULL; t->columns++)
        VEC_PUSH(&t->cells, str_from_c(head[t->columns]));
}

void table_deinit(struct table *t)
{
    VEC_DEINIT(&t->cells);
    arena_deinit(&t->arena);
}

void table_cell(struct table *t, const char *fmt, ...)
{
    char text[CELL_LEN_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    VEC_PUSH(&t->cells, arena_str(&t->arena, str_from_c(text)));
}

void table_print(const struct table *t, FILE *f)
{
    for (size_t i = 0; i < t->cells.len; i++) {
        size_t column = i % t->columns, width = 0;
        for (size_t j = column; j < t->cells.len; j += t->columns)
            width = MAX(width, t->cells.ptr[j].len);
        bool is_last = column + 1 == t->columns || i + 1 == t->cells.len;
        fprintf(f, "%.*s", STR_FMT(t->cells.ptr[i]));
        if (is_last)
            fputc('\n', f);
        else
            fprintf(f, "%*s", (int)(width - t->cells.ptr[i].len) + GAP, "");
    }
}
