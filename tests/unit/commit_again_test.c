/* Exactly once (T5): whoever has lost the answer asks again under the same id, of whoever leads by
 * then, and is told the one outcome. "Nobody knows" is said only when no quorum could be reached
 * within the deadline, and asking later settles it. */
#include "tests/support/commit_world.h"

#include <criterion/criterion.h>

static void story_end(struct commit_world *world, enum txn_fate fate)
{
    world->began_ns = world->sim.schedule.now_ns;
    commit_world_check(world, fate);
    commit_world_end(world);
}

static void is_told(struct commit_world *world, int status)
{
    cr_assert_eq(commit_world_wait(world), status, "it was told %s",
                 ost_status_name(world->answer));
}

/* Commits, in one group or in two, until the frame is on its way and held back. */
static struct commit_world *story_go(struct commit_world *world, bool is_one_group, uint16_t type,
                                     group_id_t group)
{
    if (is_one_group)
        commit_world_grow_one(world);
    else
        commit_world_grow(world, true);
    commit_world_hold(world, type, group);
    commit_world_ask_commit(world);
    commit_world_await(world, type, group, 1);
    return world;
}

static struct commit_world *story_until(bool is_one_group, uint16_t type, group_id_t group)
{
    return story_go(commit_world_new(1), is_one_group, type, group);
}

/* The frame that decides, and the one that tells. */
static uint16_t deciding(bool is_one_group)
{
    return is_one_group ? FRAME_PREPARE : FRAME_COMMIT;
}

