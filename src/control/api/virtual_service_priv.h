/* Parts of virtual_service.c that have a file of their own. */
#pragma once

#include "control/api/reader_priv.h"
#include "control/api/virtual_service.h"

field_fn read_http_match; /* struct api_http_match */
field_fn read_tcp_match;  /* struct api_tcp_match */
field_fn read_headers;    /* struct api_headers */
