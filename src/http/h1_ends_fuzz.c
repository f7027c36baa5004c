/* The input is a play: a byte of options (bytes in threes, upgrades allowed), then acts; each act
 * is a byte that says who does what, a length, and bytes. Whatever is said and whoever leaves,
 * every exchange ends once and nothing is left behind. */
#include "http/h1_ends_util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum act {
    ACT_CLIENT,
    ACT_ORIGIN, /* the newest */
    ACT_CLIENT_END,
    ACT_ORIGIN_END,
    ACT_CLIENT_ABORT,
    ACT_ORIGIN_ABORT,
    ACT_DRAIN,
    ACT_WAIT,
    ACT_COUNT,
    ACT_AT_ONCE = 0x80, /* time stands still until the next act */
};

enum { ACTS_MAX = 64 };

static struct peer *newest_origin(void)
{
    return w.origin_count == 0 ? NULL : &w.origins[w.origin_count - 1];
}

static void play(enum act act, struct peer *p, struct str bytes)
{
    switch ((unsigned)act) {
    case ACT_CLIENT:
    case ACT_ORIGIN:
        say_bytes(p, bytes);
        break;
    case ACT_CLIENT_END:
    case ACT_ORIGIN_END:
        conn_end(p->conn);
        break;
    case ACT_CLIENT_ABORT:
    case ACT_ORIGIN_ABORT:
        conn_abort(p->conn, -ERR_CANCELED);
        break;
    case ACT_DRAIN:
        if (w.server != NULL)
            http_server_drain(w.server);
        break;
    case ACT_WAIT:
        run_us(2500000);
        break;
    }
}

/* Returns how many bytes the act took. */
static size_t step(struct str input)
{
    unsigned code = (unsigned char)input.ptr[0];
    enum act act = (code & 0x7f) % ACT_COUNT;
    bool is_origins = act == ACT_ORIGIN || act == ACT_ORIGIN_END || act == ACT_ORIGIN_ABORT;
    size_t taken = 1;
    struct str bytes = STR_NULL;

    if (act == ACT_CLIENT || act == ACT_ORIGIN) {
        size_t len = input.len > 1 ? (unsigned char)input.ptr[1] : 0;
        bytes = str_sub(input, 2, len);
        taken = 2 + bytes.len;
    }
    if (w.client.conn == NULL && !is_origins)
        connect_client();
    struct peer *p = is_origins ? newest_origin() : &w.client;
    if (p != NULL && p->conn != NULL)
        play(act, p, bytes);
    if ((code & ACT_AT_ONCE) == 0)
        run_us(1000);
    return taken;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str input = str_from((const char *)data, size);

    if (size == 0)
        return 0;
    start_world(input.ptr[0] & 1 ? 3 : 0);
    w.server_config.accept_upgrade = (input.ptr[0] & 2) != 0;
    input = str_skip(input, 1);
    for (int acts = 0; input.len > 0 && acts < ACTS_MAX; acts++)
        input = str_skip(input, MIN(step(input), input.len));
    run_us(100000);
    end_world();
    return 0;
}
