/* Options of tulled, from the command line and a file. */
#include "main/tulled_options.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "codec/yaml.h"
#include "control/push/push.h"
#include "control/store/store.h"

enum { EXIT_USAGE = 2, CONFIG_BYTES_MAX = 64 * 1024 };

static const char usage[] =
    "usage: tulled --state DIR --socket PATH --xds ADDRESS:PORT [--metrics ADDRESS:PORT]\n"
    "              [--mesh NAME] [--log-format text|json] [--log-level debug|info|warn|error]\n"
    "              [--api ADDRESS:PORT] [--history REVISIONS] [--edges N] [--config PATH]\n"
    "              [--documents DIR] [--history-bytes BYTES] [--user NAME] [--confine on|off]\n"
    "              [--ca-passphrase-file FILE] [--xds-local PATH]\n"
    "       tulled --state DIR --restore FILE\n"
    "\n"
    "  --state DIR     store.db, ca-key.pem, ca-cert.pem; made when it is missing\n"
    "  --socket PATH   REST for administrators (root and the user of this process)\n"
    "  --xds           configuration and certificates for sidecars, gRPC over TLS; usually :15012\n"
    "  --metrics       Prometheus' /metrics; usually :15014\n"
    "  --api           the same by TLS, for kubectl and others: tokens and certificates\n"
    "                  ('tulle access create'); usually :15016\n"
    "  --xds-local     xDS without TLS at a unix socket, for measurements: root and the user\n"
    "                  of this process say by the header x-tulle-identity whom they stand for\n"
    "  --history N     how many revisions are kept to look at and go back to (10000)\n"
    "  --history-bytes N\n"
    "                  how many bytes of what is no longer there are kept for that (256 MiB)\n"
    "  --ca-passphrase-file FILE\n"
    "                  encrypts the CA's key on the disk, one that lies there in the clear, too;\n"
    "                  else systemd's credential ca-passphrase does\n"
    "  --edges N       threads for connections of sidecars (half of the processors, 1 to 4)\n"
    "  --user NAME     started as root: goes on as this user; the CA's key stays root's\n"
    "  --confine       off: capabilities, files and system calls are not given up (on)\n"
    "  --config PATH   a file: YAML with these options by their names (state: DIR, ...); what the\n"
    "                  command line says counts first. A folder: the same as --documents\n"
    "  --documents DIR what lies there is what runs: .yaml, .yml, .json, in folders below, too;\n"
    "                  followed as it changes (a Git checkout, a mounted ConfigMap, an editor);\n"
    "                  'tulle apply' and 'tulle delete' are refused then\n"
    "  --restore FILE  makes DIR out of a backup (tulle backup) and ends; DIR must hold none yet\n";

struct option {
    const char *name, **value;
};

enum { OPTION_COUNT = 17 };

static void fill_table(struct tulled_options *o, struct option table[OPTION_COUNT])
{
    const struct option all[OPTION_COUNT] = {
        {"state", &o->state},
        {"socket", &o->socket},
        {"xds", &o->xds},
        {"metrics", &o->metrics},
        {"mesh", &o->mesh},
        {"log-format", &o->log_format},
        {"log-level", &o->log_level},
        {"history", &o->history},
        {"history-bytes", &o->history_bytes_text},
        {"restore", &o->restore},
        {"api", &o->api},
        {"ca-passphrase-file", &o->ca_passphrase_file},
        {"xds-local", &o->xds_local},
        {"edges", &o->edges},
        {"documents", &o->documents},
        {"user", &o->user},
        {"confine", &o->confine},
    };
    memcpy(table, all, sizeof all);
}

static struct option *find(struct option table[OPTION_COUNT], struct str name)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (str_eq(str_from_c(table[i].name), name))
            return &table[i];
    }
    return NULL;
}

/* --- command line --- */

static bool parse_arguments(int argc, char **argv, struct option table[OPTION_COUNT],
                            const char **ret_config)
{
    for (int i = 1; i < argc; i += 2) {
        struct str name = str_from_c(argv[i]);
        if (!str_starts_with(name, STR("--")) || i + 1 == argc)
            return false;
        name = str_skip(name, 2);
        struct option *o = find(table, name);
        if (o != NULL)
            *o->value = argv[i + 1];
        else if (str_eq(name, STR("config")))
            *ret_config = argv[i + 1];
        else
            return false;
    }
    return true;
}

/* --- file --- */

