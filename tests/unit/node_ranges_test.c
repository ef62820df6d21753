/* Ranges that split, merge and move by themselves, and groups that come with stores: whole stores
 * and a client that writes all the time, in made-up time. */
#include "tests/support/node_cluster.h"

#include "shardmaster/master_map.h"

#include <criterion/criterion.h>

#define MS_MAX 120000u

static struct node_cluster cluster;

static void begin(size_t stores_count, uint32_t groups_count)
{
    for (store_id_t store = 1; store <= stores_count; store++)
        nodes_start(&cluster, store);
    cr_assert(nodes_run_until_true(&cluster, MS_MAX), "%u groups", groups_count);
    nodes_open(&cluster);
    cluster.writes = true;
}

/* Writes went on all the time, and none is lost. */
static void end(void)
{
    cluster.reads_per_step = 0;
    uint32_t before = cluster.acknowledged_count;
    nodes_run(&cluster, 1000);
    cr_expect_gt(cluster.acknowledged_count, before + 20, "the cluster does not serve any more");
    nodes_check_writes(&cluster);
    nodes_end(&cluster);
}

static size_t ranges_count(group_id_t group)
{
    const Ostraka__Map *map = nodes_map(&cluster);
    size_t count = 0;
    for (size_t place = 0; place < map->n_ranges; place++)
        count += map->ranges[place]->group == group;
    return count;
}

static size_t changes_count(void)
{
    const Ostraka__Map *map = nodes_map(&cluster);
    size_t count = 0;
    for (size_t place = 0; place < map->n_ranges; place++)
        count += map->ranges[place]->change || !map->ranges[place]->assigned;
    return count;
}

static bool run_until(bool (*is_so)(void))
{
    for (uint32_t ms = 0; ms < MS_MAX; ms += 20) {
        if (is_so())
            return true;
        nodes_run(&cluster, 20);
    }
    return false;
}

/* All that is read lies from "n" on: a part of it is each group's. */
static bool is_shared(void)
{
    const Ostraka__Map *map = nodes_map(&cluster);
    bool has[3] = {false};
    for (size_t place = master_map_place_of_key(map, bytes_of_string("n")); place < map->n_ranges;
         place++)
        has[map->ranges[place]->group] = true;
    return has[1] && has[2] && changes_count() == 0;
}

Test(node_ranges, a_hot_range_splits_and_moves_to_the_other_group_under_load)
{
    nodes_prepare(&cluster, 3, 2, 3);
    cluster.options.master.range_changes_max = 2;
    cluster.options.kv.range_split_operations = 800;
    cluster.options.kv.range_merge_operations = 160;
    begin(3, 2);
    nodes_run(&cluster, 10000);
    cr_assert_eq(nodes_map(&cluster)->n_ranges, 2, "nothing is asked for yet");
    cluster.reads_per_step = 1;
    cr_assert(run_until(is_shared));
    /* And it stays so: what is asked of both is the same. */
    nodes_run(&cluster, 20000);
    uint64_t changes = nodes_map(&cluster)->next_change;
    nodes_run(&cluster, 40000);
    cr_expect_leq(nodes_map(&cluster)->next_change, changes + 1, "it comes to rest");
    cr_expect(is_shared());
    cr_expect_gt(cluster.reads_count, 40000);
    end();
}

static bool has_merged(void)
{
    return nodes_map(&cluster)->n_ranges == 1 && changes_count() == 0;
}

Test(node_ranges, small_ranges_merge_when_they_have_been_left_alone)
{
    static struct bytes splits[3];
    nodes_prepare(&cluster, 3, 1, 3);
    const char *const keys[] = {"c", "m", "t"};
    for (size_t index = 0; index < 3; index++)
        splits[index] = bytes_of_string(keys[index]);
    cluster.options.master.initial_splits = splits;
    cluster.options.master.initial_splits_count = 3;
    cluster.options.master.range_changes_max = 2;
    cluster.options.master.merge_after_ms = 30000;
    begin(3, 1);
    nodes_run(&cluster, 15000);
    cr_assert_eq(nodes_map(&cluster)->n_ranges, 4);
    cr_assert(run_until(has_merged));
    end();
}

static bool has_third(void)
{
    return nodes_map(&cluster)->n_groups == 3 && nodes_leader(&cluster, 3) != 0 &&
           ranges_count(3) == 2 && ranges_count(1) == 2 && changes_count() == 0 &&
           nodes_is_true(&cluster);
}

Test(node_ranges, a_store_that_joins_brings_a_group_and_ranges_move_into_it)
{
    static struct bytes splits[5];
    nodes_prepare(&cluster, 3, 2, 3);
    const char *const keys[] = {"c", "f", "m", "q", "t"};
    for (size_t index = 0; index < 5; index++)
        splits[index] = bytes_of_string(keys[index]);
    cluster.options.master.initial_splits = splits;
    cluster.options.master.initial_splits_count = 5;
    cluster.options.master.range_changes_max = 2;
    cluster.options.master.replica_changes_max = 2;
    begin(3, 2);
    nodes_run(&cluster, 5000);
    cr_assert_eq(nodes_map(&cluster)->n_groups, 2);
    cr_assert(ranges_count(1) == 3 && ranges_count(2) == 3);
    nodes_join(&cluster);
    cr_assert(run_until(has_third), "%zu groups, %zu ranges in the third",
              nodes_map(&cluster)->n_groups, ranges_count(3));
    nodes_run(&cluster, 20000);
    cr_expect(has_third(), "it stays so");
    end();
}
