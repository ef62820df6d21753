#include "tests/support/master_world.h"

#include "base/random.h"
#include "shardmaster/master_map.h"
#include "shardmaster/master_replicas.h"

#include <criterion/criterion.h>

/* --- timestamps --- */

Test(master, answers_a_row_of_timestamps_each)
{
    struct master_world world;
    master_world_begin(&world, 1);
    struct master_store *leader = master_world_run_until_led(&world);
    master_world_run(&world, 10);
    master_world_ask(&world, leader, 10);
    master_world_ask(&world, leader, 1);
    cr_expect_eq(world.answers_count, 0, "never before a round of reads");
    master_world_run(&world, 2);
    cr_assert_eq(world.ok_count, 2);
    cr_expect_eq(raft_host_heard_timestamp(leader->host), world.highest);
    timestamp_t second = world.last.timestamp;
    master_world_ask(&world, leader, 1);
    master_world_run(&world, 5);
    cr_expect_gt(world.last.timestamp, second);
    cr_expect_geq(timestamp_to_ms(second), MASTER_WORLD_WALL_MS);
    master_world_end(&world);
}

Test(master, refuses_what_it_cannot_serve)
{
    struct master_world world;
    master_world_begin(&world, 3);
    struct master_store *leader = master_world_run_until_led(&world);
    master_world_run(&world, 100);
    struct master_store *follower = &world.stores[leader->id % 3];
    master_world_ask(&world, follower, 1);
    cr_assert_eq(world.answers_count, 1, "at once");
    cr_expect_eq(world.last.status, OST_NOT_LEADER);
    cr_expect_eq(world.last.leader_store, leader->id, "with a hint");
    master_world_ask(&world, leader, 0);
    cr_expect_eq(world.last.status, OST_INVALID_ARGUMENT);
    master_world_ask(&world, leader, UINT32_MAX);
    cr_expect_eq(world.last.status, OST_INVALID_ARGUMENT);
    for (int count = 0; count < 65536; count++)
        master_world_ask(&world, leader, 1);
    cr_expect_eq(world.answers_count, 3);
    master_world_ask(&world, leader, 1);
    cr_expect_eq(world.last.status, OST_BUSY);
    master_world_run(&world, 10);
    cr_expect_eq(world.ok_count, 65536);

    struct frame bad = {.type = FRAME_TIMESTAMP, .message = bytes_of_string("\xff\xff")};
    cr_expect_eq(master_receive(leader->master, 5, &bad, world.now_ns, MASTER_WORLD_WALL_MS),
                 OST_PROTOCOL);
    bad.type = FRAME_STORE_REPORT;
    cr_expect_eq(master_receive(leader->master, 5, &bad, world.now_ns, MASTER_WORLD_WALL_MS),
                 OST_PROTOCOL);
    master_world_end(&world);
}

Test(master, a_leader_that_is_cut_off_hands_out_nothing)
{
    struct master_world world;
    master_world_begin(&world, 3);
    struct master_store *old = master_world_run_until_led(&world);
    master_world_run(&world, 100);
    master_world_ask(&world, old, 1);
    master_world_run(&world, 10);
    cr_assert_eq(world.ok_count, 1);
    old->is_cut = true;
    struct raft_leadership leadership = {.role = RAFT_LEADER};
    for (int ms = 0; ms < 5000 && leadership.role == RAFT_LEADER; ms++) {
        master_world_ask(&world, old, 1);
        master_world_step(&world);
        cr_assert_eq(raft_host_leadership(old->host, SHARD_MASTER_GROUP, &leadership), OST_OK);
    }
    cr_assert_neq(leadership.role, RAFT_LEADER);
    cr_expect_eq(world.answers_count, world.asked_count, "everybody is told at once");
    cr_expect_eq(world.last.status, OST_NOT_LEADER);
    master_world_run(&world, 1100);
    cr_expect_eq(world.ok_count, 1, "O2: no answer without its followers");
    struct master_store *next = master_world_run_until_led(&world);
    cr_assert_neq(next, old);
    master_world_ask(&world, next, 1);
    master_world_run(&world, 10);
    cr_expect_eq(world.ok_count, 2);
    master_world_end(&world);
}

