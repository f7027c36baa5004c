/* Bytes from the process that asks, which may have been taken over: what is taken as a request says
 * the same when it is written again, and the policy judges it without harm. */
#include "base/err.h"
#include "control/ca/signer_wire.h"
#include "control/ca/vault.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void judge(const struct ca_signer_request *r)
{
    struct vault v;
    struct ca_signer_options o = {.dir = "/nowhere"};
    struct str_buf why = STR_BUF_INIT(1024);
    ASSERT(vault_init(&v, &o, NULL, &why) == 0);
    int err = vault_allows(&v, r, &why);
    ASSERT(err == 0 || (err == -ERR_DENIED && why.len > 0));
    if (err == 0 && r->verb == CA_SIGNER_LEAF)
        ASSERT(v.memory->trust_domain[0] != '\0');
    vault_deinit(&v);
    str_buf_deinit(&why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str bytes = str_from((const char *)data, size);
    struct ca_signer_request request;
    struct ca_signer_reply reply;
    struct str_buf again = STR_BUF_INIT(SIGNER_WIRE_MAX + 4096);
    uint32_t number;
    int said;
    if (signer_wire_get_request(bytes, &number, &request) == 0) {
        signer_wire_put_request(&again, number, &request);
        ASSERT(str_eq(str_buf_str(&again), bytes));
        judge(&request);
    } else if (signer_wire_get_reply(bytes, &number, &said, &reply) == 0) {
        signer_wire_put_reply(&again, number, said, &reply);
        ASSERT(str_eq(str_buf_str(&again), bytes));
    }
    str_buf_deinit(&again);
    return 0;
}
