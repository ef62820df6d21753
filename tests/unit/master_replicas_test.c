/* Which replicas a group is to have: what is asked, what is committed, what comes next. */
#include "shardmaster/master_replicas.h"

#include "shardmaster/master.h"
#include "shardmaster/master_map.h"

#include <criterion/criterion.h>
#include <string.h>

static struct arena arena;
static Ostraka__Map *map;
static char why[MASTER_WHY_BYTES];

/* Five stores, one group on 1, 2 and 3 with the numbers 4, 5 and 6. */
static void setup(void)
{
    static Ostraka__StoreInfo stores[5];
    arena_init(&arena);
    for (size_t index = 0; index < 5; index++) {
        ostraka__store_info__init(&stores[index]);
        stores[index].id = 1 + index;
        stores[index].address = "host:7100";
        stores[index].incarnation = 100 + index;
        stores[index].state = MASTER_STORE_UP;
    }
    struct master_options options = {.store_id = 1,
                                     .cluster_id = 99,
                                     .initial_stores = stores,
                                     .initial_stores_count = 3,
                                     .initial_groups_count = 1,
                                     .initial_replicas_count = 3};
    const Ostraka__Map *made = master_bootstrap_map(&options, &arena);
    map = master_map_copy(made, &arena);
    Ostraka__StoreInfo **all = arena_alloc(&arena, 5 * sizeof(all[0]));
    for (size_t index = 0; index < 5; index++)
        all[index] = &stores[index];
    map->stores = all;
    map->n_stores = 5;
    cr_assert(master_replicas_settled(map, 1, 1));
}

static void teardown(void)
{
    const char *fault = NULL;
    cr_expect_eq(master_map_check(map, &fault), OST_OK, "%s", fault);
    arena_fini(&arena);
}

TestSuite(master_replicas, .init = setup, .fini = teardown);

static Ostraka__GroupInfo *group(void)
{
    return master_map_group(map, 1);
}

static int ask_at(uint64_t epoch, store_id_t add, store_id_t remove,
                  Ostraka__MasterCommand__ReplicasWanted *out_command)
{
    Ostraka__ChangeReplicas request = OSTRAKA__CHANGE_REPLICAS__INIT;
    request.group = 1;
    request.group_epoch = epoch;
    request.add_store = add;
    request.remove_store = remove;
    why[0] = '\0';
    return master_replicas_check(map, &request, out_command, why);
}

static int ask(store_id_t add, store_id_t remove)
{
    Ostraka__MasterCommand__ReplicasWanted command;
    return ask_at(group()->epoch, add, remove, &command);
}

/* Asked, and committed. */
static void change(store_id_t add, store_id_t remove)
{
    Ostraka__MasterCommand__ReplicasWanted command;
    cr_assert_eq(ask_at(group()->epoch, add, remove, &command), OST_OK, "%s", why);
    cr_assert(master_replicas_wanted(map, &command, &arena));
}

static void settle(void)
{
    cr_assert(master_replicas_settled(map, 1, group()->epoch));
}

static enum master_replica_role role_of(replica_id_t replica)
{
    const Ostraka__ReplicaInfo *info = master_group_replica(group(), replica);
    cr_assert(info);
    return (enum master_replica_role)info->role;
}

/* Whoever is made after a change begins with nothing: all of them, and nobody would ever lead. */
Test(master_replicas, the_first_ones_stay_until_one_leads)
{
    for (replica_id_t replica = 4; replica <= 6; replica++)
        master_group_replica(group(), replica)->role = MASTER_REPLICA_JOINING;
    cr_assert(master_group_is_beginning(group()));
    cr_expect_eq(ask(4, 0), OST_CONFLICT);
    cr_expect_eq(ask(0, 3), OST_CONFLICT);
    Ostraka__MasterCommand__ReplicasWanted command = OSTRAKA__MASTER_COMMAND__REPLICAS_WANTED__INIT;
    command.group = 1;
    command.group_epoch = 1;
    command.remove_replica = 6;
    cr_expect_not(master_replicas_wanted(map, &command, &arena));
    cr_assert(master_replica_lost(map, 1, 6));
    cr_expect_not(master_replicas_replace(map, group(), &command));
    settle();
    cr_expect_not(master_group_is_beginning(group()));
    cr_expect(master_replicas_replace(map, group(), &command));
    cr_expect(master_replicas_wanted(map, &command, &arena));
}

