/* tulle cert root rotate: the root is changed in stages, each when the one before is proven.
 *
 * The stage is the control plane's, on disk; this only looks and takes the next step. So it may be
 * ended and started again, and the control plane may die in between. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "cli/cert.h"
#include "cli/opt.h"
#include "cli/rest.h"
#include "host/proc.h"

enum {
    CALL_TIMEOUT_MS = 30000,
    STAGE_TIMEOUT_MS = 10 * 60 * 1000,
    POLL_MS = 200,
    NAMED_MAX = 5,
    REFUSALS_MAX = 3, /* in a row, before what the control plane says ends it */
};

struct rotation {
    struct cli *cli;
    const struct cert_options *o;
    struct cli quiet; /* errors of calls that are repeated go nowhere */
    uint64_t timeout_ms, deadline_ms;
    struct arena a;
    const struct json *ca; /* as seen last */
    unsigned said;         /* the count that was printed last */
};

static struct str stage_of(const struct rotation *r)
{
    return cert_text(r->ca, "stage");
}

static unsigned count_of(const struct rotation *r, const char *key)
{
    return (unsigned)cert_number(r->ca, key);
}

/* --- looking --- */

static bool look(struct rotation *r)
{
    arena_reset(&r->a);
    r->ca = NULL;
    return rest_json(&r->quiet, r->o->mesh, "GET", "/tulle/v1/ca", STR_NULL, CALL_TIMEOUT_MS, &r->a,
                     &r->ca) == 0;
}

static void pause_a_little(void)
{
    nanosleep(&(struct timespec){0, POLL_MS * 1000000}, NULL);
}

static bool is_late(const struct rotation *r)
{
    return proc_now_ms() >= r->deadline_ms;
}

/* Waits out a control plane that is just not there. */
static bool look_until(struct rotation *r)
{
    while (!look(r)) {
        if (is_late(r))
            return false;
        pause_a_little();
    }
    return true;
}

static void say_missing(struct rotation *r, const char *key)
{
    const struct json *proxies = json_get(r->ca, "proxies");
    unsigned named = 0;
    for (size_t i = 0; i < json_count(proxies) && named < NAMED_MAX; i++) {
        const struct json *p = json_at(proxies, i);
        if (cert_is(p, key) && cert_is(p, "trusting"))
            continue;
        fprintf(r->cli->err, "  %.*s: %.*s\n", STR_FMT(cert_text(p, "proxy")),
                STR_FMT(cert_text(p, "why")));
        named++;
    }
    if (cert_number(r->ca, "issuedByOther") > 0 && strcmp(key, "renewed") == 0)
        fprintf(r->cli->err, "  leaves issued by hand, of the old root: %u (tulle cert status)\n",
                count_of(r, "issuedByOther"));
}

/* --- waiting for the proof --- */

struct proof {
    const char *key;  /* what of the proxies counts */
    const char *text; /* "N of N ..." */
};

static bool is_there(const struct rotation *r, const struct proof *p)
{
    bool is_renewal = strcmp(p->key, "renewed") == 0;
    return count_of(r, p->key) == count_of(r, "of") &&
           count_of(r, "trusting") == count_of(r, "of") &&
           (!is_renewal || count_of(r, "issuedByOther") == 0);
}

static void say_progress(struct rotation *r, const struct proof *p, bool is_last)
{
    unsigned have = count_of(r, p->key);
    if (!is_last && have == r->said)
        return;
    r->said = have;
    fprintf(r->cli->out, "%s %u of %u %s\n", is_last ? "proof:" : "      ", have, count_of(r, "of"),
            p->text);
    fflush(r->cli->out);
}

static int wait_for(struct rotation *r, const struct proof *p)
{
    r->said = UINT32_MAX;
    r->deadline_ms = proc_now_ms() + r->timeout_ms;
    for (;;) {
        bool is_seen = look(r);
        if (is_seen && is_there(r, p)) {
            say_progress(r, p, true);
            return CLI_OK;
        }
        if (is_seen)
            say_progress(r, p, false);
        if (r->o->is_forced && is_seen)
            return CLI_OK;
        if (is_late(r))
            break;
        pause_a_little();
    }
    cli_fail(r->cli, CLI_TIMEOUT, "not all proxies in time; run it again to go on");
    if (r->ca != NULL)
        say_missing(r, p->key);
    return CLI_TIMEOUT;
}

/* --- steps --- */

