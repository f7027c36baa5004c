#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proxy/agent/config.h"

/* What the machine asked its owner for, as text: "+listener a", "-cluster b", "sub route c", ... */
struct world {
    struct config *config;
    struct str_buf log;
};

static void on_publish(void *ctx, const struct config_change *changes, size_t count)
{
    struct world *w = ctx;
    for (size_t i = 0; i < count; i++)
        str_buf_printf(&w->log, "%c%s %.*s;", changes[i].resource != NULL ? '+' : '-',
                       resource_type_name(changes[i].type), STR_FMT(changes[i].name));
}

static void on_subscribe(void *ctx, enum resource_type type, struct str name,
                         const struct resource_source *from)
{
    struct world *w = ctx;
    (void)from;
    str_buf_printf(&w->log, "sub %s %.*s;", resource_type_name(type), STR_FMT(name));
}

static void on_unsubscribe(void *ctx, enum resource_type type, struct str name)
{
    struct world *w = ctx;
    str_buf_printf(&w->log, "unsub %s %.*s;", resource_type_name(type), STR_FMT(name));
}

static void on_done(void *ctx, uint64_t token, struct str why)
{
    struct world *w = ctx;
    str_buf_printf(&w->log, "done %llu %.*s;", (unsigned long long)token, STR_FMT(why));
}

static void on_detail_failed(void *ctx, struct str name, struct str why)
{
    struct world *w = ctx;
    (void)why;
    str_buf_printf(&w->log, "failed %.*s;", STR_FMT(name));
}

static const struct config_ops ops = {
    .publish = on_publish,
    .subscribe = on_subscribe,
    .unsubscribe = on_unsubscribe,
    .done = on_done,
    .detail_failed = on_detail_failed,
};

static void use(struct world *w, const struct config_args *args)
{
    struct config_args own = *args;
    own.ops = &ops;
    own.ctx = w;
    config_free(w->config);
    w->config = config_new(&own);
}

static int set_up(void **state)
{
    struct world *w = NEW(struct world);
    const struct config_args args = {
        .supply = {[RESOURCE_LISTENER] = CONFIG_MIXED,
                   [RESOURCE_CLUSTER] = CONFIG_MIXED,
                   [RESOURCE_ROUTE] = CONFIG_BY_NAME,
                   [RESOURCE_ENDPOINTS] = CONFIG_BY_NAME,
                   [RESOURCE_SECRET] = CONFIG_LOCAL,
                   [RESOURCE_DIRECTORY] = CONFIG_LOCAL},
    };
    w->log = STR_BUF_INIT(65536);
    use(w, &args);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    config_free(w->config);
    str_buf_deinit(&w->log);
    free(w);
    return 0;
}

/* A resource that refers to at most one other. */
static struct resource *make(enum resource_type type, const char *name, enum resource_type to_type,
                             const char *to)
{
    struct resource *r = resource_new(type, str_from_c(name));
    if (to != NULL) {
        struct resource_ref *ref = ARENA_NEW(&r->arena, struct resource_ref);
        ref->type = to_type;
        ref->name = arena_str(&r->arena, str_from_c(to));
        r->refs = ref;
        r->ref_count_out = 1;
    }
    return r;
}

static void receive(struct world *w, struct resource *r, uint64_t token)
{
    const struct ads_update u = {
        .type = r->type, .changed = &r, .changed_count = 1, .token = token};
    config_update(w->config, &u);
    resource_unref(r);
    config_pump(w->config);
}

static void lose(struct world *w, enum resource_type type, const char *name, uint64_t token)
{
    struct str removed = str_from_c(name);
    const struct ads_update u = {
        .type = type, .removed = &removed, .removed_count = 1, .token = token};
    config_update(w->config, &u);
    config_pump(w->config);
}

static void expect(struct world *w, const char *text)
{
    struct str have = str_buf_str(&w->log), want = str_from_c(text);
    if (!str_eq(have, want))
        fail_msg("have \"%.*s\", want \"%s\"", STR_FMT(have), text);
    str_buf_reset(&w->log);
}

static void test_a_listener_waits_for_all_it_refers_to(void **state)
{
    struct world *w = *state;
    receive(w, make(RESOURCE_LISTENER, "virtualInbound", RESOURCE_CLUSTER, "inbound|80|http"), 1);
    expect(w, "");
    receive(w, make(RESOURCE_CLUSTER, "inbound|80|http", RESOURCE_SECRET, "default"), 2);
    expect(w, "");
    struct resource *secret = make(RESOURCE_SECRET, "default", RESOURCE_SECRET, NULL);
    config_set_local(w->config, RESOURCE_SECRET, STR("default"), secret);
    resource_unref(secret);
    config_pump(w->config);
    expect(w, "+listener virtualInbound;+cluster inbound|80|http;+secret default;");
    assert_false(config_is_running(w->config, RESOURCE_LISTENER, STR("virtualInbound")));
    config_applied(w->config, STR_NULL);
    expect(w, "done 1 ;done 2 ;");
    assert_true(config_is_running(w->config, RESOURCE_LISTENER, STR("virtualInbound")));
}

