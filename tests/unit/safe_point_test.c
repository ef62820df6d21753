/* Group 0's safe point and holds, entry by entry (master_test has the stories with a log). */
#include "shardmaster/safe_point.h"

#include <criterion/criterion.h>

static struct safe_point state;

static int hold_at(uint64_t id, timestamp_t timestamp, uint32_t ttl_ms, uint64_t now_ms)
{
    Ostraka__HoldRequest request = OSTRAKA__HOLD_REQUEST__INIT;
    request.client = 1 + id % 3;
    request.id = id;
    request.timestamp = timestamp;
    request.ttl_ms = ttl_ms;
    Ostraka__MasterCommand__SetHold command = OSTRAKA__MASTER_COMMAND__SET_HOLD__INIT;
    command.hold = &request;
    command.now = timestamp_from_ms(now_ms);
    return safe_point_set_hold(&state, &command);
}

static timestamp_t advance(timestamp_t safe_point, uint64_t now_ms)
{
    Ostraka__MasterCommand__AdvanceSafePoint command =
        OSTRAKA__MASTER_COMMAND__ADVANCE_SAFE_POINT__INIT;
    command.safe_point = safe_point;
    command.now = timestamp_from_ms(now_ms);
    timestamp_t before = state.safe_point;
    cr_assert_eq(safe_point_advance(&state, &command), state.safe_point > before);
    return state.safe_point;
}

static void teardown(void)
{
    safe_point_fini(&state);
}
TestSuite(safe_point, .fini = teardown);

Test(safe_point, goes_as_far_as_the_lowest_hold_and_never_back)
{
    cr_assert_eq(advance(50, 1000), 50);
    cr_assert_eq(advance(40, 1000), 50);
    cr_assert_eq(hold_at(1, 80, 10000, 1000), OST_OK);
    cr_assert_eq(hold_at(2, 60, 10000, 1000), OST_OK);
    cr_assert_eq(hold_at(3, 49, 10000, 1000), OST_SNAPSHOT_TOO_OLD);
    cr_assert_eq(advance(100, 2000), 60);
    cr_assert_eq(hold_at(4, 60, 10000, 2000), OST_OK, "at the safe point all is there yet");
    cr_assert_eq(hold_at(2, 60, 0, 2000), OST_OK);
    cr_assert_eq(advance(100, 2000), 60);
    cr_assert_eq(hold_at(4, 60, 0, 2000), OST_OK);
    cr_assert_eq(advance(100, 2000), 80);
    cr_assert_eq(advance(100, 10999), 80);
    cr_assert_eq(advance(100, 11000), 100, "it has expired");
}

Test(safe_point, time_is_the_entries_and_never_falls)
{
    cr_assert_eq(hold_at(1, 80, 1000, 5000), OST_OK);
    /* Another leader's clock is behind: nobody's time is cut short, or begins earlier. */
    cr_assert_eq(hold_at(2, 70, 1000, 1000), OST_OK);
    cr_assert_eq(advance(100, 5999), 70);
    cr_assert_eq(hold_at(1, 80, 1, 5999), OST_OK, "a late duplicate shortens nothing");
    cr_assert_eq(hold_at(2, 70, 1000, 5999), OST_OK);
    cr_assert_eq(advance(100, 6000), 70);
    cr_assert_eq(state.holds_count, 1);
    cr_assert_eq(advance(100, 6999), 100);
}

Test(safe_point, the_number_of_holds_is_bounded)
{
    for (uint64_t id = 1; id <= HOLDS_COUNT_MAX; id++)
        cr_assert_eq(hold_at(id, 1000 + id * 7919 % 5000, 1000, 100), OST_OK);
    cr_assert_eq(hold_at(HOLDS_COUNT_MAX + 1, 2000, 1000, 100), OST_BUSY);
    cr_assert_eq(hold_at(17, 2000, 1000, 100), OST_OK, "one that is there may be renewed");
    /* As rows and snapshots have it, and back. */
    struct arena arena;
    arena_init(&arena);
    Ostraka__SafePointState *message = safe_point_to_message(&state, &arena);
    cr_assert_eq(message->n_holds, HOLDS_COUNT_MAX);
    struct safe_point copy = {0};
    cr_assert_eq(safe_point_of_message(message, &copy), OST_OK);
    cr_assert_eq(copy.holds_count, state.holds_count);
    cr_assert_eq(memcmp(copy.holds, state.holds, copy.holds_count * sizeof(copy.holds[0])), 0);
    /* What breaks the order, or lies below the safe point, is no state. */
    message->holds[5] = message->holds[6];
    cr_assert_eq(safe_point_of_message(message, &copy), OST_CORRUPT);
    message = safe_point_to_message(&state, &arena);
    message->safe_point = 100000;
    cr_assert_eq(safe_point_of_message(message, &copy), OST_CORRUPT);
    safe_point_fini(&copy);
    arena_fini(&arena);
    cr_assert_eq(hold_at(HOLDS_COUNT_MAX + 1, 2000, 1000, 1200), OST_OK, "the others expired");
    cr_assert_eq(state.holds_count, 1);
}
