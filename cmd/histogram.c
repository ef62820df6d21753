#include "cmd/histogram.h"

#include "base/assert.h"

#include <string.h>

#define LINEAR_COUNT (UINT64_C(1) << HISTOGRAM_LINEAR_BITS)

/* Values below 128 have a bucket each. Above, a value is shifted until 7 bits are left; the highest
 * of them is always set, so each power of two takes 64 buckets, and the runs join without gaps. */
static uint32_t bucket_of(uint64_t value)
{
    if (value < LINEAR_COUNT)
        return (uint32_t)value;
    uint32_t shift = 63u - (uint32_t)__builtin_clzll(value) - (HISTOGRAM_LINEAR_BITS - 1);
    uint32_t bucket = (shift << (HISTOGRAM_LINEAR_BITS - 1)) + (uint32_t)(value >> shift);
    return bucket < HISTOGRAM_BUCKETS_COUNT ? bucket : HISTOGRAM_BUCKETS_COUNT - 1;
}

/* The largest value that falls into the bucket. */
static uint64_t bucket_end(uint32_t bucket)
{
    if (bucket < LINEAR_COUNT)
        return bucket;
    uint32_t shift = (bucket >> (HISTOGRAM_LINEAR_BITS - 1)) - 1;
    uint64_t top = bucket - ((uint64_t)shift << (HISTOGRAM_LINEAR_BITS - 1));
    return ((top + 1) << shift) - 1;
}

void histogram_reset(struct histogram *histogram)
{
    memset(histogram, 0, sizeof *histogram);
}

void histogram_record(struct histogram *histogram, uint64_t value)
{
    histogram->counts[bucket_of(value)]++;
    histogram->total_count++;
    histogram->sum += value;
    if (value > histogram->max)
        histogram->max = value;
}

void histogram_add(struct histogram *histogram, const struct histogram *other)
{
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS_COUNT; i++)
        histogram->counts[i] += other->counts[i];
    histogram->total_count += other->total_count;
    histogram->sum += other->sum;
    if (other->max > histogram->max)
        histogram->max = other->max;
}

uint64_t histogram_percentile(const struct histogram *histogram, uint32_t per_mille)
{
    ASSERT(per_mille <= 1000);
    if (histogram->total_count == 0)
        return 0;
    uint64_t wanted = (histogram->total_count * per_mille + 999) / 1000;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS_COUNT; i++) {
        seen += histogram->counts[i];
        if (seen >= wanted && seen > 0) {
            uint64_t end = bucket_end(i);
            return end < histogram->max ? end : histogram->max;
        }
    }
    return histogram->max;
}