Test(master, one_that_waits_too_long_is_told_so)
{
    struct master_world world;
    master_world_begin(&world, 1);
    struct master_store *leader = master_world_run_until_led(&world);
    master_world_run(&world, 10);
    /* More than a second's worth of them, twice over. */
    for (int count = 0; count < 3000; count++)
        master_world_ask(&world, leader, 1u << TIMESTAMP_COUNTER_BITS);
    master_world_run(&world, 5);
    cr_expect_gt(world.ok_count, 900);
    cr_expect_lt(world.ok_count, 1010);
    master_world_run(&world, 990);
    cr_expect_eq(world.answers_count, world.ok_count);
    cr_expect_lt(world.ok_count, 2100);
    master_world_run(&world, 20);
    cr_expect_eq(world.answers_count, 3000);
    cr_expect_eq(world.last.status, OST_NOT_READY);
    master_world_end(&world);
}

Test(master, timestamps_are_ordered_and_unique_over_crashes_partitions_and_clock_jumps)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct master_world world;
        master_world_begin(&world, 3);
        struct random random;
        random_init(&random, seed);
        for (int ms = 0; ms < 20000; ms++) {
            struct master_store *store = &world.stores[random_below(&random, 3)];
            if (store->is_up && random_below(&random, 3) == 0)
                master_world_ask(&world, store, 1 + (uint32_t)random_below(&random, 5));
            if (random_below(&random, 1000) == 0)
                world.wall_off_ms = (int64_t)random_below(&random, 20000);
            if (random_below(&random, 300) == 0 && store->is_up)
                master_store_flush(store);
            if (random_below(&random, 1500) == 0) {
                struct master_store *leader = master_world_leader(&world);
                if (leader && !leader->is_cut)
                    leader->is_cut = true;
            }
            if (random_below(&random, 1500) == 0 && master_world_leader(&world))
                master_store_crash(&world, master_world_leader(&world)->id - 1);
            if (random_below(&random, 200) == 0)
                store->is_cut = false;
            if (random_below(&random, 200) == 0 && !store->is_up)
                master_store_start(&world, store->id - 1);
            master_world_step(&world);
        }
        master_world_check_unique(&world);
        cr_expect_gt(world.ok_count, 900, "seed %lu served %zu", seed, world.ok_count);
        master_world_end(&world);
    }
}

/* --- the map --- */

/* What a group's leader answers to AssignRange: of all its ranges. */
static void report_ranges(struct master_world *world, struct master_store *leader, group_id_t group,
                          raft_term_t term, const Ostraka__Map *map)
{
    for (size_t place = 0; place < map->n_ranges; place++) {
        const Ostraka__RangeInfo *range = map->ranges[place];
        if (range->group != group)
            continue;
        Ostraka__RangeFact fact = OSTRAKA__RANGE_FACT__INIT;
        Ostraka__RangeFact *facts[] = {&fact};
        fact.start = range->start;
        fact.end = range->end;
        fact.epoch = range->epoch;
        fact.state = OSTRAKA__RANGE_STATE__RANGE_OWNED;
        Ostraka__RangeReport message = OSTRAKA__RANGE_REPORT__INIT;
        message.group = group;
        message.term = term;
        message.ranges = facts;
        message.n_ranges = 1;
        cr_assert_eq(master_world_send(world, leader, FRAME_RANGE_REPORT, 0, &message.base),
                     OST_OK);
    }
}

