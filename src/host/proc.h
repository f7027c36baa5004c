/* Processes by pid and start time, so that a number that was given out again is never mistaken for
 * what we started. Thread: any. */
#pragma once

#include <sys/types.h>

#include "base/str.h"

struct proc {
    pid_t pid;           /* 0: none */
    uint64_t start_time; /* clock ticks since boot, field 22 of /proc/PID/stat */
};

/* Field 22 of the text of /proc/PID/stat; false when malformed. The command may hold anything. */
bool proc_parse_start_time(struct str stat_text, uint64_t *ret_start_time);
/* {pid, start time}; {0} when there is no such process. */
struct proc proc_of(pid_t pid);
bool proc_is_alive(struct proc p);
/* Sends a signal when it is still the same process (by pidfd, so that it cannot be another). */
void proc_signal(struct proc p, int signal);
/* Waits until it is gone (it need not be a child); false at the timeout. */
bool proc_wait_gone(struct proc p, int timeout_ms);

/* Host pid of the direct child of `parent` whose pid in its own namespace is `inner`; 0 if none. */
pid_t proc_find_inner(pid_t parent, pid_t inner);

struct proc_memory {
    uint64_t rss_kib, private_dirty_kib;
};
/* Reads /proc/PID/smaps_rollup; false when it is gone or may not be read. */
bool proc_memory_read(pid_t pid, struct proc_memory *ret_memory);

/* What a child makes, by a function that returns a descriptor or -ERR_X: that descriptor, or
 * -ERR_X. What else it changes (namespaces) is the child's. */
typedef int proc_make_fd_fn(const void *arg);
int proc_fd_from_child(proc_make_fd_fn *make, const void *arg);

/* Sends one byte of data and, when fd >= 0, a descriptor over a unix socket. 0 or -ERR_CLOSED. */
int proc_send_fd(int socket, uint8_t data, int fd);

/* Reads a small file whole (up to len_max bytes); NULL when it cannot be read. free(3). */
char *proc_read_file(const char *path, size_t len_max, size_t *ret_len);
/* Replaces a file by rename; 0 or -ERR_X. */
int proc_write_file(const char *path, struct str text, unsigned mode);
/* The same for another owner (uid and gid). */
int proc_write_file_for(const char *path, struct str text, unsigned mode, unsigned uid);

/* CLOCK_MONOTONIC. */
uint64_t proc_now_ms(void);
