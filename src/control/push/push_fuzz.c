/* What clients send to a control plane that is there: requests of a stream of either variant, with
 * documents behind it; CreateCertificate with a token; Agent/Report.
 *
 * First byte: bit 0 a one-shot call, bit 1 state of the world (CreateCertificate), bit 2 a stream
 * of one type, bit 3 Envoy's dialect. The rest are messages, each behind two bytes that say how
 * long. */
#include <stdlib.h>

#include "base/log.h"
#include "control/push/testing/push_rig.h"

#define IDENTITY "spiffe://cluster.local/ns/shop/sa/web"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char documents[] =
    "apiVersion: v1\nkind: Service\nmetadata: {name: catalog, namespace: shop}\n"
    "spec: {selector: {app: catalog}, ports: [{name: http, port: 8080}]}\n---\n"
    "apiVersion: tulle.dev/v1\nkind: Workload\n"
    "metadata: {name: web, namespace: shop, labels: {app: web}}\n"
    "spec: {serviceAccount: web, replicas: 2, ports: [{name: http, port: 80}]}\n---\n"
    "apiVersion: tulle.dev/v1\nkind: Workload\n"
    "metadata: {name: catalog, namespace: shop, labels: {app: catalog}}\n"
    "spec: {serviceAccount: catalog, ports: [{name: http, port: 8080}]}\n";

static struct push_rig control;

static void stop(void)
{
    push_rig_close(&control);
}

static void start(void)
{
    log_set_level(LOG_OFF);
    push_rig_open(&control);
    push_rig_apply(&control, documents);
    ASSERT(atexit(stop) == 0);
}

/* --- streams --- */

static void stream_send(void *ctx, struct push_response *r)
{
    struct str_buf message = STR_BUF_INIT(1 << 24);
    (void)ctx;
    push_response_encode(r, &message);
    ASSERT(ads_response_len(r->variant, &r->ads, r->number) == message.len);
    str_buf_deinit(&message);
    push_response_free(r);
}

static bool stream_has_room(void *ctx)
{
    (void)ctx;
    return true;
}

static void stream_end(void *ctx, enum grpc_status status, struct str why)
{
    (void)ctx;
    (void)status;
    (void)why;
}

static const struct push_stream_ops stream_ops = {stream_send, stream_has_room, stream_end};

/* False: no more. */
static bool next(struct str *rest, struct str *ret_message)
{
    if (rest->len < 2)
        return false;
    size_t len = (size_t)(uint8_t)rest->ptr[0] << 8 | (uint8_t)rest->ptr[1];
    *ret_message = str_sub(*rest, 2, len);
    *rest = str_skip(*rest, MIN(rest->len, len + 2));
    return true;
}

static void run_stream(unsigned how, struct str rest)
{
    struct push_peer peer = {.identity = STR(IDENTITY)};
    struct push_call call = {(how & 2) != 0 ? ADS_SOTW : ADS_DELTA, (how & 4) != 0,
                             (enum resource_type)(how >> 4) % RESOURCE_TYPE_COUNT};
    struct push_stream *s = push_stream_open(control.push, &peer, &call, &stream_ops, NULL);
    struct str message;
    while (next(&rest, &message)) {
        push_stream_recv(s, message);
        turn_once(control.turn, 0);
    }
    push_stream_close(s);
    turn_once(control.turn, 0);
}

static void run_call(unsigned how, struct str rest)
{
    struct str_buf answer = STR_BUF_INIT(1 << 20), why = STR_BUF_INIT(1 << 12);
    struct str token = STR_NULL, message = STR_NULL;
    (void)next(&rest, &token);
    (void)next(&rest, &message);
    if ((how & 2) != 0)
        (void)push_create_certificate(control.push, token.len > 0 ? STR_NULL : STR(IDENTITY), token,
                                      message, &answer, &why);
    else
        (void)push_report(control.push, STR(IDENTITY), message, &why);
    str_buf_deinit(&answer);
    str_buf_deinit(&why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (control.push == NULL)
        start();
    if (size == 0)
        return 0;
    struct str rest = str_from((const char *)data + 1, size - 1);
    if (data[0] % 2 == 1)
        run_call(data[0], rest);
    else
        run_stream(data[0], rest);
    return 0;
}
