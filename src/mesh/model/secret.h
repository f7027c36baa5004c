/* Secrets: envoy.extensions.transport_sockets.tls.v3.Secret. PEM as given; crypto parses it when it
 * builds contexts. Private keys are never printed: dumps redact them. */
#pragma once

#include "mesh/model/common.h"

enum secret_kind { SECRET_CERTIFICATE, SECRET_VALIDATION };

struct secret {
    enum secret_kind kind;
    struct str chain_pem, key_pem; /* SECRET_CERTIFICATE */
    struct str roots_pem;          /* SECRET_VALIDATION */
    const struct tls_san_matcher *sans;
    size_t san_count;
};
