/* The small values that documents, bootstraps and peers hold: what is read is written as text that
 * reads as the same. */
#include "codec/base64.h"
#include "codec/cidr.h"
#include "codec/duration.h"
#include "codec/ip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_addresses(struct str text)
{
    struct ip_addr ip, again;
    struct cidr cidr, cidr_again;
    uint16_t port, port_again;
    char buf[256];
    if (ip_parse(text, &ip))
        ASSERT(ip_parse(ip_format(&ip, buf), &again) && ip_eq(&ip, &again));
    if (ip_port_parse(text, &ip, &port))
        ASSERT(ip_port_parse(ip_port_format(&ip, port, buf), &again, &port_again) &&
               ip_eq(&ip, &again) && port == port_again);
    if (cidr_parse(text, &cidr, NULL)) {
        ASSERT(cidr_parse(cidr_format(&cidr, buf), &cidr_again, NULL));
        ASSERT(cidr_contains(&cidr, &cidr_again) && cidr_contains(&cidr_again, &cidr));
    }
}

static void check_times(struct str text)
{
    static const int64_t time_ms_end = 253402300800000; /* the year 10000 */
    uint64_t us, again;
    struct duration_proto d, d_again;
    int64_t ms, ms_again;
    char buf[256];
    if (duration_parse(text, &us) == 0)
        ASSERT(duration_parse(duration_format(us, buf), &again) == 0 && us == again);
    if (duration_parse_proto(text, &d) == 0)
        ASSERT(duration_parse_proto(duration_format_proto(d, buf), &d_again) == 0 &&
               d.seconds == d_again.seconds && d.nanos == d_again.nanos);
    if (time_parse(text, &ms) == 0 && ms >= 0 && ms < time_ms_end) /* what time_format writes */
        ASSERT(time_parse(time_format(ms, true, buf), &ms_again) == 0 && ms == ms_again);
}

static void check_base64(struct str text)
{
    static const enum base64_kind kinds[] = {BASE64_STD, BASE64_URL};
    enum { LEN_MAX = 1 << 22 };
    struct str bytes;
    struct arena a;
    arena_init(&a, 1024);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct str_buf out = STR_BUF_INIT(LEN_MAX);
        if (base64_decode(&a, kinds[i], text, &bytes) == 0) {
            base64_encode(&out, kinds[i], bytes);
            ASSERT(str_eq(str_buf_str(&out), text)); /* one text for some bytes, and one only */
        }
        str_buf_reset(&out);
        base64_encode(&out, kinds[i], text);
        ASSERT(base64_decode(&a, kinds[i], str_buf_str(&out), &bytes) == 0 && str_eq(bytes, text));
        str_buf_deinit(&out);
    }
    arena_deinit(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_from((const char *)data, size);
    check_addresses(text);
    check_times(text);
    check_base64(text);
    return 0;
}
