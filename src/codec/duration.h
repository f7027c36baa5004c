/* Durations and points in time as text. Pure functions. */
#pragma once

#include "base/str.h"

/* Go's and Kubernetes' form: one or more of number and unit (h m s ms us ns), "1h30m", "1.5s",
 * "0". No sign. -ERR_SYNTAX; -ERR_INVALID when above 290 years. Fractions of a microsecond are cut.
 */
int duration_parse(struct str s, uint64_t *ret_us);

/* protobuf's, and its JSON form: seconds with up to nine decimals and "s", "-3.5s". */
struct duration_proto {
    int64_t seconds;
    int32_t nanos; /* of the same sign */
};
/* -ERR_SYNTAX; -ERR_INVALID when above 10,000 years. */
int duration_parse_proto(struct str s, struct duration_proto *ret_duration);

enum { DURATION_TEXT_MAX = 40 };
/* "1h2m0.5s", "250ms", "0s": what duration_parse reads back as the same. */
struct str duration_format(uint64_t us, char buf[DURATION_TEXT_MAX]);
/* "3.500s", "3s", "-0.000001s". */
struct str duration_format_proto(struct duration_proto in, char buf[DURATION_TEXT_MAX]);

enum { TIME_TEXT_MAX = 32 };
/* RFC 3339 in UTC, years 1970 to 9999: "2026-11-25T10:00:00Z"; with_ms adds ".123". */
struct str time_format(int64_t unix_ms, bool with_ms, char buf[TIME_TEXT_MAX]);
/* Any offset and fraction; cut to ms. -ERR_SYNTAX. */
int time_parse(struct str s, int64_t *ret_unix_ms);
