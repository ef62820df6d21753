/* histogram.h: counts of values in buckets that grow with the value, as in HdrHistogram: 64 buckets
 * of equal width for each power of two, so that a percentile is at most 1.6 % above the true value.
 */
#pragma once

#include <stdint.h>

#define HISTOGRAM_LINEAR_BITS 7 /* one bucket for each value below 128 */
#define HISTOGRAM_POWERS_COUNT                                                                     \
    35 /* from 2^42 on, 73 minutes in nanoseconds, all are in the last one */
#define HISTOGRAM_BUCKETS_COUNT ((HISTOGRAM_POWERS_COUNT + 2) << (HISTOGRAM_LINEAR_BITS - 1))

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS_COUNT];
    uint64_t total_count;
    uint64_t max;
    uint64_t sum;
};

void histogram_reset(struct histogram *histogram);
void histogram_record(struct histogram *histogram, uint64_t value);
void histogram_add(struct histogram *histogram, const struct histogram *other);
/* The value that `per_mille` of 1000 values do not exceed (500 is the median, 999 is p99.9); 0 when
 * nothing was recorded. */
uint64_t histogram_percentile(const struct histogram *histogram, uint32_t per_mille);
