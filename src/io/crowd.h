/* Members of a bounded pool, by where they come from. When there are more than it holds, the one
 * that has been in it longest of those who are most has to go: whoever fills a pool harms himself.
 *
 * Each call costs the same whatever the number: groups lie in buckets by the logarithm of their
 * size, so that "most" is exact to a factor of two.
 *
 * Owner: whoever embeds it; members are embedded in their objects. Thread: one. */
#pragma once

#include "base/list.h"
#include "base/map.h"

struct crowd_group;

struct crowd_member {
    struct list link;
    struct crowd_group *group; /* NULL: in no crowd */
};

enum { CROWD_BUCKETS = 32, CROWD_KEY_LEN_MAX = 512 };

struct crowd {
    struct map groups;
    struct list buckets[CROWD_BUCKETS]; /* of groups of 1, 2 to 3, 4 to 7, ... members */
    struct list ring;                   /* all groups, in turns */
    size_t count;
};

void crowd_init(struct crowd *c);
void crowd_deinit(struct crowd *c); /* must be empty */
/* key: of whoever is to share, at most CROWD_KEY_LEN_MAX bytes of it count. */
void crowd_add(struct crowd *c, struct crowd_member *m, struct str key);
void crowd_remove(struct crowd *c, struct crowd_member *m); /* harmless twice */
/* Who has to go; NULL: it is empty. */
struct crowd_member *crowd_longest(const struct crowd *c);
/* Whose turn it is: groups one after another, and of each who came last, who is the likeliest to
 * wait still. NULL: it is empty. */
struct crowd_member *crowd_next(struct crowd *c);
