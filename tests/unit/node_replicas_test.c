/* The replicas of groups, changed end to end: whole stores and a client that writes, in made-up
 * time. */
#include "tests/support/node_cluster.h"

#include "cmd/node_internal.h"
#include "shardmaster/master_map.h"
#include "shardmaster/master_replicas.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define MS_MAX 20000u

static struct node_cluster cluster;

static void begin(size_t stores_count, uint32_t groups_count, uint32_t replicas_count)
{
    nodes_begin(&cluster, stores_count, groups_count, replicas_count);
    cluster.writes = true;
    nodes_run(&cluster, 200);
}

/* Writes went on all the time, and none is lost. */
static void end(void)
{
    uint32_t before = cluster.acknowledged_count;
    nodes_run(&cluster, 1000);
    cr_expect_gt(cluster.acknowledged_count, before + 20, "the cluster does not serve any more");
    nodes_check_writes(&cluster);
    nodes_end(&cluster);
}

static void change(group_id_t group, store_id_t add, store_id_t remove)
{
    cr_assert_eq(nodes_change(&cluster, group, add, remove), OST_OK, "%s", cluster.why);
}

static void run_until_true(void)
{
    cr_assert(nodes_run_until_true(&cluster, MS_MAX), "the change does not come to its end");
}

static bool is_on(group_id_t group, store_id_t store)
{
    return master_group_replica_on(nodes_group(&cluster, group), store) != NULL;
}

static size_t replicas_count(group_id_t group)
{
    return nodes_group(&cluster, group)->n_replicas;
}

/* A store of the group, or one that is not. */
static store_id_t store_where(group_id_t group, bool has_replica)
{
    for (store_id_t store = 1; store <= cluster.nodes_count; store++)
        if (is_on(group, store) == has_replica)
            return store;
    return 0;
}

Test(node_replicas, a_cluster_comes_up_with_stores_that_hold_nothing)
{
    begin(5, 1, 3);
    cr_expect_eq(replicas_count(0), 3);
    cr_expect_eq(replicas_count(1), 3);
    end();
}

Test(node_replicas, a_group_grows_to_five_and_shrinks_to_others)
{
    begin(5, 2, 3);
    for (int round = 0; round < 2; round++) {
        change(1, store_where(1, false), 0);
        run_until_true();
        cr_expect_eq(replicas_count(1), (size_t)4 + (size_t)round);
    }
    change(1, 0, 2);
    run_until_true();
    change(1, 0, 3);
    run_until_true();
    cr_expect_eq(replicas_count(1), 3);
    cr_expect(is_on(1, 1) && is_on(1, 4) && is_on(1, 5));
    cr_expect_eq(replicas_count(2), 3, "another group is left alone");
    end();
}

Test(node_replicas, a_replica_moves_in_one_step)
{
    begin(4, 1, 3);
    store_id_t to = store_where(1, false);
    store_id_t from = nodes_leader(&cluster, 1);
    replica_id_t gone = master_group_replica_on(nodes_group(&cluster, 1), from)->replica;
    change(1, to, from); /* the leader itself goes */
    run_until_true();
    cr_expect(is_on(1, to) && !is_on(1, from));
    /* And comes back, under another number (R6). */
    change(1, from, to);
    run_until_true();
    cr_expect_gt(master_group_replica_on(nodes_group(&cluster, 1), from)->replica, gone);
    end();
}

Test(node_replicas, the_shard_master_changes_its_own_replicas)
{
    begin(5, 1, 3);
    change(0, 4, 0);
    run_until_true();
    change(0, 5, 0);
    run_until_true();
    for (store_id_t store = 1; store <= 3; store++) {
        if (nodes_group(&cluster, 0)->n_replicas == 2)
            break;
        change(0, 0, store);
        run_until_true();
    }
    change(0, 1, 4);
    run_until_true();
    change(1, store_where(1, false), store_where(1, true));
    run_until_true();
    end();
}

