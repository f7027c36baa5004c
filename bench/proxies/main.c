/* proxies FILE: reads who there is, then commands from its input; answers are lines of JSON.
 *
 *   FILE      socket PATH | port N ROOT     plain at a unix socket, or mTLS to 127.0.0.1
 *             identity NAME URI [CERT KEY]
 *             service HOST:PORT NS WORKLOAD
 *             proxy NS WORKLOAD INDEX ADDRESS IDENTITY
 *             dest HOST:PORT                 of the proxy before
 *   connect COUNT RATE    so many more, so many a second
 *   arm NS|*              from now to each one's next inbound listener; event "armed" at the last
 *   churn RATE SECS       replicas go and come; event "churn" at the end
 *   stats                 what there is and was
 *   reset                 sets the counts to 0
 *   quit */
#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "proxies.h"

enum { LINE_MAX_BYTES = 4096, WORDS_MAX = 8, EVENTS_MAX = 512 };

/* --- the file --- */

static unsigned split(char *line, char *words[WORDS_MAX])
{
    unsigned count = 0;
    for (char *w = strtok(line, " \n"); w != NULL && count < WORDS_MAX; w = strtok(NULL, " \n"))
        words[count++] = w;
    return count;
}

static char *copy(const char *text)
{
    return must(strdup(text));
}

static FILE *open_file(const char *path)
{
    FILE *f = fopen(path, "re");
    if (f == NULL)
        die("%s: %s", path, strerror(errno));
    return f;
}

static void read_identity(char *words[WORDS_MAX], unsigned count)
{
    struct identity i = {.name = copy(words[1]), .uri = copy(words[2])};
    if (count == 5) {
        FILE *f = open_file(words[3]);
        i.cert = must(PEM_read_X509(f, NULL, NULL, NULL));
        fclose(f);
        f = open_file(words[4]);
        i.key = must(PEM_read_PrivateKey(f, NULL, NULL, NULL));
        fclose(f);
    }
    world.identities =
        must(realloc(world.identities, (world.identity_count + 1) * sizeof *world.identities));
    world.identities[world.identity_count++] = i;
}

static const struct identity *find_identity(const char *name)
{
    for (uint32_t i = 0; i < world.identity_count; i++) {
        if (strcmp(world.identities[i].name, name) == 0)
            return &world.identities[i];
    }
    die("no identity %s", name);
}

static void read_proxy(char *words[WORDS_MAX])
{
    if (world.proxy_count == world.proxy_cap) {
        world.proxy_cap = world.proxy_cap == 0 ? 256 : world.proxy_cap * 2;
        world.proxies = must(realloc(world.proxies, world.proxy_cap * sizeof *world.proxies));
    }
    world.proxies[world.proxy_count++] = (struct proxy){
        .namespace_ = copy(words[1]),
        .workload = copy(words[2]),
        .index = (uint32_t)strtoul(words[3], NULL, 10),
        .address = copy(words[4]),
        .identity = find_identity(words[5]),
        .link = {.fd = -1},
    };
}

static void read_dest(const char *host_port)
{
    struct proxy *p = &world.proxies[world.proxy_count - 1];
    uint32_t service = measure_service(host_port);
    if (service == NONE)
        die("no service %s", host_port);
    p->dests = must(realloc(p->dests, (p->dest_count + 1) * sizeof *p->dests));
    p->dests[p->dest_count++].service = service;
}

