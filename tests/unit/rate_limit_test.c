#include "base/rate_limit.h"

#include <criterion/criterion.h>

#define PIECE_BYTES 1000u

/* How many pieces get through in a second, taken by somebody who looks at the clock every so often.
 */
static uint32_t pieces_of_a_second(struct rate_limit *limit, nanoseconds_t from_ns,
                                   nanoseconds_t look_ns)
{
    uint32_t count = 0;
    for (nanoseconds_t now_ns = from_ns; now_ns < from_ns + NS_PER_S; now_ns += look_ns) {
        while (limit->next_ns <= now_ns && count < 1000000) {
            rate_limit_take(limit, PIECE_BYTES, now_ns);
            count++;
        }
    }
    return count;
}

Test(rate_limit, keeps_its_rate_with_late_turns_and_gives_no_burst_after_a_rest)
{
    static const nanoseconds_t looks_ns[] = {1000, NS_PER_MS / 10, NS_PER_MS, 4 * NS_PER_MS};
    for (size_t index = 0; index < sizeof(looks_ns) / sizeof(looks_ns[0]); index++) {
        struct rate_limit limit = {.bytes_per_s = 1000 * PIECE_BYTES};
        pieces_of_a_second(&limit, NS_PER_S, looks_ns[index]);
        uint32_t steady = pieces_of_a_second(&limit, 2 * NS_PER_S, looks_ns[index]);
        cr_expect(steady >= 999 && steady <= 1021, "%u pieces", steady);
        /* After an hour of nothing no more than what a late turn may catch up. */
        uint32_t rested = pieces_of_a_second(&limit, 3600 * NS_PER_S, looks_ns[index]);
        cr_expect(rested >= 999 && rested <= 1021, "%u pieces", rested);
    }
}

Test(rate_limit, none_holds_nobody_back)
{
    struct rate_limit limit = {0};
    for (int piece = 0; piece < 1000; piece++)
        rate_limit_take(&limit, 1u << 30, NS_PER_S);
    cr_expect_eq(limit.next_ns, 0);
}

Test(rate_limit, a_piece_larger_than_a_second_of_it_is_paid_for)
{
    struct rate_limit limit = {.bytes_per_s = 1000};
    rate_limit_take(&limit, 5000, 100 * NS_PER_S);
    cr_expect_eq(limit.next_ns, 105 * NS_PER_S - RATE_LIMIT_LATE_NS_MAX);
}
