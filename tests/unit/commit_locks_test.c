/* What a transaction has locked, others do not get: not while it is in doubt, whoever leads by
 * then, and not without its knowing once the locks are lost. */
#include "tests/support/commit_world.h"

#include <criterion/criterion.h>

#define EACH_WAY(how)     for (enum leader_loss how = 0; how < LEADER_LOSSES_COUNT; how++)
#define EACH_GROUP(group) for (group_id_t group = HOME; group <= OTHER; group++)

static void is_told(struct commit_world *world, int status)
{
    cr_assert_eq(commit_world_wait(world), status, "it was told %s",
                 ost_status_name(world->answer));
}

/* All votes are in, and the Commit is held back. */
static void until_in_doubt(struct commit_world *world)
{
    commit_world_hold(world, FRAME_COMMIT, HOME);
    commit_world_ask_commit(world);
    commit_world_await(world, FRAME_COMMIT, HOME, 1);
    commit_world_others_hear(world); /* who is older would have it aborted (T2) */
}

static void story_end(struct commit_world *world)
{
    world->began_ns = world->sim.schedule.now_ns;
    commit_world_settle(world);
    commit_world_end(world);
}

/* --- In doubt
 * ------------------------------------------------------------------------------------------ */

Test(commit_locks, a_read_waits_for_what_is_in_doubt_at_every_leader)
{
    EACH_GROUP(group)
    {
        EACH_WAY(how)
        {
            struct commit_world *world = commit_world_new(1);
            commit_world_grow(world, false);
            until_in_doubt(world);
            commit_world_lose_leader(world, group, how);
            commit_world_others_get(world, group);
            commit_world_run(world, 1000);
            cr_assert_not(world->others.is_done, "it read %s", world->others.value);
            commit_world_release(world);
            is_told(world, OST_OK);
            cr_assert_eq(commit_world_others_wait(world), OST_OK);
            cr_assert_str_eq(world->others.value, "new");
            story_end(world);
        }
    }
}

Test(commit_locks, a_write_waits_for_what_is_in_doubt_at_every_leader)
{
    EACH_GROUP(group)
    {
        EACH_WAY(how)
        {
            struct commit_world *world = commit_world_new(1);
            commit_world_grow(world, false);
            until_in_doubt(world);
            commit_world_lose_leader(world, group, how);
            commit_world_others_write(world, group, group, "later");
            commit_world_run(world, 1000);
            cr_assert_not(world->others.is_done, "%s", ost_status_name(world->others.status));
            commit_world_release(world);
            is_told(world, OST_OK);
            cr_assert_eq(commit_world_others_wait(world), OST_OK);
            cr_assert_gt(world->others.commit_timestamp, world->commit_timestamp);
            cr_assert_str_eq(commit_world_get(world, group), "later");
            story_end(world);
        }
    }
}

/* What was only read is locked by the vote as well: else each of two could miss the other's write.
 */
Test(commit_locks, a_write_waits_for_who_has_read_and_is_in_doubt)
{
    EACH_WAY(how)
    {
        struct commit_world *world = commit_world_new(1);
        commit_world_read(world, OTHER, false);
        commit_world_put(world, HOME, "new");
        until_in_doubt(world);
        commit_world_lose_leader(world, OTHER, how);
        commit_world_others_write(world, OTHER, OTHER, "later");
        commit_world_run(world, 1000);
        cr_assert_not(world->others.is_done, "%s", ost_status_name(world->others.status));
        commit_world_release(world);
        is_told(world, OST_OK);
        cr_assert_eq(commit_world_others_wait(world), OST_OK);
        cr_assert_gt(world->others.commit_timestamp, world->commit_timestamp);
        story_end(world);
    }
}

/* --- Lost
 * ------------------------------------------------------------------------------------------ */

/* Others have written what it read; it wrote in one group or in two, or nothing at all. */
enum writes { WRITES_NOTHING, WRITES_WHAT_IT_READ, WRITES_ELSEWHERE, WRITES_COUNT };

static struct commit_world *story_that_read(enum writes writes)
{
    struct commit_world *world = commit_world_new(1);
    commit_world_read(world, OTHER, false);
    if (writes == WRITES_WHAT_IT_READ)
        commit_world_put(world, OTHER, "new");
    else if (writes == WRITES_ELSEWHERE)
        commit_world_put(world, HOME, "new");
    return world;
}

static void others_write_and_it_fails(struct commit_world *world)
{
    commit_world_others_write(world, OTHER, OTHER, "other");
    cr_assert_eq(commit_world_others_wait(world), OST_OK);
    commit_world_release(world);
    commit_world_ask_commit(world);
    is_told(world, OST_LOCKS_LOST);
    cr_assert_str_eq(commit_world_get(world, OTHER), "other");
    cr_assert_str_eq(commit_world_get(world, HOME), "old");
    story_end(world);
}

Test(commit_locks, read_locks_that_went_with_a_leader_are_missed_at_the_commit)
{
    for (enum writes writes = 0; writes < WRITES_COUNT; writes++) {
        EACH_WAY(how)
        {
            struct commit_world *world = story_that_read(writes);
            commit_world_lose_leader(world, OTHER, how);
            others_write_and_it_fails(world);
        }
    }
}

/* Its process stood still for so long that its locks expired. */
Test(commit_locks, read_locks_that_expired_are_missed_at_the_commit)
{
    for (enum writes writes = 0; writes < WRITES_COUNT; writes++) {
        struct commit_world *world = story_that_read(writes);
        commit_world_lose(world, FRAME_TXN_HEARTBEAT, OTHER);
        commit_world_run(world, 7000);
        others_write_and_it_fails(world);
    }
}
