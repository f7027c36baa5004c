/* tulle cert verify: chain, name and dates of a certificate against the roots of the mesh. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "cli/cert.h"
#include "cli/rest.h"
#include "codec/duration.h"
#include "crypto/x509.h"
#include "host/proc.h"
#include "mesh/identity/spiffe.h"

enum { CALL_TIMEOUT_MS = 30000, PEM_MAX = 256 * 1024, CERTS_MAX = 64, ID_LEN = 16 };

struct certs {
    struct cert *items[CERTS_MAX];
    size_t count;
};

static void certs_deinit(struct certs *c)
{
    for (size_t i = 0; i < c->count; i++)
        cert_unref(c->items[i]);
}

static int load(struct cli *cli, const char *path, struct certs *ret_certs)
{
    size_t len = 0;
    char *pem = proc_read_file(path, PEM_MAX, &len);
    if (pem == NULL)
        return cli_fail(cli, CLI_ERROR, "%s cannot be read", path);
    int err = certs_from_pem(str_from(pem, len), ret_certs->items, CERTS_MAX, &ret_certs->count);
    free(pem);
    if (err != 0 || ret_certs->count == 0)
        return cli_fail(cli, CLI_ERROR, "%s holds no certificate that can be read", path);
    return CLI_OK;
}

static int fetch_roots(struct cli *cli, const char *mesh, struct certs *ret_certs)
{
    struct http_answer answer;
    int err =
        rest_call(cli, mesh, "GET", "/tulle/v1/ca/bundle", STR_NULL, CALL_TIMEOUT_MS, &answer);
    if (err == 0)
        err = certs_from_pem(str_buf_str(&answer.body), ret_certs->items, CERTS_MAX,
                             &ret_certs->count);
    if (err != 0)
        cli_fail(cli, CLI_ERROR, "the mesh's roots: %s", err_text(err));
    http_answer_deinit(&answer);
    return err == 0 ? CLI_OK : CLI_ERROR;
}

/* --- what is looked at --- */

struct findings {
    struct cli *cli;
    const char *file;
    unsigned count;
};

__attribute__((format(printf, 2, 3))) static void find(struct findings *f, const char *fmt, ...)
{
    va_list args;
    fprintf(f->cli->out, "%s: ", f->file);
    va_start(args, fmt);
    vfprintf(f->cli->out, fmt, args);
    va_end(args);
    fputc('\n', f->cli->out);
    f->count++;
}

static void check_dates(struct findings *f, const struct cert_info *info, uint64_t now_s)
{
    char text[TIME_TEXT_MAX], left[CERT_LEFT_LEN];
    if (info->not_before_s > now_s)
        find(f, "is not valid before %.*s",
             STR_FMT(time_format((int64_t)info->not_before_s * 1000, false, text)));
    else if (info->not_after_s <= now_s)
        find(f, "is over since %.*s",
             STR_FMT(time_format((int64_t)info->not_after_s * 1000, false, text)));
    else
        fprintf(f->cli->out, "valid until %.*s (%s left)\n",
                STR_FMT(time_format((int64_t)info->not_after_s * 1000, false, text)),
                cert_left((int64_t)(info->not_after_s - now_s), left));
}

static void check_name(struct findings *f, const struct cert_info *info, const char *name)
{
    struct spiffe_id id;
    if (info->uri_san_count != 1 || spiffe_parse(info->uri_sans[0], &id) != 0)
        find(f, "has no name of a mesh: exactly one URI spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT");
    else if (name != NULL && !str_eq(info->uri_sans[0], str_from_c(name)))
        find(f, "is for %.*s, not for %s", STR_FMT(info->uri_sans[0]), name);
    else
        fprintf(f->cli->out, "name %.*s\n", STR_FMT(info->uri_sans[0]));
    if (info->is_ca)
        find(f, "is a CA's certificate, not a leaf");
}

static bool stands_under(const struct certs *chain, struct cert *root, uint64_t at_s,
                         struct str_buf *why)
{
    return cert_verify(chain->items[0], chain->items + 1, chain->count - 1, &root, 1, at_s, why) ==
           0;
}

/* At a time at which the leaf is valid: that it is over has been said. */
static void check_chain(struct findings *f, const struct certs *chain, const struct certs *roots,
                        const struct cert_info *info, uint64_t now_s)
{
    struct arena a;
    struct cert_info root;
    struct str_buf why = STR_BUF_INIT(512);
    uint64_t at_s = MIN(MAX(now_s, info->not_before_s), info->not_after_s - 1);
    arena_init(&a, 2048);
    size_t i = 0;
    while (i < roots->count && !stands_under(chain, roots->items[i], at_s, &why)) {
        if (++i < roots->count)
            str_buf_reset(&why);
    }
    if (i == roots->count)
        find(f, "does not stand under a root of the mesh: %.*s", STR_FMT(str_buf_str(&why)));
    else if (cert_info(roots->items[i], &a, &root) == 0)
        fprintf(f->cli->out, "signed by root %.*s%s\n",
                STR_FMT(str_sub(root.sha256_hex, 0, ID_LEN)),
                i == 0 ? "" : " (another one signs now: it is being rotated)");
    str_buf_deinit(&why);
    arena_deinit(&a);
}

static int verify(struct cli *cli, const struct cert_options *o, const char *file,
                  const struct certs *chain, const struct certs *roots)
{
    struct arena a;
    struct cert_info info;
    struct findings f = {cli, file, 0};
    uint64_t now_s = (uint64_t)time(NULL);
    arena_init(&a, 4096);
    if (cert_info(chain->items[0], &a, &info) != 0) {
        find(&f, "cannot be read");
    } else {
        check_name(&f, &info, o->name);
        check_dates(&f, &info, now_s);
        check_chain(&f, chain, roots, &info, now_s);
    }
    arena_deinit(&a);
    fprintf(cli->out, "%s: %s\n", file, f.count == 0 ? "good" : "not good");
    return f.count == 0 ? CLI_OK : CLI_ERROR;
}

int cert_verify_file(struct cli *cli, const struct cert_options *o, const char *file)
{
    struct certs chain = {.count = 0}, roots = {.count = 0};
    int code = load(cli, file, &chain);
    if (code == CLI_OK)
        code = o->bundle != NULL ? load(cli, o->bundle, &roots) : fetch_roots(cli, o->mesh, &roots);
    if (code == CLI_OK)
        code = verify(cli, o, file, &chain, &roots);
    certs_deinit(&chain);
    certs_deinit(&roots);
    return code;
}
