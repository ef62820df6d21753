/* The safe point and who holds it back, in whole replicas of group 0. */
#include "tests/support/master_world.h"

#include "shardmaster/safe_point.h"

#include <criterion/criterion.h>

#define HISTORY_MS 3000u

/* Asks for a timestamp every 100 ms; nothing that a store knows of the safe point ever goes back.
 */
static void run_busy(struct master_world *world, uint64_t ms)
{
    timestamp_t highest = 0;
    for (uint64_t at = 0; at < ms; at++) {
        struct master_store *leader = master_world_leader(world);
        if (leader && at % 100 == 0)
            master_world_ask(world, leader, 1);
        master_world_step(world);
        leader = master_world_leader(world);
        if (!leader)
            continue;
        timestamp_t safe_point = master_safe_point(leader->master);
        cr_assert_geq(safe_point, highest, "it went back");
        highest = safe_point;
    }
}

static int hold(struct master_world *world, uint64_t id, timestamp_t timestamp, uint32_t ttl_ms)
{
    struct master_store *leader = master_world_run_until_led(world);
    Ostraka__HoldRequest request = OSTRAKA__HOLD_REQUEST__INIT;
    request.client = 7;
    request.id = id;
    request.timestamp = timestamp;
    request.ttl_ms = ttl_ms;
    size_t count = world->hold_answers_count;
    cr_assert_eq(master_world_send(world, leader, FRAME_HOLD, 1, &request.base), OST_OK);
    master_store_drain(world, leader);
    for (int ms = 0; ms < 5000 && world->hold_answers_count == count; ms++)
        master_world_step(world);
    cr_assert_eq(world->hold_answers_count, count + 1);
    return world->hold_answer.status;
}

static timestamp_t safe_point_now(struct master_world *world)
{
    return master_safe_point(master_world_run_until_led(world)->master);
}

Test(master_safe_point, the_safe_point_follows_the_clock_and_never_goes_back)
{
    struct master_world world;
    master_world_begin(&world, 3);
    world.options.history_ms = HISTORY_MS;
    for (size_t place = 0; place < 3; place++) {
        master_store_crash(&world, place);
        master_store_start(&world, place);
    }
    run_busy(&world, 8000);
    timestamp_t before = safe_point_now(&world);
    cr_expect_gt(before, timestamp_from_ms(MASTER_WORLD_WALL_MS - HISTORY_MS));
    cr_expect_leq(timestamp_to_ms(before) + HISTORY_MS, master_world_wall_ms(&world));
    for (size_t place = 0; place < 3; place++)
        cr_expect_eq(world.told_safe_point[place], before);

    /* The next leaders know it, also one whose clock is an hour behind, and all after a crash. */
    master_world_crash_leader(&world);
    cr_expect_geq(safe_point_now(&world), before);
    world.wall_off_ms = -3600000;
    master_world_crash_leader(&world);
    cr_expect_geq(safe_point_now(&world), before);
    run_busy(&world, 5000);
    before = safe_point_now(&world);
    for (size_t place = 0; place < 3; place++)
        master_store_crash(&world, place);
    for (size_t place = 0; place < 3; place++)
        master_store_start(&world, place);
    cr_expect_geq(safe_point_now(&world), before);
    run_busy(&world, 5000);
    cr_expect_gt(safe_point_now(&world), before, "it goes on");
    cr_expect_gt(world.highest, safe_point_now(&world), "no timestamp below it is handed out");
    master_world_end(&world);
}

Test(master_safe_point, the_safe_point_rests_when_nothing_is_left_below_it)
{
    struct master_world world;
    master_world_begin(&world, 1);
    world.options.history_ms = 300000; /* a step of the safe point is 30 s */
    master_store_crash(&world, 0);
    master_store_start(&world, 0);
    run_busy(&world, 1000);
    master_world_run(&world, 360000);
    timestamp_t safe_point = safe_point_now(&world);
    cr_expect_gt(safe_point, world.highest, "what was written last is old enough as well");
    cr_assert_gt(safe_point, world.highest + timestamp_from_ms(12000),
                 "the ceiling went on by itself for ten seconds: this would show nothing");
    raft_index_t index = master_store_applied_index(&world, &world.stores[0]);
    master_world_run(&world, 60000);
    cr_expect_eq(master_store_applied_index(&world, &world.stores[0]), index,
                 "nothing is written for nothing");
    /* The ceiling rested; the next leader's timestamps lie above it all the same. */
    master_store_crash(&world, 0);
    world.wall_off_ms = -3600000;
    master_store_start(&world, 0);
    size_t ok_count = world.ok_count;
    master_world_run_until_led(&world);
    master_world_ask(&world, &world.stores[0], 1);
    master_world_run(&world, 3000);
    cr_assert_eq(world.ok_count, ok_count + 1);
    cr_expect_gt(world.last.timestamp, safe_point);
    master_world_end(&world);
}

