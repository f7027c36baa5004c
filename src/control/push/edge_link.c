/* Mail between a call, on its edge thread, and its push_stream, in the brain. */
#include <stdlib.h>

#include "control/push/edge_priv.h"

static struct str own(struct str s)
{
    return str_from(str_dup_c(s), s.len);
}

static void disown(struct str s)
{
    free((void *)(uintptr_t)s.ptr);
}

/* --- links and mails --- */

static struct edge_link *ref(struct edge_link *l)
{
    atomic_fetch_add_explicit(&l->ref_count, 1, memory_order_relaxed);
    return l;
}

struct edge_link *edge_link_new(struct edge_call *c)
{
    struct edge_link *l = NEW(struct edge_link);
    atomic_init(&l->ref_count, 1);
    l->edge = c->thread->edge;
    l->thread = c->thread;
    l->call = c;
    list_init(&l->node);
    list_init(&l->starved);
    return l;
}

struct edge_link *edge_link_unref(struct edge_link *l)
{
    if (l != NULL && atomic_fetch_sub_explicit(&l->ref_count, 1, memory_order_acq_rel) == 1)
        free(l);
    return NULL;
}

static struct edge_mail *mail_new(struct edge_link *l)
{
    struct edge_mail *m = NEW(struct edge_mail);
    m->link = ref(l);
    list_init(&m->node);
    return m;
}

struct edge_mail *edge_mail_free(struct edge_mail *m)
{
    if (m == NULL)
        return NULL;
    push_response_free(m->response);
    ads_request_free(m->request);
    disown(m->identity);
    if (m->token.ptr != NULL)
        explicit_bzero((void *)(uintptr_t)m->token.ptr, m->token.len);
    disown(m->token);
    disown(m->message);
    disown(m->why);
    edge_link_unref(m->link);
    free(m);
    return NULL;
}

static struct edge_mail *mail_of(struct mail *mail)
{
    return CONTAINER_OF(mail, struct edge_mail, mail);
}

static void to_brain(struct edge_mail *m, mail_fn *handle)
{
    m->mail.handle = handle;
    mailbox_post(m->link->edge->turn, &m->mail);
}

static void to_edge(struct edge_mail *m, mail_fn *handle)
{
    m->mail.handle = handle;
    mailbox_post(m->link->thread->turn, &m->mail);
}

/* --- the brain's side: what push asks of a stream --- */

static void on_response(struct turn *turn, struct mail *mail)
{
    struct edge_mail *m = mail_of(mail);
    (void)turn;
    if (m->link->call != NULL)
        edge_out_add(m->link->call, m);
    else
        edge_mail_free(m); /* the brain is told by the close that is on its way */
}

static void stream_send(void *ctx, struct push_response *r)
{
    struct edge_link *l = ctx;
    struct edge_mail *m = mail_new(l);
    m->response = r;
    m->bytes = r->bytes;
    l->in_flight_bytes += r->bytes;
    l->edge->in_flight_bytes += r->bytes;
    to_edge(m, on_response);
}

static bool stream_has_room(void *ctx)
{
    struct edge_link *l = ctx;
    if (l->in_flight_bytes >= EDGE_CLIENT_BYTES)
        return false;
    if (l->edge->in_flight_bytes < EDGE_TOTAL_BYTES)
        return true;
    if (!list_is_linked(&l->starved))
        list_push_back(&l->edge->starved, &l->starved);
    return false;
}

static void on_end_mail(struct turn *turn, struct mail *mail)
{
    struct edge_mail *m = mail_of(mail);
    (void)turn;
    if (m->link->call != NULL)
        edge_call_finish(m->link->call, m->status, m->why);
    edge_mail_free(m);
}

static void stream_end(void *ctx, enum grpc_status status, struct str why)
{
    struct edge_mail *m = mail_new(ctx);
    m->status = status;
    m->why = own(why);
    to_edge(m, on_end_mail);
}

static const struct push_stream_ops stream_ops = {
    .send = stream_send,
    .has_room = stream_has_room,
    .end = stream_end,
};

/* --- from the call to the brain --- */

static void on_open(struct turn *turn, struct mail *mail)
{
    struct edge_mail *m = mail_of(mail);
    struct edge_link *l = m->link;
    struct push_peer peer = {
        .identity = m->identity, .address = m->address, .not_after_s = m->not_after_s};
    (void)turn;
    memcpy(peer.root, m->root, sizeof peer.root);
    list_push_back(&l->edge->links, &l->node);
    l->stream = push_stream_open(l->edge->push, &peer, &m->call, &stream_ops, l);
    edge_mail_free(m);
}

