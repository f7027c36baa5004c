#include "proxy/agent/roots.h"

#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "proxy/agent/file.h"

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

int roots_init(struct roots *r, const char *pin_file, const char *dir, struct str_buf *why)
{
    *r = (struct roots){.pin_file = pin_file,
                        .told = STR_BUF_INIT(ROOTS_PEM_MAX),
                        .pin = STR_BUF_INIT(ROOTS_PEM_MAX)};
    snprintf(r->path, sizeof r->path, "%s/roots.pem", dir);
    bool is_told = read_checked(r->path, &r->told) == 0;
    int err = read_checked(pin_file, &r->pin);
    if (err != 0)
        str_buf_printf(why, "root certificates %s: %s", pin_file, err_text(err));
    return is_told ? 0 : err;
}

void roots_deinit(struct roots *r)
{
    str_buf_deinit(&r->told);
    str_buf_deinit(&r->pin);
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
    str_buf_reset(&r->told);
    str_buf_add(&r->told, pem);
    err = file_write(r->path, pem);
    if (err != 0)
        log_event(LOG_ERROR, "roots_not_stored", LFC("error", err_text(err)));
    return 0;
}

int roots_certs(struct roots *r, bool is_with_pin, struct cert *ret_certs[ROOTS_MAX],
                size_t *ret_count)
{
    struct str_buf pem = STR_BUF_INIT(2 * ROOTS_PEM_MAX + 2);
    str_buf_add(&pem, roots_pem(r));
    if (is_with_pin && read_checked(r->pin_file, &r->pin) == 0) {
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
