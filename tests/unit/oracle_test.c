#include "shardmaster/oracle.h"

#include "base/random.h"

#include <criterion/criterion.h>

#define AHEAD_MS 1000u
#define START_NS (100 * NS_PER_S)
#define WALL_MS  UINT64_C(1700000000000)

/* A leader that has had its first ceiling committed. */
static void led(struct oracle *oracle, timestamp_t ceiling, uint64_t wall_ms)
{
    oracle_init(oracle, AHEAD_MS);
    oracle_led(oracle, ceiling, START_NS, wall_ms);
    timestamp_t wanted = oracle_ceiling_wanted(oracle);
    cr_assert_neq(wanted, 0);
    oracle_ceiling_proposed(oracle, wanted);
    oracle_ceiling_applied(oracle, wanted);
}

Test(oracle, nothing_is_served_without_leadership_or_without_a_ceiling)
{
    struct oracle oracle;
    timestamp_t first = 0;
    oracle_init(&oracle, AHEAD_MS);
    cr_expect_eq(oracle_serve(&oracle, 1, &first), OST_NOT_LEADER);
    cr_expect_eq(oracle_ceiling_wanted(&oracle), 0);
    cr_expect_eq(oracle_deadline_ns(&oracle, true), NS_NEVER);
    oracle_led(&oracle, 0, START_NS, WALL_MS);
    cr_expect_eq(oracle_serve(&oracle, 1, &first), OST_WOULD_BLOCK);
    timestamp_t wanted = oracle_ceiling_wanted(&oracle);
    cr_expect_eq(wanted, timestamp_from_ms(WALL_MS + AHEAD_MS));
    oracle_ceiling_proposed(&oracle, wanted);
    cr_expect_eq(oracle_ceiling_wanted(&oracle), 0, "one proposal at a time");
    cr_expect_eq(oracle_serve(&oracle, 1, &first), OST_WOULD_BLOCK, "proposed is not committed");
    oracle_ceiling_applied(&oracle, wanted);
    cr_expect_eq(oracle_serve(&oracle, 1, &first), OST_OK);
    cr_expect_eq(first, timestamp_from_ms(WALL_MS));
    oracle_deposed(&oracle);
    cr_expect_eq(oracle_serve(&oracle, 1, &first), OST_NOT_LEADER);
}

Test(oracle, a_request_gets_a_row_of_timestamps)
{
    struct oracle oracle;
    led(&oracle, 0, WALL_MS);
    timestamp_t first, second;
    cr_assert_eq(oracle_serve(&oracle, 1000, &first), OST_OK);
    cr_assert_eq(oracle_serve(&oracle, 1, &second), OST_OK);
    cr_expect_eq(second, first + 1000);
    cr_expect_eq(oracle_serve(&oracle, 0, &first), OST_INVALID_ARGUMENT);
    cr_expect_eq(oracle_serve(&oracle, ORACLE_COUNT_MAX + 1, &first), OST_INVALID_ARGUMENT);
}

Test(oracle, the_ceiling_stops_it_and_is_never_too_far_ahead)
{
    struct oracle oracle;
    led(&oracle, 0, WALL_MS);
    timestamp_t first;
    uint32_t served_count = 0;
    while (oracle_serve(&oracle, ORACLE_COUNT_MAX, &first) == OST_OK) {
        cr_assert_leq(first + ORACLE_COUNT_MAX - 1, oracle.ceiling);
        cr_assert_lt(served_count++, 2 * AHEAD_MS);
    }
    cr_expect_eq(served_count, AHEAD_MS, "a second's worth");
    cr_expect_eq(oracle_ceiling_wanted(&oracle), 0, "it is as far ahead as it may be");
    cr_expect_leq(oracle_deadline_ns(&oracle, true), START_NS + 10 * NS_PER_MS);
    oracle_advance(&oracle, START_NS + 100 * NS_PER_MS, WALL_MS + 100);
    timestamp_t wanted = oracle_ceiling_wanted(&oracle);
    cr_assert_eq(wanted, timestamp_from_ms(WALL_MS + 100 + AHEAD_MS));
    oracle_ceiling_proposed(&oracle, wanted);
    oracle_ceiling_applied(&oracle, wanted);
    timestamp_t last = oracle.last;
    cr_assert_eq(oracle_serve(&oracle, 1, &first), OST_OK);
    cr_expect_eq(first, last + 1);
}

