/* The messages that may stand in a google.protobuf.Any: our extensions, by type URL. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"

#define ANY_URL_PREFIX "type.googleapis.com/"

/* "type.googleapis.com/envoy..."; NULL: an extension that we do not know. */
const ProtobufCMessageDescriptor *any_find(struct str type_url);
struct str any_type_url(struct arena *a, const ProtobufCMessageDescriptor *descriptor);
