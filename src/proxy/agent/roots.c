#include "proxy/agent/roots.h"

#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "proxy/agent/file.h"

enum { DROPPED_MAX = 16 };

void roots_certs_unref(struct cert *const *certs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        cert_unref(certs[i]);
}

static bool is_ca(const struct cert *c)
{
    struct arena a;
    struct cert_info info;
    arena_init(&a, 2048);
    bool is_it = cert_info(c, &a, &info) == 0 && info.is_ca;
    arena_deinit(&a);
    return is_it;
}

/* CAs and nothing else, at least one. */
static int check(struct str pem)
{
    struct cert *certs[ROOTS_MAX];
    size_t count = 0;
    int err = certs_from_pem(pem, certs, ROOTS_MAX, &count);
    if (err != 0)
        return -ERR_CERTIFICATE;
    for (size_t i = 0; err == 0 && i < count; i++)
        err = is_ca(certs[i]) ? 0 : -ERR_CERTIFICATE;
    roots_certs_unref(certs, count);
    return count > 0 ? err : -ERR_CERTIFICATE;
}

static int read_checked(const char *path, struct str_buf *to)
{
    str_buf_reset(to);
    int err = file_read(path, ROOTS_PEM_MAX, to);
    if (err == 0)
        err = check(str_buf_str(to));
    if (err != 0)
        str_buf_reset(to);
    return err;
}

/* --- what was dropped --- */

static bool is_among(const struct cert *c, struct cert *const *certs, size_t count)
{
    struct str_buf one = STR_BUF_INIT(ROOTS_PEM_MAX), other = STR_BUF_INIT(ROOTS_PEM_MAX);
    bool is_it = false;
    cert_to_pem(c, &one);
    for (size_t i = 0; i < count && !is_it; i++) {
        str_buf_reset(&other);
        cert_to_pem(certs[i], &other);
        is_it = str_eq(str_buf_str(&one), str_buf_str(&other));
    }
    str_buf_deinit(&one);
    str_buf_deinit(&other);
    return is_it;
}

/* Appends the first certificates, at most max, that are not among the others; how many. */
static size_t add_others(struct str pem, struct str others, size_t max, struct str_buf *to)
{
    struct cert *certs[ROOTS_MAX], *known[ROOTS_MAX];
    size_t count = 0, known_count = 0, added = 0;
    if (others.len > 0 && certs_from_pem(others, known, ROOTS_MAX, &known_count) != 0)
        known_count = 0;
    if (certs_from_pem(pem, certs, ROOTS_MAX, &count) != 0)
        count = 0;
    for (size_t i = 0; i < count && added < max; i++) {
        if (is_among(certs[i], known, known_count))
            continue;
        cert_to_pem(certs[i], to);
        added++;
    }
    roots_certs_unref(certs, count);
    roots_certs_unref(known, known_count);
    return added;
}

/* Before others are told: what is trusted now, and will not be. */
static int drop_others(struct roots *r, struct str pem)
{
    struct str_buf dropped = STR_BUF_INIT(2 * ROOTS_PEM_MAX);
    size_t count = add_others(roots_pem(r), pem, DROPPED_MAX, &dropped);
    if (r->dropped.len > 0)
        (void)add_others(str_buf_str(&r->dropped), pem, DROPPED_MAX - count, &dropped);
    bool is_any = dropped.len > 0 || r->dropped.len > 0;
    str_buf_deinit(&r->dropped);
    r->dropped = dropped;
    return is_any ? file_write(r->dropped_path, str_buf_str(&dropped)) : 0;
}

static int read_pin(struct roots *r)
{
    struct str_buf all = STR_BUF_INIT(ROOTS_PEM_MAX);
    str_buf_reset(&r->pin);
    int err = read_checked(r->pin_file, &all);
    if (err == 0 &&
        add_others(str_buf_str(&all), str_buf_str(&r->dropped), ROOTS_MAX, &r->pin) == 0)
        err = -ERR_CERTIFICATE;
    str_buf_deinit(&all);
    return err;
}

/* --- life --- */

int roots_init(struct roots *r, const char *pin_file, const char *dir, struct str_buf *why)
{
    *r = (struct roots){.pin_file = pin_file,
                        .told = STR_BUF_INIT(ROOTS_PEM_MAX),
                        .pin = STR_BUF_INIT(2 * ROOTS_PEM_MAX),
                        .dropped = STR_BUF_INIT(2 * ROOTS_PEM_MAX)};
    snprintf(r->path, sizeof r->path, "%s/roots.pem", dir);
    snprintf(r->dropped_path, sizeof r->dropped_path, "%s/roots-dropped.pem", dir);
    bool is_told = read_checked(r->path, &r->told) == 0;
    (void)read_checked(r->dropped_path, &r->dropped);
    int err = read_pin(r);
    if (err != 0)
        str_buf_printf(why, "root certificates %s: %s", pin_file, err_text(err));
    return is_told ? 0 : err;
}

void roots_deinit(struct roots *r)
{
    str_buf_deinit(&r->told);
    str_buf_deinit(&r->pin);
    str_buf_deinit(&r->dropped);
}

struct str roots_pem(const struct roots *r)
{
    return str_buf_str(r->told.len > 0 ? &r->told : &r->pin);
}

int roots_tell(struct roots *r, struct str pem, bool *ret_is_new)
{
    int err = check(pem);
    if (err != 0 || pem.len > ROOTS_PEM_MAX)
        return err != 0 ? err : -ERR_TOO_LARGE;
    *ret_is_new = !str_eq(str_buf_str(&r->told), pem);
    if (!*ret_is_new)
        return 0;
    /* On disk first what is not to be trusted: a crash in between leaves nothing open. */
    err = drop_others(r, pem);
    str_buf_reset(&r->told);
    str_buf_add(&r->told, pem);
    if (err == 0)
        err = file_write(r->path, pem);
    if (err != 0)
        log_event(LOG_ERROR, "roots_not_stored", LFC("error", err_text(err)));
    return 0;
}

int roots_certs(struct roots *r, bool is_with_pin, struct cert *ret_certs[ROOTS_MAX],
                size_t *ret_count)
{
    struct str_buf pem = STR_BUF_INIT(3 * ROOTS_PEM_MAX + 2);
    str_buf_add(&pem, roots_pem(r));
    if (is_with_pin && read_pin(r) == 0) {
        str_buf_add_char(&pem, '\n');
        str_buf_add(&pem, str_buf_str(&r->pin));
    }
    int err = certs_from_pem(str_buf_str(&pem), ret_certs, ROOTS_MAX, ret_count);
    str_buf_deinit(&pem);
    return err;
}

bool roots_is_present(struct roots *r, const struct cert *leaf, uint64_t now_s)
{
    struct cert *certs[ROOTS_MAX];
    size_t count = 0;
    struct str_buf why = STR_BUF_INIT(256);
    bool is_present = roots_certs(r, false, certs, &count) == 0 && count > 0 &&
                      cert_verify(leaf, NULL, 0, certs, 1, now_s, &why) == 0;
    roots_certs_unref(certs, count);
    str_buf_deinit(&why);
    return is_present;
}