/* Else a sidecar would be taken for unready at every change of its policies, by all its callers. */
static void test_what_runs_goes_on_while_its_successor_is_published(void **state)
{
    struct world *w = *state;
    receive(w, make(RESOURCE_LISTENER, "virtualInbound", RESOURCE_CLUSTER, NULL), 1);
    assert_false(config_is_running(w->config, RESOURCE_LISTENER, STR("virtualInbound")));
    config_applied(w->config, STR_NULL);
    receive(w, make(RESOURCE_LISTENER, "virtualInbound", RESOURCE_CLUSTER, NULL), 2);
    expect(w, "+listener virtualInbound;done 1 ;+listener virtualInbound;");
    assert_true(config_is_running(w->config, RESOURCE_LISTENER, STR("virtualInbound")));
    config_applied(w->config, STR_NULL);
    assert_true(config_is_running(w->config, RESOURCE_LISTENER, STR("virtualInbound")));
}

static void test_references_are_subscribed_to_and_given_up(void **state)
{
    struct world *w = *state;
    receive(w, make(RESOURCE_LISTENER, "virtualInbound", RESOURCE_ROUTE, "r"), 1);
    expect(w, "sub route r;");
    receive(w, make(RESOURCE_ROUTE, "r", RESOURCE_CLUSTER, "a:80"), 2);
    expect(w, "sub cluster a:80;");
    receive(w, make(RESOURCE_CLUSTER, "a:80", RESOURCE_SECRET, NULL), 3);
    expect(w, "+listener virtualInbound;+route r;+cluster a:80;");
    config_applied(w->config, STR_NULL);
    expect(w, "done 1 ;done 2 ;done 3 ;");
    /* The route goes elsewhere: it waits for the new one, then the old one goes with it. */
    receive(w, make(RESOURCE_ROUTE, "r", RESOURCE_CLUSTER, "b:80"), 4);
    expect(w, "sub cluster b:80;");
    receive(w, make(RESOURCE_CLUSTER, "b:80", RESOURCE_SECRET, NULL), 5);
    expect(w, "+route r;+cluster b:80;");
    config_applied(w->config, STR_NULL);
    expect(w, "unsub cluster a:80;-cluster a:80;");
    config_applied(w->config, STR_NULL);
    expect(w, "done 4 ;done 5 ;");
}

static void test_what_does_not_exist_is_no_reason_to_wait(void **state)
{
    struct world *w = *state;
    receive(w, make(RESOURCE_LISTENER, "virtualInbound", RESOURCE_ROUTE, "r"), 1);
    expect(w, "sub route r;");
    lose(w, RESOURCE_ROUTE, "r", 2);
    expect(w, "+listener virtualInbound;");
    config_applied(w->config, STR_NULL);
    expect(w, "done 1 ;done 2 ;");
}

static void test_what_is_referred_to_is_not_removed(void **state)
{
    struct world *w = *state;
    receive(w, make(RESOURCE_LISTENER, "virtualInbound", RESOURCE_CLUSTER, "inbound|80|http"), 1);
    receive(w, make(RESOURCE_CLUSTER, "inbound|80|http", RESOURCE_SECRET, NULL), 2);
    config_applied(w->config, STR_NULL);
    str_buf_reset(&w->log);
    lose(w, RESOURCE_CLUSTER, "inbound|80|http", 3);
    expect(w, "done 3 ;");
    lose(w, RESOURCE_LISTENER, "virtualInbound", 4);
    expect(w, "-listener virtualInbound;-cluster inbound|80|http;");
}

static void test_a_wanted_detail_comes(void **state)
{
    struct world *w = *state;
    config_want(w->config, STR("a:80"), 0);
    expect(w, "sub listener a:80;sub route a:80;sub cluster a:80;sub endpoints a:80;");
    config_want(w->config, STR("a:80"), 0);
    expect(w, "");
    receive(w, make(RESOURCE_LISTENER, "a:80", RESOURCE_SECRET, NULL), 1);
    expect(w, "+listener a:80;");
    assert_true(config_has_wants(w->config));
    config_applied(w->config, STR_NULL);
    assert_false(config_has_wants(w->config));
}

