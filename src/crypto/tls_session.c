#include <stdlib.h>

#include "crypto/tls_priv.h"

/* A session serves no longer than a server of ours would take it, whatever a foreign one says (up
 * to seven days). Until the next one comes it serves every connection: that two of them come from
 * one client, which single use would hide from onlookers (RFC 8446 appendix C.4), the addresses
 * tell. */
enum { AGE_MAX_S = 3600 };

struct tls_session {
    uint32_t ref_count;
    SSL_SESSION *kept;   /* NULL: none */
    uint64_t context_id; /* of the context that made it */
};

struct tls_session *tls_session_new(void)
{
    struct tls_session *s = NEW(struct tls_session);
    s->ref_count = 1;
    return s;
}

struct tls_session *tls_session_ref(struct tls_session *s)
{
    s->ref_count++;
    return s;
}

struct tls_session *tls_session_unref(struct tls_session *s)
{
    if (s == NULL || --s->ref_count > 0)
        return NULL;
    SSL_SESSION_free(s->kept);
    free(s);
    return NULL;
}

bool tls_session_is_kept(const struct tls_session *s)
{
    return s->kept != NULL && SSL_SESSION_is_resumable(s->kept);
}

/* TLS 1.2 resumes without a fresh key exchange: not ours. */
static bool is_worth_keeping(const SSL_SESSION *kept)
{
    return SSL_SESSION_get_protocol_version(kept) == TLS1_3_VERSION &&
           SSL_SESSION_is_resumable(kept);
}

int tls_session_on_new(SSL *ssl, SSL_SESSION *made)
{
    struct tls_endpoint *e = SSL_get_app_data(ssl);
    struct tls_session *s = e->session;
    if (s == NULL || !e->is_open || !is_worth_keeping(made))
        return 0;
    SSL_SESSION_free(s->kept);
    s->kept = made;
    s->context_id = e->context->id;
    return 1; /* the reference is ours now */
}

void tls_session_use(struct tls_session *s, struct tls_endpoint *e, uint64_t now_s)
{
    if (s->kept == NULL)
        return;
    long made_s = SSL_SESSION_get_time(s->kept);
    bool is_young =
        made_s >= 0 && (uint64_t)made_s <= now_s && now_s - (uint64_t)made_s < AGE_MAX_S;
    if (is_young && s->context_id == e->context->id && tls_session_is_kept(s)) {
        SSL_set_session(e->ssl, s->kept);
        return;
    }
    SSL_SESSION_free(s->kept);
    s->kept = NULL;
}
