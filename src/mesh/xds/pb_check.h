/* Looks over an encoded message before protobuf-c unpacks it: that library bounds no depth, takes
 * any bytes for a string, cuts strings at NUL, and keeps fields that it does not know. Pure. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "mesh/xds/pb_path.h"

enum { PB_DEPTH_MAX = 64 };

enum pb_check_mode {
    /* Fields, enum values and extensions that we do not have are refused, and so is what is there
     * twice: a singular field, two of a oneof, the key of a map. */
    PB_CHECK_STRICT,
    /* They pass, but for a message in two parts; nothing looks inside an Any: messages of
       protocols. */
    PB_CHECK_TOLERANT,
};

/* 0, or -ERR_INVALID with path and reason in why. `at` is printed in front. */
int pb_check(const ProtobufCMessageDescriptor *descriptor, struct str wire, enum pb_check_mode mode,
             const struct pb_path *at, struct str_buf *why);
