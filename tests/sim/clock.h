/* clock.h: what a process takes for the time: a monotonic clock that may run fast or slow, and a
 * wall clock that may jump. */
#pragma once

#include "base/types.h"

struct sim_clock {
    nanoseconds_t real_ns, local_ns; /* a pair that was true at one moment */
    int64_t rate_ppm;
    int64_t wall_offset_ms;
};

static inline nanoseconds_t sim_clock_local_ns(const struct sim_clock *clock, nanoseconds_t real_ns)
{
    uint64_t passed_ns = real_ns - clock->real_ns;
    uint64_t rate = (uint64_t)(1000000 + clock->rate_ppm);
    return clock->local_ns + passed_ns / 1000000 * rate + passed_ns % 1000000 * rate / 1000000;
}

/* The first moment at which the local clock has reached `local_ns`. */
static inline nanoseconds_t sim_clock_real_ns(const struct sim_clock *clock, nanoseconds_t local_ns)
{
    if (local_ns == NS_NEVER)
        return NS_NEVER;
    if (local_ns <= clock->local_ns)
        return clock->real_ns;
    uint64_t wait_ns = local_ns - clock->local_ns;
    uint64_t rate = (uint64_t)(1000000 + clock->rate_ppm);
    return clock->real_ns + wait_ns / rate * 1000000 +
           (wait_ns % rate * 1000000 + rate - 1) / rate + 1;
}

static inline void sim_clock_set_rate(struct sim_clock *clock, nanoseconds_t real_ns,
                                      int64_t rate_ppm)
{
    clock->local_ns = sim_clock_local_ns(clock, real_ns);
    clock->real_ns = real_ns;
    clock->rate_ppm = rate_ppm;
}
