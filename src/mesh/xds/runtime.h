/* Inside mesh/xds/ only: layered_runtime of a bootstrap, of which limits of connections are read.
 */
#pragma once

#include "mesh/xds/bootstrap.h"
#include "mesh/xds/decode.h"

/* Behind the static resources. NULL message: nothing is set. 0 or -ERR_INVALID with d->why. */
int runtime_load(struct decode *d, const struct pb_path *at, const Pb__Bootstrap__LayeredRuntime *m,
                 struct bootstrap *b);
