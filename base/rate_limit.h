/* rate_limit.h: keeps bulk work below so many bytes a second, so that what people wait for is not
 * behind it. The generic cell rate algorithm (ITU-T I.371): one time says it all. */
#pragma once

#include "base/types.h"

#include <stddef.h>

struct rate_limit {
    uint64_t bytes_per_s;  /* 0: no limit */
    nanoseconds_t next_ns; /* the next piece is not to begin before */
};

/* A piece begins now. Who came late by a turn or two may catch up: RATE_LIMIT_LATE_NS_MAX. */
void rate_limit_take(struct rate_limit *limit, size_t bytes_count, nanoseconds_t now_ns);

#define RATE_LIMIT_LATE_NS_MAX (5 * NS_PER_MS)
