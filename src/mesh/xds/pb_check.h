/* Looks over an encoded message before protobuf-c unpacks it: that library bounds no depth, takes
 * any bytes for a string, cuts strings at NUL, and keeps fields that it does not know. Pure. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "mesh/xds/pb_path.h"

enum { PB_DEPTH_MAX = 64 };

enum pb_check_mode {
    PB_CHECK_STRICT,   /* fields, enum values and extensions that we do not have are refused */
    PB_CHECK_TOLERANT, /* they pass, and nothing looks inside an Any: messages of protocols */
};

/* 0, or -ERR_INVALID with path and reason in why. `at` is printed in front. */
int pb_check(const ProtobufCMessageDescriptor *descriptor, struct str wire, enum pb_check_mode mode,
             const struct pb_path *at, struct str_buf *why);
