/* What protobuf's conformance tests talk to: a message in, the same message out, by the code that
 * reads and writes the messages of xDS. Each request and each answer has its length in front, four
 * bytes, little-endian; at the end of the input it ends. */
#include <stdio.h>
#include <stdlib.h>

#include "codec/json.h"
#include "mesh/xds/pb.h"
#include "mesh/xds/pb_check.h"
#include "mesh/xds/pb_json.h"
#include "tests/conformance/conformance.pb-c.h"
#include "tests/conformance/test_messages.pb-c.h"

enum { LEN_MAX = 64 << 20, BLOCK_LEN = 16 << 10, WHY_LEN_MAX = 4096 };

#define MESSAGE_TYPE "protobuf_test_messages.proto3.TestAllTypesProto3"
#define FAILURES_TYPE "conformance.FailureSet"

static const ProtobufCMessageDescriptor *const descriptor =
    &pb__test__test_all_types_proto3__descriptor;

struct answer {
    Pb__Conformance__ConformanceResponse m;
    struct str_buf out, why;
};

static void set_text(struct answer *a, Pb__Conformance__ConformanceResponse__ResultCase kind,
                     const char *text)
{
    a->m.result_case = kind;
    a->m.parse_error = text; /* all of them are strings at the same place */
}

static void refuse(struct answer *a, const char *text)
{
    set_text(a, PB__CONFORMANCE__CONFORMANCE_RESPONSE__RESULT_PARSE_ERROR, text);
}

static void skip(struct answer *a, const char *text)
{
    set_text(a, PB__CONFORMANCE__CONFORMANCE_RESPONSE__RESULT_SKIPPED, text);
}

/* --- in --- */

static bool take_json(struct answer *a, struct arena *scratch, struct str text,
                      struct str_buf *ret_wire)
{
    const struct json *root;
    struct json_error error = {0};
    if (json_parse(scratch, text, LEN_MAX, &root, &error) != 0) {
        str_buf_add_c(&a->why, error.text);
        return false;
    }
    return pb_json_read(descriptor, root, NULL, &a->why, ret_wire) == 0;
}

/* The bytes of a message that is well; false: answered. */
static bool take(struct answer *a, struct arena *scratch,
                 const Pb__Conformance__ConformanceRequest *m, struct str_buf *ret_wire)
{
    switch ((int)m->payload_case) {
    case PB__CONFORMANCE__CONFORMANCE_REQUEST__PAYLOAD_PROTOBUF_PAYLOAD:
        str_buf_add(ret_wire,
                    str_from((const char *)m->protobuf_payload.data, m->protobuf_payload.len));
        break;
    case PB__CONFORMANCE__CONFORMANCE_REQUEST__PAYLOAD_JSON_PAYLOAD:
        if (take_json(a, scratch, str_from_c(m->json_payload), ret_wire))
            break;
        refuse(a, a->why.len > 0 ? a->why.ptr : "not JSON");
        return false;
    default:
        skip(a, "this form is not spoken");
        return false;
    }
    if (pb_check(descriptor, str_buf_str(ret_wire), PB_CHECK_TOLERANT, NULL, &a->why) == 0)
        return true;
    refuse(a, a->why.len > 0 ? a->why.ptr : "malformed");
    return false;
}

/* --- out --- */

static void give_binary(struct answer *a, const ProtobufCMessage *m)
{
    pb_pack(m, &a->out);
    a->m.result_case = PB__CONFORMANCE__CONFORMANCE_RESPONSE__RESULT_PROTOBUF_PAYLOAD;
    a->m.protobuf_payload = (ProtobufCBinaryData){a->out.len, (uint8_t *)a->out.ptr};
}

static void give_json(struct answer *a, struct str wire)
{
    struct json_writer w;
    json_writer_init(&w, &a->out, 0);
    pb_json_write(descriptor, wire, &w, NULL);
    set_text(a, PB__CONFORMANCE__CONFORMANCE_RESPONSE__RESULT_JSON_PAYLOAD, a->out.ptr);
}

static void convert(struct answer *a, struct arena *scratch,
                    const Pb__Conformance__ConformanceRequest *m)
{
    AUTO(str_buf_deinit) struct str_buf wire = STR_BUF_INIT(LEN_MAX);
    bool is_binary = m->requested_output_format == PB__CONFORMANCE__WIRE_FORMAT__PROTOBUF;
    if (!is_binary && m->requested_output_format != PB__CONFORMANCE__WIRE_FORMAT__JSON) {
        skip(a, "this form is not spoken");
        return;
    }
    if (!take(a, scratch, m, &wire))
        return;
    const ProtobufCMessage *message = pb_unpack(scratch, descriptor, str_buf_str(&wire));
    if (message == NULL)
        refuse(a, "malformed");
    else if (is_binary)
        give_binary(a, message);
    else
        give_json(a, str_buf_str(&wire));
}

static void answer(struct answer *a, struct arena *scratch, struct str request)
{
    const Pb__Conformance__ConformanceRequest *m =
        pb_unpack(scratch, &pb__conformance__conformance_request__descriptor, request);
    const char *type = m != NULL && m->message_type != NULL ? m->message_type : "";
    if (strcmp(type, FAILURES_TYPE) == 0) { /* an empty list: the runner has it from a file */
        a->m.result_case = PB__CONFORMANCE__CONFORMANCE_RESPONSE__RESULT_PROTOBUF_PAYLOAD;
    } else if (strcmp(type, MESSAGE_TYPE) != 0) {
        skip(a, "no message of xDS is of this kind");
    } else {
        convert(a, scratch, m);
    }
}

/* --- the pipe --- */

static bool read_request(struct str_buf *to)
{
    uint8_t head[4];
    if (fread(head, sizeof head, 1, stdin) != 1)
        return false;
    size_t len = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
    if (len > LEN_MAX)
        return false;
    char *bytes = malloc(len + 1);
    bool is_whole = fread(bytes, 1, len, stdin) == len;
    str_buf_add(to, str_from(bytes, len));
    free(bytes);
    return is_whole;
}

static void write_answer(struct str wire)
{
    uint8_t head[4] = {(uint8_t)wire.len, (uint8_t)(wire.len >> 8), (uint8_t)(wire.len >> 16),
                       (uint8_t)(wire.len >> 24)};
    fwrite(head, sizeof head, 1, stdout);
    fwrite(wire.ptr, 1, wire.len, stdout);
    fflush(stdout);
}

static bool serve_one(void)
{
    AUTO(str_buf_deinit) struct str_buf request = STR_BUF_INIT(LEN_MAX);
    AUTO(str_buf_deinit) struct str_buf wire = STR_BUF_INIT(LEN_MAX);
    if (!read_request(&request))
        return false;
    struct answer a = {.out = STR_BUF_INIT(LEN_MAX), .why = STR_BUF_INIT(WHY_LEN_MAX)};
    struct arena scratch;
    arena_init(&scratch, BLOCK_LEN);
    pb__conformance__conformance_response__init(&a.m);
    answer(&a, &scratch, str_buf_str(&request));
    pb_pack(&a.m.base, &wire);
    write_answer(str_buf_str(&wire));
    arena_deinit(&scratch);
    str_buf_deinit(&a.out);
    str_buf_deinit(&a.why);
    return true;
}

int main(void)
{
    while (serve_one())
        ;
    return 0;
}