Test(node_replicas, what_cannot_be_done_is_refused_and_says_why)
{
    begin(4, 1, 3);
    store_id_t other = store_where(1, false), member = store_where(1, true);
    cr_expect_eq(nodes_change(&cluster, 1, member, 0), OST_CONFLICT);
    cr_expect(strstr(cluster.why, "already"), "%s", cluster.why);
    cr_expect_eq(nodes_change(&cluster, 1, 9, 0), OST_NOT_FOUND);
    cr_expect_eq(nodes_change(&cluster, 1, 0, other), OST_NOT_FOUND);
    cr_expect_eq(nodes_change(&cluster, 1, 0, 0), OST_INVALID_ARGUMENT);
    cr_expect_eq(nodes_group(&cluster, 1)->epoch, 1, "and nothing is changed");
    end();
}

/* The store that is to join is down, so the change waits; it is called off, and another one takes
 * its place. What the first had begun to be is destroyed when it is back. */
Test(node_replicas, a_change_that_waits_can_be_called_off)
{
    begin(5, 1, 3);
    store_id_t from = store_where(1, true), dead = store_where(1, false);
    nodes_crash(&cluster, dead);
    change(1, dead, from);
    nodes_run(&cluster, 3000);
    cr_assert(master_group_is_changing(nodes_group(&cluster, 1)));
    cr_expect_eq(nodes_change(&cluster, 1, 0, from), OST_NOT_FOUND, "it leaves already");
    change(1, 0, dead);
    run_until_true();
    cr_expect(is_on(1, from) && !is_on(1, dead));
    nodes_start(&cluster, dead);
    nodes_run(&cluster, 1000);
    run_until_true();
    end();
}

/* --- Crashes at every step --- */

enum victim { VICTIM_LEADER, VICTIM_MASTER, VICTIM_ADDED, VICTIM_REMOVED, VICTIMS_COUNT };

/* A replica moves; after `ms` the victim crashes, and what was not flushed is gone; it is back
 * after two seconds. */
static void crash_during_a_move(enum victim who, uint32_t ms)
{
    begin(4, 1, 3);
    store_id_t to = store_where(1, false), from = store_where(1, true);
    change(1, to, from);
    nodes_run(&cluster, ms);
    store_id_t victim = to;
    if (who == VICTIM_LEADER)
        victim = nodes_leader(&cluster, 1);
    else if (who == VICTIM_MASTER)
        victim = nodes_leader(&cluster, 0);
    else if (who == VICTIM_REMOVED)
        victim = from;
    if (victim != 0) {
        nodes_crash(&cluster, victim);
        nodes_run(&cluster, 2000);
        nodes_start(&cluster, victim);
    }
    cr_assert(nodes_run_until_true(&cluster, MS_MAX), "victim %d, crashed after %u ms", (int)who,
              ms);
    cr_expect(is_on(1, to) && !is_on(1, from));
    end();
}

static void crash_at_every_step(enum victim who)
{
    for (uint32_t ms = 0; ms < 600; ms += ms < 120 ? 7 : 60)
        crash_during_a_move(who, ms);
}

Test(node_replicas, the_leader_crashes_during_a_move)
{
    crash_at_every_step(VICTIM_LEADER);
}
Test(node_replicas, the_shard_masters_leader_crashes_during_a_move)
{
    crash_at_every_step(VICTIM_MASTER);
}
Test(node_replicas, the_store_that_joins_crashes_during_a_move)
{
    crash_at_every_step(VICTIM_ADDED);
}
Test(node_replicas, the_store_that_leaves_crashes_during_a_move)
{
    crash_at_every_step(VICTIM_REMOVED);
}

/* Back from a crash, its replica of group 0 hears of its leader, and then of none any more, for it
 * is struck out. What the shard master pushes leaves out the ranges, which the store does not have
 * after a crash; it has to ask for them. */
