/* What clients send to a control plane that is there: requests of a stream of either variant, with
 * documents behind it; CreateCertificate with a token; Agent/Report.
 *
 * First byte: bit 0 a one-shot call, bit 1 state of the world (CreateCertificate), bit 2 a stream
 * of one type, bit 3 Envoy's dialect. The rest are messages, each behind two bytes that say how
 * long. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "control/push/push_priv.h"

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

static struct {
    struct turn *turn;
    struct store *store;
    struct registry *registry;
    struct translate *translate;
    struct ca *ca;
    struct push *push;
} control;

static void apply(void)
{
    struct api_document_list list;
    struct api_findings findings;
    struct api_source source = {.file = STR("f.yaml"), .text = str_from_c(documents)};
    api_document_list_init(&list);
    api_findings_init(&findings);
    ASSERT(api_document_parse(&source, &list, &findings) == 0);
    for (size_t i = 0; i < list.docs.len; i++) {
        const struct api_document *d = list.docs.ptr[i];
        struct store_write w = {.object = {.kind = d->kind,
                                           .namespace_ = d->namespace,
                                           .name = d->name,
                                           .json = d->json,
                                           .owner = STR("api"),
                                           .created_at = STR("2026-01-01T00:00:00Z")}};
        ASSERT(store_commit(control.store, &w, 1, NULL, NULL) == 0);
    }
    api_document_list_deinit(&list);
    api_findings_deinit(&findings);
}

static char dir[64];

static void remove_dir(void)
{
    DIR *d = opendir(dir);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        unlinkat(dirfd(d), e->d_name, 0);
    if (d != NULL)
        closedir(d);
    rmdir(dir);
}

static void on_fact(void *ctx, struct str fact)
{
    push_fact_changed(ctx, fact);
}

static void start(void)
{
    char path[128];
    struct str_buf why = STR_BUF_INIT(1000);
    log_set_level(LOG_OFF);
    snprintf(dir, sizeof dir, "/tmp/tulle-push-fuzz-XXXXXX");
    ASSERT(mkdtemp(dir) != NULL && atexit(remove_dir) == 0);
    snprintf(path, sizeof path, "%s/store.db", dir);
    control.turn = turn_new_linux();
    ASSERT(store_open_sqlite(str_from_c(path), &why, &control.store) == 0);
    control.registry = registry_new(control.store, &why);
    struct ca_options o = {control.store, str_from_c(dir), STR("cluster.local"), 86400 * 365};
    ASSERT(ca_open(&o, turn_wall_us(control.turn) / 1000000, &why, &control.ca) == 0);
    control.translate = translate_new(control.registry);
    control.push = push_new(&(struct push_args){control.turn, control.store, control.registry,
                                                control.translate, control.ca});
    registry_watch(control.registry, on_fact, control.push);
    apply();
    str_buf_deinit(&why);
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
