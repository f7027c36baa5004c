/* Ways around the mesh for a while:
 *   GET    /tulle/v1/bypasses
 *   POST   /tulle/v1/bypasses/NAMESPACE/WORKLOAD
 *          {"seconds": N, "port": N, "sides": "inbound"|"outbound"|"both", "replicas": [...]}
 *          (replicas: by the administrator only)
 *   DELETE /tulle/v1/bypasses/NAMESPACE/WORKLOAD?port=N
 *
 * Here callers are told; the rules of the workload's host are lifted there (host/bypass.h). */
#include "base/log.h"
#include "codec/duration.h"
#include "control/server/server_priv.h"

enum { BODY_BYTES_MAX = 256 * 1024, SECONDS_MAX = 24 * 3600 };

static const struct {
    const char *name;
    unsigned sides;
} side_names[] = {
    {"inbound", BYPASS_INBOUND},
    {"outbound", BYPASS_OUTBOUND},
    {"both", BYPASS_BOTH},
};

static const char *sides_text(unsigned sides)
{
    for (size_t i = 0; i < ARRAY_LEN(side_names); i++) {
        if (side_names[i].sides == sides)
            return side_names[i].name;
    }
    return "?";
}

static uint64_t now_ms(const struct rest_call *c)
{
    return turn_wall_us(c->server->args.turn) / 1000;
}

/* --- telling --- */

struct listing {
    struct json_writer *w;
    uint64_t now_ms;
};

static uint64_t seconds_left(const struct registry_bypass *b, uint64_t now_ms)
{
    return b->until_ms > now_ms ? (b->until_ms - now_ms + 999) / 1000 : 0;
}

static void write_one(void *ctx, const struct registry_bypass *b)
{
    const struct listing *l = ctx;
    char time[TIME_TEXT_MAX];
    json_writer_object(l->w, NULL);
    json_writer_str(l->w, "namespace", b->namespace_);
    json_writer_str(l->w, "workload", b->workload);
    json_writer_u64(l->w, "port", b->port);
    json_writer_c(l->w, "sides", sides_text(b->sides));
    json_writer_str(l->w, "until", time_format((int64_t)b->until_ms, false, time));
    json_writer_u64(l->w, "secondsLeft", seconds_left(b, l->now_ms));
    json_writer_str(l->w, "note", b->note);
    json_writer_end(l->w);
}

void rest_bypass_write(const struct server *s, struct json_writer *w)
{
    struct listing l = {w, turn_wall_us(s->args.turn) / 1000};
    json_writer_array(w, "bypasses");
    registry_each_bypass(s->args.registry, write_one, &l);
    json_writer_end(w);
}

struct metrics {
    struct str_buf *to;
    uint64_t now_ms;
};

static void add_metric(void *ctx, const struct registry_bypass *b)
{
    const struct metrics *m = ctx;
    str_buf_printf(m->to,
                   "tulle_bypass_seconds_left{namespace=\"%.*s\",workload=\"%.*s\",port=\"%u\","
                   "sides=\"%s\"} %llu\n",
                   STR_FMT(b->namespace_), STR_FMT(b->workload), b->port, sides_text(b->sides),
                   (unsigned long long)seconds_left(b, m->now_ms));
}

static void count_one(void *ctx, const struct registry_bypass *b)
{
    (void)b;
    ++*(size_t *)ctx;
}

void rest_bypass_metrics(const struct server *s, struct str_buf *to)
{
    struct metrics m = {to, turn_wall_us(s->args.turn) / 1000};
    size_t count = 0;
    registry_each_bypass(s->args.registry, count_one, &count);
    str_buf_printf(to,
                   "# HELP tulle_bypasses Workloads or ports that are reached past their "
                   "sidecars.\n# TYPE tulle_bypasses gauge\ntulle_bypasses %zu\n"
                   "# HELP tulle_bypass_seconds_left Until a way around the mesh ends.\n"
                   "# TYPE tulle_bypass_seconds_left gauge\n",
                   count);
    registry_each_bypass(s->args.registry, add_metric, &m);
}

