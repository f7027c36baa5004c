/* A UDP socket: DNS of the mesh. Callbacks from the run list. */
#pragma once

#include "io/addr.h"
#include "io/turn.h"

struct dgram;
typedef void dgram_fn(void *ctx, const struct addr *from, struct str payload);

enum { DGRAM_LEN_MAX = 65535 };

/* mark: SO_MARK, or 0. */
int dgram_open(struct turn *t, const struct addr *at, uint32_t mark, dgram_fn *receive, void *ctx,
               struct dgram **ret_dgram);
/* Adopts a (possibly connected) UDP descriptor. */
struct dgram *dgram_adopt_fd(struct turn *t, int fd, dgram_fn *receive, void *ctx);
/* Sends at once; datagrams that do not fit the socket's buffer are lost, as UDP may. `to` NULL for
 * a connected socket. */
int dgram_send(struct dgram *d, const struct addr *to, struct str payload);
void dgram_close(struct dgram *d); /* no callback after this returns */
const struct addr *dgram_addr(const struct dgram *d);
