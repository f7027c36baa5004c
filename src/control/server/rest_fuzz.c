/* Whole requests to the API, head and body, by an administrator's socket: paths, queries, fields,
 * documents, patches. What they write stays until the control plane is made anew. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "control/server/server_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TURNS = 24, INPUTS_MAX = 2000 };

static struct {
    struct turn *turn;
    struct store *store;
    struct registry *registry;
    struct translate *translate;
    struct ca *ca;
    struct push *push;
    struct server *server;
    unsigned input_count;
} control;

static char dir[64];

static void remove_dir(void)
{
    DIR *d = opendir(dir);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        unlinkat(dirfd(d), e->d_name, 0);
    if (d != NULL)
        closedir(d);
    rmdir(dir);
}

static void on_fact(void *ctx, struct str fact)
{
    push_fact_changed(ctx, fact);
}

static void start(void)
{
    char path[128];
    struct str_buf why = STR_BUF_INIT(1000);
    log_set_level(LOG_OFF);
    bool is_first = dir[0] == '\0';
    snprintf(dir, sizeof dir, "/tmp/tulle-rest-fuzz-XXXXXX");
    ASSERT(mkdtemp(dir) != NULL && (!is_first || atexit(remove_dir) == 0));
    snprintf(path, sizeof path, "%s/store.db", dir);
    control.turn = turn_new_linux();
    ASSERT(store_open_sqlite(str_from_c(path), &why, &control.store) == 0);
    control.registry = registry_new(control.store, &why);
    struct ca_options o = {control.store, str_from_c(dir), STR("cluster.local"), 86400 * 365};
    ASSERT(ca_open(&o, turn_wall_us(control.turn) / 1000000, &why, &control.ca) == 0);
    control.translate = translate_new(control.registry);
    control.push = push_new(&(struct push_args){control.turn, control.store, control.registry,
                                                control.translate, control.ca});
    registry_watch(control.registry, on_fact, control.push);
    control.server = server_new(&(struct server_args){control.turn, control.store, control.registry,
                                                      control.translate, control.push, control.ca,
                                                      STR("fuzz"), str_from_c(dir)});
    str_buf_deinit(&why);
}

static void stop(void)
{
    server_free(control.server);
    push_free(control.push);
    translate_free(control.translate);
    registry_free(control.registry);
    ca_free(control.ca);
    store_close(control.store);
    turn_free(control.turn);
    remove_dir();
    control.input_count = 0;
    control.server = NULL;
}

static void nothing(struct conn *c)
{
    (void)c;
}

static void closed(struct conn *c, int err)
{
    (void)c;
    (void)err;
}

/* Until the server takes it over, in the same turn. */
static const struct conn_handler nobody = {
    .on_open = nothing, .on_input = nothing, .on_close = closed};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fds[2];
    char block[4096];
    if (control.server != NULL && control.input_count == INPUTS_MAX)
        stop();
    if (control.server == NULL)
        start();
    control.input_count++;
    ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
    struct conn *c = conn_adopt_fd(control.turn, fds[0], &nobody, NULL);
    ASSERT(c != NULL);
    server_conn_accept(&control.server->api, c);
    /* A socket holds more than an input has. */
    (void)!send(fds[1], data, size, MSG_NOSIGNAL);
    for (int quiet = 0; quiet < TURNS; quiet++) {
        turn_once(control.turn, 0);
        while (recv(fds[1], block, sizeof block, 0) > 0)
            quiet = 0;
    }
    close(fds[1]);
    for (int i = 0; i < TURNS && !list_is_empty(&control.server->conns); i++)
        turn_once(control.turn, 0);
    return 0;
}