static bool read_file(const char *path, struct str_buf *to)
{
    char block[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : 1;
    while (n > 0 && (n = read(fd, block, sizeof block)) > 0)
        str_buf_add(to, str_from(block, (size_t)n));
    if (fd >= 0)
        close(fd);
    return n == 0 && !to->is_overflown;
}

static bool complain(const char *path, uint32_t line, struct str what, const char *text)
{
    fprintf(stderr, "tulled: %s:%u: %.*s%s\n", path, line, STR_FMT(what), text);
    return false;
}

static bool take(const char *path, const struct yaml_node *root, struct option table[OPTION_COUNT])
{
    if (root->kind != YAML_MAP)
        return complain(path, root->line, STR(""), "options by their names are expected");
    for (uint32_t i = 0; i < root->count; i++) {
        const struct yaml_node *key = root->keys[i], *value = root->items[i];
        struct option *o = find(table, key->text);
        if (o == NULL || str_eq(key->text, STR("restore")))
            return complain(path, key->line, key->text, ": there is no such option");
        if (value->kind != YAML_SCALAR || str_find(value->text, '\0') >= 0)
            return complain(path, value->line, key->text, ": one value is expected");
        if (*o->value == NULL)
            *o->value = str_dup_c(value->text);
    }
    return true;
}

static bool read_config(const char *path, struct option table[OPTION_COUNT])
{
    struct arena a;
    struct yaml_stream stream;
    struct str_buf text = STR_BUF_INIT(CONFIG_BYTES_MAX);
    bool is_good = false;
    arena_init(&a, 4096);
    if (!read_file(path, &text)) {
        fprintf(stderr, "tulled: %s: cannot be read\n", path);
    } else {
        yaml_parse(&a, str_buf_str(&text), &yaml_limits_default, &stream);
        if (stream.error_count > 0)
            complain(path, stream.errors[0].line, stream.errors[0].text, "");
        else if (stream.document_count != 1)
            complain(path, 1, STR(""), "one document is expected");
        else
            is_good = take(path, stream.documents[0], table);
    }
    str_buf_deinit(&text);
    arena_deinit(&a);
    return is_good;
}

/* --- both --- */

static void set_default(const char **value, const char *text)
{
    if (*value == NULL)
        *value = text;
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool set_up_log(struct tulled_options *o)
{
    enum log_level level;
    o->history_revisions = STORE_HISTORY_REVISIONS_DEFAULT;
    o->history_bytes = STORE_HISTORY_BYTES_DEFAULT;
    if (o->history_bytes_text != NULL &&
        !str_to_u64(str_from_c(o->history_bytes_text), INT64_MAX / 2, &o->history_bytes))
        return false;
    if (o->history != NULL && !str_to_u64(str_from_c(o->history), INT32_MAX, &o->history_revisions))
        return false;
    if (o->edges != NULL &&
        (!str_to_u64(str_from_c(o->edges), PUSH_EDGES_MAX, &o->edge_count) || o->edge_count == 0))
        return false;
    if (strcmp(o->confine, "on") != 0 && strcmp(o->confine, "off") != 0)
        return false;
    bool is_json = strcmp(o->log_format, "json") == 0;
    if ((!is_json && strcmp(o->log_format, "text") != 0) ||
        !log_level_parse(str_from_c(o->log_level), &level))
        return false;
    log_set_level(level);
    log_set_json(is_json);
    return true;
}

static bool is_complete(const struct tulled_options *o)
{
    return o->state != NULL && (o->restore != NULL || (o->socket != NULL && o->xds != NULL));
}

bool tulled_options_read(int argc, char **argv, struct tulled_options *ret_options, int *ret_code)
{
    struct tulled_options o = {0};
    struct option table[OPTION_COUNT];
    const char *config = NULL;
    bool is_help = argc == 2 && strcmp(argv[1], "--help") == 0;
    if (is_help || (argc == 2 && strcmp(argv[1], "--version") == 0)) {
        *ret_code = fputs(is_help ? usage : "tulled " TULLE_VERSION "\n", stdout) < 0;
        return false;
    }
    *ret_code = EXIT_USAGE;
    fill_table(&o, table);
    bool is_good = parse_arguments(argc, argv, table, &config);
    if (is_good && config != NULL && is_folder(config)) {
        set_default(&o.documents, config);
        config = NULL;
    }
    if (is_good && config != NULL && !read_config(config, table))
        return false;
    set_default(&o.log_format, "text");
    set_default(&o.log_level, "info");
    set_default(&o.mesh, "");
    set_default(&o.confine, "on");
    if (!is_good || !is_complete(&o) || !set_up_log(&o)) {
        fputs(usage, stderr);
        return false;
    }
    *ret_options = o;
    return true;
}