Test(node_replicas, a_store_that_leaves_group_0_crashes_during_the_change)
{
    for (uint32_t ms = 100; ms < 300; ms += 10) {
        begin(4, 1, 3);
        store_id_t leaves = nodes_leader(&cluster, 0) == 3 ? 2 : 3;
        change(0, 4, leaves);
        nodes_run(&cluster, ms);
        nodes_crash(&cluster, leaves);
        nodes_run(&cluster, 20);
        nodes_start(&cluster, leaves);
        cr_assert(nodes_run_until_true(&cluster, MS_MAX), "crashed after %u ms", ms);
        cr_expect_null(nodes_node(&cluster, leaves)->node->master);
        end();
    }
}

/* While it was away, group 0 went to stores that it has never heard of. Its own replica hears of no
 * leader; those whom it knows do not lead, and the one who does waits for it to connect. */
Test(node_replicas, a_store_that_group_0_has_left_behind_finds_it)
{
    begin(3, 1, 3);
    nodes_crash(&cluster, 1);
    cr_assert(nodes_run_until_led(&cluster, 0, MS_MAX));
    for (store_id_t gone = 1; gone <= 3; gone++) {
        store_id_t joined = nodes_join(&cluster);
        for (uint32_t ms = 0; !master_map_store(nodes_map(&cluster), joined); ms++) {
            cr_assert_lt(ms, MS_MAX, "store %lu does not join", joined);
            nodes_step(&cluster);
        }
        change(0, joined, gone);
        run_until_true();
    }
    nodes_start(&cluster, 1);
    cr_assert(nodes_node(&cluster, 1)->node->master);
    run_until_true();
    for (uint32_t ms = 0; nodes_node(&cluster, 1)->node->master; ms++) {
        cr_assert_lt(ms, MS_MAX, "it has not heard that its replica is struck out");
        nodes_step(&cluster);
    }
    end();
}

/* --- Disks that are gone --- */

/* Stores 1 and 2 have what was acknowledged; 3 was away. Then 1 stops, and 2 comes back with
 * nothing: if it voted, 2 and 3 would make a leader without what was acknowledged (R6). */
Test(node_replicas, an_empty_disk_does_not_vote_under_the_old_number)
{
    begin(3, 1, 3);
    nodes_cut(&cluster, 3, true);
    nodes_run(&cluster, 2500);
    uint32_t before = cluster.acknowledged_count;
    nodes_run(&cluster, 2000);
    cr_assert_gt(cluster.acknowledged_count, before);
    cluster.writes = false;
    nodes_crash(&cluster, 1);
    nodes_crash(&cluster, 2);
    nodes_wipe(&cluster, 2);
    nodes_start(&cluster, 2);
    nodes_cut(&cluster, 3, false);
    for (int ms = 0; ms < 6000; ms++) {
        if (ms == 2000 || ms == 4000) { /* it is not forgotten over a restart */
            nodes_crash(&cluster, 2);
            nodes_start(&cluster, 2);
        }
        nodes_step(&cluster);
        cr_assert_eq(nodes_leader(&cluster, 0), 0);
        cr_assert_eq(nodes_leader(&cluster, 1), 0);
    }
    nodes_start(&cluster, 1);
    run_until_true();
    cr_expect_gt(master_group_replica_on(nodes_group(&cluster, 0), 2)->replica, 6);
    cr_expect_gt(master_group_replica_on(nodes_group(&cluster, 1), 2)->replica, 6);
    cluster.writes = true;
    end();
}

/* The same for a data group, while the shard master is alive and puts replicas on stores: group 2
 * is on 3, 4 and 5, group 0 on 1, 2 and 3. */
