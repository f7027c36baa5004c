/* Columns for people: widths follow the content. Cells are copied. Thread: one. */
#pragma once

#include <stdio.h>

#include "base/arena.h"
#include "base/vec.h"

struct table {
    size_t columns;
    VEC(struct str) cells; /* row by row, the head first */
    struct arena arena;
};

/* The head, ended by NULL. */
void table_init(struct table *t, const char *const *head);
void table_deinit(struct table *t);
/* The next cell of the present row; a full row starts the next. */
void table_cell(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void table_print(const struct table *t, FILE *f);
