/* The generated messages, in one place: they do not leave this folder. */
#pragma once

#include "proto/access_log_file.pb-c.h"
#include "proto/access_log_stream.pb-c.h"
#include "proto/accesslog.pb-c.h"
#include "proto/bootstrap.pb-c.h"
#include "proto/ca.pb-c.h"
#include "proto/cares.pb-c.h"
#include "proto/cluster.pb-c.h"
#include "proto/core.pb-c.h"
#include "proto/cors.pb-c.h"
#include "proto/directory.pb-c.h"
#include "proto/discovery.pb-c.h"
#include "proto/downstream_connections.pb-c.h"
#include "proto/endpoint.pb-c.h"
#include "proto/fault.pb-c.h"
#include "proto/fault_common.pb-c.h"
#include "proto/fixed_heap.pb-c.h"
#include "proto/grpc_stats.pb-c.h"
#include "proto/hcm.pb-c.h"
#include "proto/http_inspector.pb-c.h"
#include "proto/http_rbac.pb-c.h"
#include "proto/lb_least_request.pb-c.h"
#include "proto/lb_round_robin.pb-c.h"
#include "proto/lb_wrr_locality.pb-c.h"
#include "proto/listener.pb-c.h"
#include "proto/matcher.pb-c.h"
#include "proto/nds.pb-c.h"
#include "proto/network_rbac.pb-c.h"
#include "proto/original_dst.pb-c.h"
#include "proto/overload.pb-c.h"
#include "proto/previous_hosts.pb-c.h"
#include "proto/protobuf.pb-c.h"
#include "proto/proxy_protocol.pb-c.h"
#include "proto/raw_buffer.pb-c.h"
#include "proto/rbac.pb-c.h"
#include "proto/route.pb-c.h"
#include "proto/router.pb-c.h"
#include "proto/rpc.pb-c.h"
#include "proto/tcp_proxy.pb-c.h"
#include "proto/tls.pb-c.h"
#include "proto/tls_inspector.pb-c.h"
#include "proto/tracing.pb-c.h"
#include "proto/type.pb-c.h"
#include "proto/udpa.pb-c.h"
#include "proto/upstream_http.pb-c.h"
#include "proto/upstream_proxy_protocol.pb-c.h"
#include "proto/uuid_request_id.pb-c.h"
#include "proto/xds_type.pb-c.h"

#include "base/arena.h"

/* All memory of the message comes from the arena; NULL: malformed, or it would need more than
 * PB_UNPACKED_LEN_MAX bytes. Check the bytes with pb_check first: protobuf-c checks neither depth
 * nor strings. */
enum { PB_UNPACKED_LEN_MAX = 64 << 20 };
const void *pb_unpack(struct arena *a, const ProtobufCMessageDescriptor *descriptor,
                      struct str wire);
/* Appends the encoded message. */
void pb_pack(const ProtobufCMessage *m, struct str_buf *to);
