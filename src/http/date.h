/* Dates of HTTP (RFC 9110 5.6.7): "Sun, 06 Nov 1994 08:49:37 GMT". Pure. */
#pragma once

#include "base/str.h"

enum { HTTP_DATE_LEN = 29 };

/* wall_us since 1970, before the year 10000; returns buf as a string, not terminated. */
struct str http_date_format(uint64_t wall_us, char buf[HTTP_DATE_LEN]);