Test(node_replicas, an_empty_disk_is_not_given_the_old_number_again)
{
    begin(5, 2, 3);
    nodes_cut(&cluster, 5, true);
    nodes_run(&cluster, 2500);
    uint32_t before = cluster.acknowledged_count;
    nodes_run(&cluster, 2000);
    cr_assert_gt(cluster.acknowledged_count, before);
    cluster.writes = false;
    nodes_crash(&cluster, 3);
    nodes_crash(&cluster, 4);
    nodes_wipe(&cluster, 4);
    nodes_start(&cluster, 4);
    nodes_cut(&cluster, 5, false);
    for (int ms = 0; ms < 8000; ms++) {
        nodes_step(&cluster);
        cr_assert_eq(nodes_leader(&cluster, 2), 0);
    }
    cr_assert_neq(nodes_leader(&cluster, 0), 0);
    nodes_start(&cluster, 3);
    run_until_true();
    cluster.writes = true;
    end();
}

Test(node_replicas, a_store_with_an_empty_disk_is_filled_again)
{
    begin(3, 2, 3);
    for (store_id_t store = 1; store <= 3; store++) {
        nodes_run(&cluster, 500);
        nodes_crash(&cluster, store);
        nodes_wipe(&cluster, store);
        nodes_run(&cluster, 500);
        nodes_start(&cluster, store);
        nodes_run(&cluster, 100);
        run_until_true();
    }
    end();
}

/* The first start: a founder that has lost its disk before the cluster was made. */
Test(node_replicas, a_founder_is_known_by_its_first_disk)
{
    nodes_prepare(&cluster, 3, 1, 3);
    nodes_start(&cluster, 1);
    nodes_start(&cluster, 2);
    nodes_run(&cluster, 3000);
    cr_expect_eq(nodes_leader(&cluster, 0), 0, "it takes all three");
    nodes_crash(&cluster, 2);
    nodes_wipe(&cluster, 2);
    nodes_start(&cluster, 2);
    nodes_start(&cluster, 3);
    cr_assert(nodes_run_until_true(&cluster, MS_MAX));
    cr_expect_gt(master_group_replica_on(nodes_group(&cluster, 0), 2)->replica, 3);
    nodes_end(&cluster);
}

/* It has answered the two others, who found without it; before it has asked them itself, its
 * replica is struck out. */
Test(node_replicas, a_founder_that_is_not_wanted_any_more_has_lost_nothing)
{
    nodes_prepare(&cluster, 3, 1, 3);
    for (store_id_t store = 1; store <= 3; store++)
        nodes_start(&cluster, store);
    struct node *late = nodes_node(&cluster, 3)->node;
    late->founding_ns = NS_NEVER;
    cr_assert(nodes_run_until_led(&cluster, 0, MS_MAX));
    nodes_open(&cluster);
    change(0, 0, 3);
    nodes_run(&cluster, 1000);
    cr_assert_eq(late->founding, FOUNDING_ASKING);
    nodes_crash(&cluster, 3);
    nodes_start(&cluster, 3);
    run_until_true();
    nodes_run(&cluster, 1000);
    cr_expect_eq(nodes_node(&cluster, 3)->node->founding, FOUNDING_REPLACED);
    cr_expect_eq(cluster.error_lines_count, 0);
    change(0, 3, 0);
    run_until_true();
    cr_expect_gt(master_group_replica_on(nodes_group(&cluster, 0), 3)->replica, 3);
    cluster.writes = true;
    end();
}

static bool has_group_0(store_id_t store)
{
    return nodes_node(&cluster, store)->node->master != NULL;
}

/* Not for a moment, though the map would have it destroyed again. */
static void run_without_group_0(store_id_t store, uint32_t ms)
{
    for (uint32_t passed_ms = 0; passed_ms < ms; passed_ms++) {
        nodes_run(&cluster, 1);
        cr_assert_not(has_group_0(store));
    }
}

static void lose_disk(store_id_t store)
{
    nodes_crash(&cluster, store);
    nodes_wipe(&cluster, store);
}