/* Nobody knows whether it was made, and nobody may ever. */
Test(master_replicas, a_group_begins_without_one_on_a_store_that_is_gone)
{
    for (replica_id_t replica = 4; replica <= 6; replica++)
        master_group_replica(group(), replica)->role = MASTER_REPLICA_JOINING;
    Ostraka__MasterCommand__ReplicasWanted command = OSTRAKA__MASTER_COMMAND__REPLICAS_WANTED__INIT;
    command.group = 1;
    command.group_epoch = 1;
    command.remove_replica = 6;
    cr_expect_not(master_replicas_wanted(map, &command, &arena), "it may come yet");
    master_map_store(map, 3)->state = MASTER_STORE_DEAD;
    command.add_store = 4;
    cr_expect_not(master_replicas_wanted(map, &command, &arena), "nobody begins later");
    command.add_store = 0;
    cr_expect_eq(ask(0, 3), OST_CONFLICT, "who asks does not know who else is made");
    cr_assert(master_replicas_wanted(map, &command, &arena));
    cr_expect_not(master_group_is_beginning(group()));
    cr_expect_eq(role_of(6), MASTER_REPLICA_LEAVING, "and is not made any more");
    settle();
    cr_expect_eq(group()->n_replicas, 2);
    change(4, 0);
}

static void leave_only_the_first(void)
{
    change(0, 2);
    settle();
    change(0, 3);
    settle();
}

/* The one that was there before counts again: the group does not end. */
Test(master_replicas, a_move_of_the_only_replica_is_called_off)
{
    leave_only_the_first();
    change(4, 1);
    cr_assert_eq(role_of(4), MASTER_REPLICA_LEAVING);
    change(0, 4);
    cr_expect_eq(role_of(4), MASTER_REPLICA_JOINING);
    settle();
    cr_expect_eq(group()->n_replicas, 1);
    cr_expect_eq(ask(0, 1), OST_CONFLICT, "it is the last one");
}

/* Its store was not heard, and the group has moved all the same; the other store is gone now. */
Test(master_replicas, the_only_one_that_votes_may_come_back_from_being_called_off)
{
    leave_only_the_first();
    change(4, 1);
    change(0, 4);
    change(0, 1);
    cr_expect_eq(role_of(7), MASTER_REPLICA_JOINING);
    cr_expect_eq(role_of(4), MASTER_REPLICA_LEAVING);
    settle();
    cr_expect_eq(group()->n_replicas, 1);
}

/* With others there, each of the two would come back whenever the other is called off. */
Test(master_replicas, who_is_called_off_does_not_come_back_for_an_older_one)
{
    change(4, 1);
    change(0, 4);
    change(0, 1);
    cr_expect_eq(role_of(4), MASTER_REPLICA_LEAVING);
    cr_expect_eq(role_of(7), MASTER_REPLICA_LEAVING);
    settle();
    cr_expect_eq(group()->n_replicas, 2);
}

Test(master_replicas, one_joins_and_is_settled)
{
    uint64_t map_epoch = map->epoch;
    change(4, 0);
    cr_expect_eq(group()->epoch, 2);
    cr_expect_gt(map->epoch, map_epoch);
    cr_expect_eq(role_of(7), MASTER_REPLICA_JOINING);
    cr_expect_eq(map->next_replica, 8);
    cr_expect(master_group_is_changing(group()));
    settle();
    cr_expect_eq(role_of(7), MASTER_REPLICA_VOTER);
    cr_expect_eq(group()->epoch, 2, "the wish is the same");
    cr_expect_not(master_group_is_changing(group()));
}

