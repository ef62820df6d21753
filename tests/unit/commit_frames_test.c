/* Two-phase commit when single frames are lost, late, or come again: Prepare, Commit and Abort, at
 * each point of a transaction's life and after it. Who dies meanwhile: commit_faults_test.c. */
#include "tests/support/commit_world.h"

#include <criterion/criterion.h>

static struct commit_world *story_begin(bool is_blind)
{
    struct commit_world *world = commit_world_new(1);
    commit_world_grow(world, is_blind);
    return world;
}

static void story_end(struct commit_world *world, enum txn_fate fate)
{
    commit_world_check(world, fate);
    commit_world_end(world);
}

static void is_told(struct commit_world *world, int status)
{
    cr_assert_eq(commit_world_wait(world), status, "it was told %s",
                 ost_status_name(world->answer));
}

/* Commits until the frame is on its way, which is held back with all of its kind. */
static struct commit_world *story_until(bool is_blind, uint16_t type, group_id_t group)
{
    struct commit_world *world = story_begin(is_blind);
    commit_world_hold(world, type, group);
    commit_world_ask_commit(world);
    commit_world_await(world, type, group, 1);
    return world;
}

/* What came too late finds nothing to lock. */
static void nothing_is_locked(struct commit_world *world)
{
    commit_world_run(world, 20);
    cr_assert_eq(commit_world_locks(world), 0);
}

#define EACH_GROUP(group) for (group_id_t group = HOME; group <= OTHER; group++)

/* --- Lost: the client asks again, under the same id
 * ------------------------------------------------------------------------------------------ */

static void is_lost(uint16_t type, group_id_t group)
{
    struct commit_world *world = story_begin(false);
    commit_world_lose(world, type, group);
    commit_world_ask_commit(world);
    commit_world_await(world, type, group, 1);
    commit_world_forget(world);
    is_told(world, OST_OK);
    cr_assert_geq(world->sent[type][group], 2, "it was sent again");
    story_end(world, FATE_COMMITTED);
}

Test(commit_lost, prepare)
{
    EACH_GROUP(group)
    is_lost(FRAME_PREPARE, group);
}

Test(commit_lost, vote)
{
    EACH_GROUP(group)
    is_lost(FRAME_PREPARE_ANSWER, group);
}

Test(commit_lost, commit)
{
    is_lost(FRAME_COMMIT, HOME);
}

Test(commit_lost, answer_to_the_commit)
{
    is_lost(FRAME_COMMIT_ANSWER, HOME);
}

static void is_lost_between_groups(uint16_t type)
{
    struct commit_world *world = story_begin(false);
    commit_world_lose(world, type, OTHER);
    commit_world_ask_commit(world);
    is_told(world, OST_OK);
    commit_world_await(world, type, OTHER, 3);
    commit_world_forget(world);
    world->began_ns = world->sim.schedule.now_ns;
    story_end(world, FATE_COMMITTED);
}

Test(commit_lost, outcome)
{
    is_lost_between_groups(FRAME_RESOLVE);
}

Test(commit_lost, acknowledgement)
{
    is_lost_between_groups(FRAME_RESOLVE_ANSWER);
}

/* --- Late
 * ------------------------------------------------------------------------------------------ */

Test(commit_late, prepare_within_the_deadline)
{
    EACH_GROUP(group)
    {
        struct commit_world *world = story_until(false, FRAME_PREPARE, group);
        commit_world_run(world, 3900);
        commit_world_release(world);
        is_told(world, OST_OK);
        world->began_ns = world->sim.schedule.now_ns;
        story_end(world, FATE_COMMITTED);
    }
}

/* The client has given up, and aborted: home left a tombstone, the other end dropped the locks. */
Test(commit_late, prepare_after_the_deadline)
{
    EACH_GROUP(group)
    {
        struct commit_world *world = story_until(false, FRAME_PREPARE, group);
        is_told(world, OST_DEADLINE_EXCEEDED);
        world->began_ns = world->sim.schedule.now_ns;
        commit_world_settle(world);
        commit_world_release(world);
        nothing_is_locked(world);
        story_end(world, FATE_ABORTED);
    }
}

Test(commit_late, prepare_of_blind_writes_after_the_deadline)
{
    EACH_GROUP(group)
    {
        struct commit_world *world = story_until(true, FRAME_PREPARE, group);
        is_told(world, OST_DEADLINE_EXCEEDED);
        world->began_ns = world->sim.schedule.now_ns;
        commit_world_settle(world);
        commit_world_release(world);
        world->began_ns = world->sim.schedule.now_ns;
        story_end(world, FATE_ABORTED);
    }
}

