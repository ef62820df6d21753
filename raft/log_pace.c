#include "raft/log_pace.h"

/* Above, a write was held back: no disk takes that long for its own sake more than now and then. */
#define PACE_STALL_NS (10 * NS_PER_MS)
/* The mean's memory. A bucket that is filled ten times a second lets a few hundred writes through
 * between two stalls. */
#define PACE_MEAN_WRITES 512
/* Without a stall the interval is halved in about 0.7 times as many writes: some ten seconds at a
 * pace of one a millisecond. */
#define PACE_DECAY_WRITES 16384

void log_pace_write_began(struct log_pace *pace, nanoseconds_t now_ns)
{
    pace->write_began_ns = now_ns;
}

void log_pace_write_done(struct log_pace *pace, nanoseconds_t now_ns)
{
    nanoseconds_t took_ns = now_ns > pace->write_began_ns ? now_ns - pace->write_began_ns : 0;
    /* Time between writes is the disk's as well: it earns tokens in it. */
    nanoseconds_t share_ns = took_ns > pace->interval_ns ? took_ns : pace->interval_ns;
    pace->mean_ns += share_ns / PACE_MEAN_WRITES;
    pace->mean_ns -= pace->mean_ns / PACE_MEAN_WRITES;
    if (took_ns < PACE_STALL_NS) {
        pace->interval_ns -= pace->interval_ns / PACE_DECAY_WRITES;
        if (pace->interval_ns < PACE_DECAY_WRITES)
            pace->interval_ns = 0;
        return;
    }
    if (pace->mean_ns > pace->interval_ns)
        pace->interval_ns = pace->mean_ns;
    if (pace->interval_ns > PACE_INTERVAL_NS_MAX)
        pace->interval_ns = PACE_INTERVAL_NS_MAX;
}

nanoseconds_t log_pace_next_ns(const struct log_pace *pace)
{
    return pace->interval_ns == 0 ? 0 : pace->write_began_ns + pace->interval_ns;
}