Test(master_replicas, a_number_is_given_once)
{
    change(0, 3);
    cr_expect_eq(role_of(6), MASTER_REPLICA_LEAVING);
    settle();
    cr_expect_null(master_group_replica(group(), 6));
    change(3, 0);
    cr_expect_eq(master_group_replica_on(group(), 3)->replica, 7, "not its old one (R6)");
}

Test(master_replicas, commands_compare_and_set)
{
    Ostraka__MasterCommand__ReplicasWanted first, second;
    cr_assert_eq(ask_at(1, 4, 0, &first), OST_OK);
    cr_assert_eq(ask_at(1, 5, 0, &second), OST_OK);
    cr_expect(master_replicas_wanted(map, &first, &arena));
    cr_expect_not(master_replicas_wanted(map, &second, &arena), "both were for epoch 1");
    cr_expect_not(master_replicas_wanted(map, &first, &arena), "the second time");
    cr_expect_not(master_replicas_settled(map, 1, 1), "an older wish is settled");
    cr_expect(master_replicas_settled(map, 1, 2));
    cr_expect_not(master_replicas_settled(map, 1, 2), "the second time");
    cr_expect_eq(map->next_replica, 8);
}

Test(master_replicas, what_was_done_may_be_asked_again)
{
    Ostraka__MasterCommand__ReplicasWanted command;
    change(4, 1);
    cr_expect_eq(ask_at(1, 4, 1, &command), OST_EXISTS);
    settle();
    cr_expect_eq(ask_at(1, 4, 1, &command), OST_EXISTS);
    cr_expect_eq(ask_at(1, 5, 1, &command), OST_CONFLICT, "another request for that epoch");
    change(5, 0);
    cr_expect_eq(ask_at(1, 4, 1, &command), OST_CONFLICT, "two epochs later nobody knows");
}

Test(master_replicas, refuses_what_makes_no_sense)
{
    cr_expect_eq(ask(0, 0), OST_INVALID_ARGUMENT);
    cr_expect_eq(ask(4, 4), OST_INVALID_ARGUMENT);
    cr_expect_eq(ask(6, 0), OST_NOT_FOUND, "an unknown store");
    cr_expect_neq(why[0], '\0');
    cr_expect_eq(ask(2, 0), OST_CONFLICT, "a replica is there");
    cr_expect_eq(ask(0, 4), OST_NOT_FOUND, "none is there");
    change(4, 0);
    cr_expect_eq(ask(5, 0), OST_CONFLICT, "a change is under way");
    cr_expect(strstr(why, "under way"));
    cr_expect_eq(ask(0, 1), OST_CONFLICT);
    settle();
    change(0, 1);
    settle();
    change(0, 2);
    settle();
    change(0, 3);
    settle();
    cr_expect_eq(ask(0, 4), OST_CONFLICT, "the last one");
    cr_expect_eq(ask(1, 4), OST_OK, "but another may take its place");
    Ostraka__ChangeReplicas request = OSTRAKA__CHANGE_REPLICAS__INIT;
    Ostraka__MasterCommand__ReplicasWanted command;
    request.group = 9;
    request.add_store = 1;
    cr_expect_eq(master_replicas_check(map, &request, &command, why), OST_NOT_FOUND);
}

Test(master_replicas, a_change_is_called_off_by_removing_who_joins)
{
    change(4, 1);
    cr_expect_eq(role_of(4), MASTER_REPLICA_LEAVING);
    change(0, 4);
    cr_expect_eq(role_of(4), MASTER_REPLICA_JOINING, "it was to leave for the other");
    cr_expect_eq(role_of(7), MASTER_REPLICA_LEAVING);
    cr_expect_eq(group()->epoch, 3);
    settle();
    cr_expect_eq(group()->n_replicas, 3);
    cr_expect_eq(role_of(4), MASTER_REPLICA_VOTER);
    cr_expect_null(master_group_replica(group(), 7));
}

