/* How much memory there is for connections: half of what the process's cgroup may use, the rest is
 * for the program, its configuration, TLS and the allocator. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/agent/agent_priv.h"

enum { LINE_MAX_LEN = 4096 };
#define BUDGET_DEFAULT (1ull << 30)

static bool read_line(const char *path, char line[LINE_MAX_LEN])
{
    FILE *f = fopen(path, "re");
    bool is_read = f != NULL && fgets(line, LINE_MAX_LEN, f) != NULL;
    if (f != NULL)
        fclose(f);
    if (is_read)
        line[strcspn(line, "\n")] = '\0';
    return is_read;
}

static void take_limit(const char *folder, uint64_t *least)
{
    char path[LINE_MAX_LEN + 64], line[LINE_MAX_LEN];
    uint64_t bytes;
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", folder);
    if (read_line(path, line) && str_to_u64(str_from_c(line), UINT64_MAX, &bytes))
        *least = MIN(*least, bytes); /* "max": no number */
}

/* Of cgroup v2, which a folder inherits from those above it. */
uint64_t budget_default(void)
{
    char line[LINE_MAX_LEN];
    uint64_t least = UINT64_MAX;
    if (read_line("/proc/self/cgroup", line) && strncmp(line, "0::/", 4) == 0) {
        char *folder = line + 3;
        for (char *end; (end = strrchr(folder, '/')) != NULL; *end = '\0')
            take_limit(folder, &least);
    }
    take_limit("", &least);
    return MIN(least / 2, (uint64_t)BUDGET_DEFAULT);
}
