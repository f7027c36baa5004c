#include "proxy/agent/join.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "codec/base64.h"
#include "codec/json.h"
#include "codec/json_writer.h"
#include "crypto/digest.h"
#include "mesh/identity/spiffe.h"
#include "proxy/agent/agent_priv.h"
#include "proxy/agent/file.h"
#include "proxy/agent/roots.h"

enum { HOST_LEN_MAX = 256, SETTINGS_MAX = 16 * 1024, INDEX_MAX = 1000000 };

static int fail(struct str_buf *why, int err, const char *what)
{
    str_buf_printf(why, "%s: %s", what, err_text(err));
    return err;
}

/* --- the text --- */

static bool take_str(const struct json *root, const char *key, struct str *ret_value)
{
    return json_str(json_get(root, key), ret_value) && str_find(*ret_value, '\0') < 0;
}

static bool take_pins(const struct json *list, struct join_text *t)
{
    uint8_t digest[JOIN_PIN_LEN / 2];
    for (size_t i = 0; i < json_count(list); i++) {
        struct str pin;
        if (t->pin_count == JOIN_PINS_MAX || !json_str(json_at(list, i), &pin) ||
            pin.len != JOIN_PIN_LEN || hex_decode(pin, digest, sizeof digest) != 0)
            return false;
        t->pins[t->pin_count++] = pin;
    }
    return t->pin_count > 0;
}

/* Names that make an identity, and nothing else: they go into file names and messages. */
static bool is_identity(struct arena *a, const struct join_text *t)
{
    struct spiffe_id id = {t->trust_domain, t->namespace_, t->service_account}, same;
    return spiffe_parse(spiffe_format(a, &id), &same) == 0;
}

int join_text_parse(struct arena *a, struct str text, struct join_text *ret_text)
{
    const struct json *root;
    struct join_text t = {.replica = 0};
    struct str json;
    /* As files and terminals end it. */
    while (text.len > 0 && strchr(" \t\r\n", text.ptr[text.len - 1]) != NULL)
        text.len--;
    if (base64_decode(a, BASE64_URL, text, &json) != 0 ||
        json_parse(a, json, JOIN_TEXT_MAX, &root, NULL) != 0)
        return -ERR_SYNTAX;
    if (!take_str(root, "token", &t.token) || t.token.len == 0 ||
        !take_str(root, "workload", &t.workload) || t.workload.len == 0 ||
        !take_str(root, "namespace", &t.namespace_) ||
        !take_str(root, "serviceAccount", &t.service_account) ||
        !take_str(root, "trustDomain", &t.trust_domain) || !take_str(root, "app", &t.app) ||
        !take_str(root, "version", &t.version) ||
        !json_u64(json_get(root, "replica"), &t.replica) || t.replica > INDEX_MAX ||
        !take_pins(json_get(root, "pins"), &t) || !is_identity(a, &t))
        return -ERR_SYNTAX;
    *ret_text = t;
    return 0;
}

/* --- addresses --- */

static int resolve(struct str host_port, struct addr *ret_addr, struct str_buf *why)
{
    char host[HOST_LEN_MAX], port[8];
    struct addrinfo *found = NULL, hints = {.ai_socktype = SOCK_STREAM};
    if (addr_parse(host_port, ret_addr) && ret_addr->family != ADDR_UNIX)
        return 0;
    ptrdiff_t colon = str_rfind(host_port, ':');
    if (colon <= 0 || colon >= HOST_LEN_MAX || host_port.len - (size_t)colon > sizeof port) {
        str_buf_printf(why, "--control-plane: \"%.*s\" is not HOST:PORT", STR_FMT(host_port));
        return -ERR_INVALID;
    }
    snprintf(host, sizeof host, "%.*s", (int)colon, host_port.ptr);
    snprintf(port, sizeof port, "%.*s", STR_FMT(str_skip(host_port, (size_t)colon + 1)));
    int rc = getaddrinfo(host, port, &hints, &found);
    bool is_found = false;
    if (rc == 0) {
        struct sockaddr_storage sa = {0};
        memcpy(&sa, found->ai_addr, MIN((size_t)found->ai_addrlen, sizeof sa));
        is_found = addr_from_sockaddr(&sa, found->ai_addrlen, ret_addr);
        freeaddrinfo(found);
    }
    if (!is_found)
        str_buf_printf(why, "--control-plane: %s: %s", host, gai_strerror(rc));
    return is_found ? 0 : -ERR_UNAVAILABLE;
}