static bool replace_next(void)
{
    Ostraka__MasterCommand__ReplicasWanted command;
    return master_replicas_replace(map, group(), &command) &&
           master_replicas_wanted(map, &command, &arena);
}

Test(master_replicas, who_is_lost_is_replaced_on_its_store)
{
    cr_expect_not(replace_next());
    cr_expect(master_replica_lost(map, 1, 5));
    cr_expect_not(master_replica_lost(map, 1, 5), "the second time");
    cr_expect_not(master_replica_lost(map, 1, 77));
    cr_assert(replace_next());
    cr_expect_eq(role_of(5), MASTER_REPLICA_LEAVING);
    cr_expect_eq(role_of(7), MASTER_REPLICA_JOINING);
    cr_expect_eq(master_group_replica_on(group(), 2)->replica, 7);
    cr_expect_not(replace_next(), "once");
    /* The new one is lost in its turn, before it has a vote. */
    cr_expect(master_replica_lost(map, 1, 7));
    cr_assert(replace_next());
    cr_expect_eq(role_of(7), MASTER_REPLICA_LEAVING);
    cr_expect_eq(role_of(8), MASTER_REPLICA_JOINING);
    settle();
    cr_expect_eq(group()->n_replicas, 3);
    cr_expect_eq(role_of(8), MASTER_REPLICA_VOTER);
}

/* The list of replicas has an end, and the changes must not. */
Test(master_replicas, a_disk_may_be_replaced_any_number_of_times)
{
    replica_id_t joins = 5;
    for (uint32_t time = 0; time < 3 * RAFT_MEMBERS_MAX; time++) {
        cr_assert(master_replica_lost(map, 1, joins));
        cr_assert(replace_next(), "disk %u", time);
        joins = map->next_replica - 1;
        cr_assert_eq(role_of(joins), MASTER_REPLICA_JOINING);
    }
    cr_expect_eq(role_of(5), MASTER_REPLICA_LEAVING, "it may have to be taken out");
    settle();
    cr_expect_eq(group()->n_replicas, 3);
    cr_expect_eq(role_of(joins), MASTER_REPLICA_VOTER);
}

/* The group may have done without it already, and waits for it to catch up, which it never does. */
Test(master_replicas, who_returns_and_is_lost_is_replaced)
{
    change(4, 1);
    change(0, 4);
    cr_assert(master_replica_lost(map, 1, 4));
    cr_assert(replace_next());
    cr_expect_eq(role_of(4), MASTER_REPLICA_LEAVING);
    cr_expect_eq(role_of(8), MASTER_REPLICA_JOINING);
    cr_expect_eq(master_group_replica_on(group(), 1)->replica, 8);
    settle();
    cr_expect_eq(group()->n_replicas, 3);
}

/* So may who returns, though nobody knows yet whether it votes. */
Test(master_replicas, who_returns_is_not_taken_away_from_who_is_lost)
{
    change(4, 1);
    change(0, 4);
    cr_expect_eq(ask(0, 1), OST_OK);
    cr_assert(master_replica_lost(map, 1, 5));
    cr_expect_eq(ask(0, 1), OST_CONFLICT);
}

/* Of 4 and 5 alone, 5 being lost, no majority would ever be there again. */
Test(master_replicas, who_is_left_is_not_taken_away_from_who_is_lost)
{
    Ostraka__MasterCommand__ReplicasWanted command;
    cr_assert_eq(ask_at(1, 0, 3, &command), OST_OK);
    cr_assert(master_replica_lost(map, 1, 5));
    cr_expect_not(master_replicas_wanted(map, &command, &arena), "it was asked for before");
    cr_expect_eq(ask(0, 3), OST_CONFLICT);
    cr_expect_eq(ask(4, 3), OST_OK, "another in its place: two of three are left");
    cr_expect_eq(ask(0, 2), OST_OK, "the lost one itself");
    cr_assert(replace_next());
    settle();
    cr_expect_eq(ask(0, 3), OST_OK);
}

