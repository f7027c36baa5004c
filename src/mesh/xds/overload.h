/* Inside mesh/xds/ only: overload_manager of a bootstrap. */
#pragma once

#include "mesh/xds/bootstrap.h"
#include "mesh/xds/decode.h"

/* NULL message: nothing is set. 0 or -ERR_INVALID with d->why. */
int overload_load(struct decode *d, const struct pb_path *at,
                  const Pb__Overload__OverloadManager *m, struct overload_limits *to);
