/* Agent/Report: a sidecar says how its app is, and which leaf it runs. */
#include "codec/json.h"
#include "control/push/push_priv.h"

enum { REPORT_BYTES_MAX = 16384 };

static bool parse_state(struct str text, enum replica_state *ret_state)
{
    static const struct {
        struct str text;
        enum replica_state state;
    } table[] = {{{"ready", 5}, REPLICA_READY},
                 {{"unready", 7}, REPLICA_CONNECTED},
                 {{"draining", 8}, REPLICA_DRAINING}};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (str_eq(table[i].text, text)) {
            *ret_state = table[i].state;
            return true;
        }
    }
    return false;
}

static enum grpc_status take(struct push *p, struct str identity, const struct json *root,
                             struct str_buf *why)
{
    struct str namespace_, workload, text;
    uint64_t index;
    enum replica_state state;
    if (!json_str(json_get(root, "namespace"), &namespace_) ||
        !json_str(json_get(root, "workload"), &workload) ||
        !json_u64(json_get(root, "index"), &index) || index >= API_WORKLOAD_REPLICAS_MAX ||
        !json_str(json_get(root, "state"), &text) || !parse_state(text, &state)) {
        str_buf_add_c(why, "needs namespace, workload, index and state (ready, unready, draining)");
        return GRPC_INVALID_ARGUMENT;
    }
    if (push_workload_of(p, namespace_, workload, identity) == NULL) {
        str_buf_add_c(why, "this identity is not that Workload's");
        return GRPC_PERMISSION_DENIED;
    }
    struct registry_replica *r =
        registry_replica(p->registry, namespace_, workload, (uint32_t)index);
    if (r == NULL) {
        str_buf_add_c(why, "this replica is not connected");
        return GRPC_FAILED_PRECONDITION;
    }
    if (json_str(json_get(root, "leaf"), &text) && r->node != NULL &&
        !push_stream_set_leaf(r->node, text)) {
        str_buf_add_c(why, "the leaf is not a certificate of this identity");
        return GRPC_INVALID_ARGUMENT;
    }
    registry_replica_set_state(p->registry, r, state);
    return GRPC_OK;
}

enum grpc_status push_report(struct push *p, struct str identity, struct str json,
                             struct str_buf *why)
{
    struct arena a;
    const struct json *root;
    enum grpc_status status = GRPC_INVALID_ARGUMENT;
    arena_init(&a, 1024);
    if (json_parse(&a, json, REPORT_BYTES_MAX, &root, NULL) == 0)
        status = take(p, identity, root, why);
    else
        str_buf_add_c(why, "not JSON");
    arena_deinit(&a);
    return status;
}
