#include "http/server.h"

#include <stdlib.h>

#include "http/date.h"
#include "http/http_priv.h"

/* RFC 9113 3.4: what an HTTP/2 client sends first. No HTTP/1 method is PRI. */
static const struct str preface = {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24};

/* --- life ----------------------------------------------------------------------------------- */

_Static_assert(sizeof(struct http_server) <= 200, "what an idle connection costs");

/* What few connections have. */
struct http_server_extra {
    struct http_server *server;
    struct timer duration_timer;
    struct downstream_info info; /* a copy, with its texts */
    struct downstream_tls_info tls;
    struct arena texts;
};

static void dig(struct grave *g)
{
    struct http_server *s = CONTAINER_OF(g, struct http_server, grave);

    if (s->extra != NULL)
        arena_deinit(&s->extra->texts);
    free(s->extra);
    free(s);
}

static void on_duration(struct timer *timer)
{
    http_server_drain(CONTAINER_OF(timer, struct http_server_extra, duration_timer)->server);
}

static struct http_server_extra *extra_of(struct http_server *s)
{
    if (s->extra != NULL)
        return s->extra;
    s->extra = NEW(struct http_server_extra);
    s->extra->server = s;
    timer_init(&s->extra->duration_timer, on_duration);
    arena_init(&s->extra->texts, 512);
    return s->extra;
}

/* The texts of the connection's layer go with the connection; exchanges may need them a turn
 * longer. */
static void copy_info(struct http_server *s, const struct downstream_info *from)
{
    struct http_server_extra *extra = extra_of(s);
    struct downstream_tls_info *tls = &extra->tls;
    struct str *texts[] = {&tls->peer_principal, &tls->peer_subject,  &tls->peer_cert_sha256,
                           &tls->peer_dns_san,   &tls->own_principal, &tls->sni,
                           &tls->alpn,           &tls->version};

    extra->info = *from;
    s->info = &extra->info;
    if (from->tls == NULL)
        return;
    *tls = *from->tls;
    extra->info.tls = tls;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (!str_is_empty(*texts[i]))
            *texts[i] = arena_str(&extra->texts, *texts[i]);
    }
}

/* Exchanges use info until their end, which may be a turn after the connection's. */
static void unref(struct http_server *s)
{
    if (--s->ref_count == 0)
        turn_bury(s->turn, &s->grave, dig);
}

static void on_open(struct conn *c)
{
    (void)c;
}

/* HTTP_CODEC_AUTO: undecided. "h2", "tulle-h2", "istio-h2"; "http/1.1", "istio-http/1.1", ... */
static enum http_codec codec_of_alpn(struct str alpn)
{
    if (str_ends_with(alpn, STR("h2")))
        return HTTP_CODEC_2;
    if (str_ends_with(alpn, STR("http/1.1")) || str_ends_with(alpn, STR("http/1.0")))
        return HTTP_CODEC_1;
    return HTTP_CODEC_AUTO;
}

/* Decides at the first byte that differs from the preface. */
static enum http_codec codec_of_bytes(const struct chain *in)
{
    char first[24];
    size_t len = chain_peek(in, 0, first, sizeof(first));

    if (len > 0 && memcmp(first, preface.ptr, len) != 0)
        return HTTP_CODEC_1;
    return len == sizeof(first) ? HTTP_CODEC_2 : HTTP_CODEC_AUTO;
}

static void set_codec(struct http_server *s, enum http_codec codec)
{
    s->codec = codec == HTTP_CODEC_2 ? &h2_server_codec : &h1_server_codec;
    s->codec->open(s);
}

static void on_input(struct conn *c)
{
    struct http_server *s = c->ctx;

    if (s->is_closing)
        return;
    if (s->codec == NULL) {
        enum http_codec codec = codec_of_bytes(&c->in);

        if (codec == HTTP_CODEC_AUTO && conn_is_in_ended(c)) {
            http_server_close(s);
            return;
        }
        if (codec == HTTP_CODEC_AUTO) {
            http_server_headers_begin(s);
            return;
        }
        http_server_headers_end(s);
        set_codec(s, codec);
    }
    s->codec->on_input(s);
}

static void on_drain(struct conn *c)
{
    struct http_server *s = c->ctx;

    if (s->codec != NULL && !s->is_closing)
        s->codec->on_drain(s);
}

static void on_close(struct conn *c, int err)
{
    struct http_server *s = c->ctx;

    s->is_closing = s->is_closed = true;
    timer_stop(&s->idle_timer);
    timer_stop(&s->headers_timer);
    if (s->extra != NULL)
        timer_stop(&s->extra->duration_timer);
    turn_cancel(&s->task);
    if (s->codec != NULL)
        s->codec->on_close(s, err);
    s->active = 0;
    s->conn = NULL;
    s->ops->on_close(s->ctx, err);
    unref(s);
}

static const struct conn_handler conn_handler = {
    .on_open = on_open,
    .on_input = on_input,
    .on_drain = on_drain,
    .on_close = on_close,
};

/* --- timers, draining ----------------------------------------------------------------------- */

static void start_timer(struct http_server *s, struct timer *timer, uint64_t delay_us)
{
    if (delay_us > 0 && !s->is_closing)
        timer_start(s->turn, timer, delay_us);
}

static void on_idle(struct timer *timer)
{
    http_server_drain(CONTAINER_OF(timer, struct http_server, idle_timer));
}

static void on_headers_timeout(struct timer *timer)
{
    struct http_server *s = CONTAINER_OF(timer, struct http_server, headers_timer);

    if (s->codec != NULL)
        s->codec->on_headers_timeout(s);
    else
        http_server_close(s);
}