void edge_link_open(struct edge_link *l, const struct push_peer *peer, const struct push_call *call)
{
    struct edge_mail *m = mail_new(l);
    m->identity = own(peer->identity);
    m->address = peer->address;
    m->not_after_s = peer->not_after_s;
    memcpy(m->root, peer->root, sizeof m->root);
    m->call = *call;
    to_brain(m, on_open);
}

static void on_request_done(struct turn *turn, struct mail *mail)
{
    struct edge_mail *m = mail_of(mail);
    struct edge_call *c = m->link->call;
    (void)turn;
    if (c != NULL)
        edge_call_request_done(c);
    edge_mail_free(m);
}

static void on_request(struct turn *turn, struct mail *mail)
{
    struct edge_mail *m = mail_of(mail);
    (void)turn;
    if (m->link->stream != NULL)
        push_stream_take(m->link->stream, m->request);
    to_edge(m, on_request_done);
}

void edge_link_request(struct edge_link *l, struct ads_request *r)
{
    struct edge_mail *m = mail_new(l);
    m->request = r;
    to_brain(m, on_request);
}

/* Those that found no room because all together had none. */
static void feed_starved(struct edge *e)
{
    while (e->in_flight_bytes < EDGE_TOTAL_BYTES && !list_is_empty(&e->starved)) {
        struct edge_link *l = LIST_FIRST(&e->starved, struct edge_link, starved);
        list_remove(&l->starved);
        push_stream_room(l->stream);
    }
}

static void on_released(struct turn *turn, struct mail *mail)
{
    struct edge_mail *m = mail_of(mail);
    struct edge_link *l = m->link;
    (void)turn;
    /* One that was closed meanwhile has been settled. */
    if (l->stream != NULL) {
        l->in_flight_bytes -= m->bytes;
        l->edge->in_flight_bytes -= m->bytes;
        push_stream_room(l->stream);
        feed_starved(l->edge);
    }
    edge_mail_free(m);
}

void edge_link_released(struct edge_mail *m)
{
    m->response = push_response_free(m->response);
    to_brain(m, on_released);
}

static void on_close(struct turn *turn, struct mail *mail)
{
    struct edge_mail *m = mail_of(mail);
    struct edge_link *l = m->link;
    (void)turn;
    if (l->stream != NULL)
        l->stream = push_stream_close(l->stream);
    list_remove(&l->node);
    list_remove(&l->starved);
    l->edge->in_flight_bytes -= l->in_flight_bytes;
    l->in_flight_bytes = 0;
    feed_starved(l->edge);
    edge_mail_free(m);
}

void edge_link_close(struct edge_link *l)
{
    l->call = NULL;
    to_brain(mail_new(l), on_close);
}

/* --- one-shot calls --- */

static void on_answer(struct turn *turn, struct mail *mail)
{
    struct edge_mail *m = mail_of(mail);
    (void)turn;
    edge_call_unary_done(m->link->thread);
    if (m->link->call != NULL)
        edge_call_answer(m->link->call, m->status, m->message, m->why);
    edge_mail_free(m);
}

static void on_unary(struct turn *turn, struct mail *mail)
{
    enum { ANSWER_BYTES_MAX = 256 * 1024 };
    struct edge_mail *m = mail_of(mail);
    struct push *p = m->link->edge->push;
    struct str_buf answer = STR_BUF_INIT(ANSWER_BYTES_MAX), why = STR_BUF_INIT(PUSH_REASON_LEN_MAX);
    (void)turn;
    m->status = GRPC_OK;
    if (m->method == EDGE_CREATE_CERTIFICATE)
        m->status = push_create_certificate(p, m->identity, m->token, m->message, &answer, &why);
    else if (m->method == EDGE_REPORT)
        m->status = push_report(p, m->identity, m->message, &why);
    else
        str_buf_add(&answer, ca_bundle(p->ca));
    disown(m->message);
    m->message = own(str_buf_str(&answer));
    m->why = own(str_buf_str(&why));
    str_buf_deinit(&answer);
    str_buf_deinit(&why);
    to_edge(m, on_answer);
}

void edge_link_unary(struct edge_link *l, enum edge_method method, struct str identity,
                     struct str token, struct str message)
{
    struct edge_mail *m = mail_new(l);
    m->method = method;
    m->identity = own(identity);
    m->token = own(token);
    m->message = own(message);
    to_brain(m, on_unary);
}