/* One founder, and two who are to know its disk. */
Test(node_replicas, who_founds_alone_is_known_to_witnesses)
{
    nodes_prepare(&cluster, 3, 1, 1);
    nodes_start(&cluster, 1);
    nodes_start(&cluster, 2);
    nodes_run(&cluster, 3000);
    cr_expect_eq(nodes_leader(&cluster, 0), 0, "it takes all three");
    nodes_start(&cluster, 3);
    cr_assert(nodes_run_until_true(&cluster, MS_MAX));
    cr_expect(has_group_0(1) && !has_group_0(2) && !has_group_0(3));
    nodes_end(&cluster);
}

/* It has nothing to do with group 0 any more, and comes back as empty as it was when it founded. */
Test(node_replicas, who_founded_alone_founds_no_second_cluster)
{
    begin(3, 1, 1);
    change(0, 3, 1);
    run_until_true();
    lose_disk(1);
    nodes_start(&cluster, 1);
    run_without_group_0(1, 3000);
    nodes_crash(&cluster, 1);
    nodes_start(&cluster, 1);
    run_without_group_0(1, 1000);
    end();
}

/* The only disk that has seen the founding is gone as well; but its store has a map. */
Test(node_replicas, two_empty_disks_found_no_second_cluster)
{
    begin(5, 1, 1);
    change(0, 4, 1);
    run_until_true();
    change(1, 5, 2);
    run_until_true();
    lose_disk(3);
    nodes_start(&cluster, 3);
    nodes_run(&cluster, 6000); /* it hears of the map */
    lose_disk(1);
    lose_disk(2);
    nodes_start(&cluster, 1);
    nodes_start(&cluster, 2);
    run_without_group_0(1, 3000);
    end();
}

/* A disk that has replaced another, and gives its replica of group 0 up again. */
Test(node_replicas, a_replaced_disk_starts_again_and_again)
{
    begin(5, 1, 3);
    nodes_crash(&cluster, 1);
    nodes_wipe(&cluster, 1);
    nodes_start(&cluster, 1);
    nodes_run(&cluster, 100);
    run_until_true();
    change(0, 4, 1);
    run_until_true();
    for (int round = 0; round < 2; round++) {
        nodes_crash(&cluster, 1);
        nodes_start(&cluster, 1);
        nodes_run(&cluster, 1500);
        run_until_true();
    }
    change(0, 1, 4);
    run_until_true();
    end();
}

/* --- Damage to a log --- */

static replica_id_t number_on(group_id_t group, store_id_t store)
{
    const Ostraka__ReplicaInfo *replica =
        master_group_replica_on(nodes_group(&cluster, group), store);
    return replica ? replica->replica : 0;
}

/* One store after the other finds its log damaged; the others go on, and fill it again. */
Test(node_replicas, a_damaged_log_is_replaced_while_the_group_serves)
{
    begin(3, 1, 3);
    for (store_id_t store = 1; store <= 3; store++) {
        nodes_run(&cluster, 2000);
        replica_id_t before = number_on(1, store);
        nodes_crash(&cluster, store);
        nodes_damage(&cluster, store);
        nodes_run(&cluster, 1500);
        uint32_t acknowledged = cluster.acknowledged_count;
        nodes_start(&cluster, store);
        nodes_run(&cluster, 500);
        run_until_true();
        cr_expect_gt(number_on(1, store), before, "store %lu", store);
        cr_expect_gt(cluster.acknowledged_count, acknowledged);
    }
    end();
}

/* Store 2 has what was acknowledged with 1, and forgets; 3 was away. 2 and 3 must not go on. */
Test(node_replicas, a_damaged_replica_does_not_vote)
{
    begin(3, 1, 3);
    nodes_cut(&cluster, 3, true);
    nodes_run(&cluster, 2500);
    uint32_t before = cluster.acknowledged_count;
    nodes_run(&cluster, 2000);
    cr_assert_gt(cluster.acknowledged_count, before);
    cluster.writes = false;
    nodes_crash(&cluster, 1);
    nodes_crash(&cluster, 2);
    nodes_damage(&cluster, 2);
    nodes_start(&cluster, 2);
    nodes_cut(&cluster, 3, false);
    for (int ms = 0; ms < 6000; ms++) {
        nodes_step(&cluster);
        cr_assert_eq(nodes_leader(&cluster, 1), 0);
    }
    nodes_start(&cluster, 1);
    run_until_true();
    cluster.writes = true;
    end();
}