Test(oracle, raised_half_way_nobody_waits)
{
    struct oracle oracle;
    led(&oracle, 0, WALL_MS);
    nanoseconds_t now_ns = START_NS;
    uint32_t raised_count = 0;
    for (uint64_t ms = 1; ms <= 20000; ms++) {
        now_ns += NS_PER_MS;
        oracle_advance(&oracle, now_ns, WALL_MS + ms);
        timestamp_t first;
        cr_assert_eq(oracle_serve(&oracle, 10, &first), OST_OK, "waited at %lu ms", ms);
        timestamp_t wanted = oracle_ceiling_wanted(&oracle);
        if (wanted == 0) {
            cr_assert_neq(oracle_deadline_ns(&oracle, false), NS_NEVER);
            continue;
        }
        cr_assert_leq(wanted, timestamp_from_ms(WALL_MS + ms + AHEAD_MS));
        raised_count++;
        oracle_ceiling_proposed(&oracle, wanted);
        oracle_ceiling_applied(&oracle, wanted);
    }
    cr_expect_leq(raised_count, 45, "not more often than it must: %u", raised_count);
    cr_expect_geq(raised_count, 20);
}

Test(oracle, an_idle_one_writes_nothing_and_wakes_again)
{
    struct oracle oracle;
    led(&oracle, 0, WALL_MS);
    oracle_advance(&oracle, START_NS + 60 * NS_PER_S, WALL_MS + 60000);
    cr_expect_eq(oracle_ceiling_wanted(&oracle), 0);
    cr_expect_eq(oracle_deadline_ns(&oracle, false), NS_NEVER);
    timestamp_t first;
    cr_expect_eq(oracle_serve(&oracle, 1, &first), OST_WOULD_BLOCK);
    cr_expect_eq(oracle_ceiling_wanted(&oracle), timestamp_from_ms(WALL_MS + 60000 + AHEAD_MS));
}

/* --- O4 --- */

static uint64_t physical_ms(const struct oracle *oracle)
{
    return oracle->physical_ns / NS_PER_MS;
}

Test(oracle, the_clock_catches_up_at_twice_real_speed_and_waits_at_half)
{
    struct oracle oracle;
    led(&oracle, 0, WALL_MS);
    /* The wall clock jumps an hour ahead. */
    cr_expect(oracle_advance(&oracle, START_NS + NS_PER_S, WALL_MS + 3600000), "a warning");
    cr_expect_eq(physical_ms(&oracle), WALL_MS + 2000);
    cr_expect_not(oracle_advance(&oracle, START_NS + 2 * NS_PER_S, WALL_MS + 3601000),
                  "one warning a minute");
    cr_expect_eq(physical_ms(&oracle), WALL_MS + 4000);
    /* And back: never backwards, at half speed. */
    oracle_advance(&oracle, START_NS + 4 * NS_PER_S, WALL_MS);
    cr_expect_eq(physical_ms(&oracle), WALL_MS + 5000);
    /* A small difference is caught up without going past. */
    cr_expect_not(oracle_advance(&oracle, START_NS + 5 * NS_PER_S, WALL_MS + 6100));
    cr_expect_eq(physical_ms(&oracle), WALL_MS + 6100);
    /* Time that stands still or goes back moves nothing. */
    oracle_advance(&oracle, START_NS, WALL_MS + 9000);
    cr_expect_eq(physical_ms(&oracle), WALL_MS + 6100);
}

