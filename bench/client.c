/* The clients of the benchmark that no common tool is.
 *
 *   client hold PORT plain|tls|h2 COUNT      opens COUNT connections, one request answered on each,
 *                                            says "ready", and keeps them until its input ends
 *   client handshakes PORT full|resumed S    one TLS connection with one request after another for
 * S seconds; says {"requests": N, "rate": R} as JSON
 *
 * To 127.0.0.1, one thread, blocking. No certificate is checked. A connection that is not answered,
 * or a session that should have been resumed and was not, ends it with exit code 1. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char HTTP1_KEPT[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
static const char HTTP1_CLOSED[] = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/* Preface, empty SETTINGS, and HEADERS of stream 1: GET, http or https by the static table, "/",
 * :authority "localhost" as a literal. */
static const char HTTP2_REQUEST[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                                    "\0\0\0\x04\0\0\0\0\0"
                                    "\0\0\x0e\x01\x05\0\0\0\x01"
                                    "\x82\x87\x84\x01\x09localhost";

static SSL_SESSION *latest_session;

/* A connection; ssl is NULL when it is plain. */
struct link {
    int fd;
    SSL *ssl;
};

static void fail(const char *what)
{
    fprintf(stderr, "client: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static int link_read(struct link *l, char *to, int len)
{
    return l->ssl != NULL ? SSL_read(l->ssl, to, len) : (int)read(l->fd, to, (size_t)len);
}

static void link_write(struct link *l, const char *from, int len)
{
    int n = l->ssl != NULL ? SSL_write(l->ssl, from, len) : (int)write(l->fd, from, (size_t)len);
    if (n != len)
        fail("write");
}

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(latest_session);
    latest_session = session;
    return 1;
}

static SSL_CTX *context_new(const char *alpn)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL)
        fail("SSL_CTX_new");
    if (SSL_CTX_set_alpn_protos(context, (const unsigned char *)alpn, (unsigned)strlen(alpn)) != 0)
        fail("ALPN");
    SSL_CTX_set_session_cache_mode(context,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(context, keep_session);
    return context;
}

static struct link link_open(int port, SSL_CTX *context, SSL_SESSION *session)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct link l = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (l.fd < 0 || connect(l.fd, (struct sockaddr *)&to, sizeof to) != 0)
        fail("connect");
    /* Else the request waits for the acknowledgement of the handshake's last record. */
    int on = 1;
    setsockopt(l.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (context == NULL)
        return l;
    l.ssl = SSL_new(context);
    if (l.ssl == NULL || SSL_set_fd(l.ssl, l.fd) != 1)
        fail("SSL_new");
    if (session != NULL)
        SSL_set_session(l.ssl, session);
    if (SSL_connect(l.ssl) != 1)
        fail("handshake");
    return l;
}

static void link_close(struct link *l)
{
    if (l->ssl != NULL) {
        SSL_shutdown(l->ssl);
        SSL_free(l->ssl);
    }
    close(l->fd);
}

/* The answers of this benchmark are 100 bytes of x: the last byte of one is known. */
static void http1_exchange(struct link *l, const char *request)
{
    char answer[4096];
    int len = 0;
    link_write(l, request, (int)strlen(request));
    while (len < 112 || answer[len - 1] != 'x') {
        int n = link_read(l, answer + len, (int)sizeof answer - len);
        if (n <= 0)
            fail("no answer");
        len += n;
    }
    if (memcmp(answer, "HTTP/1.1 200", 12) != 0)
        fail("the answer is not 200");
}

static void read_exactly(struct link *l, char *to, int len)
{
    for (int n; len > 0; to += n, len -= n) {
        n = link_read(l, to, len);
        if (n <= 0)
            fail("no answer");
    }
}

/* Until DATA that ends stream 1; the server's SETTINGS are acknowledged. */
static void http2_exchange(struct link *l)
{
    char head[9], payload[16384];
    link_write(l, HTTP2_REQUEST, sizeof HTTP2_REQUEST - 1);
    for (;;) {
        read_exactly(l, head, 9);
        int len =
            (unsigned char)head[0] << 16 | (unsigned char)head[1] << 8 | (unsigned char)head[2];
        if (len > (int)sizeof payload)
            fail("a frame that is too long");
        read_exactly(l, payload, len);
        if (head[3] == 4 && !(head[4] & 1))
            link_write(l, "\0\0\0\x04\x01\0\0\0\0", 9);
        if (head[3] == 3 || head[3] == 7)
            fail("RST_STREAM or GOAWAY");
        /* ":status: 200" of the static table, after a change of the table's size if there is one.
         */
        if (head[3] == 1 && (unsigned char)payload[(payload[0] & 0xe0) == 0x20] != 0x88)
            fail("the answer is not 200");
        if (head[3] == 0 && (head[4] & 1))
            return;
    }
}

static int hold(int port, const char *kind, int count)
{
    int is_h2 = strcmp(kind, "h2") == 0;
    SSL_CTX *context =
        strcmp(kind, "plain") == 0 ? NULL : context_new(is_h2 ? "\x02h2" : "\x08http/1.1");
    for (int i = 0; i < count; i++) {
        struct link l = link_open(port, context, NULL);
        if (is_h2)
            http2_exchange(&l);
        else
            http1_exchange(&l, HTTP1_KEPT);
    }
    puts("ready");
    fflush(stdout);
    char c;
    while (read(0, &c, 1) > 0)
        continue;
    return 0;
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int handshakes(int port, int is_resumed, double seconds)
{
    SSL_CTX *context = context_new("\x08http/1.1");
    double start = now_s(), passed;
    long count = 0, first = is_resumed;
    do {
        struct link l = link_open(port, context, is_resumed ? latest_session : NULL);
        if (is_resumed && count > 0 && !SSL_session_reused(l.ssl))
            fail("the session was not resumed");
        http1_exchange(&l, HTTP1_CLOSED);
        link_close(&l);
        count++;
        passed = now_s() - start;
    } while (passed < seconds);
    printf("{\"requests\": %ld, \"rate\": %.1f}\n", count - first,
           (double)(count - first) / passed);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "hold") == 0)
        return hold(atoi(argv[2]), argv[3], atoi(argv[4]));
    if (argc == 5 && strcmp(argv[1], "handshakes") == 0)
        return handshakes(atoi(argv[2]), strcmp(argv[3], "resumed") == 0, atof(argv[4]));
    fprintf(stderr, "usage: client hold PORT plain|tls|h2 COUNT\n"
                    "       client handshakes PORT full|resumed SECONDS\n");
    return 2;
}
