/* What a proxy gives up: before the workers are there, and once more when all ports are open that
 * it will ever open.
 *
 * A sidecar's files are its state directory, and the resolver's. A proxy by a bootstrap file reads
 * and writes whatever its configuration names (certificates, access logs), which may change at any
 * time: there only executing is taken from it. Where Envoy serves, it is started and watched by us:
 * nothing is given up. */
#include <linux/capability.h>
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "confine/confine.h"
#include "proxy/agent/agent_priv.h"

static const char *holds(int err)
{
    return err == 0 ? "on" : err == -ERR_UNSUPPORTED ? "not in this kernel" : err_text(err);
}

/* Marks take CAP_NET_ADMIN; a bootstrap may name low ports at any time. */
static uint64_t rights_kept(const struct agent *a)
{
    uint64_t marks = a->args->is_proxyless ? 0 : CONFINE_CAP(CAP_NET_ADMIN);
    return a->bootstrap != NULL ? marks | CONFINE_CAP(CAP_NET_BIND_SERVICE) : marks;
}

/* Files are replaced by renames: it is their folders that count. */
static const char *folder_of(const char *file, char folder[static 4096])
{
    const char *slash = file != NULL ? strrchr(file, '/') : NULL;
    int len = slash != NULL ? (int)(slash - file) : 0;
    if (file == NULL || len >= 4096)
        return NULL;
    snprintf(folder, 4096, "%.*s", len, file);
    return slash == NULL ? "." : len == 0 ? "/" : folder;
}

static int confine_sidecar_files(const struct agent *a)
{
    char token[4096], root[4096];
    const struct confine_path kept[] = {
        {a->args->state_dir, a->args->is_proxyless ? CONFINE_SOCKETS : CONFINE_FOLDER},
        {folder_of(a->args->token_file, token), CONFINE_READ},
        {folder_of(a->args->root_cert_file, root), CONFINE_READ},
        {"/etc", CONFINE_READ}, /* resolv.conf and hosts, as they come and go */
        {"/run/systemd/resolve", CONFINE_READ},
        {"/run/resolvconf", CONFINE_READ},
        {"/run/NetworkManager", CONFINE_READ},
    };
    return confine_files(CONFINE_SCOPE_STRICT, kept, ARRAY_LEN(kept));
}

void agent_confine(const struct agent *a)
{
    if (a->args->is_unconfined || a->envoy != NULL) {
        log_event(LOG_WARN, "not_confined",
                  LFC("reason", a->envoy != NULL ? "it starts Envoy" : "--confine off"));
        return;
    }
    int rights = confine_rights(rights_kept(a));
    int files = a->bootstrap != NULL ? confine_files(CONFINE_SCOPE_OPEN, NULL, 0)
                                     : confine_sidecar_files(a);
    int calls = confine_calls(CONFINE_PROXY);
    bool is_whole = rights == 0 && files == 0 && calls == 0;
    log_event(is_whole ? LOG_INFO : LOG_WARN, "confined", LFC("rights", holds(rights)),
              LFC("files", holds(files)), LFC("calls", holds(calls)));
}

/* A sidecar's ports are the same for good. A control plane of Envoy's kind may name others later.
 */
void agent_seal(struct agent *a)
{
    if (a->is_sealed || a->args->is_unconfined || a->envoy != NULL || a->sources != NULL)
        return;
    a->is_sealed = true;
    int err = confine_calls(CONFINE_PROXY_SEALED);
    log_event(err == 0 ? LOG_INFO : LOG_WARN, "sealed", LFC("listen", holds(err)));
}
