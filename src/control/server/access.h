/* Who may do what by the API: principals and their rules.
 *
 * A principal is the administrator (root and our own user, by the unix socket), whoever shows a
 * bearer token, or a client certificate with a SPIFFE id. What each but the administrator may do
 * stands in records of the store (table "access"): tokens by the hash of what was shown once.
 *
 * Verbs are Kubernetes' (get, list, watch, create, update, patch, delete), "admin": everything
 * else (backup, tokens, access itself), and "bypass": ways around the mesh for a workload. Thread:
 * the brain's. */
#pragma once

#include "base/map.h"
#include "codec/json_writer.h"
#include "control/store/store.h"

enum access_verb {
    ACCESS_GET,
    ACCESS_LIST,
    ACCESS_WATCH,
    ACCESS_CREATE,
    ACCESS_UPDATE,
    ACCESS_PATCH,
    ACCESS_DELETE,
    ACCESS_ADMIN,
    ACCESS_BYPASS,
    ACCESS_VERB_COUNT,
};

enum {
    ACCESS_NAME_LEN_MAX = 63,
    ACCESS_LIST_MAX = 64, /* namespaces, kinds of one principal */
    ACCESS_COUNT_MAX = 1000,
    ACCESS_RATE = 50, /* calls a second, of each principal but the administrator */
    ACCESS_BURST = 200,
};

struct access_rules {
    uint32_t verbs; /* 1 << enum access_verb */
    uint32_t kinds; /* 1 << enum api_kind; 0: all */
    struct str namespaces[ACCESS_LIST_MAX];
    size_t namespace_count; /* 0: all, and what has none */
};

struct access_principal {
    struct str name; /* "uid:0", "token:ci", "spiffe://..." */
    bool is_administrator;
    uint64_t expires_s; /* 0: never */
    struct access_rules rules;
};

/* How kinds are written: as documents say them (records), as paths do (answers). */
enum access_kind_names { ACCESS_KINDS_SINGULAR, ACCESS_KINDS_PLURAL };
/* "verbs", "kinds" and "namespaces" of an object. */
void access_write_rules(struct json_writer *w, const struct access_rules *r,
                        enum access_kind_names names);

const char *access_verb_name(enum access_verb verb);
bool access_verb_parse(struct str name, enum access_verb *ret_verb);
/* Whether the principal may do that to documents of the kind in the namespace. kind API_KIND_COUNT:
 * whatever the kind; namespace_ empty: in all of them. */
bool access_may(const struct access_principal *p, enum access_verb verb, enum api_kind kind,
                struct str namespace_);

/* --- who it is; strings in the arena --- */

/* -ERR_UNAUTHENTICATED: no such token, or it is over. */
int access_by_token(struct store *s, struct str token, uint64_t now_s, struct arena *a,
                    struct access_principal *ret_principal);
/* -ERR_UNAUTHENTICATED: nobody has given this identity any right. */
int access_by_identity(struct store *s, struct str spiffe_id, uint64_t now_s, struct arena *a,
                       struct access_principal *ret_principal);

/* --- giving and taking --- */

struct access_grant {
    struct str name;     /* a DNS label, unique */
    struct str identity; /* a SPIFFE id; empty: a token is made */
    struct access_rules rules;
    uint64_t expires_s; /* 0: never */
    struct str created_at;
};
/* ret_token gets what is shown once (nothing for an identity). -ERR_EXISTS, -ERR_LIMIT. */
int access_give(struct store *s, const struct access_grant *g, struct str_buf *ret_token);
/* -ERR_NOT_FOUND; ret_principal: the name, in the arena, of who had it. */
int access_take(struct store *s, struct str name, struct arena *a, struct str *ret_principal);
typedef void access_each_fn(void *ctx, const struct access_grant *g);
int access_list(struct store *s, access_each_fn *each, void *ctx);

/* --- how often --- */

struct access_rates {
    struct map buckets;
};
void access_rates_init(struct access_rates *r);
void access_rates_deinit(struct access_rates *r);
/* False: that principal has to wait. */
bool access_rate_take(struct access_rates *r, const struct access_principal *p, uint64_t now_us);