/* Draining and closing come from the run list, never from within a codec's own work. */
static void run_task(struct turn_task *task)
{
    struct http_server *s = CONTAINER_OF(task, struct http_server, task);

    if (s->is_closing)
        return;
    if (!s->is_draining && s->requests_max > 0 && s->requests >= s->requests_max)
        http_server_drain(s);
    if (!s->is_draining || s->active > 0)
        return;
    if (s->codec != NULL)
        s->codec->close(s);
    else
        http_server_close(s);
}

void http_server_drain(struct http_server *s)
{
    if (s->is_draining || s->is_closing)
        return;
    s->is_draining = true;
    timer_stop(&s->idle_timer);
    if (s->codec != NULL)
        s->codec->drain(s);
    turn_soon(s->turn, &s->task);
}

void http_server_drain_after_next(struct http_server *s)
{
    if (s->is_draining || s->is_closing)
        return;
    /* HTTP/2 says so in two steps, and loses nothing; HTTP/1 has only its answers to say it with.
     */
    if (s->codec == &h2_server_codec) {
        http_server_drain(s);
        return;
    }
    s->requests_max = s->active > 0 ? s->requests : s->requests + 1;
    turn_soon(s->turn, &s->task);
}

void http_server_close(struct http_server *s)
{
    if (s->is_closing)
        return;
    s->is_closing = true;
    timer_stop(&s->idle_timer);
    timer_stop(&s->headers_timer);
    conn_close(s->conn);
}

void http_server_abort(struct http_server *s, int err)
{
    if (s->is_closed)
        return;
    s->is_closing = true;
    conn_abort(s->conn, err);
}

unsigned http_server_active(const struct http_server *s)
{
    return s->active;
}

struct http_server *http_server_open(struct conn *c, const struct http_server_config *config,
                                     const struct downstream_info *info,
                                     const struct http_server_ops *ops, void *ctx)
{
    struct http_server *s = NEW(struct http_server);
    enum http_codec codec = config->codec;

    s->conn = c;
    s->turn = c->turn;
    s->config = config;
    s->requests_max = config->requests_max;
    s->ops = ops;
    s->ctx = ctx;
    if (ops->is_info_kept)
        s->info = info;
    else
        copy_info(s, info);
    s->ref_count = 1;
    timer_init(&s->idle_timer, on_idle);
    timer_init(&s->headers_timer, on_headers_timeout);
    turn_task_init(&s->task, run_task);
    c->read_max = HTTP_READ_MAX_BYTES;
    conn_set_handler(c, &conn_handler, s);
    if (codec == HTTP_CODEC_AUTO)
        codec = codec_of_alpn(downstream_tls(info)->alpn);
    if (codec != HTTP_CODEC_AUTO)
        set_codec(s, codec);
    start_timer(s, &s->idle_timer, config->idle_timeout_us);
    if (config->duration_max_us > 0)
        start_timer(s, &extra_of(s)->duration_timer, config->duration_max_us);
    conn_wake(c);
    return s;
}

/* --- for codecs ----------------------------------------------------------------------------- */

static void unpin(struct exchange *x)
{
    unref(x->owner);
}

struct exchange *http_server_exchange_new(struct http_server *s, struct http_end *downstream)
{
    struct exchange *x =
        exchange_new(s->turn, downstream, s->info, turn_account(s->turn), s->config->limits);

    x->owner = s;
    x->unpin = unpin;
    x->idle_timeout_us = s->config->stream_idle_timeout_us;
    s->ref_count++;
    s->active++;
    s->requests++;
    timer_stop(&s->idle_timer);
    if (s->requests_max > 0 && s->requests >= s->requests_max)
        turn_soon(s->turn, &s->task);
    return x;
}

void http_server_exchange_start(struct http_server *s, struct exchange *x, struct http_head *head)
{
    http_server_headers_end(s);
    exchange_recv_head(x, SIDE_REQUEST, head);
    s->ops->on_exchange(s->ctx, x);
}

void http_server_exchange_done(struct http_server *s)
{
    if (s->is_closed)
        return;
    ASSERT(s->active > 0);
    if (--s->active > 0)
        return;
    if (s->is_draining)
        turn_soon(s->turn, &s->task);
    else
        start_timer(s, &s->idle_timer, s->config->idle_timeout_us);
}

void http_server_headers_begin(struct http_server *s)
{
    if (!timer_is_started(&s->headers_timer))
        start_timer(s, &s->headers_timer, s->config->headers_timeout_us);
}

void http_server_headers_end(struct http_server *s)
{
    timer_stop(&s->headers_timer);
}

void http_server_bad_request(struct http_server *s, const struct outcome *why)
{
    if (s->ops->on_bad_request != NULL)
        s->ops->on_bad_request(s->ctx, why);
}

void http_server_decorate(struct http_server *s, struct exchange *x, struct http_head *response)
{
    struct str name = s->config->server_name;

    if (!str_is_empty(name) && s->config->is_server_overwritten)
        http_head_set(response, HTTP_NAME_SERVER, name);
    else if (!str_is_empty(name) && http_head_get(response, HTTP_NAME_SERVER).ptr == NULL)
        http_head_add(response, HTTP_NAME_SERVER, name);
    if (http_head_get(response, HTTP_NAME_DATE).ptr == NULL) {
        char *text = arena_bytes(&x->arena, HTTP_DATE_LEN);
        http_head_add(response, HTTP_NAME_DATE, http_date_format(turn_wall_us(s->turn), text));
    }
}