/* The address of ours from which the control plane is reached. */
static int own_address(const struct addr *to, struct addr *ret_addr)
{
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(to, &sa);
    int fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -ERR_SYSTEM;
    bool is_known = connect(fd, (struct sockaddr *)&sa, len) == 0;
    len = sizeof sa;
    is_known = is_known && getsockname(fd, (struct sockaddr *)&sa, &len) == 0 &&
               addr_from_sockaddr(&sa, len, ret_addr);
    close(fd);
    return is_known ? 0 : -ERR_UNAVAILABLE;
}

/* --- the folder --- */

static const char *path_in(const struct join_args *args, const char *name, struct arena *a)
{
    return arena_printf(a, "%s/%s", args->state_dir, name).ptr;
}

/* The text, without the secret in it: that lies in a file of its own. */
static int write_settings(const struct join_args *args, const struct join_text *t, struct arena *a)
{
    struct str_buf out = STR_BUF_INIT(SETTINGS_MAX);
    struct json_writer w;
    json_writer_init(&w, &out, 2);
    json_writer_object(&w, NULL);
    json_writer_str(&w, "controlPlane", args->control_plane);
    json_writer_str(&w, "addresses", args->addresses);
    json_writer_str(&w, "workload", t->workload);
    json_writer_str(&w, "namespace", t->namespace_);
    json_writer_u64(&w, "replica", t->replica);
    json_writer_str(&w, "serviceAccount", t->service_account);
    json_writer_str(&w, "trustDomain", t->trust_domain);
    json_writer_str(&w, "app", t->app);
    json_writer_str(&w, "version", t->version);
    json_writer_end(&w);
    int err = file_write(path_in(args, "join.json", a), str_buf_str(&out));
    str_buf_deinit(&out);
    return err;
}

/* Settings come last: a folder with them is whole. What an earlier mesh told goes with them: whom
 * to trust is said anew. */
static int write_folder(const struct join_args *args, const struct join_text *t, struct str roots,
                        struct arena *a, struct str_buf *why)
{
    static const char *const old[] = {"join.json", "identity/roots.pem",
                                      "identity/roots-dropped.pem"};
    for (size_t i = 0; i < ARRAY_LEN(old); i++) {
        if (unlink(path_in(args, old[i], a)) != 0 && errno != ENOENT)
            return fail(why, err_from_errno(errno), args->state_dir);
    }
    int err = file_write(path_in(args, "pin.pem", a), roots);
    if (err == 0)
        err = file_write(path_in(args, "token", a), t->token);
    if (err == 0)
        err = write_settings(args, t, a);
    return err == 0 ? 0 : fail(why, err, args->state_dir);
}

static bool has_token(const struct join_args *args, struct str token, struct arena *a)
{
    struct str_buf old = STR_BUF_INIT(1024), settings = STR_BUF_INIT(SETTINGS_MAX);
    bool has_it = file_read(path_in(args, "token", a), 1024, &old) == 0 &&
                  str_eq(str_buf_str(&old), token) &&
                  file_read(path_in(args, "join.json", a), SETTINGS_MAX, &settings) == 0;
    if (old.ptr != NULL)
        secret_wipe(old.ptr, old.cap);
    str_buf_deinit(&old);
    str_buf_deinit(&settings);
    return has_it;
}

