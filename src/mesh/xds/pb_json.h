/* protobuf's JSON mapping, over the wire format and the descriptors: no generated struct is
 * touched. Pure.
 *
 * Read: camelCase and snake_case names, enums by name or number, Duration "3s", wrappers as bare
 * values, Struct, Any with "@type", maps as objects, 64-bit numbers as strings too, bytes in
 * base64. A field that the message does not have is an error by its path. null is "not set".
 * Written: snake_case names, as Envoy's config_dump does; private keys are redacted. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "codec/json.h"
#include "codec/json_writer.h"
#include "mesh/xds/pb_path.h"

/* Appends the encoded message. 0, or -ERR_INVALID with path and reason in why. */
int pb_json_read(const ProtobufCMessageDescriptor *descriptor, const struct json *v,
                 const struct pb_path *at, struct str_buf *why, struct str_buf *to);

/* Fields that a message does not have are passed over, and their paths noted in `ignored` (what is
 * too much for it is left out); those of TLS and of authorization are errors all the same. */
int pb_json_read_tolerant(const ProtobufCMessageDescriptor *descriptor, const struct json *v,
                          struct str_buf *ignored, struct str_buf *why, struct str_buf *to);

/* The message must have passed pb_check. */
void pb_json_write(const ProtobufCMessageDescriptor *descriptor, struct str wire,
                   struct json_writer *w, const char *key);

/* "google.protobuf.UInt32Value" and its kind: one field called value. */
bool pb_json_is_wrapper(const ProtobufCMessageDescriptor *descriptor);
/* The entries of a map field are such messages: key = 1, value = 2. */
bool pb_json_is_map_entry(const ProtobufCMessageDescriptor *descriptor);
