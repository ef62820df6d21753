/* Two-phase commit (DESIGN section 6) with one thing going wrong in each story: a store that leads
 * or the client that coordinates dies. Whatever it is: all or nothing, nobody is left with a lock,
 * what the client was told is true, and whoever asks again is told the same (commit_world_check).
 * What the network does to single frames is told in commit_frames_test.c. */
#include "tests/support/commit_world.h"

#include <criterion/criterion.h>

static struct commit_world *story_begin(uint64_t seed, bool is_blind)
{
    struct commit_world *world = commit_world_new(seed + 1);
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
static struct commit_world *story_until(uint64_t seed, bool is_blind, uint16_t type,
                                        group_id_t group)
{
    struct commit_world *world = story_begin(seed, is_blind);
    commit_world_hold(world, type, group);
    commit_world_ask_commit(world);
    commit_world_await(world, type, group, 1);
    return world;
}

Test(commit, nothing_goes_wrong)
{
    struct commit_world *world = story_begin(0, false);
    commit_world_ask_commit(world);
    is_told(world, OST_OK);
    story_end(world, FATE_COMMITTED);
}

/* Each story is told once for each way in which a group loses its leader. */
#define EACH_WAY(how) for (enum leader_loss how = 0; how < LEADER_LOSSES_COUNT; how++)

/* --- A participant dies: who leads the group that is not home
 * ------------------------------------------------------------------------------------------ */

/* Its locks were in memory: the next leader cannot know that what was read still holds. */
Test(commit_participant, dies_before_its_vote)
{
    EACH_WAY(how)
    {
        struct commit_world *world = story_until(how, false, FRAME_PREPARE, OTHER);
        commit_world_lose_leader(world, OTHER, how);
        commit_world_release(world);
        is_told(world, OST_LOCKS_LOST);
        story_end(world, FATE_ABORTED);
    }
}

/* With nothing read there, there is nothing that could be lost. */
Test(commit_participant, dies_before_its_vote_on_blind_writes)
{
    EACH_WAY(how)
    {
        struct commit_world *world = story_until(how, true, FRAME_PREPARE, OTHER);
        commit_world_lose_leader(world, OTHER, how);
        commit_world_release(world);
        is_told(world, OST_OK);
        story_end(world, FATE_COMMITTED);
    }
}

/* The vote is in the log, and was heard by nobody. */
Test(commit_participant, dies_after_its_vote)
{
    EACH_WAY(how)
    {
        struct commit_world *world = story_until(how, false, FRAME_PREPARE_ANSWER, OTHER);
        commit_world_lose_leader(world, OTHER, how);
        commit_world_forget(world);
        is_told(world, OST_OK);
        story_end(world, FATE_COMMITTED);
    }
}

Test(commit_participant, dies_after_its_vote_was_heard)
{
    EACH_WAY(how)
    {
        struct commit_world *world = story_until(how, false, FRAME_COMMIT, HOME);
        commit_world_lose_leader(world, OTHER, how);
        cr_assert_gt(commit_world_locks(world), 0, "what is prepared is locked at the next leader");
        commit_world_release(world);
        is_told(world, OST_OK);
        story_end(world, FATE_COMMITTED);
    }
}

Test(commit_participant, dies_after_the_outcome)
{
    EACH_WAY(how)
    {
        struct commit_world *world = story_until(how, false, FRAME_RESOLVE, OTHER);
        is_told(world, OST_OK);
        commit_world_lose_leader(world, OTHER, how);
        cr_assert_gt(commit_world_locks(world), 0, "it has not heard of the outcome");
        commit_world_forget(world);
        story_end(world, FATE_COMMITTED);
    }
}

/* It wrote the outcome, and home does not know that. */
Test(commit_participant, dies_before_it_acknowledges)
{
    EACH_WAY(how)
    {
        struct commit_world *world = story_until(how, false, FRAME_RESOLVE_ANSWER, OTHER);
        is_told(world, OST_OK);
        commit_world_lose_leader(world, OTHER, how);
        commit_world_forget(world);
        story_end(world, FATE_COMMITTED);
    }
}

/* --- The coordinator dies: the client
 * ------------------------------------------------------------------------------------------ */

Test(commit_client, dies_before_it_prepares)
{
    struct commit_world *world = story_begin(0, false);
    commit_world_kill_client(world);
    cr_assert_gt(commit_world_locks(world), 0);
    story_end(world, FATE_ABORTED);
}

static void client_dies_between_prepares(group_id_t prepared, group_id_t missing, bool is_blind)
{
    struct commit_world *world = story_begin(0, is_blind);
    commit_world_hold(world, FRAME_PREPARE, missing);
    commit_world_ask_commit(world);
    commit_world_await(world, FRAME_PREPARE_ANSWER, prepared, 1);
    commit_world_forget(world);
    commit_world_kill_client(world);
    story_end(world, FATE_ABORTED);
}

Test(commit_client, dies_when_home_alone_has_prepared)
{
    client_dies_between_prepares(HOME, OTHER, false);
    client_dies_between_prepares(HOME, OTHER, true);
}

/* There is no record: home answers the inquiry with a tombstone. */
Test(commit_client, dies_when_the_participant_alone_has_prepared)
{
    client_dies_between_prepares(OTHER, HOME, false);
    client_dies_between_prepares(OTHER, HOME, true);
}

Test(commit_client, dies_after_the_last_vote)
{
    struct commit_world *world = story_until(0, false, FRAME_COMMIT, HOME);
    commit_world_forget(world);
    commit_world_kill_client(world);
    story_end(world, FATE_ABORTED);
}

/* A deadline a minute ahead is no promise to anybody: its locks are in the way of others. */
Test(commit_client, dies_after_the_last_vote_with_a_minute_left)
{
    struct commit_world *world = commit_world_new_patient(1);
    commit_world_grow(world, false);
    commit_world_hold(world, FRAME_COMMIT, HOME);
    commit_world_ask_commit(world);
    commit_world_await(world, FRAME_COMMIT, HOME, 1);
    commit_world_forget(world);
    commit_world_kill_client(world);
    story_end(world, FATE_ABORTED);
}

/* And then the next leaders have to find out that nobody is there. */
Test(commit_client, dies_after_the_last_vote_with_both_leaders)
{
    struct commit_world *world = commit_world_new_patient(1);
    commit_world_grow(world, false);
    commit_world_hold(world, FRAME_COMMIT, HOME);
    commit_world_ask_commit(world);
    commit_world_await(world, FRAME_COMMIT, HOME, 1);
    commit_world_forget(world);
    commit_world_kill_client(world);
    commit_world_crash_leaders(world);
    commit_world_leader(world, HOME);
    commit_world_leader(world, OTHER);
    world->began_ns = world->sim.schedule.now_ns;
    story_end(world, FATE_ABORTED);
}

/* One that waits for a vote is not dead, and its locks stay. */
Test(commit_client, that_waits_for_long_is_not_taken_for_dead)
{
    for (group_id_t slow = HOME; slow <= OTHER; slow++) {
        struct commit_world *world = commit_world_new_patient(1);
        commit_world_grow(world, true);
        commit_world_hold(world, FRAME_PREPARE, slow);
        commit_world_ask_commit(world);
        commit_world_run(world, 20000);
        commit_world_release(world);
        is_told(world, OST_OK);
        world->began_ns = world->sim.schedule.now_ns;
        story_end(world, FATE_COMMITTED);
    }
}

/* It stood still, and was taken for dead: its commit comes too late. */
Test(commit_client, that_was_cut_off_for_long_is_told_the_truth)
{
    struct commit_world *world = commit_world_new_patient(1);
    commit_world_grow(world, false);
    commit_world_hold(world, FRAME_COMMIT, HOME);
    commit_world_hold(world, FRAME_TXN_HEARTBEAT, HOME);
    commit_world_hold(world, FRAME_TXN_HEARTBEAT, OTHER);
    commit_world_ask_commit(world);
    commit_world_await(world, FRAME_COMMIT, HOME, 1);
    commit_world_settle(world);
    commit_world_release(world);
    is_told(world, OST_ABORTED);
    story_end(world, FATE_ABORTED);
}

/* Its Commit may get there or not. */
Test(commit_client, dies_when_its_commit_is_on_the_way)
{
    uint32_t committed_count = 0;
    for (uint64_t seed = 0; seed < 8; seed++) {
        struct commit_world *world = story_begin(seed, false);
        commit_world_ask_commit(world);
        commit_world_await(world, FRAME_COMMIT, HOME, 1);
        commit_world_kill_client(world);
        commit_world_check(world, FATE_EITHER);
        committed_count += strcmp(commit_world_get(world, HOME), "new") == 0;
        commit_world_end(world);
    }
    cr_assert(committed_count > 0 && committed_count < 8, "%u of 8", committed_count);
}

Test(commit_client, dies_after_the_commit_record)
{
    struct commit_world *world = story_until(0, false, FRAME_COMMIT_ANSWER, HOME);
    commit_world_forget(world);
    commit_world_kill_client(world);
    story_end(world, FATE_COMMITTED);
}

/* And nobody is left who had told the participant. */
Test(commit_client, dies_after_the_commit_record_with_both_leaders)
{
    struct commit_world *world = story_begin(0, false);
    commit_world_hold(world, FRAME_COMMIT_ANSWER, HOME);
    commit_world_hold(world, FRAME_RESOLVE, OTHER);
    commit_world_ask_commit(world);
    commit_world_await(world, FRAME_COMMIT_ANSWER, HOME, 1);
    commit_world_forget(world);
    commit_world_kill_client(world);
    commit_world_crash_leaders(world);
    commit_world_leader(world, HOME);
    commit_world_leader(world, OTHER);
    world->began_ns = world->sim.schedule.now_ns;
    story_end(world, FATE_COMMITTED);
}

/* --- Home's leader changes
 * ------------------------------------------------------------------------------------------ */

Test(commit_home, changes_its_leader_before_the_prepares)
{
    EACH_WAY(how)
    {
        struct commit_world *world = story_begin(how, false);
        commit_world_lose_leader(world, HOME, how);
        commit_world_ask_commit(world);
        is_told(world, OST_LOCKS_LOST);
        story_end(world, FATE_ABORTED);
    }
}

Test(commit_home, changes_its_leader_before_the_prepares_of_blind_writes)
{
    EACH_WAY(how)
    {
        struct commit_world *world = story_begin(how, true);
        commit_world_lose_leader(world, HOME, how);
        commit_world_ask_commit(world);
        is_told(world, OST_OK);
        story_end(world, FATE_COMMITTED);
    }
}

Test(commit_home, changes_its_leader_when_it_alone_has_prepared)
{
    EACH_WAY(how)
    {
        struct commit_world *world = story_begin(how, false);
        commit_world_hold(world, FRAME_PREPARE, OTHER);
        commit_world_ask_commit(world);
        commit_world_await(world, FRAME_PREPARE_ANSWER, HOME, 1);
        commit_world_lose_leader(world, HOME, how);
        commit_world_release(world);
        is_told(world, OST_OK);
        story_end(world, FATE_COMMITTED);
    }
}

Test(commit_home, changes_its_leader_when_the_participant_alone_has_prepared)
{
    EACH_WAY(how)
    {
        struct commit_world *world = story_begin(how, false);
        commit_world_hold(world, FRAME_PREPARE, HOME);
        commit_world_ask_commit(world);
        commit_world_await(world, FRAME_PREPARE_ANSWER, OTHER, 1);
        commit_world_lose_leader(world, HOME, how);
        commit_world_release(world);
        is_told(world, OST_LOCKS_LOST);
        story_end(world, FATE_ABORTED);
    }
}

Test(commit_home, changes_its_leader_after_the_last_vote)
{
    EACH_WAY(how)
    {
        struct commit_world *world = story_until(how, false, FRAME_COMMIT, HOME);
        commit_world_lose_leader(world, HOME, how);
        commit_world_release(world);
        is_told(world, OST_OK);
        story_end(world, FATE_COMMITTED);
    }
}

/* Whether the old leader still gets it into the log or not. */
Test(commit_home, changes_its_leader_while_the_commit_comes)
{
    EACH_WAY(how)
    {
        for (uint32_t after_ms = 0; after_ms < 5; after_ms++) {
            struct commit_world *world = story_begin(how, false);
            commit_world_ask_commit(world);
            commit_world_await(world, FRAME_COMMIT, HOME, 1);
            commit_world_run(world, after_ms);
            commit_world_lose_leader(world, HOME, how);
            is_told(world, OST_OK);
            story_end(world, FATE_COMMITTED);
        }
    }
}

Test(commit_home, changes_its_leader_after_the_commit_record)
{
    EACH_WAY(how)
    {
        struct commit_world *world = story_until(how, false, FRAME_COMMIT_ANSWER, HOME);
        commit_world_lose_leader(world, HOME, how);
        commit_world_forget(world);
        is_told(world, OST_OK);
        story_end(world, FATE_COMMITTED);
    }
}

/* The next leader finds in the record whom to tell. */
Test(commit_home, changes_its_leader_before_the_participant_is_told)
{
    EACH_WAY(how)
    {
        struct commit_world *world = story_until(how, false, FRAME_RESOLVE, OTHER);
        is_told(world, OST_OK);
        commit_world_lose_leader(world, HOME, how);
        commit_world_forget(world);
        story_end(world, FATE_COMMITTED);
    }
}

Test(commit_home, changes_its_leader_before_it_hears_that_all_know)
{
    EACH_WAY(how)
    {
        struct commit_world *world = story_until(how, false, FRAME_RESOLVE_ANSWER, OTHER);
        is_told(world, OST_OK);
        commit_world_lose_leader(world, HOME, how);
        commit_world_forget(world);
        story_end(world, FATE_COMMITTED);
    }
}

/* The record is aborted, and the participant has not heard of it. */
Test(commit_home, changes_its_leader_before_the_participant_hears_of_the_abort)
{
    EACH_WAY(how)
    {
        struct commit_world *world = story_until(how, false, FRAME_COMMIT, HOME);
        commit_world_hold(world, FRAME_RESOLVE, OTHER);
        cr_assert_eq(commit_world_abort(world), OST_OK);
        commit_world_lose_leader(world, HOME, how);
        commit_world_release(world);
        is_told(world, OST_ABORTED);
        story_end(world, FATE_ABORTED);
    }
}

/* --- Both groups lose their leader, or all stores their power
 * ------------------------------------------------------------------------------------------ */

static void both_leaders_crash(uint16_t type, group_id_t group, int answer, enum txn_fate fate)
{
    struct commit_world *world = story_until(0, false, type, group);
    commit_world_crash_leaders(world);
    commit_world_leader(world, HOME);
    commit_world_leader(world, OTHER);
    world->began_ns = world->sim.schedule.now_ns;
    commit_world_forget(world);
    is_told(world, answer);
    story_end(world, fate);
}

Test(commit_both, lose_their_leaders_before_they_prepare)
{
    both_leaders_crash(FRAME_PREPARE, OTHER, OST_LOCKS_LOST, FATE_ABORTED);
}

Test(commit_both, lose_their_leaders_after_the_last_vote)
{
    both_leaders_crash(FRAME_COMMIT, HOME, OST_OK, FATE_COMMITTED);
}

Test(commit_both, lose_their_leaders_after_the_commit_record)
{
    both_leaders_crash(FRAME_COMMIT_ANSWER, HOME, OST_OK, FATE_COMMITTED);
}

static void everything_crashes(uint16_t type, group_id_t group, int answer, enum txn_fate fate)
{
    struct commit_world *world = story_until(0, false, type, group);
    commit_world_crash_all(world);
    commit_world_forget(world);
    commit_world_run(world, 500);
    commit_world_start_all(world);
    is_told(world, answer);
    story_end(world, fate);
}

Test(commit_both, crash_with_all_replicas_before_the_vote)
{
    everything_crashes(FRAME_PREPARE, OTHER, OST_LOCKS_LOST, FATE_ABORTED);
}

Test(commit_both, crash_with_all_replicas_after_the_last_vote)
{
    everything_crashes(FRAME_COMMIT, HOME, OST_OK, FATE_COMMITTED);
}

Test(commit_both, crash_with_all_replicas_after_the_commit_record)
{
    everything_crashes(FRAME_COMMIT_ANSWER, HOME, OST_OK, FATE_COMMITTED);
}

Test(commit_both, crash_with_all_replicas_before_the_participant_is_told)
{
    struct commit_world *world = story_until(0, false, FRAME_RESOLVE, OTHER);
    is_told(world, OST_OK);
    commit_world_crash_all(world);
    commit_world_forget(world);
    commit_world_start_all(world);
    story_end(world, FATE_COMMITTED);
}