static int make_folder(const struct join_args *args, struct arena *a, struct str_buf *why)
{
    struct join_text t;
    struct addr to;
    if (join_text_parse(a, args->text, &t) != 0) {
        str_buf_add_c(why, "--token: this is not what 'tulle token create' prints");
        return -ERR_SYNTAX;
    }
    if (has_token(args, t.token, a))
        return 0;
    struct str_buf roots = STR_BUF_INIT(ROOTS_PEM_MAX);
    int err = resolve(args->control_plane, &to, why);
    if (err == 0) {
        str_buf_printf(why, "the control plane at %.*s: ", STR_FMT(args->control_plane));
        err = join_fetch_roots(&to, args->is_proxyless ? 0 : AGENT_MARK_OUTBOUND, &t, &roots, why);
    }
    if (err == 0) {
        str_buf_reset(why);
        err = write_folder(args, &t, str_buf_str(&roots), a, why);
    }
    str_buf_deinit(&roots);
    return err;
}

/* --- what the agent is told --- */

static int read_settings(const struct join_args *args, struct arena *a, struct agent_args *to,
                         struct str *ret_control_plane, struct str_buf *why)
{
    struct str_buf text = STR_BUF_INIT(SETTINGS_MAX);
    const struct json *root = NULL;
    uint64_t replica = 0;
    int err = file_read(path_in(args, "join.json", a), SETTINGS_MAX, &text);
    if (err == -ERR_NOT_FOUND) {
        str_buf_printf(why, "%s holds no mesh yet: --token and --control-plane are needed",
                       args->state_dir);
    } else if (err != 0 ||
               (err = json_parse(a, str_buf_str(&text), SETTINGS_MAX, &root, NULL)) != 0 ||
               !take_str(root, "controlPlane", ret_control_plane) ||
               !take_str(root, "addresses", &to->addresses) ||
               !take_str(root, "workload", &to->workload) ||
               !take_str(root, "namespace", &to->namespace_) ||
               !take_str(root, "serviceAccount", &to->service_account) ||
               !take_str(root, "trustDomain", &to->trust_domain) ||
               !take_str(root, "app", &to->app) || !take_str(root, "version", &to->version) ||
               !json_u64(json_get(root, "replica"), &replica) || replica > INDEX_MAX) {
        err = err != 0 ? err : -ERR_CORRUPT;
        fail(why, err, path_in(args, "join.json", a));
    }
    to->index = (unsigned)replica;
    str_buf_deinit(&text);
    return err;
}

static int fill_addresses(struct str control_plane, struct arena *a, struct agent_args *to,
                          struct str_buf *why)
{
    struct addr discovery, own;
    char text[ADDR_TEXT_LEN];
    int err = resolve(control_plane, &discovery, why);
    if (err != 0)
        return err;
    to->discovery = arena_str(a, addr_format(&discovery, text));
    if (to->addresses.len > 0)
        return 0;
    err = own_address(&discovery, &own);
    if (err != 0)
        return fail(why, err, "no way to the control plane; say --address");
    to->addresses = arena_str(a, addr_format_ip(&own, text));
    return 0;
}

int join_prepare(const struct join_args *args, struct arena *a, struct agent_args *ret_args,
                 struct str_buf *why)
{
    struct str control_plane;
    int err = file_make_dir(args->state_dir);
    if (err != 0)
        return fail(why, err, args->state_dir);
    if (args->text.len > 0)
        err = make_folder(args, a, why);
    if (err == 0)
        err = read_settings(args, a, ret_args, &control_plane, why);
    if (err == 0)
        err = fill_addresses(control_plane, a, ret_args, why);
    if (err != 0)
        return err;
    ret_args->state_dir = args->state_dir;
    ret_args->root_cert_file = path_in(args, "pin.pem", a);
    ret_args->token_file = path_in(args, "token", a);
    ret_args->is_app_ready = true;
    return 0;
}