/* 4 is on its way out when it is heard that 5 is lost: of 5 and 6 that would be left no majority is
 * there, and so 4 does not go before 5 is replaced. */
Test(master_replicas, who_leaves_is_not_waited_for_when_one_is_lost)
{
    change(0, 1);
    cr_assert(master_replica_lost(map, 1, 5));
    cr_assert(replace_next());
    cr_expect_eq(role_of(4), MASTER_REPLICA_LEAVING);
    cr_expect_eq(role_of(5), MASTER_REPLICA_LEAVING);
    cr_expect_eq(role_of(7), MASTER_REPLICA_JOINING);
    settle();
    cr_expect_eq(group()->n_replicas, 2);
}

/* Of two that are lost the first one's store drains: nothing is put there any more. */
Test(master_replicas, who_is_lost_does_not_wait_for_who_is_lost_on_a_store_that_drains)
{
    master_map_store(map, 1)->state = MASTER_STORE_DRAINING;
    cr_assert(master_replica_lost(map, 1, 4));
    cr_expect_not(replace_next());
    cr_assert(master_replica_lost(map, 1, 5));
    cr_assert(replace_next());
    cr_expect_eq(role_of(4), MASTER_REPLICA_VOTER);
    cr_expect_eq(role_of(5), MASTER_REPLICA_LEAVING);
}

Test(master_replicas, two_that_are_lost_are_replaced_one_after_the_other)
{
    master_replica_lost(map, 1, 4);
    master_replica_lost(map, 1, 5);
    cr_assert(replace_next());
    cr_expect_not(replace_next());
    settle();
    cr_assert(replace_next());
    settle();
    cr_expect_not(replace_next());
    for (size_t place = 0; place < 3; place++)
        cr_expect_not(group()->replicas[place]->lost);
}

Test(master_replicas, another_disk_loses_all_that_the_store_had)
{
    Ostraka__MasterCommand__StoreIncarnation command =
        OSTRAKA__MASTER_COMMAND__STORE_INCARNATION__INIT;
    command.store = 2;
    command.expected = 7;
    command.incarnation = 8;
    cr_expect_not(master_store_incarnation(map, &command), "compare and set");
    command.expected = 101;
    cr_expect(master_store_incarnation(map, &command));
    cr_expect_not(master_store_incarnation(map, &command));
    cr_expect(master_group_replica(group(), 5)->lost);
    cr_expect(master_group_replica_on(map->master, 2)->lost);
    cr_expect_not(master_group_replica(group(), 4)->lost);
}

Test(master_replicas, the_first_disk_loses_nothing)
{
    map->stores[1]->incarnation = 0;
    Ostraka__MasterCommand__StoreIncarnation command =
        OSTRAKA__MASTER_COMMAND__STORE_INCARNATION__INIT;
    command.store = 2;
    command.incarnation = 8;
    cr_expect(master_store_incarnation(map, &command));
    cr_expect_not(master_group_replica(group(), 5)->lost);
}

Test(master_replicas, a_configuration_is_wanted_at_its_epoch_alone)
{
    struct raft_configuration wanted;
    change(4, 1);
    master_group_wanted(group(), &wanted);
    cr_expect_eq(wanted.members_count, 3);
    cr_expect(master_group_is_wanted(group(), &wanted));
    struct raft_configuration other = wanted;
    other.epoch--;
    cr_expect_not(master_group_is_wanted(group(), &other), "an older wish");
    other = wanted;
    other.members[0].voter_old = false;
    cr_expect_not(master_group_is_wanted(group(), &other), "joint");
    other = wanted;
    other.members[0].replica = 4;
    cr_expect_not(master_group_is_wanted(group(), &other), "it is to leave");
    other = wanted;
    other.members_count--;
    cr_expect_not(master_group_is_wanted(group(), &other));
}
