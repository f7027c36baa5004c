/* SPIFFE ids of workloads: spiffe://<trust-domain>/ns/<namespace>/sa/<service-account>. Pure. */
#pragma once

#include "base/arena.h"

struct spiffe_id {
    struct str trust_domain, namespace_, service_account; /* borrowed from the text */
};

/* Strict: lower-case trust domain, no empty or dot segments, nothing behind; -ERR_INVALID. */
int spiffe_parse(struct str text, struct spiffe_id *ret_id);
struct str spiffe_format(struct arena *a, const struct spiffe_id *id);