Test(commit_late, commit_within_the_deadline)
{
    struct commit_world *world = story_until(false, FRAME_COMMIT, HOME);
    commit_world_run(world, 4000);
    commit_world_release(world);
    is_told(world, OST_OK);
    world->began_ns = world->sim.schedule.now_ns;
    story_end(world, FATE_COMMITTED);
}

/* Home decides by its log's time that it is too late, whatever the client thinks. */
Test(commit_late, commit_after_the_deadline)
{
    struct commit_world *world = story_until(false, FRAME_COMMIT, HOME);
    is_told(world, OST_MAYBE_COMMITTED);
    world->began_ns = world->sim.schedule.now_ns;
    commit_world_settle(world);
    commit_world_release(world);
    nothing_is_locked(world);
    cr_assert_eq(commit_world_ask_again(world), OST_ABORTED);
    story_end(world, FATE_ABORTED);
}

Test(commit_late, outcome)
{
    struct commit_world *world = story_until(false, FRAME_RESOLVE, OTHER);
    is_told(world, OST_OK);
    commit_world_run(world, 20000);
    commit_world_release(world);
    world->began_ns = world->sim.schedule.now_ns;
    story_end(world, FATE_COMMITTED);
}

/* --- Prepare once more
 * ------------------------------------------------------------------------------------------ */

Test(commit_twice, prepare_at_once)
{
    EACH_GROUP(group)
    {
        struct commit_world *world = story_until(false, FRAME_PREPARE, group);
        commit_world_release_twice(world);
        is_told(world, OST_OK);
        story_end(world, FATE_COMMITTED);
    }
}

Test(commit_twice, prepare_after_the_vote)
{
    EACH_GROUP(group)
    {
        struct commit_world *world = story_until(false, FRAME_COMMIT, HOME);
        timestamp_t first, second;
        cr_assert_eq(commit_world_again(world, FRAME_PREPARE, group, &first), OST_OK);
        cr_assert_eq(commit_world_again(world, FRAME_PREPARE, group, &second), OST_OK);
        cr_assert_eq(first, second, "one vote, one bound");
        commit_world_lose_leader(world, group, LEADER_CRASHES);
        cr_assert_eq(commit_world_again(world, FRAME_PREPARE, group, &second), OST_OK);
        cr_assert_eq(first, second, "at another leader too");
        commit_world_release(world);
        is_told(world, OST_OK);
        story_end(world, FATE_COMMITTED);
    }
}

/* "One transaction with two commit timestamps": what is over is not prepared again. */
Test(commit_twice, prepare_after_the_commit)
{
    EACH_GROUP(group)
    {
        struct commit_world *world = story_begin(false);
        commit_world_ask_commit(world);
        is_told(world, OST_OK);
        commit_world_settle(world);
        timestamp_t timestamp;
        cr_assert_eq(commit_world_again(world, FRAME_PREPARE, group, &timestamp), OST_OK);
        cr_assert_eq(timestamp, world->commit_timestamp);
        nothing_is_locked(world);
        commit_world_lose_leader(world, group, LEADER_CRASHES);
        cr_assert_eq(commit_world_again(world, FRAME_PREPARE, group, &timestamp), OST_OK);
        cr_assert_eq(timestamp, world->commit_timestamp);
        nothing_is_locked(world);
        commit_world_crash_all(world);
        commit_world_start_all(world);
        cr_assert_eq(commit_world_again(world, FRAME_PREPARE, group, &timestamp), OST_OK);
        cr_assert_eq(timestamp, world->commit_timestamp);
        nothing_is_locked(world);
        story_end(world, FATE_COMMITTED);
    }
}

/* Others have written since: their value stays. */
Test(commit_twice, prepare_after_the_commit_and_another_write)
{
    struct commit_world *world = story_begin(false);
    commit_world_ask_commit(world);
    is_told(world, OST_OK);
    commit_world_settle(world);
    cr_assert_eq(commit_world_write_others(world, "old"), OST_OK);
    EACH_GROUP(group)
    cr_assert_eq(commit_world_again(world, FRAME_PREPARE, group, NULL), OST_OK);
    cr_assert_eq(commit_world_again(world, FRAME_COMMIT, HOME, NULL), OST_OK);
    commit_world_run(world, 1000);
    EACH_GROUP(group)
    cr_assert_str_eq(commit_world_get(world, group), "old");
    commit_world_settle(world);
    commit_world_end(world);
}