/* What a store says: the replicas it has, and, when it leads a group, its ranges. */
static void report(struct master_world *world, struct master_store *leader, store_id_t store,
                   uint64_t map_epoch, const group_id_t *groups, size_t groups_count,
                   group_id_t leads_group, raft_term_t term, const Ostraka__Map *map)
{
    Ostraka__ReplicaReport replicas[4];
    Ostraka__ReplicaReport *pointers[4];
    for (size_t index = 0; index < groups_count; index++) {
        ostraka__replica_report__init(&replicas[index]);
        const Ostraka__GroupInfo *group = master_map_group(map, groups[index]);
        replicas[index].group = groups[index];
        for (size_t place = 0; place < group->n_replicas; place++)
            if (group->replicas[place]->store == store)
                replicas[index].replica = group->replicas[place]->replica;
        replicas[index].term = term;
        replicas[index].leads = groups[index] == leads_group;
        pointers[index] = &replicas[index];
    }
    Ostraka__StoreReport message = OSTRAKA__STORE_REPORT__INIT;
    message.store = store;
    message.address = "here:7100";
    message.map_epoch = map_epoch;
    message.incarnation = master_world_incarnation(store);
    message.replicas = pointers;
    message.n_replicas = groups_count;
    cr_assert_eq(master_world_send(world, leader, FRAME_STORE_REPORT, 0, &message.base), OST_OK);
    if (leads_group != 0)
        report_ranges(world, leader, leads_group, term, map);
}

Test(master, the_map_comes_true_step_by_step)
{
    struct master_world world;
    master_world_begin(&world, 1);
    struct master_store *leader = master_world_run_until_led(&world);
    master_world_run(&world, 200);
    cr_assert_gt(world.pushes_count[0], 0, "the first map is pushed");
    cr_expect_eq(world.pushed[0]->epoch, 1);
    cr_expect_eq(world.pushed[0]->cluster_id, 77);
    cr_expect_eq(world.creates_count, 0, "nothing is created before the store has spoken");

    report(&world, leader, 1, 1, NULL, 0, 0, 0, world.pushed[0]);
    master_world_run(&world, 100);
    cr_assert_eq(world.creates_count, 2);
    cr_expect_eq(world.created->group, 2);
    cr_expect_eq(world.created->group_epoch, 1);
    cr_assert_eq(world.created->configuration->n_members, 1);
    cr_expect_eq(world.created->configuration->members[0]->replica, world.created->replica);
    cr_expect(world.created->configuration->members[0]->voter_old &&
              world.created->configuration->members[0]->voter_new);
    master_world_run(&world, 600);
    cr_expect_eq(world.creates_count, 4, "again, until the report has them");

    const group_id_t both[] = {1, 2};
    report(&world, leader, 1, 1, both, 2, 0, 1, world.pushed[0]);
    master_world_run(&world, 600);
    cr_expect_eq(world.creates_count, 4);
    cr_expect_gt(world.assigns_count, 0);

    /* Group 1 says that it owns its two ranges. */
    size_t pushes_count = world.pushes_count[0];
    report(&world, leader, 1, 1, both, 2, 1, 3, world.pushed[0]);
    report(&world, leader, 1, 1, both, 2, 1, 3, world.pushed[0]);
    master_world_run(&world, 200);
    cr_expect_gt(world.pushes_count[0], pushes_count);
    const Ostraka__Map *map = world.pushed[0];
    cr_expect_eq(map->epoch, 4, "the disk, and each assignment once");
    cr_expect(map->ranges[0]->assigned && map->ranges[2]->assigned);
    cr_expect_not(map->ranges[1]->assigned);
    cr_expect_eq(map->groups[0]->leader_store, 1);
    cr_expect_eq(map->groups[0]->leader_term, 3);
    cr_expect_eq(map->groups[1]->leader_store, 0);
    master_world_run(&world, 600);
    cr_expect_eq(world.assigned->group, 2, "only what is not yet true is asked for");

    report(&world, leader, 1, 4, both, 2, 2, 3, world.pushed[0]);
    master_world_run(&world, 600);
    size_t assigns_count = world.assigns_count;
    cr_expect_eq(world.pushed[0]->epoch, 5);
    master_world_run(&world, 2000);
    cr_expect_eq(world.assigns_count, assigns_count);
    cr_expect_eq(world.creates_count, 4);
    master_world_end(&world);
}

