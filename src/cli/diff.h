/* Two texts line by line, as `diff -u` shows them. Pure. */
#pragma once

#include "base/str.h"

/* Adds lines that begin with ' ', '-' or '+', of what differs with `context` lines around; nothing
 * when the texts are equal. "..." stands for what lies between. Texts whose middle parts are too
 * long for an exact answer are shown as all gone and all new. */
void diff_add(struct str before, struct str after, unsigned context, struct str_buf *out);