static int post(struct rotation *r, struct cli *cli, const char *to)
{
    struct str_buf path = STR_BUF_INIT(8192);
    str_buf_add_c(&path, "/tulle/v1/ca/rotate?");
    rest_add_query(&path, "to", to);
    rest_add_query(&path, "force", r->o->is_forced ? "true" : NULL);
    rest_add_query(&path, "note", r->o->message);
    arena_reset(&r->a);
    r->ca = NULL;
    int err =
        rest_json(cli, r->o->mesh, "POST", path.ptr, STR_NULL, CALL_TIMEOUT_MS, &r->a, &r->ca);
    str_buf_deinit(&path);
    return err;
}

/* A control plane that dies has done the step or has not: looking tells. */
static int take_step(struct rotation *r, const char *from, const char *to)
{
    r->deadline_ms = proc_now_ms() + r->timeout_ms;
    for (unsigned refusals = 0; !is_late(r);) {
        bool is_last = refusals + 1 == REFUSALS_MAX;
        int err = post(r, is_last ? r->cli : &r->quiet, to);
        if (err == 0)
            return CLI_OK;
        if (!look_until(r))
            break;
        if (!str_eq(stage_of(r), str_from_c(from)))
            return CLI_OK;
        if (is_last)
            return CLI_ERROR;
        refusals++;
        pause_a_little();
    }
    return cli_fail(r->cli, CLI_TIMEOUT,
                    "the control plane does not answer; run it again to go on");
}

static bool ends_at(const struct rotation *r, const char *stage)
{
    return r->o->to != NULL && strcmp(r->o->to, stage) == 0;
}

static const struct proof proof_trust = {"trusting", "proxies trust the old root and the new one"};
static const struct proof proof_renewed = {"renewed", "proxies have a leaf of the new root"};
static const struct proof proof_dropped = {"trusting", "proxies trust the new root alone"};

static int do_trust(struct rotation *r)
{
    int code = CLI_OK;
    if (str_eq(stage_of(r), STR("none"))) {
        fprintf(r->cli->out, "1. a new root is made, and told to everybody\n");
        code = take_step(r, "none", "trust");
    } else {
        fprintf(r->cli->out, "1. there is a new root since %.*s\n",
                STR_FMT(cert_text(r->ca, "since")));
    }
    return code == CLI_OK ? wait_for(r, &proof_trust) : code;
}

static int do_sign(struct rotation *r)
{
    fprintf(r->cli->out, "2. the new root signs\n");
    return take_step(r, "trust", "sign");
}

static int do_renew(struct rotation *r)
{
    fprintf(r->cli->out, "3. every leaf is renewed\n");
    return wait_for(r, &proof_renewed);
}

static int do_drop(struct rotation *r)
{
    fprintf(r->cli->out, "4. the old root is dropped\n");
    int code = take_step(r, "sign", "drop");
    return code == CLI_OK ? wait_for(r, &proof_dropped) : code;
}

static int rotate(struct rotation *r)
{
    int code = CLI_OK;
    if (!str_eq(stage_of(r), STR("sign"))) {
        code = do_trust(r);
        if (code != CLI_OK || ends_at(r, "trust"))
            return code;
        code = do_sign(r);
    }
    if (code == CLI_OK)
        code = do_renew(r);
    if (code != CLI_OK || ends_at(r, "sign"))
        return code;
    code = do_drop(r);
    if (code == CLI_OK)
        fprintf(r->cli->out, "done\n");
    return code;
}

static int cancel(struct rotation *r)
{
    int err = post(r, r->cli, "cancel");
    if (err == 0)
        fprintf(r->cli->out, "the new root is gone; the old one has signed all the time\n");
    return err == 0 ? CLI_OK : CLI_ERROR;
}

static bool is_stage(const char *to)
{
    return to == NULL || strcmp(to, "trust") == 0 || strcmp(to, "sign") == 0 ||
           strcmp(to, "drop") == 0;
}

int cert_root_rotate(struct cli *cli, const struct cert_options *o)
{
    struct rotation r = {.cli = cli, .o = o, .quiet = *cli, .timeout_ms = STAGE_TIMEOUT_MS};
    if (!is_stage(o->to) || (o->timeout != NULL && !opt_duration_ms(o->timeout, &r.timeout_ms)))
        return cli_fail(cli, CLI_USAGE, "--to is trust, sign or drop; --timeout like 10m");
    r.quiet.err = fopen("/dev/null", "w");
    if (r.quiet.err == NULL)
        return cli_fail(cli, CLI_ERROR, "/dev/null cannot be opened");
    arena_init(&r.a, 65536);
    r.deadline_ms = proc_now_ms() + r.timeout_ms;
    int code;
    if (!look_until(&r))
        code = cert_status(cli, o); /* which says what is wrong */
    else
        code = o->is_cancelled ? cancel(&r) : rotate(&r);
    arena_deinit(&r.a);
    fclose(r.quiet.err);
    return code;
}
