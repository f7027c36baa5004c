/* Certificates over SDS, for proxies that have no agent of ours.
 *
 * tulle-proxy makes its key itself and has it certified (push_join.c). Envoy cannot: it asks for a
 * secret "default", and the key in it is made here, for the identity that its stream has proved,
 * and goes to nobody else. It is kept for as long as the stream lives, never written or logged, and
 * made anew at half its life time. "ROOTCA" is what peers are verified by, no secret at all. */
#include <stdatomic.h>
#include <stdlib.h>

#include "base/log.h"
#include "control/push/push_priv.h"
#include "crypto/digest.h"
#include "mesh/model/secret.h"

enum { PEM_MAX = 64 * 1024, SECRET_WIRE_MAX = 128 * 1024, RETRY_US = 60 * 1000 * 1000 };

struct push_secret {
    struct push_stream *stream;
    struct timer timer;              /* until it is made anew */
    struct translate_output *output; /* NULL: could not be made */
    char root[CA_ID_LEN + 1];        /* that signed it */
};

static void wipe_buf(struct str_buf *b)
{
    if (b->ptr != NULL)
        secret_wipe(b->ptr, b->cap);
    str_buf_deinit(b);
}

/* Its arena holds one block of just its size, which is wiped with the last reference. */
static struct translate_output *output_new(struct str name, const struct secret *body)
{
    struct str_buf wire = STR_BUF_INIT(SECRET_WIRE_MAX);
    struct translate_output *o = NULL;
    if (xds_encode(RESOURCE_SECRET, name, body, XDS_DIALECT_ENVOY, &wire) == 0) {
        o = NEW(struct translate_output);
        atomic_init(&o->ref_count, 1);
        o->is_secret = true;
        o->type = RESOURCE_SECRET;
        arena_init(&o->arena, wire.len + name.len + 64);
        o->name = arena_str(&o->arena, name);
        o->wire = arena_str(&o->arena, str_buf_str(&wire));
        o->version =
            arena_printf(&o->arena, "%016llx", (unsigned long long)xds_hash(str_buf_str(&wire)));
    }
    wipe_buf(&wire);
    return o;
}

/* --- the own certificate --- */

static int issue(struct push_stream *s, struct str_buf *key_pem, struct str_buf *chain_pem,
                 struct str_buf *why)
{
    const struct push *p = s->push;
    struct str_buf csr = STR_BUF_INIT(PEM_MAX);
    AUTO(key_unref_auto) struct key *key = key_new_p256();
    int err = csr_make(key, s->identity, &csr);
    if (err == 0) {
        struct ca_request r = {.csr_pem = str_buf_str(&csr),
                               .spiffe_id = s->identity,
                               .now_s = turn_wall_us(p->turn) / 1000000,
                               .lifetime_s = registry_mesh(p->registry)->leaf_lifetime_ms / 1000};
        err = ca_issue(p->ca, &r, chain_pem, why);
    }
    if (err == 0)
        key_to_pem(key, key_pem);
    str_buf_deinit(&csr);
    return err;
}

static struct translate_output *make_own(struct push_secret *secret)
{
    struct push_stream *s = secret->stream;
    struct str_buf key_pem = STR_BUF_INIT(PEM_MAX), chain_pem = STR_BUF_INIT(PEM_MAX),
                   why = STR_BUF_INIT(PUSH_REASON_LEN_MAX);
    struct translate_output *o = NULL;
    int err = issue(s, &key_pem, &chain_pem, &why);
    if (err == 0) {
        o = output_new(STR(PUSH_SECRET_OWN), &(struct secret){.kind = SECRET_CERTIFICATE,
                                                              .chain_pem = str_buf_str(&chain_pem),
                                                              .key_pem = str_buf_str(&key_pem)});
        push_root_of(s->push, str_buf_str(&chain_pem), secret->root);
        s->push->counters.certificates++;
    } else {
        s->push->counters.rejects++;
    }
    log_event(err == 0 ? LOG_INFO : LOG_ERROR,
              err == 0 ? "certificate_issued" : "certificate_refused", LF("identity", s->identity),
              LF("reason", str_buf_str(&why)));
    wipe_buf(&key_pem);
    str_buf_deinit(&chain_pem);
    str_buf_deinit(&why);
    return o;
}

static void renew(struct push_secret *secret)
{
    struct push_stream *s = secret->stream;
    struct translate_output *o = make_own(secret);
    uint64_t half_us = registry_mesh(s->push->registry)->leaf_lifetime_ms * 1000 / 2;
    /* One that could not be renewed is kept; it may still be valid. */
    if (o != NULL) {
        translate_output_unref(secret->output);
        secret->output = o;
    }
    timer_start(s->push->turn, &secret->timer, o != NULL ? half_us : RETRY_US);
}

static void on_timer(struct timer *timer)
{
    struct push_secret *secret = CONTAINER_OF(timer, struct push_secret, timer);
    struct push_sub *sub = push_stream_sub(secret->stream, RESOURCE_SECRET, STR(PUSH_SECRET_OWN));
    renew(secret);
    if (sub != NULL)
        push_sub_mark(sub);
}

static struct push_secret *secret_of(struct push_stream *s)
{
    if (s->secret == NULL) {
        s->secret = NEW(struct push_secret);
        s->secret->stream = s;
        timer_init(&s->secret->timer, on_timer);
        renew(s->secret);
    }
    return s->secret;
}

struct translate_output *push_secret_get(struct push_stream *s)
{
    if (!push_stream_is_foreign(s) || s->workload.len == 0)
        return NULL;
    struct translate_output *own = secret_of(s)->output;
    return own != NULL ? translate_output_ref(own) : NULL;
}

void push_secret_renew(struct push_stream *s)
{
    if (s->secret != NULL)
        on_timer(&s->secret->timer);
}

struct str push_secret_root(const struct push_stream *s)
{
    return s->secret != NULL ? str_from_c(s->secret->root) : STR_NULL;
}

void push_secret_free(struct push_stream *s)
{
    if (s->secret == NULL)
        return;
    timer_stop(&s->secret->timer);
    translate_output_unref(s->secret->output);
    free(s->secret);
    s->secret = NULL;
}