/* Store 1 leads group 1 with all of its first voters; store 3 has its replica, or not yet, or is
 * not heard of. */
enum third { THIRD_IS_MADE, THIRD_IS_EMPTY, THIRD_IS_SILENT };

static bool is_changing_after_reports(struct master_world *world, struct master_store *leader,
                                      enum third third)
{
    const Ostraka__GroupInfo *group = master_map_group(world->pushed[0], 1);
    Ostraka__RaftConfiguration__Member members[3];
    Ostraka__RaftConfiguration__Member *pointers[3];
    Ostraka__RaftConfiguration configuration = OSTRAKA__RAFT_CONFIGURATION__INIT;
    for (size_t place = 0; place < group->n_replicas; place++) {
        ostraka__raft_configuration__member__init(&members[place]);
        members[place].replica = group->replicas[place]->replica;
        members[place].store = group->replicas[place]->store;
        members[place].voter_old = members[place].voter_new = true;
        pointers[configuration.n_members++] = &members[place];
    }
    configuration.members = pointers;
    configuration.epoch = 1;
    for (store_id_t store = third == THIRD_IS_SILENT ? 2 : 3; store >= 1; store--) {
        Ostraka__ReplicaReport replica = OSTRAKA__REPLICA_REPORT__INIT;
        Ostraka__ReplicaReport *replicas[] = {&replica};
        replica.group = 1;
        replica.replica = master_group_replica_on(group, store)->replica;
        replica.leads = store == 1;
        replica.term = 1;
        replica.configuration = store == 1 ? &configuration : NULL;
        replica.configuration_committed = store == 1;
        Ostraka__StoreReport message = OSTRAKA__STORE_REPORT__INIT;
        message.store = store;
        message.address = "here:7100";
        message.incarnation = master_world_incarnation(store);
        message.replicas = replicas;
        message.n_replicas = store != 3 || third == THIRD_IS_MADE;
        cr_assert_eq(master_world_send(world, leader, FRAME_STORE_REPORT, 0, &message.base),
                     OST_OK);
    }
    master_world_run(world, 2000);
    return master_group_is_changing(master_map_group(world->pushed[0], 1));
}

Test(master, a_group_has_begun_when_each_of_its_first_replicas_is_made)
{
    struct master_world world;
    master_world_begin(&world, 3);
    struct master_store *leader = master_world_run_until_led(&world);
    master_world_run(&world, 200);
    cr_assert_gt(world.pushes_count[0], 0);
    cr_expect(is_changing_after_reports(&world, leader, THIRD_IS_EMPTY),
              "two of three go on without it");
    cr_expect(is_changing_after_reports(&world, leader, THIRD_IS_EMPTY));
    cr_expect_not(is_changing_after_reports(&world, leader, THIRD_IS_MADE));
    master_world_end(&world);
}

/* Else it would begin for ever, and its replicas could never be changed. */
Test(master, a_group_begins_without_a_replica_on_a_store_that_is_gone)
{
    struct master_world world;
    master_world_begin(&world, 3);
    world.options.dead_after_ms = 5000;
    for (size_t place = 0; place < 3; place++) {
        master_store_crash(&world, place);
        master_store_start(&world, place);
    }
    struct master_store *leader = master_world_run_until_led(&world);
    master_world_run(&world, 200);
    cr_expect(is_changing_after_reports(&world, leader, THIRD_IS_EMPTY));
    cr_expect(is_changing_after_reports(&world, leader, THIRD_IS_SILENT), "it may come yet");
    for (uint32_t round = 0; round < 3; round++)
        is_changing_after_reports(&world, leader, THIRD_IS_SILENT);
    const Ostraka__GroupInfo *group = master_map_group(world.pushed[0], 1);
    cr_expect_eq(master_map_store(world.pushed[0], 3)->state, MASTER_STORE_DEAD);
    cr_expect_eq(group->epoch, 2);
    cr_expect_null(master_group_replica_on(group, 3));
    master_world_end(&world);
}