static void use_tls(const char *port, const char *root)
{
    world.port = (int)strtol(port, NULL, 10);
    world.tls = must(SSL_CTX_new(TLS_client_method()));
    SSL_CTX_set_mode(world.tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(world.tls, SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_load_verify_locations(world.tls, root, NULL) != 1 ||
        SSL_CTX_set_alpn_protos(world.tls, (const unsigned char *)"\x02h2", 3) != 0)
        die("%s: no roots in it", root);
}

static void read_line(char *words[WORDS_MAX], unsigned count)
{
    if (count == 2 && strcmp(words[0], "socket") == 0)
        world.socket = copy(words[1]);
    else if (count == 3 && strcmp(words[0], "port") == 0)
        use_tls(words[1], words[2]);
    else if ((count == 3 || count == 5) && strcmp(words[0], "identity") == 0)
        read_identity(words, count);
    else if (count == 4 && strcmp(words[0], "service") == 0)
        measure_add_service(copy(words[1]), copy(words[2]), copy(words[3]));
    else if (count == 6 && strcmp(words[0], "proxy") == 0)
        read_proxy(words);
    else if (count == 2 && strcmp(words[0], "dest") == 0)
        read_dest(words[1]);
    else
        die("a line that is not understood: %s", words[0]);
}

/* Services come before proxies, and are sorted when the first of these comes. */
static void read_world(const char *path)
{
    char line[LINE_MAX_BYTES], *words[WORDS_MAX];
    FILE *f = open_file(path);
    bool is_sorted = false;
    while (fgets(line, sizeof line, f) != NULL) {
        unsigned count = split(line, words);
        if (count == 0)
            continue;
        if (!is_sorted && strcmp(words[0], "proxy") == 0) {
            measure_sort();
            is_sorted = true;
        }
        read_line(words, count);
    }
    fclose(f);
    measure_link();
}

/* --- commands --- */

static void print_counts(void)
{
    static const char *const names[TYPE_COUNT] = {"cluster", "endpoints", "listener",
                                                  "route",   "directory", "secret"};
    const struct counts *c = &world.counts;
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"connects", c->connects},         {"closed", c->closed},       {"ended", c->ended},
        {"requests", c->requests},         {"responses", c->responses}, {"resources", c->resources},
        {"removed", c->removed},           {"bytes", c->bytes},         {"resent", c->resent},
        {"refused", c->handshakes_failed},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        printf(", \"%s\": %llu", rows[i].name, (unsigned long long)rows[i].value);
    for (int i = 0; i < TYPE_COUNT; i++)
        printf(", \"%s\": %llu", names[i], (unsigned long long)c->types[i]);
}

static void print_stats(void)
{
    uint32_t open_ = 0, synced = 0;
    for (uint32_t i = 0; i < world.proxy_count; i++) {
        open_ += world.proxies[i].link.is_open;
        synced += xds_is_synced(&world.proxies[i]);
    }
    printf("{\"proxies\": %u, \"open\": %u, \"synced\": %u", world.proxy_count, open_, synced);
    print_counts();
    printf("}\n");
    fflush(stdout);
}

static bool obey(char *line)
{
    char *words[WORDS_MAX];
    unsigned count = split(line, words);
    if (count == 0)
        return true;
    if (strcmp(words[0], "quit") == 0)
        return false;
    if (strcmp(words[0], "stats") == 0)
        print_stats();
    else if (strcmp(words[0], "reset") == 0)
        world.counts = (struct counts){0};
    else if (count == 3 && strcmp(words[0], "connect") == 0)
        proxies_connect((uint32_t)strtoul(words[1], NULL, 10), strtod(words[2], NULL));
    else if (count == 2 && strcmp(words[0], "arm") == 0)
        measure_arm(words[1]);
    else if (count == 3 && strcmp(words[0], "churn") == 0)
        measure_churn(strtod(words[1], NULL), strtod(words[2], NULL));
    else
        die("no such command: %s", words[0]);
    return true;
}

/* False: the input has ended, or says so. */
static bool read_commands(void)
{
    static struct buffer in;
    char bytes[LINE_MAX_BYTES];
    ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    buffer_add(&in, bytes, (size_t)n);
    char *end;
    while (in.len > 0 && (end = memchr(in.ptr, '\n', in.len)) != NULL) {
        *end = '\0';
        size_t len = (size_t)(end - in.ptr) + 1;
        if (!obey(in.ptr))
            return false;
        buffer_skip(&in, len);
    }
    return true;
}

/* --- the loop --- */

static int wait_ms(uint64_t now, uint64_t until)
{
    if (until == UINT64_MAX)
        return -1;
    return until <= now ? 0 : (int)((until - now + 999) / 1000);
}

static bool turn(int timeout_ms)
{
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(world.epoll, events, EVENTS_MAX, timeout_ms);
    if (count < 0 && errno != EINTR)
        die("epoll_wait: %s", strerror(errno));
    for (int i = 0; i < count; i++) {
        struct proxy *p = events[i].data.ptr;
        if (p == NULL && !read_commands())
            return false;
        if (p != NULL && p->link.fd >= 0)
            link_event(p, events[i].events);
    }
    return true;
}

int main(int argc, char **argv)
{
    struct rlimit files;
    struct epoll_event input = {.events = EPOLLIN, .data.ptr = NULL};
    if (argc != 2)
        die("usage: proxies FILE");
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    read_world(argv[1]);
    world.epoll = epoll_create1(EPOLL_CLOEXEC);
    fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
    if (epoll_ctl(world.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &input) != 0)
        die("the input cannot be waited for: %s", strerror(errno));
    printf("{\"ready\": %u}\n", world.proxy_count);
    fflush(stdout);
    for (;;) {
        uint64_t now = now_us(), a = proxies_run(now), b = measure_run(now);
        if (!turn(wait_ms(now_us(), a < b ? a : b)))
            return 0;
    }
}
