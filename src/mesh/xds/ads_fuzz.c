/* First byte: odd for a response to the client, else a request to the server; bit 1 for state of
 * the world, bit 2 for a stream of clusters only. */
#include "mesh/xds/ads_client.h"
#include "mesh/xds/ads_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_name(void *ctx, enum resource_type type, struct str name, struct str version)
{
}

static void on_unsubscribe(void *ctx, enum resource_type type, struct str name)
{
}

static void on_ack(void *ctx, enum resource_type type, uint64_t response)
{
}

static void on_nack(void *ctx, enum resource_type type, uint64_t response, struct str detail)
{
}

static void on_node(void *ctx, const struct ads_request_info *info)
{
}

static void send_nowhere(void *ctx, struct str message)
{
}

static void on_update(void *ctx, const struct ads_update *update)
{
    struct ads_client **client = ctx;
    ads_client_done(*client, update->token, STR_NULL);
}

static void run_client(unsigned how, struct str message)
{
    static const struct ads_client_ops ops = {.send = send_nowhere, .on_update = on_update};
    struct ads_client *c = NULL;
    c = ads_client_new(&(struct ads_client_args){
        .node_id = STR("n"), .is_sotw = (how & 2) != 0, .ops = &ops, .ctx = &c});
    ads_client_subscribe(c, RESOURCE_ENDPOINTS, STR("a"));
    ads_client_subscribe_all(c, RESOURCE_CLUSTER);
    ads_client_connected(c);
    /* Twice: what it holds is there then. */
    (void)ads_client_recv(c, message);
    (void)ads_client_recv(c, message);
    ads_client_free(c);
}

static void run_server(unsigned how, struct str message)
{
    static const struct ads_stream_ops ops = {.on_subscribe = on_name,
                                              .on_known = on_name,
                                              .on_unsubscribe = on_unsubscribe,
                                              .on_ack = on_ack,
                                              .on_nack = on_nack,
                                              .on_node = on_node};
    enum { LEN_MAX = 1 << 16 };
    struct str_buf out = STR_BUF_INIT(LEN_MAX), why = STR_BUF_INIT(LEN_MAX);
    struct ads_stream *s =
        ads_stream_new(&(struct ads_stream_args){.variant = (how & 2) != 0 ? ADS_SOTW : ADS_DELTA,
                                                 .is_single = (how & 4) != 0,
                                                 .type = RESOURCE_CLUSTER,
                                                 .ops = &ops});
    ads_stream_respond(s, &(struct ads_response){.type = RESOURCE_CLUSTER}, &out);
    /* Twice: what it subscribes to is there then, and its answer is an old one. */
    (void)ads_stream_recv(s, message, &why);
    (void)ads_stream_recv(s, message, &why);
    ads_stream_free(s);
    str_buf_deinit(&out);
    str_buf_deinit(&why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct str message = str_from((const char *)data + 1, size - 1);
    if (data[0] % 2 == 1)
        run_client(data[0], message);
    else
        run_server(data[0], message);
    return 0;
}