Test(master, hints_follow_the_highest_term_and_old_maps_are_replaced)
{
    struct master_world world;
    master_world_begin(&world, 3);
    struct master_store *leader = master_world_run_until_led(&world);
    master_world_run(&world, 200);
    const group_id_t one[] = {1};
    const Ostraka__Map *map = world.pushed[0];
    report(&world, leader, 1, 1, one, 1, 1, 5, map);
    report(&world, leader, 2, 1, one, 1, 1, 4, map);
    report(&world, leader, 3, 1, NULL, 0, 0, 0, map);
    master_world_run(&world, 100);
    cr_expect_eq(world.pushed[2]->groups[0]->leader_store, 1);
    report(&world, leader, 2, 1, one, 1, 1, 6, map);
    size_t pushes_count = world.pushes_count[2];
    master_world_run(&world, 100);
    cr_expect_eq(world.pushed[2]->groups[0]->leader_store, 2);
    cr_expect_eq(world.pushes_count[2], pushes_count + 1);
    /* Nothing new: nothing is pushed; but one that has an old map gets it. */
    pushes_count = world.pushes_count[2];
    uint64_t epoch = world.pushed[2]->epoch;
    report(&world, leader, 2, epoch, one, 1, 1, 6, map);
    master_world_run(&world, 100);
    cr_expect_eq(world.pushes_count[2], pushes_count);
    size_t others_count = world.pushes_count[1];
    report(&world, leader, 3, 0, NULL, 0, 0, 0, map);
    master_world_run(&world, 10);
    cr_expect_eq(world.pushes_count[2], pushes_count + 1);
    cr_expect_eq(world.pushes_count[1], others_count, "and no other");
    /* A store that is none of ours is not heard. */
    Ostraka__StoreReport stranger = OSTRAKA__STORE_REPORT__INIT;
    stranger.store = 9;
    cr_expect_eq(master_world_send(&world, leader, FRAME_STORE_REPORT, 0, &stranger.base), OST_OK);
    master_world_run(&world, 100);
    master_world_end(&world);
}

Test(master, the_state_survives_crashes_of_all_stores)
{
    struct master_world world;
    master_world_begin(&world, 3);
    struct master_store *leader = master_world_run_until_led(&world);
    master_world_run(&world, 200);
    const group_id_t one[] = {1};
    report(&world, leader, 1, 1, one, 1, 1, 5, world.pushed[0]);
    master_world_run(&world, 200);
    uint64_t epoch = world.pushed[0]->epoch;
    cr_assert_eq(epoch, 4);
    master_world_ask(&world, leader, 1);
    master_world_run(&world, 20);
    for (size_t place = 0; place < 3; place++) {
        if (place == 1) /* one had flushed its rows, the others have their logs alone */
            master_store_flush(&world.stores[place]);
        master_store_crash(&world, place);
    }
    world.packets_count = 0;
    for (size_t place = 0; place < 3; place++)
        master_store_start(&world, place);
    leader = master_world_run_until_led(&world);
    master_world_run(&world, 6000);
    cr_expect_eq(world.pushed[0]->epoch, epoch);
    cr_expect(world.pushed[0]->ranges[0]->assigned);
    cr_expect_eq(world.pushed[0]->groups[0]->leader_store, 0, "hints are not kept");
    master_world_ask(&world, master_world_leader(&world),
                     1); /* keep_answer checks that it is above the earlier one */
    master_world_run(&world, 20);
    cr_expect_eq(world.ok_count, 2);
    master_world_end(&world);
}