static void reply_list(struct rest_call *c, unsigned status)
{
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    struct json_writer w;
    json_writer_init(&w, &out, 0);
    json_writer_object(&w, NULL);
    rest_bypass_write(c->server, &w);
    json_writer_end(&w);
    rest_reply(c, status, str_buf_str(&out));
    str_buf_deinit(&out);
}

/* --- beginning and ending --- */

static int audit(struct rest_call *c, const char *verb, struct str what)
{
    struct store_author by = rest_author(c, verb);
    by.note =
        by.note.len > 0 ? arena_printf(c->a, "%.*s: %.*s", STR_FMT(what), STR_FMT(by.note)) : what;
    return store_audit(c->server->args.store, &by);
}

static struct str describe(struct rest_call *c, const struct registry_bypass *b, const char *more)
{
    const char *port = b->port != 0 ? arena_printf(c->a, "port %u", b->port).ptr : "all ports";
    return arena_printf(c->a, "%.*s/%.*s %s%s", STR_FMT(b->namespace_), STR_FMT(b->workload), port,
                        more);
}

static bool parse_sides(struct str text, unsigned *ret_sides)
{
    for (size_t i = 0; i < ARRAY_LEN(side_names); i++) {
        if (str_eq(text, str_from_c(side_names[i].name))) {
            *ret_sides = side_names[i].sides;
            return true;
        }
    }
    return false;
}

static bool parse(struct rest_call *c, const struct json *root, struct registry_bypass *b,
                  uint64_t *ret_seconds)
{
    uint64_t port = 0;
    const struct json *at = json_get(root, "port");
    if (!json_u64(json_get(root, "seconds"), ret_seconds) || *ret_seconds == 0 ||
        *ret_seconds > SECONDS_MAX || (at != NULL && (!json_u64(at, &port) || port > UINT16_MAX)) ||
        !parse_sides(json_str_or(json_get(root, "sides"), STR("both")), &b->sides))
        return false;
    b->port = (uint16_t)port;
    b->until_ms = now_ms(c) + *ret_seconds * 1000;
    return true;
}

/* Replicas that have been given up already: who asks says where they are. An address is where
 * callers then go in clear: who may only bypass a workload does not choose it. */
static bool may_name(struct rest_call *c, const struct json *replicas)
{
    if (json_count(replicas) == 0 || c->who.is_administrator)
        return true;
    rest_fail(c, 403, "Forbidden", "only the administrator says where replicas are");
    return false;
}

static void hold_replicas(struct rest_call *c, const struct json *replicas)
{
    for (size_t i = 0; i < json_count(replicas); i++) {
        const struct json *one = json_at(replicas, i), *addresses = json_get(one, "addresses");
        struct ip_addr at[2] = {0};
        uint64_t index;
        if (!json_u64(json_get(one, "index"), &index) || index >= API_WORKLOAD_REPLICAS_MAX)
            continue;
        for (size_t j = 0; j < json_count(addresses); j++) {
            struct ip_addr ip;
            if (ip_parse(json_str_or(json_at(addresses, j), STR_NULL), &ip))
                at[ip.family == IP_V4 ? 0 : 1] = ip;
        }
        if (at[0].family != IP_NONE || at[1].family != IP_NONE)
            (void)registry_replica_hold(c->server->args.registry, c->path[3], c->path[4],
                                        (uint32_t)index, at);
    }
}

