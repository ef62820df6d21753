/* log_pace.h: how soon after one write of the log the next may start.
 *
 * Many disks are rented with a limit on writes a second, kept by a bucket of tokens: the writes of
 * a burst are quick, then one waits until the bucket is filled again, and everything with it. A log
 * that writes whatever is there as soon as it can spends its tokens on small writes and stands
 * still for the rest of the time. So when a write has stalled, the next ones are kept apart by what
 * writes took on average, stalls included: that is the pace which the disk allows, and at that pace
 * what comes in between shares a write. As long as nothing stalls the interval shrinks again, to
 * nothing where there is no limit.
 *
 * Steady disks are not held back, slow ones neither: an interval counts from the beginning of a
 * write, and is never longer than PACE_INTERVAL_NS_MAX.
 */
#pragma once

#include "base/types.h"

#include <stdbool.h>

struct log_pace {
    nanoseconds_t interval_ns;
    nanoseconds_t write_began_ns;
    nanoseconds_t mean_ns; /* of a write, over the last PACE_MEAN_WRITES or so */
};

#define PACE_INTERVAL_NS_MAX (2 * NS_PER_MS)

void log_pace_write_began(struct log_pace *pace, nanoseconds_t now_ns);
void log_pace_write_done(struct log_pace *pace, nanoseconds_t now_ns);
/* The next write is not to begin before. */
nanoseconds_t log_pace_next_ns(const struct log_pace *pace);