/* --- Prepare after an abort
 * ------------------------------------------------------------------------------------------ */

/* It had voted, and then home aborted: both keep that in mind. */
Test(commit_aborted, prepare_again_where_it_had_been_prepared)
{
    EACH_GROUP(group)
    {
        struct commit_world *world = story_until(false, FRAME_COMMIT, HOME);
        cr_assert_eq(commit_world_abort(world), OST_OK);
        commit_world_settle(world);
        cr_assert_eq(commit_world_again(world, FRAME_PREPARE, group, NULL), OST_ABORTED);
        nothing_is_locked(world);
        commit_world_lose_leader(world, group, LEADER_CRASHES);
        cr_assert_eq(commit_world_again(world, FRAME_PREPARE, group, NULL), OST_ABORTED);
        nothing_is_locked(world);
        commit_world_release(world);
        is_told(world, OST_ABORTED);
        story_end(world, FATE_ABORTED);
    }
}

/* Home never saw its Prepare: a tombstone is all that it has, and it is enough. */
static void prepare_meets_a_tombstone(bool is_blind, bool is_leader_lost)
{
    struct commit_world *world = story_begin(is_blind);
    commit_world_hold(world, FRAME_PREPARE, HOME);
    commit_world_lose_leader(world, OTHER, LEADER_CRASHES);
    if (is_blind)
        commit_world_lose(world, FRAME_PREPARE, OTHER); /* then it runs into its deadline */
    commit_world_ask_commit(world);
    is_told(world, is_blind ? OST_DEADLINE_EXCEEDED : OST_LOCKS_LOST);
    world->began_ns = world->sim.schedule.now_ns;
    commit_world_run(world, 500);
    if (is_leader_lost)
        commit_world_lose_leader(world, HOME, LEADER_CRASHES);
    commit_world_release(world);
    nothing_is_locked(world);
    int status = commit_world_again(world, FRAME_PREPARE, HOME, NULL);
    cr_assert_eq(status, OST_ABORTED, "%s", ost_status_name(status));
    nothing_is_locked(world);
    story_end(world, FATE_ABORTED);
}

Test(commit_aborted, prepare_for_the_first_time_meets_a_tombstone)
{
    prepare_meets_a_tombstone(false, false);
}

Test(commit_aborted, prepare_of_blind_writes_meets_a_tombstone)
{
    prepare_meets_a_tombstone(true, false);
}

Test(commit_aborted, prepare_of_blind_writes_meets_a_tombstone_at_the_next_leader)
{
    prepare_meets_a_tombstone(true, true);
}

/* A tombstone lives for as long as anything may come: a Prepare after it is refused by the
 * deadline. */
Test(commit_aborted, prepare_comes_when_the_tombstone_is_forgotten)
{
    struct commit_world *world = story_begin(true);
    commit_world_hold(world, FRAME_PREPARE, HOME);
    commit_world_lose(world, FRAME_PREPARE, OTHER);
    commit_world_ask_commit(world);
    is_told(world, OST_DEADLINE_EXCEEDED);
    commit_world_forget(world);
    static const uint32_t AFTER_MS[] = {1000, 29000, 29000, 10000, 60000};
    for (size_t place = 0; place < 5; place++) {
        commit_world_run(world, AFTER_MS[place]);
        cr_assert_eq(commit_world_write_others(world, "old"), OST_OK); /* the log's time goes on */
        int status = commit_world_again(world, FRAME_PREPARE, HOME, NULL);
        cr_assert(status == OST_ABORTED || (place >= 3 && status == OST_DEADLINE_EXCEEDED),
                  "%zu: %s", place, ost_status_name(status));
        nothing_is_locked(world);
    }
    commit_world_end(world);
}

/* --- Commit and Abort once more
 * ------------------------------------------------------------------------------------------ */

Test(commit_twice, commit_at_once)
{
    struct commit_world *world = story_until(false, FRAME_COMMIT, HOME);
    commit_world_release_twice(world);
    is_told(world, OST_OK);
    story_end(world, FATE_COMMITTED);
}