/* --- Old maps --- */

static Ostraka__Map *map_copy(struct arena *arena)
{
    return master_map_copy(nodes_map(&cluster), arena);
}

/* A store that has just started may be told an old map, by a shard master that is deposed and does
 * not know it. It acts on it for one step here; then it is told the newest. */
static void step_with_map(store_id_t store, Ostraka__Map *map)
{
    struct node *node = nodes_node(&cluster, store)->node;
    Ostraka__Map *newest = node->map;
    node->map = map;
    node->replicas_ns = 0;
    nodes_step(&cluster);
    cr_assert_eq(node->map, map);
    node->map = newest;
}

/* R7: the epoch in the group's own log is above that of the wish. */
Test(node_replicas, a_leader_with_an_old_map_changes_nothing)
{
    struct arena arena;
    arena_init(&arena);
    begin(4, 1, 3);
    store_id_t added = store_where(1, false);
    change(1, added, 0);
    Ostraka__Map *old = map_copy(&arena); /* it joins */
    run_until_true();
    change(1, 0, added); /* and leaves */
    run_until_true();
    store_id_t leader = nodes_leader(&cluster, 1);
    struct raft_host *raft = node_raft_host(nodes_node(&cluster, leader)->node);
    step_with_map(leader, old);
    nodes_run(&cluster, 10);
    const struct raft_configuration *in_force = raft_host_configuration(raft, 1);
    cr_expect_eq(in_force->epoch, 3);
    cr_expect_eq(in_force->members_count, 3);
    end();
    arena_fini(&arena);
}

/* R6: a map in which the replica's number was not yet given does not say that it is gone. */
Test(node_replicas, a_replica_is_not_destroyed_by_a_map_from_before_its_time)
{
    struct arena arena;
    arena_init(&arena);
    begin(4, 1, 3);
    store_id_t added = store_where(1, false);
    Ostraka__Map *old = map_copy(&arena);
    change(1, added, 0);
    run_until_true();
    replica_id_t number = master_group_replica_on(nodes_group(&cluster, 1), added)->replica;
    step_with_map(added, old);
    nodes_run(&cluster, 100);
    cr_expect(nodes_is_true(&cluster));
    cr_expect_eq(master_group_replica_on(nodes_group(&cluster, 1), added)->replica, number);
    end();
    arena_fini(&arena);
}

/* R6: a command that was on its way for long does not bring a destroyed replica back, not even
 * after a restart. */
Test(node_replicas, a_destroyed_number_is_never_made_again)
{
    begin(4, 1, 3);
    store_id_t from = store_where(1, true), to = store_where(1, false);
    replica_id_t number = number_on(1, from);
    change(1, to, from);
    run_until_true();
    for (int round = 0; round < 2; round++) {
        struct node *node = nodes_node(&cluster, from)->node;
        Ostraka__CreateReplica command = OSTRAKA__CREATE_REPLICA__INIT;
        Ostraka__RaftConfiguration configuration = OSTRAKA__RAFT_CONFIGURATION__INIT;
        command.store = from;
        command.group = 1;
        command.group_epoch = 1;
        command.replica = number;
        command.configuration = &configuration;
        command.incarnation = node->incarnation;
        int status = node_replica_create(node, &command);
        (void)status; /* it may be found out only when it is to take part */
        for (int ms = 0; ms < 500; ms++) {
            struct raft_status raft;
            cr_assert_eq(raft_host_group_status(node->raft, 1, &raft), OST_NOT_FOUND);
            nodes_step(&cluster);
        }
        nodes_crash(&cluster, from);
        nodes_start(&cluster, from);
        nodes_run(&cluster, 100);
    }
    run_until_true();
    end();
}

