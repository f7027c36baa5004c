/* The messages that may stand in a google.protobuf.Any: our extensions, by type URL. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"

#define ANY_URL_PREFIX "type.googleapis.com/"

/* "type.googleapis.com/envoy..."; NULL: an extension that we do not know. One whose message is in
 * no subset of ours, because it only observes, is google.protobuf.Empty here (any_is_opaque). */
const ProtobufCMessageDescriptor *any_find(struct str type_url);
struct str any_type_url(struct arena *a, const ProtobufCMessageDescriptor *descriptor);
/* Nothing of its contents is looked at. */
bool any_is_opaque(struct str type_url);
/* Filters that count, describe or tell their own kind something, and change nothing of what passes:
 * without them a request goes the same way. */
bool any_only_observes(const ProtobufCMessageDescriptor *descriptor, const void *message,
                       struct str type_url);