Test(commit_twice, commit_at_every_leader)
{
    struct commit_world *world = story_begin(false);
    commit_world_ask_commit(world);
    is_told(world, OST_OK);
    for (enum leader_loss how = 0; how < LEADER_LOSSES_COUNT; how++) {
        timestamp_t timestamp;
        cr_assert_eq(commit_world_again(world, FRAME_COMMIT, HOME, &timestamp), OST_OK);
        cr_assert_eq(timestamp, world->commit_timestamp);
        commit_world_lose_leader(world, HOME, how);
    }
    cr_assert_eq(commit_world_abort(world), OST_EXISTS);
    story_end(world, FATE_COMMITTED);
}

/* T6: it is no OK to say of what one does not know. Nothing is made of it either. */
Test(commit_twice, commit_of_what_is_forgotten_is_unknown)
{
    struct commit_world *world = story_begin(false);
    commit_world_ask_commit(world);
    is_told(world, OST_OK);
    commit_world_run(world, 70000);
    cr_assert_eq(commit_world_write_others(world, "old"), OST_OK); /* the log's time goes on */
    commit_world_run(world, 1000);
    raft_index_t log_end = commit_world_log_end(world, HOME);
    cr_assert_eq(commit_world_again(world, FRAME_COMMIT, HOME, NULL), OST_UNKNOWN_TXN);
    commit_world_run(world, 1000);
    EACH_GROUP(group)
    cr_assert_str_eq(commit_world_get(world, group), "old");
    cr_assert_eq(commit_world_log_end(world, HOME), log_end + 1, "it was decided in the log");
    nothing_is_locked(world);
    commit_world_end(world);
}

Test(commit_twice, abort)
{
    struct commit_world *world = story_until(false, FRAME_COMMIT, HOME);
    cr_assert_eq(commit_world_abort(world), OST_OK);
    cr_assert_eq(commit_world_abort(world), OST_OK);
    commit_world_lose_leader(world, HOME, LEADER_CRASHES);
    cr_assert_eq(commit_world_abort(world), OST_OK);
    commit_world_release(world);
    is_told(world, OST_ABORTED);
    cr_assert_eq(commit_world_abort(world), OST_OK);
    story_end(world, FATE_ABORTED);
}

/* Commit and abort race; home's log says who was first, to both. */
Test(commit_twice, abort_and_commit_race)
{
    struct commit_world *world = story_until(false, FRAME_COMMIT, HOME);
    commit_world_release(world);
    int abort_status = commit_world_abort(world);
    int status = commit_world_wait(world);
    cr_assert((status == OST_OK && abort_status == OST_EXISTS) ||
                  (status == OST_ABORTED && abort_status == OST_OK),
              "%s and %s", ost_status_name(status), ost_status_name(abort_status));
    story_end(world, FATE_EITHER);
}

/* --- A Commit whose timestamp is not the highest vote: its sender errs, or lies
 * ------------------------------------------------------------------------------------------ */

Test(commit_timestamp, below_a_vote_is_refused)
{
    struct commit_world *world = story_until(false, FRAME_COMMIT, HOME);
    timestamp_t timestamp;
    cr_assert_eq(commit_world_commit_at(world, -100, &timestamp), OST_INVALID_ARGUMENT);
    commit_world_release(world);
    is_told(world, OST_OK);
    story_end(world, FATE_COMMITTED);
}

/* T3: who writes later is above every version, whatever the oracle says; else the write would be
 * lost below it. At every leader, and after a restart as well. */
Test(commit_timestamp, ahead_of_time_pushes_those_who_write_later)
{
    static const uint32_t TIMES = 3;
    for (uint32_t times = 0; times < TIMES; times++) {
        struct commit_world *world = story_until(false, FRAME_COMMIT, HOME);
        timestamp_t ahead;
        cr_assert_eq(commit_world_commit_at(world, 30000, &ahead), OST_OK);
        commit_world_release(world);
        is_told(world, OST_OK);
        cr_assert_eq(world->commit_timestamp, ahead);
        commit_world_settle(world);
        if (times == 1) {
            commit_world_lose_leader(world, HOME, LEADER_CRASHES);
            commit_world_lose_leader(world, OTHER, LEADER_CRASHES);
        } else if (times == 2) {
            commit_world_crash_all(world);
            commit_world_start_all(world);
        }
        cr_assert_eq(commit_world_write_others(world, "old"), OST_OK);
        cr_assert_gt(world->others.commit_timestamp, ahead);
        EACH_GROUP(group)
        cr_assert_str_eq(commit_world_get(world, group), "old");
        world->began_ns = world->sim.schedule.now_ns;
        commit_world_settle(world);
        commit_world_end(world);
    }
}