/* A replica takes part once its row is durable. Else a crash could leave a log that no row names; a
 * flush would cut it off, and the replica be made anew, empty, under the number that it had voted
 * with. Store 2 alone has what was acknowledged with 1, and crashes before its first flush. */
Test(node_replicas, a_replica_that_has_promised_anything_is_found_again)
{
    nodes_prepare(&cluster, 3, 1, 3);
    cluster.options.kv.flush_interval_ms = 1000000;
    for (store_id_t store = 1; store <= 3; store++)
        nodes_start(&cluster, store);
    run_until_true();
    nodes_open(&cluster);
    nodes_cut(&cluster, 3, true);
    nodes_run(&cluster, 2500);
    cluster.writes = true;
    nodes_run(&cluster, 1000);
    cr_assert_gt(cluster.acknowledged_count, 20);
    cluster.writes = false;
    nodes_crash(&cluster, 1);
    nodes_crash(&cluster, 2);
    cluster.options.kv.flush_interval_ms = 10;
    nodes_start(&cluster, 2);
    nodes_cut(&cluster, 3, false);
    nodes_run(&cluster, 5000);
    nodes_start(&cluster, 1);
    run_until_true();
    cluster.writes = true;
    end();
}

/* --- Anything, at any time --- */

/* Changes, crashes and cuts at random; disks are lost and damaged one at a time, and not before the
 * last one was replaced. Nothing acknowledged is lost, and all comes to rest. */
static void random_run(uint64_t seed)
{
    struct random random;
    random_init(&random, seed);
    begin(5, 2, 3);
    store_id_t victim = 0; /* one store at a time is away */
    bool may_lose_disk = true;
    uint32_t back_ms = 0;
    for (uint32_t ms = 0; ms < 40000; ms++) {
        nodes_step(&cluster);
        if (victim != 0 && ms >= back_ms) {
            if (nodes_node(&cluster, victim)->is_up)
                nodes_cut(&cluster, victim, false);
            else
                nodes_start(&cluster, victim);
            victim = 0;
        } else if (victim == 0 && random_below(&random, 700) == 0) {
            victim = 1 + random_below(&random, 5);
            back_ms = ms + (uint32_t)random_below(&random, 1500);
            bool is_true = nodes_is_true(&cluster);
            if (random_below(&random, 3) == 0) {
                nodes_cut(&cluster, victim, true);
                continue;
            }
            nodes_crash(&cluster, victim);
            if (may_lose_disk && is_true && random_below(&random, 3) == 0) {
                may_lose_disk = false;
                if (random_below(&random, 2) == 0)
                    nodes_damage(&cluster, victim);
                else
                    nodes_wipe(&cluster, victim);
            }
        } else if (victim == 0 && ms % 500 == 0 && nodes_is_true(&cluster)) {
            may_lose_disk = true;
        }
        if (random_below(&random, 600) == 0) {
            /* Whatever is asked: what cannot be done is refused. */
            group_id_t group = random_below(&random, 3);
            store_id_t add = random_below(&random, 6), remove = random_below(&random, 6);
            struct raft_configuration wanted; /* never fewer than three: one disk may be lost */
            master_group_wanted(nodes_group(&cluster, group), &wanted);
            size_t count = wanted.members_count;
            if (count >= 5)
                add = 0;
            if (count <= 3 && add == 0)
                continue;
            int status = nodes_change(&cluster, group, add, remove);
            (void)status;
        }
    }
    if (victim != 0 && nodes_node(&cluster, victim)->is_up)
        nodes_cut(&cluster, victim, false);
    else if (victim != 0)
        nodes_start(&cluster, victim);
    cr_assert(nodes_run_until_true(&cluster, 2 * MS_MAX), "seed %lu does not come to rest", seed);
    end();
}

Test(node_replicas, random_changes_crashes_and_lost_disks)
{
    const char *one = getenv("SEED");
    if (one) {
        random_run(strtoul(one, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= 6; seed++)
        random_run(seed);
}
