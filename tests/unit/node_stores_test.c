/* Stores that join, drain, die and are removed: whole stores and a client that writes all the time,
 * in made-up time. Every host is "s", so placement counts alone. */
#include "tests/support/node_cluster.h"

#include "cmd/node_internal.h"
#include "shardmaster/master_replicas.h"
#include "shardmaster/master_stores.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define MS_MAX 60000u

static struct node_cluster cluster;

static void begin(size_t stores_count, uint32_t groups_count)
{
    nodes_prepare(&cluster, stores_count, groups_count, 3);
    cluster.options.master.replica_changes_max = 2;
    cluster.options.master.dead_after_ms = 8000;
    for (store_id_t store = 1; store <= stores_count; store++)
        nodes_start(&cluster, store);
    cr_assert(nodes_run_until_true(&cluster, MS_MAX));
    nodes_open(&cluster);
    cluster.writes = true;
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

static size_t held_count(store_id_t store)
{
    return master_store_replicas_count(nodes_map(&cluster), store);
}

static size_t led_count(store_id_t store)
{
    size_t count = 0;
    for (group_id_t group = 0; group <= nodes_map(&cluster)->n_groups; group++)
        count += nodes_leader(&cluster, group) == store;
    return count;
}

static const Ostraka__StoreInfo *info(store_id_t store)
{
    return master_map_store(nodes_map(&cluster), store);
}

static bool is_in_map(store_id_t store)
{
    return info(store) != NULL;
}

static bool is_up(store_id_t store)
{
    return info(store)->state == MASTER_STORE_UP;
}

static bool is_empty(store_id_t store)
{
    return held_count(store) == 0 && nodes_is_true(&cluster);
}

/* All stores that are up hold as many, or one less, and the cluster is as the map says. */
static bool is_even(store_id_t unused)
{
    (void)unused;
    size_t least = SIZE_MAX, most = 0;
    const Ostraka__Map *map = nodes_map(&cluster);
    for (size_t place = 0; place < map->n_stores; place++) {
        if (map->stores[place]->state != MASTER_STORE_UP)
            continue;
        size_t count = held_count(map->stores[place]->id);
        least = count < least ? count : least;
        most = count > most ? count : most;
    }
    return most <= least + 1 && nodes_is_true(&cluster);
}

static void run_until(bool (*is_so)(store_id_t store), store_id_t store, const char *what)
{
    for (uint32_t ms = 0; ms < MS_MAX; ms += 20) {
        if (is_so(store))
            return;
        nodes_run(&cluster, 20);
    }
    nodes_print(&cluster);
    cr_assert_fail("%s: store %lu", what, store);
}

static store_id_t join_one(void)
{
    store_id_t store = nodes_join(&cluster);
    run_until(is_in_map, store, "it does not join");
    return store;
}

static void drain(store_id_t store)
{
    cr_assert_eq(nodes_change_store(&cluster, OSTRAKA__STORE_CHANGE_KIND__DRAIN_STORE, store),
                 OST_OK, "%s", cluster.why);
}

static bool leads_nothing(store_id_t store)
{
    return led_count(store) == 0;
}

Test(node_stores, a_cluster_grows_drains_a_store_and_outlives_another)
{
    begin(3, 4);
    cr_expect_eq(held_count(1), 5);
    store_id_t fourth = join_one();
    run_until(is_even, fourth, "it does not get its share");
    cr_expect_geq(held_count(fourth), 3, "15 replicas on 4 stores");
    /* Its load with it: the client finds it. */
    uint32_t before = cluster.acknowledged_count;
    nodes_run(&cluster, 1000);
    cr_expect_gt(cluster.acknowledged_count, before + 20);

    store_id_t drained = nodes_leader(&cluster, 0);
    cr_expect_eq(nodes_change_store(&cluster, OSTRAKA__STORE_CHANGE_KIND__REMOVE_STORE, drained),
                 OST_CONFLICT);
    drain(drained);
    run_until(leads_nothing, drained, "it leads on");
    run_until(is_empty, drained, "it does not get empty");
    cr_expect_eq(info(drained)->state, MASTER_STORE_DRAINING);
    cr_assert_eq(nodes_change_store(&cluster, OSTRAKA__STORE_CHANGE_KIND__REMOVE_STORE, drained),
                 OST_OK, "%s", cluster.why);
    nodes_run(&cluster, 500);
    cr_expect_not(is_in_map(drained));
    cr_expect(nodes_node(&cluster, drained)->node->shutting_down, "it stops by itself");
    nodes_crash(&cluster, drained);

    store_id_t fifth = join_one();
    run_until(is_even, fifth, "it does not get its share");
    store_id_t dead = nodes_leader(&cluster, 1);
    nodes_crash(&cluster, dead);
    nodes_run(&cluster, 4000);
    cr_expect_eq(info(dead)->state, MASTER_STORE_UP, "it may come back");
    run_until(is_empty, dead, "it is not replaced");
    cr_expect_eq(info(dead)->state, MASTER_STORE_DEAD);
    for (group_id_t group = 0; group <= 4; group++)
        cr_expect_eq(nodes_group(&cluster, group)->n_replicas, 3);
    end();
}

Test(node_stores, a_store_that_was_dead_comes_back_and_gets_its_share)
{
    begin(4, 3);
    run_until(is_even, 0, "it does not come to rest");
    nodes_crash(&cluster, 2);
    run_until(is_empty, 2, "it is not replaced");
    nodes_start(&cluster, 2);
    run_until(is_up, 2, "it stays dead");
    run_until(is_even, 2, "it does not get its share");
    cr_expect_eq(info(2)->state, MASTER_STORE_UP);
    cr_expect_geq(held_count(2), 3);
    end();
}

/* Three stores of three replicas: nothing can take the place of the dead one. */
Test(node_stores, nothing_is_moved_when_nobody_can_take_it)
{
    begin(3, 2);
    nodes_crash(&cluster, 3);
    nodes_run(&cluster, 12000);
    cr_expect_eq(info(3)->state, MASTER_STORE_DEAD);
    cr_expect_eq(held_count(3), 3, "two replicas are no better than three with one that is away");
    cr_expect_eq(nodes_change_store(&cluster, OSTRAKA__STORE_CHANGE_KIND__DRAIN_STORE, 2),
                 OST_CONFLICT);
    cr_expect(strstr(cluster.why, "join"), "%s", cluster.why);
    nodes_start(&cluster, 3);
    cr_expect(nodes_run_until_true(&cluster, MS_MAX));
    nodes_run(&cluster, 2000);
    cr_expect_eq(info(3)->state, MASTER_STORE_UP);
    end();
}

/* It knows the others from its own row: those that it was told of when it joined are gone. */
Test(node_stores, a_store_that_has_joined_starts_again_by_itself)
{
    begin(3, 1);
    store_id_t fourth = join_one();
    run_until(is_even, fourth, "it does not get its share");
    cr_assert_not(node_is_joining(nodes_node(&cluster, fourth)->node));
    nodes_crash(&cluster, fourth);
    cluster.joins_nowhere = true;
    nodes_start(&cluster, fourth);
    cr_expect_not(node_is_joining(nodes_node(&cluster, fourth)->node), "it asks again");
    cr_expect(nodes_run_until_true(&cluster, MS_MAX));
    nodes_run(&cluster, 3000);
    cr_expect_not_null(nodes_node(&cluster, fourth)->node->map, "it does not hear of the others");
    end();
}

/* Its leader has led for longer than a store may be silent, and has not heard of it. */
Test(node_stores, a_store_that_joins_counts_as_alive)
{
    begin(3, 1);
    nodes_run(&cluster, 9000);
    store_id_t fourth = join_one();
    for (uint32_t ms = 0; ms < 3000; ms++) {
        cr_assert(is_up(fourth), "after %u ms it is %s", ms,
                  master_store_state_name(info(fourth)->state));
        nodes_step(&cluster);
    }
    end();
}

/* The fifth is cut off from then on, with a map that does not list the fourth. */
static void join_while_another_is_away(store_id_t *out_fourth, store_id_t *out_fifth)
{
    *out_fourth = nodes_join(&cluster);
    nodes_crash(&cluster, *out_fourth);
    *out_fifth = join_one();
    nodes_run(&cluster, 500);
    nodes_cut(&cluster, *out_fifth, true);
    nodes_start(&cluster, *out_fourth);
    run_until(is_in_map, *out_fourth, "it does not join");
}

/* The lower number dials, and the other one, which was away, has a map without it. */
Test(node_stores, who_has_just_joined_is_told_to_come_again)
{
    for (uint32_t ms = 0; ms < 1000; ms += 50) {
        begin(3, 1);
        store_id_t fourth, fifth;
        join_while_another_is_away(&fourth, &fifth);
        nodes_run(&cluster, 500 + ms);
        nodes_cut(&cluster, fifth, false);
        nodes_run(&cluster, 2500);
        cr_assert_eq(nodes_node(&cluster, fifth)->metrics.connections_rejected_count, 0);
        cr_expect_not_null(node_peer_find(nodes_node(&cluster, fifth)->node, fourth));
        end();
    }
}

/* The same when the one that dials has crashed meanwhile, and has no map yet: its row knows better.
 */
Test(node_stores, who_has_just_joined_and_crashed_is_told_to_come_again)
{
    begin(3, 1);
    store_id_t fourth, fifth;
    join_while_another_is_away(&fourth, &fifth);
    nodes_run(&cluster, 1000);
    nodes_crash(&cluster, fourth);
    for (store_id_t store = 1; store <= 3; store++)
        nodes_cut(&cluster, store, true);
    nodes_cut(&cluster, fifth, false);
    nodes_start(&cluster, fourth);
    nodes_run(&cluster, 2500);
    cr_assert_eq(nodes_node(&cluster, fifth)->metrics.connections_rejected_count, 0);
    for (store_id_t store = 1; store <= 3; store++)
        nodes_cut(&cluster, store, false);
    nodes_run(&cluster, 2500);
    cr_expect_not_null(node_peer_find(nodes_node(&cluster, fifth)->node, fourth));
    end();
}

/* It forgot that it was taken, and the others dial it: they are to come again, nothing is wrong. */
Test(node_stores, who_still_joins_is_dialed_in_vain)
{
    begin(3, 1);
    store_id_t fourth = join_one();
    nodes_crash(&cluster, fourth);
    cluster.joins_nowhere = true;
    nodes_start(&cluster, fourth);
    nodes_run(&cluster, 3000);
    cr_expect(node_is_joining(nodes_node(&cluster, fourth)->node));
    cr_expect_eq(nodes_node(&cluster, fourth)->metrics.connections_rejected_count, 0);
    nodes_crash(&cluster, fourth);
    cluster.joins_nowhere = false;
    nodes_start(&cluster, fourth);
    run_until(is_even, fourth, "it does not get its share");
    end();
}

/* It has heard the cluster's name from a store, and another that joins knows less than that. */
Test(node_stores, one_that_joins_does_not_take_another_for_a_strange_cluster)
{
    begin(3, 1);
    nodes_crash(&cluster, 1);
    nodes_crash(&cluster, 2);
    cluster.joins_nowhere = true;
    nodes_join(&cluster);
    cluster.joins_nowhere = false;
    store_id_t fifth = nodes_join(&cluster);
    nodes_run(&cluster, 10000);
    cr_assert(nodes_node(&cluster, fifth)->is_up);
    nodes_start(&cluster, 1);
    nodes_start(&cluster, 2);
    run_until(is_in_map, fifth, "it does not join");
    end();
}

/* What leads to stores that have joined since it began is on its disk. */
Test(node_stores, a_store_that_crashes_knows_who_has_joined)
{
    begin(3, 1);
    store_id_t fourth = join_one();
    nodes_run(&cluster, 500);
    nodes_crash(&cluster, 1);
    nodes_cut(&cluster, 1, true); /* and hears of nobody */
    nodes_start(&cluster, 1);
    cr_expect_not_null(node_peer_find(nodes_node(&cluster, 1)->node, fourth));
    nodes_cut(&cluster, 1, false);
    end();
}

/* That row did not reach the disk, and those who could tell are away. The one that joined may be
 * needed for a quorum, and it is the other one that dials. */
Test(node_stores, a_store_that_is_not_known_introduces_itself)
{
    begin(3, 1);
    store_id_t fourth = join_one();
    nodes_run(&cluster, 500);
    nodes_crash(&cluster, 1);
    nodes_wipe(&cluster, 1);
    nodes_crash(&cluster, 2);
    nodes_crash(&cluster, 3);
    nodes_start(&cluster, 1);
    cr_assert_null(node_peer_find(nodes_node(&cluster, 1)->node, fourth));
    nodes_run(&cluster, 5000);
    const struct node_peer *peer = node_peer_find(nodes_node(&cluster, 1)->node, fourth);
    cr_assert_not_null(peer);
    cr_expect_neq(peer->connection_ids[CHANNEL_CONTROL], 0);
    cr_expect_neq(peer->connection_ids[CHANNEL_BULK], 0);
    cr_expect_eq(nodes_node(&cluster, 1)->metrics.connections_rejected_count, 0);
    nodes_start(&cluster, 2);
    nodes_start(&cluster, 3);
    cr_assert(nodes_run_until_true(&cluster, MS_MAX));
    end();
}

/* The other end of a connection lost its power, and this end has nothing to say on it. */
Test(node_stores, a_store_that_takes_another_for_connected_is_told)
{
    begin(3, 1);
    struct node *last = nodes_node(&cluster, 3)->node;
    struct node_peer *first = node_peer_find(last, 1);
    for (int channel = CHANNEL_CONTROL; channel <= CHANNEL_BULK; channel++)
        node_connection_closed(last, first->connection_ids[channel]);
    cr_assert_eq(first->connection_ids[CHANNEL_CONTROL], 0);
    nodes_run(&cluster, 4000);
    cr_expect_neq(first->connection_ids[CHANNEL_CONTROL], 0);
    cr_expect_neq(first->connection_ids[CHANNEL_BULK], 0);
    end();
}

/* Of those that it knows one is left, and that one does not lead; the others have joined while it
 * was away, and it is it that would have to dial them. */
Test(node_stores, a_store_that_was_away_for_long_finds_the_others)
{
    begin(3, 1);
    nodes_crash(&cluster, 2);
    store_id_t fourth = nodes_join(&cluster), fifth = nodes_join(&cluster);
    run_until(is_in_map, fourth, "it does not join");
    run_until(is_in_map, fifth, "it does not join");
    run_until(is_empty, 2, "it is not replaced");
    drain(3);
    run_until(is_empty, 3, "it does not get empty");
    cr_assert_eq(nodes_change_store(&cluster, OSTRAKA__STORE_CHANGE_KIND__REMOVE_STORE, 3), OST_OK,
                 "%s", cluster.why);
    nodes_run(&cluster, 500);
    nodes_crash(&cluster, 3);
    nodes_crash(&cluster, 1);
    cr_assert(nodes_run_until_led(&cluster, 0, MS_MAX));
    nodes_start(&cluster, 1);
    nodes_run(&cluster, 1000);
    cr_assert_neq(nodes_leader(&cluster, 0), 1);
    nodes_start(&cluster, 2);
    run_until(is_up, 2, "it stays dead");
    end();
}

/* It crashes at every step of its coming. */
Test(node_stores, a_store_that_crashes_while_it_joins_comes_again)
{
    for (uint32_t ms = 1; ms < 400; ms += ms < 40 ? 3 : 45) {
        begin(3, 1);
        store_id_t fourth = nodes_join(&cluster);
        nodes_run(&cluster, ms);
        nodes_crash(&cluster, fourth);
        nodes_run(&cluster, 300);
        nodes_start(&cluster, fourth);
        run_until(is_in_map, fourth, "it does not join");
        run_until(is_even, fourth, "it does not get its share");
        end();
    }
}

/* Number 3 with another disk, and number 9 of another cluster: one line, and the end. */
Test(node_stores, who_may_not_join_stops_with_a_reason)
{
    begin(3, 1);
    cluster.takes_fatal = true;
    store_id_t fourth = join_one();
    nodes_crash(&cluster, fourth);
    nodes_wipe(&cluster, fourth);
    nodes_start(&cluster, fourth);
    nodes_run(&cluster, 3000);
    cr_expect(strstr(nodes_node(&cluster, fourth)->node->fatal, "another disk"), "%s",
              nodes_node(&cluster, fourth)->node->fatal);
    nodes_crash(&cluster, fourth);
    nodes_wipe(&cluster, fourth);
    cluster.options.cluster_id ^= UINT64_C(1) << 40;
    nodes_start(&cluster, fourth);
    nodes_run(&cluster, 3000);
    cr_expect(strstr(nodes_node(&cluster, fourth)->node->fatal, "another cluster"), "%s",
              nodes_node(&cluster, fourth)->node->fatal);
    nodes_crash(&cluster, fourth);
    end();
}

/* Before the map lists it, it has no connection as a store, and nothing is made on it. */
Test(node_stores, a_store_that_the_map_does_not_list_is_refused)
{
    begin(4, 1);
    drain(4);
    run_until(is_empty, 4, "it does not get empty");
    nodes_cut(&cluster, 4, true); /* it does not hear that it is removed */
    cr_assert_eq(nodes_change_store(&cluster, OSTRAKA__STORE_CHANGE_KIND__REMOVE_STORE, 4), OST_OK,
                 "%s", cluster.why);
    nodes_run(&cluster, 500);
    nodes_cut(&cluster, 4, false);
    nodes_run(&cluster, 5000);
    for (store_id_t store = 1; store <= 3; store++)
        cr_expect_null(node_peer_find(nodes_node(&cluster, store)->node, 4));
    cr_expect_not(is_in_map(4));
    end();
}

Test(node_stores, what_is_under_way_is_told)
{
    begin(4, 4);
    run_until(is_even, 0, "it does not come to rest");
    drain(2);
    struct arena arena;
    arena_init(&arena);
    Ostraka__ProgressItem **items;
    size_t count;
    struct cluster_node *leader = nodes_node(&cluster, nodes_leader(&cluster, 0));
    master_stores_progress(leader->node->master, &arena, &items, &count);
    cr_assert_eq(count, 1);
    cr_expect_str_eq(items[0]->what, "drain");
    cr_expect_eq(items[0]->store, 2);
    cr_expect_geq(items[0]->whole_count, 3);
    run_until(is_empty, 2, "it does not get empty");
    leader = nodes_node(&cluster, nodes_leader(&cluster, 0));
    master_stores_progress(leader->node->master, &arena, &items, &count);
    cr_assert_eq(count, 1);
    cr_expect_eq(items[0]->done_count, items[0]->whole_count);
    cr_expect(strstr(items[0]->waits_for, "removal"), "%s", items[0]->waits_for);
    cr_assert_eq(nodes_change_store(&cluster, OSTRAKA__STORE_CHANGE_KIND__UNDRAIN_STORE, 2), OST_OK,
                 "%s", cluster.why);
    run_until(is_up, 2, "it drains on");
    run_until(is_even, 2, "it does not get its share again");
    leader = nodes_node(&cluster, nodes_leader(&cluster, 0));
    master_stores_progress(leader->node->master, &arena, &items, &count);
    cr_expect_eq(count, 0);

    store_id_t fifth = nodes_join(&cluster);
    for (uint32_t ms = 0; count == 0 && ms < 5000; ms++) {
        nodes_step(&cluster);
        leader = nodes_node(&cluster, nodes_leader(&cluster, 0));
        arena_reset(&arena);
        master_stores_progress(leader->node->master, &arena, &items, &count);
    }
    cr_assert_eq(count, 1);
    cr_expect_str_eq(items[0]->what, "join");
    cr_expect_eq(items[0]->store, fifth);
    cr_expect_eq(items[0]->whole_count, 3);
    arena_fini(&arena);
    end();
}

static void hand_over_master(void)
{
    store_id_t leader = nodes_leader(&cluster, 0);
    cr_assert_eq(raft_host_transfer(nodes_node(&cluster, leader)->node->raft, 0, 0, cluster.now_ns),
                 OST_OK);
    store_id_t next = leader;
    for (uint32_t ms = 0; ms < 2000 && (next == leader || next == 0); ms++) {
        nodes_step(&cluster);
        next = nodes_leader(&cluster, 0);
    }
    cr_assert(next != leader && next != 0);
}

static size_t changing_count(void)
{
    size_t count = 0;
    for (group_id_t group = 0; group <= nodes_map(&cluster)->n_groups; group++)
        count += master_group_is_changing(nodes_group(&cluster, group));
    return count;
}

/* One store has not reported to it: it may be about to, and then it may be the best place. */
Test(node_stores, a_new_leader_listens_before_it_moves_anything)
{
    begin(5, 4);
    run_until(is_even, 0, "it does not come to rest");
    hand_over_master();
    store_id_t leader = nodes_leader(&cluster, 0);
    store_id_t silent = leader == 5 ? 4 : 5, drained = leader == 1 ? 2 : 1;
    nodes_cut(&cluster, silent, true);
    hand_over_master();
    if (nodes_leader(&cluster, 0) == drained)
        hand_over_master();
    drain(drained);
    for (uint32_t ms = 0; ms < 3000; ms++) {
        nodes_step(&cluster);
        cr_assert_eq(changing_count(), 0, "after %u ms", ms);
    }
    run_until(is_empty, drained, "it does not get empty");
    cr_expect_eq(info(silent)->state, MASTER_STORE_UP);
    nodes_cut(&cluster, silent, false);
    end();
}

/* The time of silence is measured by who leads, from when it began to lead. */
Test(node_stores, a_new_leader_counts_the_silence_anew)
{
    begin(4, 2);
    store_id_t silent = nodes_leader(&cluster, 0) == 4 ? 3 : 4;
    nodes_crash(&cluster, silent);
    nodes_run(&cluster, 6000);
    hand_over_master();
    nodes_run(&cluster, 5000);
    cr_expect_eq(info(silent)->state, MASTER_STORE_UP);
    run_until(is_empty, silent, "it is not replaced");
    end();
}
