/* tulle cert issue: a leaf for a client that has no sidecar. The key is made here and stays here.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/cert.h"
#include "cli/opt.h"
#include "cli/rest.h"
#include "crypto/digest.h"
#include "crypto/x509.h"
#include "mesh/identity/spiffe.h"

enum { CALL_TIMEOUT_MS = 30000, PEM_MAX = 64 * 1024, PATH_MAX_LEN = 4096, DAYS_MAX = 90 };

/* Never over one that is there: it may be somebody's. */
static int save(struct cli *cli, const char *prefix, const char *suffix, mode_t mode,
                struct str pem)
{
    char path[PATH_MAX_LEN];
    if (snprintf(path, sizeof path, "%s%s", prefix, suffix) >= (int)sizeof path)
        return cli_fail(cli, CLI_ERROR, "the path is too long");
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, mode);
    bool is_saved = fd >= 0 && write(fd, pem.ptr, pem.len) == (ssize_t)pem.len && fsync(fd) == 0;
    int reason = errno;
    if (fd >= 0)
        close(fd);
    if (is_saved)
        return CLI_OK;
    if (fd >= 0)
        (void)unlink(path);
    return cli_fail(cli, CLI_ERROR, "%s: %s", path, strerror(reason));
}

static int save_key(struct cli *cli, const char *prefix, const struct key *k)
{
    struct str_buf pem = STR_BUF_INIT(PEM_MAX);
    key_to_pem(k, &pem);
    int code = save(cli, prefix, ".key", 0600, str_buf_str(&pem));
    secret_wipe(pem.ptr, pem.cap);
    str_buf_deinit(&pem);
    return code;
}

static void drop_key(const char *prefix)
{
    char path[PATH_MAX_LEN];
    snprintf(path, sizeof path, "%s.key", prefix);
    (void)unlink(path);
}

/* "30d" beside what opt_duration_ms takes. */
static bool parse_lifetime(const char *text, uint64_t *ret_s)
{
    struct str s = str_from_c(text);
    uint64_t days, ms;
    if (str_ends_with(s, STR("d")) && str_to_u64(str_sub(s, 0, s.len - 1), DAYS_MAX, &days)) {
        *ret_s = days * 24 * 3600;
        return days > 0;
    }
    if (!opt_duration_ms(text, &ms) || ms < 1000)
        return false;
    *ret_s = ms / 1000;
    return true;
}

/* "NAMESPACE/ACCOUNT" is of the mesh's trust domain. NULL: said why. */
static const char *whole_identity(struct cli *cli, const struct cert_options *o,
                                  const char *identity, struct arena *a)
{
    const struct json *root;
    struct spiffe_id id;
    if (strncmp(identity, "spiffe://", 9) == 0)
        return identity;
    if (rest_json(cli, o->mesh, "GET", "/tulle/v1/status", STR_NULL, CALL_TIMEOUT_MS, a, &root) !=
        0)
        return NULL;
    struct str account = str_from_c(identity), namespace = str_split(&account, '/');
    struct str text =
        arena_printf(a, "spiffe://%.*s/ns/%.*s/sa/%.*s", STR_FMT(cert_text(root, "trustDomain")),
                     STR_FMT(namespace), STR_FMT(account));
    if (spiffe_parse(text, &id) == 0)
        return text.ptr;
    cli_fail(cli, CLI_USAGE, "'%s' is neither a SPIFFE id nor NAMESPACE/SERVICE-ACCOUNT", identity);
    return NULL;
}

static int ask(struct cli *cli, const struct cert_options *o, const char *identity,
               const struct key *k, struct arena *a, const struct json **ret_root)
{
    char lifetime[32];
    uint64_t lifetime_s = 24 * 3600;
    if (o->lifetime != NULL && !parse_lifetime(o->lifetime, &lifetime_s))
        return cli_fail(cli, CLI_USAGE, "--lifetime %s: say 12h or 30d, at most %dd", o->lifetime,
                        DAYS_MAX);
    snprintf(lifetime, sizeof lifetime, "%llu", (unsigned long long)lifetime_s);
    struct str_buf csr = STR_BUF_INIT(PEM_MAX), path = STR_BUF_INIT(8192);
    int err = csr_make(k, str_from_c(identity), &csr);
    str_buf_add_c(&path, "/tulle/v1/ca/issue?");
    rest_add_query(&path, "identity", identity);
    rest_add_query(&path, "lifetime", lifetime);
    rest_add_query(&path, "note", o->message);
    if (err == 0)
        err = rest_json(cli, o->mesh, "POST", path.ptr, str_buf_str(&csr), CALL_TIMEOUT_MS, a,
                        ret_root);
    else
        cli_fail(cli, CLI_ERROR, "the signing request: %s", err_text(err));
    str_buf_deinit(&csr);
    str_buf_deinit(&path);
    return err == 0 ? CLI_OK : CLI_ERROR;
}

static int issue(struct cli *cli, const struct cert_options *o, const char *identity,
                 const struct key *k, struct arena *a)
{
    const struct json *root = NULL;
    int code = ask(cli, o, identity, k, a, &root);
    if (code == CLI_OK)
        code = save(cli, o->out, ".pem", 0644, cert_text(root, "certificate"));
    if (code == CLI_OK)
        code = save(cli, o->out, "-roots.pem", 0644, cert_text(root, "bundle"));
    if (code == CLI_OK)
        fprintf(cli->out,
                "%s.key, %s.pem: %s\n"
                "%s-roots.pem: the roots to judge others by\n"
                "nobody renews it by himself: issue another before it ends (tulle cert status)\n",
                o->out, o->out, identity, o->out);
    return code;
}

int cert_issue(struct cli *cli, const struct cert_options *o, const char *identity)
{
    struct arena a;
    if (o->out == NULL)
        return cli_fail(cli, CLI_USAGE,
                        "say --out PREFIX: PREFIX.key, PREFIX.pem and PREFIX-roots.pem are "
                        "written");
    arena_init(&a, 65536);
    identity = whole_identity(cli, o, identity, &a);
    AUTO(key_unref_auto) struct key *k = key_new_p256();
    /* The key first: a leaf without its key would be of no use to anybody. */
    int code = identity != NULL ? save_key(cli, o->out, k) : CLI_ERROR;
    if (code == CLI_OK) {
        code = issue(cli, o, identity, k, &a);
        if (code != CLI_OK)
            drop_key(o->out);
    }
    arena_deinit(&a);
    return code;
}
