#include "proxy/upstream/lookup.h"

#include <stdlib.h>

#include "base/random.h"
#include "codec/dns.h"
#include "io/dgram.h"
#include "proxy/upstream/lookup_tcp.h"
#include "proxy/upstream/upstream.h"

enum { ROUNDS_MAX = 2, ANSWER_WAIT_US = 1500 * 1000, TCP_WAIT_US = 3000 * 1000 };

struct lookup {
    struct turn *turn;
    uint32_t mark;
    char name[DNS_NAME_MAX];
    enum dns_family family;
    struct addr servers[LOOKUP_SERVERS_MAX];
    size_t server_count;
    void (*done)(void *ctx, const struct lookup_result *result);
    void *ctx;
    enum dns_type types[2]; /* in the order of asking */
    unsigned type_count, type_at, tries;
    bool is_failed; /* one of the questions had no answer */
    struct dgram *socket;
    struct lookup_tcp *tcp;       /* the question goes over TCP now */
    char packet[DNS_UDP_LEN_MIN]; /* the question that is out */
    size_t packet_len;
    struct dns_query query; /* points into packet */
    struct timer timer;
    struct turn_task task;
    struct grave grave;
    struct lookup_result result;
};

static void ask(struct lookup *l);

/* --- files --- */

/* Calls see() for the words of each line, without comments, until it is false. */
typedef bool words_fn(struct lookup *l, struct str first, struct str rest);

static struct str next_word(struct str *rest)
{
    size_t from = 0, to;
    while (from < rest->len && memchr(" \t\r\n", rest->ptr[from], 4) != NULL)
        from++;
    for (to = from; to < rest->len && memchr(" \t\r\n", rest->ptr[to], 4) == NULL;)
        to++;
    struct str word = str_sub(*rest, from, to - from);
    *rest = str_skip(*rest, to);
    return word;
}

static void walk_file(struct lookup *l, struct str text, words_fn *see)
{
    while (text.ptr != NULL) {
        struct str rest = str_split(&text, '\n');
        ptrdiff_t comment = str_find(rest, '#');
        if (comment >= 0)
            rest = str_sub(rest, 0, (size_t)comment);
        struct str first = next_word(&rest);
        if (first.len > 0 && !see(l, first, rest))
            return;
    }
}

void lookup_files_init(struct lookup_files *f)
{
    host_file_init(&f->hosts, "/etc/hosts");
    host_file_init(&f->resolv, "/etc/resolv.conf");
}

void lookup_files_deinit(struct lookup_files *f)
{
    host_file_deinit(&f->hosts);
    host_file_deinit(&f->resolv);
}

static bool see_nameserver(struct lookup *l, struct str first, struct str rest)
{
    if (str_eq(first, STR("nameserver")) &&
        addr_parse_ip(next_word(&rest), 53, &l->servers[l->server_count]))
        l->server_count++;
    return l->server_count < LOOKUP_SERVERS_MAX;
}

static void add_addr(struct lookup_result *r, const struct ip_addr *ip)
{
    for (size_t i = 0; i < r->count; i++) {
        if (ip_eq(&r->addrs[i], ip))
            return;
    }
    if (r->count < LOOKUP_ADDRS_MAX)
        r->addrs[r->count++] = *ip;
}

static bool see_host(struct lookup *l, struct str first, struct str rest)
{
    struct ip_addr ip;
    struct str word;
    if (!ip_parse(first, &ip))
        return true;
    while ((word = next_word(&rest)).len > 0) {
        if (str_eq_nocase(word, str_from_c(l->name)))
            add_addr(&l->result, &ip);
    }
    return l->result.count < LOOKUP_ADDRS_MAX;
}

/* Of the file's addresses those that the family would have brought. */
static void keep_family(struct lookup *l)
{
    struct lookup_result *r = &l->result;
    for (unsigned t = 0; t < l->type_count && l->family != DNS_ALL; t++) {
        enum ip_family family = l->types[t] == DNS_TYPE_A ? IP_V4 : IP_V6;
        size_t kept = 0;
        struct ip_addr found[LOOKUP_ADDRS_MAX];
        for (size_t i = 0; i < r->count; i++) {
            if (r->addrs[i].family == family)
                found[kept++] = r->addrs[i];
        }
        if (kept > 0 || t + 1 == l->type_count) {
            memcpy(r->addrs, found, kept * sizeof found[0]);
            r->count = kept;
            return;
        }
    }
}

/* --- the end --- */

static void free_grave(struct grave *g)
{
    free(CONTAINER_OF(g, struct lookup, grave));
}

struct lookup *lookup_cancel(struct lookup *l)
{
    if (l == NULL)
        return NULL;
    timer_stop(&l->timer);
    turn_cancel(&l->task);
    l->tcp = lookup_tcp_cancel(l->tcp);
    if (l->socket != NULL)
        dgram_close(l->socket);
    l->socket = NULL;
    turn_bury(l->turn, &l->grave, free_grave);
    return NULL;
}

static void run_task(struct turn_task *task)
{
    struct lookup *l = CONTAINER_OF(task, struct lookup, task);
    l->result.is_answered |= l->result.count > 0 || !l->is_failed;
    lookup_cancel(l);
    l->done(l->ctx, &l->result); /* the grave is dug when the turn ends */
}

static void finish(struct lookup *l)
{
    timer_stop(&l->timer);
    turn_soon(l->turn, &l->task);
}

/* --- asking --- */

