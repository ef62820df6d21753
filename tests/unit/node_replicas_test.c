/* The replicas of groups, changed end to end: whole stores and a client that writes, in made-up
 * time. */
#include "tests/support/node_cluster.h"

#include "shardmaster/master_replicas.h"

#include <criterion/criterion.h>

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
    cr_expect_eq(nodes_change(&cluster, 9, other, 0), OST_NOT_FOUND);
    end();
    (void)member;
}
