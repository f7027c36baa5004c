/* What an HTTP/2 peer may make us do before its connection ends (ENHANCE_YOUR_CALM); 0: the codec's
 * own bound. By value in the configuration of servers and clients. */
#pragma once

#include <stdint.h>

struct h2_bounds {
    uint32_t outbound_frames_max, outbound_control_frames_max; /* waiting to be written */
    uint32_t empty_frames_max;    /* HEADERS, CONTINUATION, DATA in a row without payload */
    uint32_t priority_frames_max; /* for each stream that was opened */
    uint32_t window_updates_max;  /* for each DATA frame of ours */
};
