/* The answer of explain, for people and for programs. Thread: one. */
#pragma once

#include "cli/cli.h"
#include "codec/json.h"

void explain_print_text(struct cli *cli, const struct json *answer);
void explain_print_json(struct cli *cli, const struct json *answer);
