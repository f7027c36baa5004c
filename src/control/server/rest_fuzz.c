/* Whole requests to the API, head and body, by an administrator's socket: paths, queries, fields,
 * documents, patches. What they write stays until the control plane is made anew. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "control/push/testing/push_rig.h"
#include "control/server/server_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TURNS = 24, INPUTS_MAX = 2000 };

static struct push_rig control;
static struct server *server;
static unsigned input_count;

static void stop(void)
{
    if (server == NULL)
        return;
    server = server_free(server);
    push_rig_close(&control);
    input_count = 0;
}

static void start(void)
{
    static bool is_stopped_at_exit;
    log_set_level(LOG_OFF);
    push_rig_open(&control);
    server = server_new(&(struct server_args){control.turn, control.store, control.registry,
                                              control.translate, control.push, control.ca,
                                              STR("fuzz"), str_from_c(control.dir)});
    ASSERT(is_stopped_at_exit || atexit(stop) == 0);
    is_stopped_at_exit = true;
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
    if (server != NULL && input_count == INPUTS_MAX)
        stop();
    if (server == NULL)
        start();
    input_count++;
    ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
    struct conn *c = conn_adopt_fd(control.turn, fds[0], &nobody, NULL);
    ASSERT(c != NULL);
    server_conn_accept(&server->api, c);
    /* A socket holds more than an input has. */
    (void)!send(fds[1], data, size, MSG_NOSIGNAL);
    for (int quiet = 0; quiet < TURNS; quiet++) {
        turn_once(control.turn, 0);
        while (recv(fds[1], block, sizeof block, 0) > 0)
            quiet = 0;
    }
    close(fds[1]);
    for (int i = 0; i < TURNS && !list_is_empty(&server->conns); i++)
        turn_once(control.turn, 0);
    return 0;
}