Test(oracle, a_new_leader_goes_on_from_a_ceiling_far_ahead_of_its_wall_clock)
{
    struct oracle oracle;
    timestamp_t ceiling = timestamp_from_ms(WALL_MS + 3600000);
    led(&oracle, ceiling, WALL_MS);
    timestamp_t first, later;
    cr_assert_eq(oracle_serve(&oracle, 1, &first), OST_OK);
    cr_expect_gt(first, ceiling);
    cr_expect(oracle_advance(&oracle, START_NS + 200 * NS_PER_MS, WALL_MS + 200));
    cr_assert_eq(oracle_serve(&oracle, 1, &later), OST_OK);
    cr_expect_geq(timestamp_to_ms(later) - timestamp_to_ms(first), 100,
                  "time does not stand still");
}

/* --- O1: many leaders, one log --- */

enum { LEADERS_COUNT = 3 };

struct history {
    timestamp_t ceiling_committed;
    timestamp_t highest_served;
    uint64_t served_count;
};

/* One leadership, with its own clocks; commits some of what it proposes, late or never. */
static void run_leadership(struct random *random, struct oracle *oracle, struct history *history,
                           nanoseconds_t *now_ns, uint64_t *wall_ms)
{
    oracle_led(oracle, history->ceiling_committed, *now_ns, *wall_ms);
    timestamp_t proposed = 0;
    uint64_t steps_count = random_below(random, 60);
    for (uint64_t step = 0; step < steps_count; step++) {
        uint64_t elapsed_ms =
            random_below(random, 10) == 0 ? random_below(random, 3000) : random_below(random, 20);
        *now_ns += elapsed_ms * NS_PER_MS;
        *wall_ms += elapsed_ms;
        if (random_below(random, 20) == 0)
            *wall_ms = WALL_MS + random_below(random, 100000);
        uint64_t before_ns = oracle->physical_ns;
        oracle_advance(oracle, *now_ns, *wall_ms);
        cr_assert_geq(oracle->physical_ns, before_ns);
        cr_assert_leq(oracle->physical_ns - before_ns, 2 * elapsed_ms * NS_PER_MS);

        timestamp_t wanted = oracle_ceiling_wanted(oracle);
        if (wanted != 0) {
            cr_assert_eq(proposed, 0);
            proposed = wanted;
            oracle_ceiling_proposed(oracle, wanted);
        }
        if (proposed != 0 && random_below(random, 2) == 0) {
            history->ceiling_committed = proposed;
            oracle_ceiling_applied(oracle, proposed);
            proposed = 0;
        }
        timestamp_t first;
        uint32_t count = 1 + (uint32_t)random_below(random, 1000);
        if (oracle_serve(oracle, count, &first) != OST_OK)
            continue;
        cr_assert_gt(first, history->highest_served, "served twice or backwards");
        history->highest_served = first + count - 1;
        history->served_count += count;
        cr_assert_leq(history->highest_served, history->ceiling_committed);
    }
    /* What it proposed last may be committed after it fell. */
    if (proposed != 0 && random_below(random, 2) == 0)
        history->ceiling_committed = proposed;
}

Test(oracle, never_twice_and_never_back_over_fail_overs_and_clock_jumps)
{
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct random random;
        random_init(&random, seed);
        struct oracle oracles[LEADERS_COUNT];
        nanoseconds_t now_ns[LEADERS_COUNT];
        uint64_t wall_ms[LEADERS_COUNT];
        for (size_t index = 0; index < LEADERS_COUNT; index++) {
            oracle_init(&oracles[index], AHEAD_MS);
            now_ns[index] = random_below(&random, 1000000) * NS_PER_MS;
            wall_ms[index] = WALL_MS + random_below(&random, 20000);
        }
        struct history history = {0};
        for (int leadership = 0; leadership < 50; leadership++) {
            size_t index = random_below(&random, LEADERS_COUNT);
            run_leadership(&random, &oracles[index], &history, &now_ns[index], &wall_ms[index]);
            oracle_deposed(&oracles[index]);
        }
        cr_expect_gt(history.served_count, 1000, "seed %lu served next to nothing", seed);
    }
}
