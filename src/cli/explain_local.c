#include "cli/explain_local.h"

#include "base/err.h"
#include "cli/apply.h"
#include "cli/documents.h"
#include "control/api/check.h"

void explain_local_init(struct explain_local *l)
{
    *l = (struct explain_local){.store = NULL};
    api_document_list_init(&l->list);
}

void explain_local_deinit(struct explain_local *l)
{
    translate_free(l->translate);
    registry_free(l->registry);
    if (l->store != NULL)
        store_close(l->store);
    api_document_list_deinit(&l->list);
}

static int read_documents(struct explain_local *l, struct cli *cli, const struct opt_list *files,
                          const char *namespace)
{
    struct api_findings findings;
    size_t file_count = 0;
    api_findings_init(&findings);
    for (size_t i = 0; i < files->count; i++)
        documents_read(files->items[i], str_from_c(namespace), &l->list, &findings, &file_count);
    api_check_documents(&l->list, &findings);
    size_t errors = findings.error_count;
    if (errors > 0)
        apply_print_findings(cli, &findings, false);
    api_findings_deinit(&findings);
    return errors == 0 ? CLI_OK
                       : cli_fail(cli, CLI_USAGE, "%zu error%s in the documents", errors,
                                  errors == 1 ? "" : "s");
}

static int fill_store(struct explain_local *l, struct cli *cli)
{
    VEC(struct store_write) writes = {0};
    size_t failed;
    for (size_t i = 0; i < l->list.docs.len; i++) {
        const struct api_document *d = l->list.docs.ptr[i];
        struct store_write w = {.object = {.kind = d->kind,
                                           .namespace_ = d->namespace,
                                           .name = d->name,
                                           .json = d->json,
                                           .file = d->file,
                                           .line = d->place.line,
                                           .owner = STR("file")}};
        VEC_PUSH(&writes, w);
    }
    int err = writes.len > 0 ? store_commit(l->store, writes.ptr, writes.len, NULL, &failed) : 0;
    VEC_DEINIT(&writes);
    return err == 0 ? CLI_OK : cli_fail(cli, CLI_ERROR, "store in memory: %s", err_text(err));
}

/* Addresses only tell them apart: nothing is judged by them (explain_args.has_addresses). */
static void start_replicas(struct explain_local *l)
{
    uint32_t number = 0;
    for (size_t i = 0; i < l->list.docs.len; i++) {
        const struct api_document *d = l->list.docs.ptr[i];
        for (uint32_t n = 0; d->kind == API_KIND_WORKLOAD && n < d->spec.workload->replicas; n++) {
            struct ip_addr addresses[2] = {{.family = IP_NONE}, {.family = IP_NONE}};
            struct registry_replica *r;
            number++;
            addresses[0] =
                ip_v4(10, (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number);
            if (registry_replica_connect(l->registry, d->namespace, d->name, n, addresses, l, &r) ==
                0)
                registry_replica_set_state(l->registry, r, REPLICA_READY);
        }
    }
}

int explain_local_open(struct explain_local *l, struct cli *cli, const struct opt_list *files,
                       const char *namespace)
{
    struct str_buf why = STR_BUF_INIT(1024);
    int code = read_documents(l, cli, files, namespace);
    if (code == CLI_OK && store_open_sqlite(STR(":memory:"), &why, &l->store) != 0)
        code = cli_fail(cli, CLI_ERROR, "store in memory: %.*s", STR_FMT(str_buf_str(&why)));
    if (code == CLI_OK)
        code = fill_store(l, cli);
    if (code == CLI_OK) {
        l->registry = registry_new(l->store, &why);
        if (l->registry == NULL)
            code = cli_fail(cli, CLI_ERROR, "%.*s", STR_FMT(str_buf_str(&why)));
    }
    if (code == CLI_OK) {
        l->translate = translate_new(l->registry);
        start_replicas(l);
    }
    str_buf_deinit(&why);
    return code;
}