#define ONE_GROUP_AND_TWO(is_one_group)                                                            \
    for (int is_one_group##_ = 1; is_one_group##_ >= 0; is_one_group##_--)                         \
        for (bool is_one_group = is_one_group##_ == 1, once = true; once; once = false)

/* --- One group: half of what there is to both keys is not there
 * ------------------------------------------------------------------------------------------ */

static void one_group_end(struct commit_world *world, const char *value)
{
    cr_assert_str_eq(commit_world_get(world, HOME), value);
    cr_assert_str_eq(commit_world_get(world, OTHER), "old");
    world->began_ns = world->sim.schedule.now_ns;
    commit_world_settle(world);
    commit_world_end(world);
}

static void end_committed(struct commit_world *world, bool is_one_group)
{
    if (is_one_group)
        one_group_end(world, "new");
    else
        story_end(world, FATE_COMMITTED);
}

/* --- The answer is lost
 * ------------------------------------------------------------------------------------------ */

Test(exactly_once, another_connection_is_told_the_same)
{
    ONE_GROUP_AND_TWO(is_one_group)
    {
        uint16_t type = deciding(is_one_group);
        struct commit_world *world = story_until(is_one_group, type + 1, HOME);
        timestamp_t first, second, third;
        cr_assert_eq(commit_world_again(world, type, HOME, &first), OST_OK);
        cr_assert_eq(commit_world_again(world, type, HOME, &second), OST_OK);
        commit_world_lose_leader(world, HOME, LEADER_CRASHES);
        cr_assert_eq(commit_world_again(world, type, HOME, &third), OST_OK);
        cr_assert(first == second && second == third);
        commit_world_forget(world);
        is_told(world, OST_OK);
        cr_assert_eq(world->commit_timestamp, first);
        end_committed(world, is_one_group);
    }
}

/* Somebody else asks while the first request is on its way: both wait for one entry. */
Test(exactly_once, another_connection_asks_at_the_same_time)
{
    struct commit_world *world = story_until(true, FRAME_PREPARE, HOME);
    raft_index_t log_end = commit_world_log_end(world, HOME);
    commit_world_release(world);
    timestamp_t timestamp;
    cr_assert_eq(commit_world_again(world, FRAME_PREPARE, HOME, &timestamp), OST_OK);
    is_told(world, OST_OK);
    cr_assert_eq(world->commit_timestamp, timestamp);
    cr_assert_eq(commit_world_log_end(world, HOME), log_end + 1);
    one_group_end(world, "new");
}

/* Each time it has asked, the answer is lost, and the leader too: three times within a deadline. */
Test(exactly_once, nobody_is_told_maybe_while_there_is_a_quorum)
{
    ONE_GROUP_AND_TWO(is_one_group)
    {
        for (enum leader_loss how = 0; how < LEADER_LOSSES_COUNT; how++) {
            /* Half of an ordinary deadline is over when the last leader is lost. */
            struct commit_world *world = story_go(commit_world_new_patient(1), is_one_group,
                                                  deciding(is_one_group) + 1, HOME);
            for (uint32_t times = 0; times < 3; times++) {
                commit_world_lose_leader(world, HOME, how);
                commit_world_run(world, 100);
            }
            commit_world_forget(world);
            is_told(world, OST_OK);
            end_committed(world, is_one_group);
        }
    }
}

/* A value that was written since is not written over by who asks again. */
Test(exactly_once, who_asks_again_writes_nothing_again)
{
    struct commit_world *world = story_until(true, FRAME_PREPARE_ANSWER, HOME);
    cr_assert_eq(commit_world_write_others(world, "old"), OST_OK);
    commit_world_lose_leader(world, HOME, LEADER_CRASHES);
    commit_world_forget(world);
    cr_assert_eq(commit_world_again(world, FRAME_PREPARE, HOME, NULL), OST_OK);
    one_group_end(world, "old");
}

/* --- No quorum
 * ------------------------------------------------------------------------------------------ */

/* Three of five, whoever leads home among them. */
static void quorum_goes(struct commit_world *world)
{
    store_id_t home = commit_world_leader(world, HOME);
    for (store_id_t step = 0; step < 3; step++)
        commit_world_crash(world, (home - 1 + step) % 5 + 1);
}

static void quorum_is_gone_when_it_asks(bool is_one_group, bool is_decided)
{
    uint16_t type = deciding(is_one_group);
    struct commit_world *world = story_until(is_one_group, is_decided ? type + 1 : type, HOME);
    quorum_goes(world);
    commit_world_release(world);
    nanoseconds_t asked_ns = world->sim.schedule.now_ns;
    is_told(world, OST_MAYBE_COMMITTED);
    cr_assert_leq(world->answered_ns - asked_ns, 5001 * NS_PER_MS, "after %lu ms",
                  (world->answered_ns - asked_ns) / NS_PER_MS);
    cr_assert_eq(commit_world_ask_again(world), OST_MAYBE_COMMITTED, "still nobody knows");
    commit_world_start_all(world);
    int status = commit_world_ask_again(world);
    cr_assert_neq(status, OST_MAYBE_COMMITTED, "a quorum is there");
    /* What had not been asked of anybody may be done yet: the oracle stood still as well, and its
     * time is not past the deadline. */
    cr_assert(status == OST_OK || !is_decided, "%s", ost_status_name(status));
    cr_assert_eq(commit_world_ask_again(world), status);
    if (is_one_group)
        one_group_end(world, status == OST_OK ? "new" : "old");
    else
        story_end(world, status == OST_OK ? FATE_COMMITTED : FATE_ABORTED);
}

Test(exactly_once, without_a_quorum_nobody_knows_and_later_it_was_done)
{
    quorum_is_gone_when_it_asks(true, true);
    quorum_is_gone_when_it_asks(false, true);
}

Test(exactly_once, without_a_quorum_nobody_knows_and_later_it_is_settled)
{
    quorum_is_gone_when_it_asks(true, false);
    quorum_is_gone_when_it_asks(false, false);
}

/* Before it has asked for what decides, it can tell: nothing will be committed (C1). */
Test(exactly_once, without_a_quorum_for_its_votes_it_was_not_done)
{
    struct commit_world *world = story_until(false, FRAME_PREPARE, HOME);
    quorum_goes(world);
    commit_world_forget(world);
    is_told(world, OST_DEADLINE_EXCEEDED);
    commit_world_start_all(world);
    story_end(world, FATE_ABORTED);
}

/* A client that died cannot ask; the others get on. */
Test(exactly_once, others_get_through_within_five_seconds_of_a_clients_death)
{
    struct commit_world *world = commit_world_new_patient(1);
    commit_world_grow(world, false);
    commit_world_hold(world, FRAME_COMMIT, HOME);
    commit_world_ask_commit(world);
    commit_world_await(world, FRAME_COMMIT, HOME, 1);
    commit_world_forget(world);
    commit_world_kill_client(world);
    nanoseconds_t died_ns = world->sim.schedule.now_ns;
    int status;
    do {
        status = commit_world_write_others(world, "old");
    } while (ost_status_is_retryable(status));
    cr_assert_eq(status, OST_OK);
    cr_assert_leq(world->sim.schedule.now_ns - died_ns, 5 * NS_PER_S);
    commit_world_check(world, FATE_ABORTED);
    commit_world_end(world);
}