static void test_an_unknown_detail_fails_and_may_be_wanted_again(void **state)
{
    struct world *w = *state;
    config_want(w->config, STR("a:80"), 0);
    str_buf_reset(&w->log);
    lose(w, RESOURCE_LISTENER, "a:80", 1);
    expect(w, "failed a:80;unsub listener a:80;unsub route a:80;unsub cluster a:80;"
              "unsub endpoints a:80;done 1 ;");
    config_want(w->config, STR("a:80"), 0);
    expect(w, "sub listener a:80;sub route a:80;sub cluster a:80;sub endpoints a:80;");
}

static void test_wants_end_without_a_control_plane(void **state)
{
    struct world *w = *state;
    config_want(w->config, STR("a:80"), 1000);
    str_buf_reset(&w->log);
    config_expire_wants(w->config, 1000 + 1900 * 1000, false);
    expect(w, "");
    config_expire_wants(w->config, 1000 + 2000 * 1000, false);
    expect(w, "failed a:80;");
}

static void test_what_a_worker_refuses_is_told(void **state)
{
    struct world *w = *state;
    receive(w, make(RESOURCE_LISTENER, "virtualInbound", RESOURCE_SECRET, NULL), 1);
    str_buf_reset(&w->log);
    config_applied(w->config, STR("listener virtualInbound: in use"));
    expect(w, "done 1 listener virtualInbound: in use;");
}

static void test_one_set_at_a_time(void **state)
{
    struct world *w = *state;
    receive(w, make(RESOURCE_DIRECTORY, "a", RESOURCE_SECRET, NULL), 1);
    expect(w, "+directory a;");
    receive(w, make(RESOURCE_DIRECTORY, "b", RESOURCE_SECRET, NULL), 2);
    receive(w, make(RESOURCE_DIRECTORY, "a", RESOURCE_SECRET, NULL), 3);
    expect(w, "");
    config_applied(w->config, STR_NULL);
    struct str log = str_buf_str(&w->log);
    assert_true(str_contains(log, STR("+directory a;")));
    assert_true(str_contains(log, STR("+directory b;")));
    str_buf_reset(&w->log);
    config_applied(w->config, STR_NULL);
    expect(w, "done 1 ;done 2 ;done 3 ;");
}

static void test_own_names_are_not_the_control_planes(void **state)
{
    struct world *w = *state;
    struct resource *own = make(RESOURCE_CLUSTER, "direct", RESOURCE_SECRET, NULL);
    config_set_local(w->config, RESOURCE_CLUSTER, STR("direct"), own);
    config_pump(w->config);
    config_applied(w->config, STR_NULL);
    str_buf_reset(&w->log);
    receive(w, make(RESOURCE_CLUSTER, "direct", RESOURCE_SECRET, NULL), 1);
    expect(w, "done 1 direct: this name is the proxy's own; ;");
    assert_ptr_equal(config_running(w->config, RESOURCE_CLUSTER, STR("direct")), own);
    resource_unref(own);
}

/* Wants this many destinations, one after the other; how often entries were looked at for it. */
static uint64_t looks_for(struct world *w, unsigned count)
{
    uint64_t before = config_looks(w->config);
    for (unsigned i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "s%u-%u:80", count, i);
        config_want(w->config, str_from_c(name), 1);
        config_pump(w->config);
        receive(w, make(RESOURCE_ENDPOINTS, name, RESOURCE_SECRET, NULL), 1);
        receive(w, make(RESOURCE_CLUSTER, name, RESOURCE_ENDPOINTS, name), 2);
        receive(w, make(RESOURCE_ROUTE, name, RESOURCE_CLUSTER, name), 3);
        receive(w, make(RESOURCE_LISTENER, name, RESOURCE_ROUTE, name), 4);
        while (!config_is_running(w->config, RESOURCE_LISTENER, str_from_c(name)))
            config_applied(w->config, STR_NULL);
        str_buf_reset(&w->log);
    }
    return config_looks(w->config) - before;
}

/* Who uses a thousand destinations pays for each once, not for all of them at each new one. */
static void test_a_detail_costs_the_same_among_many(void **state)
{
    struct world *w = *state;
    uint64_t few = looks_for(w, 10), many = looks_for(w, 500);
    if (few == 0 || many > few * 50)
        fail_msg("%llu looks for 10, %llu for 500", (unsigned long long)few,
                 (unsigned long long)many);
}

/* As a proxy that starts from a file has it: servers of others answer one thing at a time. */
static const struct config_args foreign = {
    .supply = {[RESOURCE_LISTENER] = CONFIG_BY_WILDCARD,
               [RESOURCE_CLUSTER] = CONFIG_BY_WILDCARD,
               [RESOURCE_ROUTE] = CONFIG_BY_NAME,
               [RESOURCE_ENDPOINTS] = CONFIG_BY_NAME,
               [RESOURCE_SECRET] = CONFIG_BY_NAME,
               [RESOURCE_DIRECTORY] = CONFIG_LOCAL},
    .answers_cold = true,
};

