/* What transactions of each kind cost: requests, rounds that the client waits for, messages between
 * groups, questions to the oracle, log entries. Exactly: a message more is a mistake, or a change
 * that has to say why. Heartbeats of Raft and reports to the shard master are the cluster's own. */
#include "tests/support/commit_world.h"

#include <criterion/criterion.h>

struct cost {
    /* Of the client; each has an answer. */
    uint64_t gets, locks, prepares, commits, validates, releases;
    /* Between groups, each with an answer. */
    uint64_t resolves;
    /* From stores to the oracle. */
    uint64_t timestamps;
    uint64_t home_entries, other_entries;
    uint32_t rounds; /* of the commit: requests that wait for the answers of others */
};

static bool is_the_clusters_own(uint16_t type)
{
    return type < FRAME_TIMESTAMP || (type >= FRAME_MAP && type < FRAME_GET);
}

static void is_sent(const struct commit_world *world, uint16_t type, uint64_t count)
{
    cr_assert_eq(commit_world_sent(world, type), count, "%s: %lu, not %lu", frame_type_name(type),
                 commit_world_sent(world, type), count);
    cr_assert_eq(commit_world_sent(world, type + 1), count, "answers to %s: %lu, not %lu",
                 frame_type_name(type), commit_world_sent(world, type + 1), count);
}

struct counted {
    struct commit_world *world;
    raft_index_t home_end, other_end;
};

static struct counted count_begin(void)
{
    struct commit_world *world = commit_world_new(1);
    struct counted counted = {.world = world,
                              .home_end = commit_world_log_end(world, HOME),
                              .other_end = commit_world_log_end(world, OTHER)};
    commit_world_count_begin(world);
    return counted;
}

static void costs(struct counted *counted, const struct cost *cost)
{
    struct commit_world *world = counted->world;
    cr_assert_eq(world->rounds_count, cost->rounds, "%u rounds, not %u", world->rounds_count,
                 cost->rounds);
    commit_world_run(world, 1000); /* what follows in the background is counted too */
    is_sent(world, FRAME_GET, cost->gets);
    is_sent(world, FRAME_LOCK, cost->locks);
    is_sent(world, FRAME_PREPARE, cost->prepares);
    is_sent(world, FRAME_COMMIT, cost->commits);
    is_sent(world, FRAME_VALIDATE, cost->validates);
    is_sent(world, FRAME_ABORT, cost->releases);
    is_sent(world, FRAME_RESOLVE, cost->resolves);
    is_sent(world, FRAME_TIMESTAMP, cost->timestamps);
    uint64_t all = 2 * (cost->gets + cost->locks + cost->prepares + cost->commits +
                        cost->validates + cost->releases + cost->resolves + cost->timestamps);
    uint64_t sent = 0;
    for (uint16_t type = 0; type < COMMIT_WORLD_TYPES_MAX; type++)
        sent += is_the_clusters_own(type) ? 0 : commit_world_sent(world, type);
    cr_assert_eq(sent, all, "other frames were sent: %lu, not %lu", sent, all);
    cr_assert_eq(commit_world_log_end(world, HOME) - counted->home_end, cost->home_entries);
    cr_assert_eq(commit_world_log_end(world, OTHER) - counted->other_end, cost->other_entries);
    commit_world_end(world);
}

static uint32_t commit_us(struct commit_world *world)
{
    nanoseconds_t asked_ns = world->sim.schedule.now_ns;
    commit_world_ask_commit(world);
    cr_assert_eq(commit_world_wait(world), OST_OK);
    return (uint32_t)((world->answered_ns - asked_ns) / 1000);
}

/* The write and the commit are one request, and one entry that carries both (CommitOne). Its
 * timestamp is above the oracle's answer to a question that was asked when its locks were held
 * (T3). A hop is a millisecond here, so the client waits for 1 to the leader, 1 to the oracle, 2
 * for the oracle's ReadIndex (O2), 1 back, 2 for a follower's copy, 1 back; and for two log writes,
 * the leader's and a follower's, of 0.1 ms, one beside the other's way. */