/* The question is answered, or given up; what comes now. */
static void next_type(struct lookup *l)
{
    timer_stop(&l->timer);
    l->type_at++;
    l->tries = 0;
    bool is_enough = l->result.count > 0 && l->family != DNS_ALL;
    if (l->type_at == l->type_count || is_enough)
        finish(l);
    else
        ask(l);
}

static void next_server(struct lookup *l)
{
    if (++l->tries < l->server_count * ROUNDS_MAX) {
        ask(l);
        return;
    }
    l->is_failed = true;
    next_type(l);
}

/* Whether the payload tells something; its addresses are taken. */
static bool take_answer(struct lookup *l, struct str payload)
{
    struct ip_addr addrs[LOOKUP_ADDRS_MAX];
    uint32_t ttl_s;
    size_t count;
    enum dns_rcode rcode = dns_response_rcode(payload);
    bool is_told = rcode == DNS_NOERROR || rcode == DNS_NXDOMAIN;
    if (!is_told || dns_response_addrs(payload, addrs, ARRAY_LEN(addrs), &count, &ttl_s) != 0)
        return false;
    for (size_t i = 0; i < count; i++)
        add_addr(&l->result, &addrs[i]);
    if (count > 0)
        l->result.ttl_s = l->result.ttl_s > 0 ? MIN(l->result.ttl_s, ttl_s) : ttl_s;
    return true;
}

/* An answer over TCP that is cut off too says no more than the next server might. */
static void on_tcp_answer(void *ctx, struct str payload)
{
    struct lookup *l = ctx;
    l->tcp = NULL;
    bool is_ours = payload.ptr != NULL && dns_response_matches(payload, &l->query, l->query.id) &&
                   !dns_response_is_truncated(payload);
    if (is_ours && take_answer(l, payload))
        next_type(l);
    else
        next_server(l);
}

/* RFC 2181 9: what was cut off is not used; the same question again, over TCP. */
static void ask_over_tcp(struct lookup *l)
{
    timer_stop(&l->timer);
    l->tcp = lookup_tcp_start(&(struct lookup_tcp_args){
        .turn = l->turn,
        .server = &l->servers[l->tries % l->server_count],
        .question = str_from(l->packet, l->packet_len),
        .mark = l->mark,
        .wait_us = TCP_WAIT_US,
        .done = on_tcp_answer,
        .ctx = l,
    });
}

static void on_answer(void *ctx, const struct addr *from, struct str payload)
{
    struct lookup *l = ctx;
    if (!timer_is_started(&l->timer) || !addr_eq(from, &l->servers[l->tries % l->server_count]) ||
        !dns_response_matches(payload, &l->query, l->query.id))
        return;
    if (dns_response_is_truncated(payload))
        ask_over_tcp(l);
    else if (take_answer(l, payload))
        next_type(l);
    else
        next_server(l);
}

static void on_silence(struct timer *t)
{
    next_server(CONTAINER_OF(t, struct lookup, timer));
}

static bool send_question(struct lookup *l, const struct addr *to)
{
    struct addr any = {.family = to->family};
    uint16_t id;
    random_secret(&id, sizeof id);
    size_t len =
        dns_query_build(id, str_from_c(l->name), l->types[l->type_at], l->packet, sizeof l->packet);
    struct str packet = str_from(l->packet, len);
    l->packet_len = len;
    if (len == 0 || dns_query_parse(packet, &l->query) != 0)
        return false;
    if (l->socket != NULL)
        dgram_close(l->socket);
    l->socket = NULL;
    return dgram_open(l->turn, &any, l->mark, on_answer, l, &l->socket) == 0 &&
           dgram_send(l->socket, to, packet) == 0;
}

static void ask(struct lookup *l)
{
    if (l->server_count == 0) {
        l->is_failed = true;
        finish(l);
        return;
    }
    /* What cannot be sent is waited for a moment all the same: no busy round of tries. */
    (void)send_question(l, &l->servers[l->tries % l->server_count]);
    timer_start(l->turn, &l->timer, ANSWER_WAIT_US);
}

static void set_types(struct lookup *l)
{
    static const enum dns_type by_family[][2] = {
        [DNS_AUTO] = {DNS_TYPE_AAAA, DNS_TYPE_A},
        [DNS_V4_ONLY] = {DNS_TYPE_A},
        [DNS_V6_ONLY] = {DNS_TYPE_AAAA},
        [DNS_ALL] = {DNS_TYPE_A, DNS_TYPE_AAAA},
        [DNS_V4_PREFERRED] = {DNS_TYPE_A, DNS_TYPE_AAAA},
    };
    memcpy(l->types, by_family[l->family], sizeof l->types);
    l->type_count = l->family == DNS_V4_ONLY || l->family == DNS_V6_ONLY ? 1 : 2;
}

struct lookup *lookup_start(const struct lookup_args *args)
{
    struct lookup *l = NEW(struct lookup);
    l->turn = args->turn;
    l->mark = args->mark;
    l->family = args->family;
    l->done = args->done;
    l->ctx = args->ctx;
    ASSERT(args->name.len < sizeof l->name);
    memcpy(l->name, args->name.ptr, args->name.len);
    timer_init(&l->timer, on_silence);
    turn_task_init(&l->task, run_task);
    set_types(l);
    walk_file(l, host_file_text(&args->files->hosts), see_host);
    keep_family(l);
    if (l->result.count > 0) {
        finish(l);
        return l;
    }
    for (size_t i = 0; i < args->server_count && i < LOOKUP_SERVERS_MAX; i++)
        l->servers[l->server_count++] = upstream_addr(&args->servers[i]);
    if (l->server_count == 0)
        walk_file(l, host_file_text(&args->files->resolv), see_nameserver);
    ask(l);
    return l;
}
