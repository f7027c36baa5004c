/* The Linux backend: one epoll descriptor per turn, sockets registered once and edge-triggered.
 *
 * What an event belongs to is a pointer whose lowest bits tell its kind. */
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include "io/dgram.h"
#include "io/io_priv.h"

enum linux_tag { TAG_CONN, TAG_LISTEN, TAG_WATCH, TAG_DGRAM, TAG_WAKE, TAG_MASK = 7 };

struct linux_backend {
    int epoll_fd, event_fd;
};

struct dgram {
    struct turn *turn;
    dgram_fn *receive;
    void *ctx;
    int fd;
    bool is_closed;
    struct addr addr;
    struct turn_task task;
    struct grave grave;
};

/* recv, send and epoll_wait without what the C library does around them in a process of several
 * threads: they are points where a thread may be cancelled, and none of ours ever is. */
static inline ssize_t linux_recv(int fd, void *to, size_t len)
{
    return syscall(SYS_recvfrom, fd, to, len, 0, NULL, NULL);
}

static inline ssize_t linux_send(int fd, const void *from, size_t len, int flags)
{
    return syscall(SYS_sendto, fd, from, len, flags, NULL, 0);
}

struct epoll_event;
static inline int linux_epoll_wait(int fd, struct epoll_event *events, int count_max,
                                   int timeout_ms)
{
    return (int)syscall(SYS_epoll_pwait, fd, events, count_max, timeout_ms, NULL, 0);
}

extern const struct io_ops linux_ops;
bool turn_is_linux(const struct turn *t);

/* 0 or -ERR_X. */
int linux_register(struct turn *t, int fd, uint32_t events, void *object, enum linux_tag tag);
void linux_unregister(struct turn *t, int fd);
int linux_prepare_fd(int fd); /* non-blocking, closed on exec */

/* linux/conn.c */
int linux_connect(struct conn_io *io, const struct addr *to, const struct conn_options *options);
int linux_finish_connect(struct conn_io *io);
enum io_read linux_read(struct conn_io *io, struct chain *to, size_t len_max, size_t *ret_len,
                        int *ret_err);
ssize_t linux_write(struct conn_io *io, struct chain *from);
bool linux_is_drained(struct conn_io *io);
void linux_end(struct conn_io *io);
int linux_peer(const struct conn_io *io, struct conn_peer *ret_peer);
void linux_close(struct conn_io *io, bool is_reset);
int linux_adopt(struct conn_io *io, int fd); /* registers; on failure closes the fd */
void linux_on_conn_event(struct conn_io *io, uint32_t events);

/* linux/listen.c */
int linux_listen(struct listen_socket *s, const struct addr *at,
                 const struct listen_options *options);
int linux_accept(struct listen_socket *s, struct conn_transport *ret_transport);
int linux_adopt_transport(struct conn_io *io, const struct conn_transport *transport);
void linux_drop_transport(struct turn *t, const struct conn_transport *transport);
void linux_listen_pause(struct listen_socket *s, bool is_paused);
void linux_listen_close(struct listen_socket *s);

/* linux/watch.c, linux/dgram.c */
void linux_on_watch_event(struct watch *w, uint32_t events);
