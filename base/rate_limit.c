#include "base/rate_limit.h"

void rate_limit_take(struct rate_limit *limit, size_t bytes_count, nanoseconds_t now_ns)
{
    if (limit->bytes_per_s == 0)
        return;
    if (limit->next_ns + RATE_LIMIT_LATE_NS_MAX < now_ns)
        limit->next_ns = now_ns - RATE_LIMIT_LATE_NS_MAX;
    limit->next_ns += bytes_count * NS_PER_S / limit->bytes_per_s;
}