static void begin(struct rest_call *c)
{
    struct registry_bypass b = {.namespace_ = c->path[3], .workload = c->path[4]};
    struct store_author by = rest_author(c, "bypass");
    const struct json *root;
    char time[TIME_TEXT_MAX];
    uint64_t seconds;
    if (json_parse(c->a, str_buf_str(&c->body), BODY_BYTES_MAX, &root, NULL) != 0 ||
        !parse(c, root, &b, &seconds)) {
        rest_fail(c, 400, "BadRequest",
                  "the body is {\"seconds\": 1 to %d, \"port\": NUMBER, \"sides\": \"inbound\", "
                  "\"outbound\" or \"both\"}",
                  SECONDS_MAX);
        return;
    }
    if (!may_name(c, json_get(root, "replicas")))
        return;
    struct str until = time_format((int64_t)b.until_ms, false, time);
    b.note = arena_printf(c->a, "%.*s by %.*s%s%.*s", STR_FMT(by.at), STR_FMT(by.who),
                          by.note.len > 0 ? ": " : "", STR_FMT(by.note));
    const char *more =
        arena_printf(c->a, " %s until %.*s", sides_text(b.sides), STR_FMT(until)).ptr;
    int err = audit(c, "bypass", describe(c, &b, more));
    if (err == 0)
        err = registry_bypass_begin(c->server->args.registry, &b);
    if (err == -ERR_LIMIT) {
        rest_fail(c, 429, "TooManyRequests", "so many are bypassed that it is no mesh any more");
        return;
    }
    if (err != 0) {
        rest_fail_store(c, err, NULL);
        return;
    }
    hold_replicas(c, json_get(root, "replicas"));
    push_expire_soon(c->server->args.push);
    log_event(LOG_WARN, "bypass_begun", LF("namespace", b.namespace_), LF("workload", b.workload),
              LF("until", until), LF("by", by.who));
    reply_list(c, 200);
}

static void end(struct rest_call *c)
{
    struct registry_bypass b = {.namespace_ = c->path[3], .workload = c->path[4]};
    uint64_t port = 0;
    struct str text = rest_query(c, "port");
    if (text.len > 0 && !str_to_u64(text, UINT16_MAX, &port)) {
        rest_fail(c, 400, "BadRequest", "port is a number");
        return;
    }
    b.port = (uint16_t)port;
    int err = audit(c, "bypass end", describe(c, &b, ""));
    if (err == 0)
        err = registry_bypass_end(c->server->args.registry, b.namespace_, b.workload, b.port);
    if (err == -ERR_NOT_FOUND)
        rest_fail(c, 404, "NotFound", "there is no bypass of %.*s", STR_FMT(describe(c, &b, "")));
    else if (err != 0)
        rest_fail_store(c, err, NULL);
    else
        reply_list(c, 200);
    if (err == 0)
        log_event(LOG_INFO, "bypass_ended", LF("namespace", b.namespace_),
                  LF("workload", b.workload));
}

static void change(struct rest_call *c, bool is_begin)
{
    if (registry_doc(c->server->args.registry, API_KIND_WORKLOAD, c->path[3], c->path[4]) == NULL)
        rest_fail(c, 404, "NotFound", "Workload \"%.*s\" is not there in namespace %.*s",
                  STR_FMT(c->path[4]), STR_FMT(c->path[3]));
    else if (is_begin)
        begin(c);
    else
        end(c);
}

bool rest_bypass(struct rest_call *c)
{
    if (!rest_is_own(c, "bypasses") || (c->path_count != 3 && c->path_count != 5))
        return false;
    const struct api_kind_info *kind = api_kind_info(API_KIND_WORKLOAD);
    bool is_list = c->path_count == 3;
    bool is_post = rest_is_method(c, "POST"), is_delete = rest_is_method(c, "DELETE");
    if (is_list ? !rest_is_method(c, "GET") : !is_post && !is_delete)
        rest_fail(c, 405, "MethodNotAllowed", "%s only", is_list ? "GET" : "POST and DELETE");
    else if (!rest_may(c, is_list ? ACCESS_LIST : ACCESS_BYPASS, kind,
                       is_list ? STR_NULL : c->path[3]))
        return true;
    else if (is_list)
        reply_list(c, 200);
    else
        change(c, is_post);
    return true;
}