Test(commit_cost, one_group)
{
    struct counted counted = count_begin();
    commit_world_grow_one(counted.world);
    uint32_t us = commit_us(counted.world);
    cr_assert(us >= 8000 && us <= 8300, "%u us", us);
    costs(&counted, &(struct cost){.prepares = 1, .timestamps = 1, .home_entries = 1, .rounds = 1});
}

/* The lock that was taken for the read is in the leader's memory: it costs no entry. */
Test(commit_cost, one_group_read_and_written)
{
    struct counted counted = count_begin();
    commit_world_read(counted.world, HOME, true);
    commit_world_put(counted.world, HOME, "new");
    commit_us(counted.world);
    costs(
        &counted,
        &(struct cost){.locks = 1, .prepares = 1, .timestamps = 1, .home_entries = 1, .rounds = 1});
}

/* Two rounds: the votes, then home's decision. The client does not wait for the participant to hear
 * of it (RESOLVE), nor for home to forget who had to be told (the third entry, one for all that are
 * done within 100 ms). Home: prepared, committed, acknowledged; the other: prepared, resolved. Each
 * leader asks the oracle by itself. Time: 8 for the votes as above, 1 + 2 + 1 for the decision. */
Test(commit_cost, two_groups)
{
    struct counted counted = count_begin();
    commit_world_grow(counted.world, true);
    uint32_t us = commit_us(counted.world);
    cr_assert(us >= 12000 && us <= 12600, "%u us", us);
    costs(&counted, &(struct cost){.prepares = 2,
                                   .commits = 1,
                                   .resolves = 1,
                                   .timestamps = 2,
                                   .home_entries = 3,
                                   .other_entries = 2,
                                   .rounds = 2});
}

Test(commit_cost, two_groups_read_and_written)
{
    struct counted counted = count_begin();
    commit_world_grow(counted.world, false);
    commit_us(counted.world);
    costs(&counted, &(struct cost){.locks = 2,
                                   .prepares = 2,
                                   .commits = 1,
                                   .resolves = 1,
                                   .timestamps = 2,
                                   .home_entries = 3,
                                   .other_entries = 2,
                                   .rounds = 2});
}

/* A group that was only read votes as the others do: its entry makes the shared lock durable, so
 * that it outlives a leader (step 1 of DESIGN section 6). */
Test(commit_cost, one_group_written_and_another_one_read)
{
    struct counted counted = count_begin();
    commit_world_read(counted.world, OTHER, false);
    commit_world_put(counted.world, HOME, "new");
    commit_us(counted.world);
    costs(&counted, &(struct cost){.locks = 1,
                                   .prepares = 2,
                                   .commits = 1,
                                   .resolves = 1,
                                   .timestamps = 2,
                                   .home_entries = 3,
                                   .other_entries = 2,
                                   .rounds = 2});
}

/* T8: each group confirms that the locks stand, in one round, and nothing is logged. The locks are
 * let go afterwards, and the client does not wait for that. */
Test(commit_cost, locking_read_only)
{
    struct counted counted = count_begin();
    commit_world_read(counted.world, HOME, false);
    commit_world_read(counted.world, OTHER, false);
    commit_us(counted.world);
    costs(&counted, &(struct cost){.locks = 2, .validates = 2, .releases = 2, .rounds = 1});
}

/* No transaction, no lock, no entry, no oracle: ReadIndex confirms the leader (R3). */
Test(commit_cost, linearizable_get)
{
    struct counted counted = count_begin();
    commit_world_get(counted.world, HOME);
    costs(&counted, &(struct cost){.gets = 1});
}

/* Rolled back before anything was prepared: the locks are let go where there are some. */
Test(commit_cost, rollback)
{
    struct counted counted = count_begin();
    commit_world_grow(counted.world, false);
    commit_world_roll_back(counted.world);
    costs(&counted, &(struct cost){.locks = 2, .releases = 2});
}