/* --- rows, flushed index, snapshots --- */

static const Ostraka__Map *map_of_rows(struct master_world *world, struct master_store *store)
{
    struct master_row_kept *row = master_store_row(store, bytes_of_string("map"));
    return (Ostraka__Map *)message_unpack(&ostraka__map__descriptor, buffer_bytes(&row->written),
                                          &world->arena);
}

Test(master, rows_alone_bring_the_state_back)
{
    struct master_world world;
    master_world_begin(&world, 1);
    struct master_store *leader = master_world_run_until_led(&world);
    master_world_run(&world, 200);
    const group_id_t both[] = {1, 2};
    report(&world, leader, 1, 1, both, 2, 1, 5, world.pushed[0]);
    master_world_run(&world, 200);
    cr_assert_eq(world.pushed[0]->groups[0]->leader_store, 1);
    report(&world, leader, 1, 4, both, 2, 2, 6, world.pushed[0]);
    master_world_run(&world, 3000);
    master_world_ask(&world, leader, 1);
    master_world_run(&world, 12000);
    cr_expect_eq(map_of_rows(&world, leader)->epoch, 5);
    cr_expect_eq(map_of_rows(&world, leader)->groups[0]->leader_store, 0, "a belief is no state");
    /* The clock goes back, so that nothing but the ceiling keeps timestamps in order. */
    master_store_flush(leader);
    master_store_crash(&world, 0);
    world.wall_off_ms = -100000;
    master_store_start(&world, 0);
    leader = master_world_run_until_led(&world);
    master_world_ask(&world, leader, 1);
    master_world_run(&world, 6000);
    cr_expect_eq(world.ok_count, 2);
    cr_expect_eq(world.pushed[0]->epoch, 5);
    master_world_end(&world);
}

Test(master, only_the_first_bootstrap_counts)
{
    struct master_world world;
    master_world_begin(&world, 1);
    struct master_store *leader = master_world_run_until_led(&world);
    master_world_run(&world, 200);
    const group_id_t one[] = {1};
    report(&world, leader, 1, 1, one, 1, 1, 5, world.pushed[0]);
    master_world_run(&world, 200);
    Ostraka__MasterCommand__Bootstrap bootstrap = OSTRAKA__MASTER_COMMAND__BOOTSTRAP__INIT;
    const Ostraka__Map *map = master_bootstrap_map(&world.options, &world.arena);
    bootstrap.cluster_id = map->cluster_id;
    bootstrap.n_stores = map->n_stores;
    bootstrap.stores = map->stores;
    bootstrap.n_groups = map->n_groups;
    bootstrap.groups = map->groups;
    bootstrap.n_ranges = map->n_ranges;
    bootstrap.ranges = map->ranges;
    bootstrap.master = map->master;
    bootstrap.next_replica = map->next_replica;
    Ostraka__MasterCommand command = OSTRAKA__MASTER_COMMAND__INIT;
    command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_BOOTSTRAP;
    command.bootstrap = &bootstrap;
    struct blob *payload = blob_new(ostraka__master_command__get_packed_size(&command));
    ostraka__master_command__pack(&command, payload->data);
    raft_index_t index;
    raft_term_t term;
    cr_assert_eq(raft_host_propose(leader->host, SHARD_MASTER_GROUP, RAFT_ENTRY_COMMAND, payload,
                                   world.now_ns, &index, &term),
                 OST_OK);
    blob_unref(payload);
    master_world_run(&world, 600); /* the row of a map that changes is written twice a second */
    cr_expect_eq(map_of_rows(&world, leader)->epoch, 4);
    master_world_end(&world);
}

