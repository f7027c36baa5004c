#include "proxy/agent/agent.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "codec/json_writer.h"
#include "mesh/model/secret.h"
#include "proxy/agent/agent_priv.h"
#include "proxy/agent/local.h"
#include "proxy/agent/proxyless.h"

enum { REPORT_BYTES_MAX = 16384 };

/* --- state --- */

bool agent_is_ready(const struct agent *a, struct str_buf *why_not)
{
    if (a->is_draining) {
        str_buf_add_c(why_not, "draining");
        return false;
    }
    if (!a->was_started) {
        str_buf_add_c(why_not, "the first configuration is not applied yet");
        return false;
    }
    if (!a->has_begun) {
        str_buf_add_c(why_not, "the control plane's first configuration is not complete yet");
        return false;
    }
    if (a->identity == NULL)
        return true;
    if (!identity_is_valid(a->identity)) {
        str_buf_add_c(why_not, "no valid certificate");
        return false;
    }
    if (a->envoy != NULL)
        return envoy_is_ready(a->envoy, why_not);
    bool is_proxyless = a->args->is_proxyless;
    struct str name = is_proxyless ? STR(PROXYLESS_LISTENER) : STR(AGENT_LISTENER_INBOUND);
    if (!config_is_running(a->config, RESOURCE_LISTENER, name)) {
        str_buf_add_c(why_not, is_proxyless ? "the socket of xDS is not there yet"
                                            : "the inbound listener is not there yet");
        return false;
    }
    return true;
}

/* The leaf that every worker uses, the first of the chain: while a set is on its way to them it is
 * the one of before. */
static void look_at_leaf(struct agent *a)
{
    AUTO(cert_unref_auto) struct cert *leaf = NULL;
    const struct resource *r = config_running(a->config, RESOURCE_SECRET, STR(LOCAL_SECRET_OWN));
    if (a->sets_pending > 0 || r == NULL || cert_from_pem(r->secret->chain_pem, &leaf) != 0)
        return;
    str_buf_reset(&a->leaf_pem);
    cert_to_pem(leaf, &a->leaf_pem);
}

static void write_report(const struct agent *a, const char *state, struct str_buf *to)
{
    struct json_writer w;
    struct str leaf = str_buf_str(&a->leaf_pem);
    json_writer_init(&w, to, 0);
    json_writer_object(&w, NULL);
    json_writer_c(&w, "state", state);
    json_writer_str(&w, "namespace", a->args->namespace_);
    json_writer_str(&w, "workload", a->args->workload);
    json_writer_u64(&w, "index", a->args->index);
    if (leaf.len > 0)
        json_writer_str(&w, "leaf", leaf);
    json_writer_end(&w);
}

static void report(struct agent *a)
{
    const char *state = a->is_draining                   ? "draining"
                        : a->is_ready && a->is_app_ready ? "ready"
                                                         : "unready";
    if (a->ads == NULL || a->identity == NULL)
        return;
    if (state[0] == 'r')
        a->unready_since_us = UINT64_MAX;
    else if (a->unready_since_us == UINT64_MAX)
        a->unready_since_us = turn_now_us(a->turn);
    struct str_buf json = STR_BUF_INIT(REPORT_BYTES_MAX);
    look_at_leaf(a);
    write_report(a, state, &json);
    ads_report(a->ads, str_buf_str(&json));
    str_buf_deinit(&json);
}

void agent_look(struct agent *a)
{
    char text[32];
    if (config_generation(a->config) != a->indexed_generation) {
        a->indexed_generation = config_generation(a->config);
        a->was_started = true;
        if (a->cache != NULL)
            cache_mark(a->cache);
    }
    /* Sticky: later changes run beside what does. */
    a->has_begun = a->has_begun || (config_has_begun(a->config) && a->sets_pending == 0);
    if (a->ads != NULL)
        ads_client_flush(ads_client_of(a->ads));
    if (a->sources != NULL)
        sources_flush(a->sources);
    struct str_buf why = STR_BUF_INIT(256);
    bool is_ready = agent_is_ready(a, &why);
    str_buf_deinit(&why);
    if (is_ready && !a->is_ready) {
        snprintf(text, sizeof text, "%llu",
                 (unsigned long long)((turn_now_us(a->turn) - a->started_us) / 1000));
        log_event(LOG_INFO, "ready", LFC("after_ms", text));
        agent_seal(a);
    }
    a->is_ready = is_ready;
    report(a);
}

void agent_set_app_ready(struct agent *a, bool is_ready)
{
    a->is_app_ready = is_ready;
    agent_look(a);
}

/* --- the end --- */

void agent_quit(struct agent *a, int exit_code)
{
    a->exit_code = exit_code;
    turn_stop(a->turn);
}

static void on_exit_drained(void *ctx)
{
    struct agent *a = ctx;
    if (--a->drains_pending == 0)
        agent_quit(a, 0);
}

static void on_drained(void *ctx)
{
    (void)ctx;
}