static void test_an_answer_does_not_wait_for_what_is_missing(void **state)
{
    struct world *w = *state;
    use(w, &foreign);
    receive(w, make(RESOURCE_CLUSTER, "a", RESOURCE_ENDPOINTS, "a"), 1);
    expect(w, "sub endpoints a;done 1 ;");
    receive(w, make(RESOURCE_CLUSTER, "b", RESOURCE_SECRET, NULL), 2);
    expect(w, "+cluster b;");
    /* What came while that was on its way is answered when it was applied, not when all rests. */
    receive(w, make(RESOURCE_CLUSTER, "c", RESOURCE_SECRET, NULL), 3);
    expect(w, "");
    config_applied(w->config, STR_NULL);
    expect(w, "done 2 ;+cluster c;");
    config_applied(w->config, STR_NULL);
    expect(w, "done 3 ;");
    receive(w, make(RESOURCE_ENDPOINTS, "a", RESOURCE_SECRET, NULL), 4);
    expect(w, "+cluster a;+endpoints a;");
    config_applied(w->config, STR("no such port"));
    expect(w, "done 4 no such port;");
}

/* Clusters may come after the listeners that lead to them: at first on a stream of their own. */
static void test_all_of_a_type_is_known_when_it_was_heard(void **state)
{
    struct world *w = *state;
    use(w, &foreign);
    receive(w, make(RESOURCE_LISTENER, "l", RESOURCE_CLUSTER, "a"), 1);
    expect(w, "done 1 ;");
    const struct ads_update nothing = {.type = RESOURCE_CLUSTER, .token = 2};
    config_update(w->config, &nothing);
    config_pump(w->config);
    expect(w, "+listener l;");
    config_applied(w->config, STR_NULL);
    expect(w, "done 2 ;");
}

/* Else a capture would let out in clear what the listener beside it, still on its way, encrypts. */
static void test_no_listener_serves_before_all_that_came_at_first_is_complete(void **state)
{
    struct world *w = *state;
    struct config_args held = foreign;
    held.is_held_at_first = true;
    use(w, &held);
    receive(w, make(RESOURCE_CLUSTER, "c", RESOURCE_SECRET, "default"), 1);
    receive(w, make(RESOURCE_LISTENER, "capture", RESOURCE_CLUSTER, NULL), 2);
    expect(w, "sub secret default;done 1 ;done 2 ;");
    assert_false(config_has_begun(w->config));
    struct resource *own = make(RESOURCE_LISTENER, "probe", RESOURCE_CLUSTER, NULL);
    config_set_local(w->config, RESOURCE_LISTENER, STR("probe"), own);
    resource_unref(own);
    config_pump(w->config);
    expect(w, "+listener probe;");
    config_applied(w->config, STR_NULL);
    receive(w, make(RESOURCE_SECRET, "default", RESOURCE_SECRET, NULL), 3);
    assert_true(config_has_begun(w->config));
    expect(w, "+listener capture;+cluster c;+secret default;");
    config_applied(w->config, STR_NULL);
    expect(w, "done 3 ;");
    /* Later changes wait for what they refer to, not for each other. */
    receive(w, make(RESOURCE_LISTENER, "one", RESOURCE_ROUTE, "r"), 4);
    receive(w, make(RESOURCE_LISTENER, "two", RESOURCE_ROUTE, NULL), 5);
    expect(w, "sub route r;done 4 ;+listener two;");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_listener_waits_for_all_it_refers_to),
        TEST(test_what_runs_goes_on_while_its_successor_is_published),
        TEST(test_references_are_subscribed_to_and_given_up),
        TEST(test_what_does_not_exist_is_no_reason_to_wait),
        TEST(test_what_is_referred_to_is_not_removed),
        TEST(test_a_wanted_detail_comes),
        TEST(test_an_unknown_detail_fails_and_may_be_wanted_again),
        TEST(test_wants_end_without_a_control_plane),
        TEST(test_what_a_worker_refuses_is_told),
        TEST(test_one_set_at_a_time),
        TEST(test_a_detail_costs_the_same_among_many),
        TEST(test_own_names_are_not_the_control_planes),
        TEST(test_an_answer_does_not_wait_for_what_is_missing),
        TEST(test_all_of_a_type_is_known_when_it_was_heard),
        TEST(test_no_listener_serves_before_all_that_came_at_first_is_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