Test(master, a_stalled_store_delays_the_rows_alone)
{
    struct master_world world;
    master_world_begin(&world, 1);
    struct master_store *leader = master_world_run_until_led(&world);
    leader->rows_are_busy = true;
    struct master_rows rows = master_store_rows(leader);
    master_world_run(&world, 2000);
    master_store_flush(leader);
    raft_index_t before;
    cr_assert_eq(master_read_flushed_index(&rows, &before), OST_OK);
    for (int ms = 0; ms < 1000; ms++) {
        master_world_ask(&world, leader, 1);
        master_world_step(&world);
    }
    master_world_run(&world, 5);
    cr_expect_eq(world.ok_count, 1000);
    master_world_run(&world, 12000); /* nothing is applied any more */
    leader->rows_are_busy = false;
    master_world_run(&world, 2);
    master_store_flush(leader);
    raft_index_t after;
    cr_assert_eq(master_read_flushed_index(&rows, &after), OST_OK);
    cr_expect_gt(after, before);
    Ostraka__GroupStatus *status;
    master_status(leader->master, &world.arena, &status);
    cr_expect_eq(status->applied_index, after);
    cr_expect(status->ready);
    master_set_flushed_index(leader->master, after);
    master_set_flushed_index(leader->master, after - 1);
    master_status(leader->master, &world.arena, &status);
    cr_expect_eq(status->flushed_index, after, "never back");
    master_world_end(&world);
}

Test(master, one_that_was_away_for_long_gets_a_snapshot)
{
    struct master_world world;
    master_world_begin(&world, 3);
    struct master_store *leader = master_world_run_until_led(&world);
    master_world_run(&world, 200);
    size_t away = leader->id % 3;
    master_store_crash(&world, away);
    const group_id_t one[] = {1};
    report(&world, leader, leader->id, 1, one, 1, 1, 5, world.pushed[0]);
    for (int second = 0; second < 30; second++) {
        if (second < 15) /* then the ceiling stays where it is */
            master_world_ask(&world, leader, 1);
        master_world_run(&world, 1000);
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
    cr_assert_eq(master_world_leader(&world), leader);
    struct raft_status status;
    cr_assert_eq(raft_host_group_status(leader->host, SHARD_MASTER_GROUP, &status), OST_OK);
    cr_assert_gt(status.first_index, 10, "the log was cut");
    struct master_store *back = &world.stores[away];
    master_store_start(&world, away);
    master_world_run(&world, 2000);
    cr_expect_eq(master_store_applied_index(&world, back),
                 master_store_applied_index(&world, leader));

    /* It leads, and nothing but the ceiling it was given keeps timestamps in order. */
    world.wall_off_ms = -100000;
    cr_assert_eq(raft_host_transfer(leader->host, SHARD_MASTER_GROUP, away + 1, world.now_ns),
                 OST_OK);
    for (int ms = 0; ms < 5000 && master_world_leader(&world) != back; ms++)
        master_world_step(&world);
    cr_assert_eq(master_world_leader(&world), back);
    size_t ok_count = world.ok_count;
    master_world_ask(&world, back, 1);
    master_world_run(&world, 6000);
    cr_expect_eq(world.ok_count, ok_count + 1);
    cr_expect_eq(world.pushed[0]->epoch, 4);
    cr_expect(world.pushed[0]->ranges[0]->assigned);

    /* What it was given is durable: it stands after a crash (the log begins behind it). */
    master_store_crash(&world, away);
    master_store_start(&world, away);
    master_world_run(&world, 3000);
    cr_expect_eq(master_store_applied_index(&world, back),
                 master_store_applied_index(&world, master_world_run_until_led(&world)));
    master_world_end(&world);
}

Test(master, options_that_make_no_map_are_refused)
{
    struct master_world world;
    master_world_begin(&world, 1);
    char why[256] = "";
    struct master_options options = world.options;
    options.store_id = 1;
    struct bytes disordered[] = {bytes_of_string("p"), bytes_of_string("g")};
    options.initial_splits = disordered;
    cr_expect_eq(master_options_check(&options, why), OST_INVALID_ARGUMENT);
    cr_expect_neq(why[0], '\0');
    master_world_end(&world);
}