Test(master_safe_point, a_hold_keeps_the_safe_point_until_it_ends)
{
    struct master_world world;
    master_world_begin(&world, 3);
    world.options.history_ms = HISTORY_MS;
    for (size_t place = 0; place < 3; place++) {
        master_store_crash(&world, place);
        master_store_start(&world, place);
    }
    run_busy(&world, 1000);
    timestamp_t held = world.highest;
    cr_assert_eq(hold(&world, 1, held, 4000), OST_OK);
    for (int time = 0; time < 6; time++) {
        run_busy(&world, 2000);
        cr_assert_eq(hold(&world, 1, held, 4000), OST_OK, "renewed");
        cr_assert_leq(safe_point_now(&world), held, "it has passed a live hold");
        if (time == 3)
            master_world_crash_leader(&world); /* holds are replicated */
    }
    cr_expect_eq(safe_point_now(&world), held, "as far as it may");
    cr_expect_eq(hold(&world, 2, held - 1, 4000), OST_SNAPSHOT_TOO_OLD);
    cr_expect_eq(hold(&world, 3, held, 0), OST_OK, "letting go of nothing");
    cr_assert_eq(hold(&world, 2, held + 1, 4000), OST_OK);
    /* The first one is let go of, the second one expires. */
    cr_assert_eq(hold(&world, 1, held, 0), OST_OK);
    run_busy(&world, 2000);
    cr_expect_eq(safe_point_now(&world), held + 1);
    run_busy(&world, 8000);
    cr_expect_gt(safe_point_now(&world), held + 1);
    cr_expect_eq(hold(&world, 2, held + 1, 4000), OST_SNAPSHOT_TOO_OLD, "it came too late");
    /* What makes no sense. */
    cr_expect_eq(hold(&world, 0, world.highest, 4000), OST_INVALID_ARGUMENT);
    cr_expect_eq(hold(&world, 5, 0, 4000), OST_INVALID_ARGUMENT);
    cr_expect_eq(hold(&world, 5, world.highest, HOLD_TTL_MS_MAX + 1), OST_INVALID_ARGUMENT);
    master_world_end(&world);
}

/* A hold that a client asks for after hours in which nobody asked for anything does not expire at
 * once: its time begins with the clock of the leader, not with the last entry's. */
Test(master_safe_point, a_hold_lives_its_time_after_a_long_rest)
{
    struct master_world world;
    master_world_begin(&world, 1);
    world.options.history_ms = HISTORY_MS;
    master_store_crash(&world, 0);
    master_store_start(&world, 0);
    run_busy(&world, 1000);
    master_world_run(&world, 100000);
    timestamp_t held = world.highest + timestamp_from_ms(50000);
    cr_assert_eq(hold(&world, 1, held, 20000), OST_OK);
    run_busy(&world, 8000);
    cr_expect_leq(safe_point_now(&world), held);
    run_busy(&world, 30000);
    cr_expect_gt(safe_point_now(&world), held);
    master_world_end(&world);
}

Test(master_safe_point, safe_point_and_holds_travel_with_rows_and_snapshots)
{
    struct master_world world;
    master_world_begin(&world, 3);
    world.options.history_ms = HISTORY_MS;
    for (size_t place = 0; place < 3; place++) {
        master_store_crash(&world, place);
        master_store_start(&world, place);
    }
    run_busy(&world, 5000);
    size_t away = master_world_run_until_led(&world)->id % 3;
    master_store_crash(&world, away);
    timestamp_t held = world.highest;
    cr_assert_eq(hold(&world, 1, held, 600000), OST_OK);
    for (int second = 0; second < 30; second++) {
        run_busy(&world, 1000);
        for (size_t place = 0; place < 3; place++) {
            struct master_store *store = &world.stores[place];
            if (!store->is_up)
                continue;
            master_store_flush(store);
            struct master_rows rows = master_store_rows(store);
            raft_index_t index;
            cr_assert_eq(master_read_flushed_index(&rows, &index), OST_OK);
            master_set_flushed_index(store->master, index);
            raft_host_flushed(store->host, world.now_ns);
        }
    }
    cr_assert_eq(safe_point_now(&world), held);
    struct raft_status status;
    struct master_store *leader = master_world_run_until_led(&world);
    cr_assert_eq(raft_host_group_status(leader->host, SHARD_MASTER_GROUP, &status), OST_OK);
    cr_assert_gt(status.first_index, 10, "the log was cut");
    master_store_start(&world, away);
    struct master_store *back = &world.stores[away];
    master_world_run(&world, 3000);
    cr_assert_eq(master_store_applied_index(&world, back),
                 master_store_applied_index(&world, leader));
    cr_expect_eq(master_safe_point(back->master), held);
    /* It leads, knows the hold, and its rows know both after a crash of all. */
    cr_assert_eq(raft_host_transfer(leader->host, SHARD_MASTER_GROUP, away + 1, world.now_ns),
                 OST_OK);
    for (int ms = 0; ms < 5000 && master_world_leader(&world) != back; ms++)
        master_world_step(&world);
    cr_assert_eq(master_world_leader(&world), back);
    run_busy(&world, 5000);
    cr_expect_eq(safe_point_now(&world), held, "the hold came with the snapshot");
    for (size_t place = 0; place < 3; place++)
        master_store_crash(&world, place);
    for (size_t place = 0; place < 3; place++)
        master_store_start(&world, place);
    run_busy(&world, 5000);
    cr_expect_eq(safe_point_now(&world), held, "and is in the rows");
    master_world_end(&world);
}
