/* The model and the wire (xDS v3 protobuf, our subset in proto/), both directions in one place.
 *
 * decode: bytes of one resource -> struct resource in its own arena, checked; a field that is
 * present and that we do not support is an error by its path, never silently ignored (fields that
 * only annotate, such as foreign metadata, stand in proto/ and are not read).
 * encode: model -> bytes, deterministic, so that equal content has an equal hash.
 * The protobuf structs do not leave this folder. Thread: any; no state. */
#pragma once

#include "base/str.h"
#include "mesh/model/resource.h"

/* GRPC: the clients of gRPC that speak xDS themselves. */
enum xds_dialect { XDS_DIALECT_TULLE, XDS_DIALECT_ENVOY, XDS_DIALECT_GRPC };

/* why: path and reason ("filter_chains[0].filters[1]: unknown extension ..."). */
int xds_decode(enum resource_type type, struct str wire, struct str_buf *why,
               struct resource **ret_resource);
/* body: the model struct of the type; appends to `to`. name is the resource's. */
int xds_encode(enum resource_type type, struct str name, const void *body, enum xds_dialect dialect,
               struct str_buf *to);
uint64_t xds_hash(struct str wire);

/* protobuf JSON of a resource's wire bytes, for config_dump; private keys are redacted. */
int xds_to_json(enum resource_type type, struct str wire, struct str_buf *to);
/* The other way: one resource written as protobuf JSON (in static bootstraps). */
int xds_from_json(enum resource_type type, struct str json, struct str_buf *why,
                  struct resource **ret_resource);
