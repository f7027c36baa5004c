/* Small text files of the system that are asked for again and again (/etc/hosts, /etc/resolv.conf):
 * read when they have changed, else what was read before. Thread: one. */
#pragma once

#include <sys/types.h>

#include "base/str.h"

enum { HOST_FILE_LEN_MAX = 1 << 20 };

struct host_file {
    const char *path;
    struct str_buf text;
    /* Of what was read. */
    bool is_known;
    uint64_t inode, device;
    int64_t size, changed_s, changed_ns;
};

void host_file_init(struct host_file *f, const char *path); /* path: kept */
void host_file_deinit(struct host_file *f);
/* Until the next call; empty: there is none, or it is longer than HOST_FILE_LEN_MAX. */
struct str host_file_text(struct host_file *f);
uint64_t host_file_reads(void); /* of this process, for tests */
