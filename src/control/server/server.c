/* Sockets of the control plane: REST for administrators, metrics for everybody. */
#include "control/server/server_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

enum {
    CLOSE_TURNS_MAX = 100,
    PATH_LEN_MAX = 4096,
    KEEPALIVE_IDLE_S = 60,
};

/* --- listening --- */

static int listen_face(struct server_face *face, const struct addr *at, struct str_buf *why)
{
    char text[ADDR_TEXT_LEN];
    struct listen_options options = {.inherited_fd = -1, .keepalive_idle_s = KEEPALIVE_IDLE_S};
    int err =
        listen_open(face->server->args.turn, at, &options, server_conn_accept, face, &face->socket);
    if (err != 0)
        str_buf_printf(why, "listening on %.*s: %s", STR_FMT(addr_format(at, text)), err_text(err));
    return err;
}

/* Absolute, so that it is no matter where we are when it is taken away again. */
static bool set_path(struct str path, struct addr *ret_at)
{
    char dir[PATH_LEN_MAX] = "";
    if (path.len > 0 && path.ptr[0] != '/' && getcwd(dir, sizeof dir) == NULL)
        return false;
    char text[ADDR_PATH_LEN_MAX + 1];
    int len =
        snprintf(text, sizeof text, "%s%s%.*s", dir, dir[0] != '\0' ? "/" : "", STR_FMT(path));
    return path.len > 0 && len > 0 && (size_t)len < sizeof text &&
           addr_set_path(ret_at, str_from(text, (size_t)len));
}

int server_listen_api(struct server *s, struct str unix_path, struct str_buf *why)
{
    struct addr at;
    if (!set_path(unix_path, &at)) {
        str_buf_printf(why, "the socket's path is empty or longer than %d bytes",
                       ADDR_PATH_LEN_MAX);
        return -ERR_INVALID;
    }
    mode_t old = umask(0177);
    int err = listen_face(&s->api, &at, why);
    umask(old);
    return err;
}

static struct str trust_domain(void *ctx)
{
    const struct server *s = ctx;
    return registry_mesh(s->args.registry)->trust_domain;
}

int server_listen_remote(struct server *s, const struct addr *at, struct str_buf *why)
{
    static const struct str names[] = {{"tulled", 6}, {"localhost", 9}};
    static const struct str alpn[] = {{"h2", 2}, {"http/1.1", 8}};
    s->tls = own_tls_new(&(struct own_tls_args){s->args.turn, s->args.ca, names, ARRAY_LEN(names),
                                                "tulled", trust_domain, s, alpn, ARRAY_LEN(alpn)},
                         why);
    return s->tls != NULL ? listen_face(&s->remote, at, why) : -ERR_CERTIFICATE;
}

int server_listen_metrics(struct server *s, const struct addr *at, struct str_buf *why)
{
    return listen_face(&s->metrics, at, why);
}

/* --- life --- */

static void init_face(struct server *s, struct server_face *face, const struct service_ops *ops)
{
    face->server = s;
    face->service = (struct service){ops, face};
    face->filter = (struct filter){&service_filter_ops, &face->service};
    server_face_init_pools(face);
}

struct server *server_new(const struct server_args *args)
{
    struct server *s = NEW(struct server);
    s->args = *args;
    limits_init(&s->limits);
    s->config = (struct http_server_config){
        .codec = HTTP_CODEC_AUTO,
        .limits = &s->limits,
        .path = url_path_options_base,
        .idle_timeout_us = 300ull * 1000 * 1000,
        .headers_timeout_us = 10ull * 1000 * 1000,
    };
    list_init(&s->conns);
    init_face(s, &s->api, &rest_ops);
    s->api.door = DOOR_LOCAL;
    init_face(s, &s->remote, &rest_ops);
    s->remote.door = DOOR_REMOTE;
    access_rates_init(&s->rates);
    list_init(&s->watchers);
    store_watch(args->store, rest_watch_changed, NULL, s);
    init_face(s, &s->metrics, &server_metrics_ops);
    return s;
}

int server_follow(struct server *s, struct str folder, struct str_buf *why)
{
    char dir[PATH_LEN_MAX] = "", path[2 * PATH_LEN_MAX];
    while (folder.len > 1 && folder.ptr[folder.len - 1] == '/')
        folder.len--;
    if (folder.len == 0 || folder.len >= PATH_LEN_MAX || str_eq(folder, STR("/")) ||
        (folder.ptr[0] != '/' && getcwd(dir, sizeof dir) == NULL)) {
        str_buf_add_c(why, "--documents takes a folder");
        return -ERR_INVALID;
    }
    snprintf(path, sizeof path, "%s%s%.*s", dir, dir[0] != '\0' ? "/" : "", STR_FMT(folder));
    s->documents = documents_new(s, str_from_c(path));
    return 0;
}

struct server *server_free(struct server *s)
{
    if (s == NULL)
        return NULL;
    documents_free(s->documents);
    if (s->api.socket != NULL)
        (void)unlink(addr_path(listen_addr(s->api.socket)));
    listen_close(s->api.socket);
    listen_close(s->remote.socket);
    listen_close(s->metrics.socket);
    server_conns_abort(s);
    for (int i = 0; i < CLOSE_TURNS_MAX && (!list_is_empty(&s->conns) || i < 3); i++)
        turn_once(s->args.turn, 0);
    struct server_face *faces[] = {&s->api, &s->remote, &s->metrics};
    for (size_t i = 0; i < ARRAY_LEN(faces); i++)
        server_face_deinit_pools(faces[i]);
    own_tls_free(s->tls);
    access_rates_deinit(&s->rates);
    free(s);
    return NULL;
}