/* What is left of the time in which callers hear that this replica is not to be asked any more;
 * without a control plane nobody tells them. */
static uint64_t announce_us(const struct agent *a)
{
    if (a->ads == NULL || a->identity == NULL)
        return 0;
    if (a->unready_since_us == UINT64_MAX)
        return AGENT_ANNOUNCE_US;
    uint64_t known_us = turn_now_us(a->turn) - a->unready_since_us;
    return known_us >= AGENT_ANNOUNCE_US ? 0 : AGENT_ANNOUNCE_US - known_us;
}

void agent_drain(struct agent *a, bool is_exit)
{
    /* It would overtake the one that ends all. */
    if (!is_exit && a->drains_pending > 0)
        return;
    uint64_t time_us = a->limits.drain_time_ms * 1000;
    uint64_t told_us = is_exit ? announce_us(a) : 0;
    if (is_exit)
        time_us = MIN(time_us, (uint64_t)AGENT_TERMINATION_US);
    a->is_draining = true;
    a->drains_pending = is_exit ? a->worker_count : 0;
    for (unsigned w = 0; w < a->worker_count; w++)
        worker_post_drain(a->workers[w], !is_exit, told_us, time_us,
                          is_exit ? on_exit_drained : on_drained, a);
    agent_look(a);
}

static void on_signal(struct watch *w, bool is_readable, bool is_writable)
{
    struct agent *a = CONTAINER_OF(w, struct agent, signals);
    struct signalfd_siginfo info;
    (void)is_readable;
    (void)is_writable;
    while (read(a->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (a->drains_pending > 0) {
            agent_quit(a, 0); /* the second one: at once */
            return;
        }
        log_event(LOG_INFO, "terminating", LFC("signal", sigabbrev_np((int)info.ssi_signo)));
        agent_drain(a, true);
    }
}

/* --- life --- */

static int catch_signals(struct agent *a)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return err_from_errno(errno);
    a->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (a->signal_fd < 0)
        return err_from_errno(errno);
    return watch_start(a->turn, &a->signals, a->signal_fd, false, on_signal);
}

static void raise_limits(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static void init(struct agent *a, const struct agent_args *args)
{
    *a = (struct agent){.args = args, .signal_fd = -1};
    arena_init(&a->arena, 2048);
    a->leaf_pem = STR_BUF_INIT(REPORT_BYTES_MAX);
    a->is_app_ready = args->is_app_ready;
    a->limits = args->limits;
    if (a->limits.memory_budget_bytes == 0)
        a->limits.memory_budget_bytes = budget_default();
    raise_limits();
    a->turn = turn_new_linux();
    ASSERT(a->turn != NULL);
    a->started_us = turn_now_us(a->turn);
    workers_init(a);
}

static void deinit(struct agent *a)
{
    envoy_free(a->envoy);
    admin_free(a->admin);
    dns_close(a->dns);
    identity_free(a->identity);
    cache_free(a->cache);
    struct ads *ads = TAKE(a->ads);
    ads_free(ads);
    struct sources *sources = TAKE(a->sources);
    sources_free(sources);
    workers_stop(a);
    config_free(a->config);
    tls_store_free(a->tls);
    bootstrap_free(a->bootstrap);
    if (a->signal_fd >= 0) {
        watch_stop(&a->signals);
        close(a->signal_fd);
    }
    for (int i = 0; i < 4; i++)
        turn_once(a->turn, 0);
    turn_free(a->turn);
    str_buf_deinit(&a->leaf_pem);
    arena_deinit(&a->arena);
}

/* Until the first set of a static configuration is applied: it either opens, or we do not start. */
static bool wait_for_start(struct agent *a)
{
    while (!a->was_started && !a->is_start_failed && a->exit_code < 0 && a->sets_pending > 0)
        turn_once(a->turn, 100);
    return !a->is_start_failed;
}

/* What is large and short-lived (a response of the control plane, its unpacked tree, the file of
 * the cache) comes from the system and goes back whole. Left alone, the C library would raise this
 * bound to the largest of them, and keep their pages. */
static void bound_heap(void)
{
    enum { MAPPED_BYTES_MIN = 128 * 1024 };
    mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES_MIN);
}

int agent_run(const struct agent_args *args)
{
    bound_heap();
    struct agent agent, *a = &agent;
    struct str_buf why = STR_BUF_INIT(4096);
    init(a, args);
    a->exit_code = -1;
    int err = catch_signals(a);
    if (err == 0)
        err = args->bootstrap_file != NULL ? start_static(a, &why) : start_sidecar(a, &why);
    if (err == 0 && !wait_for_start(a))
        err = -ERR_INVALID; /* said already */
    if (err != 0) {
        if (why.len > 0)
            fprintf(stderr, "tulle-proxy: %.*s\n", STR_FMT(str_buf_str(&why)));
        a->exit_code = 1;
    } else if (a->exit_code < 0) {
        turn_run(a->turn);
    }
    str_buf_deinit(&why);
    deinit(a);
    return a->exit_code < 0 ? 0 : a->exit_code;
}
