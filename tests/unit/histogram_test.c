#include "base/random.h"
#include "cmd/histogram.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct histogram histogram;

Test(histogram, is_empty_at_first)
{
    histogram_reset(&histogram);
    cr_assert_eq(histogram_percentile(&histogram, 500), 0);
    cr_assert_eq(histogram.total_count, 0);
}

Test(histogram, small_values_are_exact)
{
    histogram_reset(&histogram);
    for (uint64_t value = 1; value <= 100; value++)
        histogram_record(&histogram, value);
    cr_assert_eq(histogram_percentile(&histogram, 0), 1);
    cr_assert_eq(histogram_percentile(&histogram, 500), 50);
    cr_assert_eq(histogram_percentile(&histogram, 990), 99);
    cr_assert_eq(histogram_percentile(&histogram, 1000), 100);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Against sorted values of all magnitudes: never below the true percentile, at most 1.6 % above. */
Test(histogram, percentiles_are_close_to_the_truth)
{
    enum { COUNT = 10000 };
    static uint64_t values[COUNT];
    struct random random;
    random_init(&random, 1);
    histogram_reset(&histogram);
    for (int i = 0; i < COUNT; i++) {
        values[i] = random_next(&random) >> (23 + random_below(&random, 41));
        histogram_record(&histogram, values[i]);
    }
    qsort(values, COUNT, sizeof values[0], compare);
    for (uint32_t per_mille = 1; per_mille <= 1000; per_mille++) {
        uint64_t truth = values[COUNT * per_mille / 1000 - 1];
        uint64_t said = histogram_percentile(&histogram, per_mille);
        cr_assert_geq(said, truth);
        cr_assert_leq(said - truth, truth / 64, "%u: %lu for %lu", per_mille, (unsigned long)said,
                      (unsigned long)truth);
    }
}

Test(histogram, huge_values_are_counted_in_the_last_bucket)
{
    histogram_reset(&histogram);
    histogram_record(&histogram, UINT64_MAX);
    cr_assert_eq(histogram.counts[HISTOGRAM_BUCKETS_COUNT - 1], 1);
    cr_assert_eq(histogram.max, UINT64_MAX);
}

Test(histogram, adding_is_like_recording_both)
{
    static struct histogram other;
    histogram_reset(&histogram);
    histogram_reset(&other);
    histogram_record(&histogram, 10);
    histogram_record(&other, 1000000);
    histogram_record(&other, 20);
    histogram_add(&histogram, &other);
    cr_assert_eq(histogram.total_count, 3);
    cr_assert_eq(histogram.max, 1000000);
    cr_assert_eq(histogram.sum, 1000030);
    cr_assert_eq(histogram_percentile(&histogram, 500), 20);
}
