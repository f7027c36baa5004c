/* Documents of files as a control plane has them, without one: a store in memory, every replica of
 * every Workload ready. Owner: whoever embeds the struct. Thread: one. */
#pragma once

#include "cli/cli.h"
#include "cli/opt.h"
#include "control/api/document.h"
#include "control/registry/registry.h"
#include "control/translate/translate.h"

struct explain_local {
    struct api_document_list list;
    struct store *store; /* these are NULL until it is open */
    struct registry *registry;
    struct translate *translate;
};

void explain_local_init(struct explain_local *l);
void explain_local_deinit(struct explain_local *l);
/* Reads and checks the files as `tulle lint` does; errors are printed. An enum cli_exit. */
int explain_local_open(struct explain_local *l, struct cli *cli, const struct opt_list *files,
                       const char *namespace);
