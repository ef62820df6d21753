/* The life of a store in the map: what is asked, what is committed. */
#include "shardmaster/master_stores.h"

#include "shardmaster/master.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct arena arena;
static Ostraka__Map *map;
static char why[MASTER_WHY_BYTES];

/* Stores 1 to 4; group 0 is on 1, 2 and 3, group 1 on 2, 3 and 4. */
static void setup(void)
{
    static Ostraka__StoreInfo stores[4];
    static char addresses[4][8];
    arena_init(&arena);
    for (size_t index = 0; index < 4; index++) {
        ostraka__store_info__init(&stores[index]);
        snprintf(addresses[index], sizeof(addresses[index]), "h%zu:7", index + 1);
        stores[index].id = 1 + index;
        stores[index].address = addresses[index];
        stores[index].incarnation = 100 + index;
    }
    struct master_options options = {.store_id = 1,
                                     .cluster_id = 99,
                                     .initial_stores = stores,
                                     .initial_stores_count = 4,
                                     .initial_groups_count = 1,
                                     .initial_replicas_count = 3};
    map = master_map_copy(master_bootstrap_map(&options, &arena), &arena);
    cr_assert(master_replicas_settled(map, 1, 1));
}

static void teardown(void)
{
    const char *fault = NULL;
    cr_expect_eq(master_map_check(map, &fault), OST_OK, "%s", fault);
    arena_fini(&arena);
}

TestSuite(master_stores, .init = setup, .fini = teardown);

static bool commit(const struct master_store_command *command)
{
    uint64_t epoch = map->epoch;
    bool is_done;
    switch (command->command.command_case) {
    case OSTRAKA__MASTER_COMMAND__COMMAND_STORE_JOINED:
        is_done = master_store_joined(map, &command->joined, &arena);
        break;
    case OSTRAKA__MASTER_COMMAND__COMMAND_STORE_REMOVED:
        is_done = master_store_removed(map, &command->removed);
        break;
    default:
        is_done = master_store_state_set(map, &command->state_set);
        break;
    }
    cr_expect_eq(map->epoch, epoch + is_done,
                 "the map's epoch grows when it changes, and only then");
    return is_done;
}

static struct master_store_command command;

static int ask(Ostraka__StoreChangeKind kind, store_id_t store)
{
    Ostraka__ChangeStore request = OSTRAKA__CHANGE_STORE__INIT;
    request.kind = kind;
    request.store = store;
    why[0] = '\0';
    return master_stores_check(map, &request, &command, why);
}
#define ASK_DRAIN(store)   ask(OSTRAKA__STORE_CHANGE_KIND__DRAIN_STORE, store)
#define ASK_UNDRAIN(store) ask(OSTRAKA__STORE_CHANGE_KIND__UNDRAIN_STORE, store)
#define ASK_REMOVE(store)  ask(OSTRAKA__STORE_CHANGE_KIND__REMOVE_STORE, store)

static int ask_join(store_id_t store, const char *address, const char *host, uint64_t incarnation)
{
    Ostraka__ChangeStore request = OSTRAKA__CHANGE_STORE__INIT;
    request.kind = OSTRAKA__STORE_CHANGE_KIND__JOIN_STORE;
    request.store = store;
    request.address = (char *)(uintptr_t)address;
    request.host = (char *)(uintptr_t)host;
    request.incarnation = incarnation;
    why[0] = '\0';
    return master_stores_check(map, &request, &command, why);
}

static void join(store_id_t store)
{
    char address[16];
    snprintf(address, sizeof(address), "h%lu:7", store);
    cr_assert_eq(ask_join(store, address, "", 100 + store), OST_OK, "%s", why);
    cr_assert(commit(&command));
}

static void set_state(store_id_t store, uint32_t from, uint32_t to)
{
    master_stores_state_command(store, from, to, &command);
    cr_assert(commit(&command));
}

static uint32_t state_of(store_id_t store)
{
    return master_map_store(map, store)->state;
}

#define EXPECT_REFUSED(call, status, text)                                                         \
    do {                                                                                           \
        cr_expect_eq(call, status);                                                                \
        cr_expect(strstr(why, text), "'%s' is not said: '%s'", text, why);                         \
    } while (0)

Test(master_stores, a_store_joins_once)
{
    cr_expect_eq(ask_join(9, "h9:7", "rack-2", 109), OST_OK, "%s", why);
    struct master_store_command first = command;
    first.command.store_joined = &first.joined;
    cr_expect(commit(&first));
    cr_expect_not(commit(&first), "the same twice does nothing");
    const Ostraka__StoreInfo *store = master_map_store(map, 9);
    cr_assert(store);
    cr_expect_str_eq(store->address, "h9:7");
    cr_expect_eq(store->state, MASTER_STORE_UP);
    cr_expect_eq(store->incarnation, 109);
    cr_expect(bytes_equal(master_store_host(store), bytes_of_string("rack-2")));
    cr_expect_eq(ask_join(9, "h9:7", "rack-2", 109), OST_EXISTS, "its answer was lost");
}

Test(master_stores, who_cannot_join_is_told_why)
{
    EXPECT_REFUSED(ask_join(2, "h2:7", "", 555), OST_CONFLICT, "another disk");
    EXPECT_REFUSED(ask_join(2, "h2:8", "", 101), OST_CONFLICT, "at h2:7");
    EXPECT_REFUSED(ask_join(9, "h2:7", "", 109), OST_CONFLICT, "that of store 2");
    EXPECT_REFUSED(ask_join(0, "h9:7", "", 109), OST_INVALID_ARGUMENT, "number");
    EXPECT_REFUSED(ask_join(STORES_COUNT_MAX + 1, "h9:7", "", 109), OST_INVALID_ARGUMENT, "number");
    EXPECT_REFUSED(ask_join(9, "h9", "", 109), OST_INVALID_ARGUMENT, "HOST:PORT");
    EXPECT_REFUSED(ask_join(9, ":7", "", 109), OST_INVALID_ARGUMENT, "HOST:PORT");
    EXPECT_REFUSED(ask_join(9, "h 9:7", "", 109), OST_INVALID_ARGUMENT, "HOST:PORT");
    EXPECT_REFUSED(ask_join(9, "h9:7", "a b", 109), OST_INVALID_ARGUMENT, "host label");
    EXPECT_REFUSED(ask_join(9, "h9:7", "", 0), OST_INVALID_ARGUMENT, "disk");
    char long_text[STORE_ADDRESS_BYTES_MAX + 8];
    memset(long_text, 'a', sizeof(long_text));
    memcpy(long_text + sizeof(long_text) - 3, ":7", 3);
    EXPECT_REFUSED(ask_join(9, long_text, "", 109), OST_INVALID_ARGUMENT, "HOST:PORT");
    long_text[STORE_HOST_BYTES_MAX + 1] = '\0';
    EXPECT_REFUSED(ask_join(9, "h9:7", long_text, 109), OST_INVALID_ARGUMENT, "host label");
    cr_expect_eq(map->n_stores, 4);
}

Test(master_stores, no_more_stores_join_than_there_may_be)
{
    for (store_id_t store = 5; store <= STORES_COUNT_MAX; store++)
        join(store);
    cr_expect_eq(map->n_stores, STORES_COUNT_MAX);
    Ostraka__MasterCommand__StoreJoined one = OSTRAKA__MASTER_COMMAND__STORE_JOINED__INIT;
    one.store = STORES_COUNT_MAX + 1;
    one.address = "more:7";
    one.incarnation = 1;
    cr_expect_not(master_store_joined(map, &one, &arena));
}

Test(master_stores, a_store_drains_and_is_removed_when_nothing_is_on_it)
{
    EXPECT_REFUSED(ASK_REMOVE(4), OST_CONFLICT, "drain it first");
    cr_assert_eq(ASK_DRAIN(4), OST_OK, "%s", why);
    struct master_store_command drain = command;
    drain.command.store_state_set = &drain.state_set;
    cr_expect(commit(&drain));
    cr_expect_not(commit(&drain));
    cr_expect_eq(state_of(4), MASTER_STORE_DRAINING);
    cr_expect_eq(ASK_DRAIN(4), OST_EXISTS);
    EXPECT_REFUSED(ASK_REMOVE(4), OST_CONFLICT, "1 replicas are left");
    Ostraka__MasterCommand__StoreRemoved removed = OSTRAKA__MASTER_COMMAND__STORE_REMOVED__INIT;
    removed.store = 4;
    cr_expect_not(master_store_removed(map, &removed), "decided when it is applied (R4)");
    /* Its replica goes to store 1; while it is LEAVING it is there. */
    Ostraka__MasterCommand__ReplicasWanted wanted = OSTRAKA__MASTER_COMMAND__REPLICAS_WANTED__INIT;
    const Ostraka__GroupInfo *group = master_map_group(map, 1);
    wanted.group = 1;
    wanted.group_epoch = group->epoch;
    wanted.add_store = 1;
    wanted.remove_replica = master_group_replica_on(group, 4)->replica;
    cr_assert(master_replicas_wanted(map, &wanted, &arena));
    EXPECT_REFUSED(ASK_REMOVE(4), OST_CONFLICT, "are left");
    cr_assert(master_replicas_settled(map, 1, group->epoch));
    cr_assert_eq(ASK_REMOVE(4), OST_OK, "%s", why);
    cr_expect(commit(&command));
    cr_expect_not(commit(&command));
    cr_expect_null(master_map_store(map, 4));
    EXPECT_REFUSED(ASK_REMOVE(4), OST_NOT_FOUND, "no store 4");
    /* And its number is free for another disk. */
    cr_expect_eq(ask_join(4, "h4:7", "", 999), OST_OK, "%s", why);
}

Test(master_stores, a_drain_can_be_called_off)
{
    cr_expect_eq(ASK_UNDRAIN(4), OST_EXISTS);
    set_state(4, MASTER_STORE_UP, MASTER_STORE_DRAINING);
    cr_assert_eq(ASK_UNDRAIN(4), OST_OK);
    cr_expect(commit(&command));
    cr_expect_eq(state_of(4), MASTER_STORE_UP);
}

Test(master_stores, what_cannot_be_drained_is_said)
{
    EXPECT_REFUSED(ASK_DRAIN(9), OST_NOT_FOUND, "no store 9");
    EXPECT_REFUSED(ASK_UNDRAIN(9), OST_NOT_FOUND, "no store 9");
    set_state(1, MASTER_STORE_UP, MASTER_STORE_DRAINING);
    EXPECT_REFUSED(ASK_DRAIN(4), OST_CONFLICT, "first let 1 more join");
    /* Asked for at the same time: the second does nothing (R4). */
    master_stores_state_command(4, MASTER_STORE_UP, MASTER_STORE_DRAINING, &command);
    cr_expect_not(commit(&command));
    join(5);
    cr_expect_eq(ASK_DRAIN(4), OST_OK, "%s", why);
    EXPECT_REFUSED(ask(OSTRAKA__STORE_CHANGE_KIND__NO_STORE_CHANGE, 1), OST_INVALID_ARGUMENT,
                   "joins, drains");
}

Test(master_stores, the_last_store_stays)
{
    map->n_stores = 1;
    map->master->n_replicas = 1;
    map->n_groups = 0;
    map->ranges[0]->group = 0;
    map->ranges[map->n_ranges - 1]->group = 0;
    EXPECT_REFUSED(ASK_DRAIN(1), OST_CONFLICT, "the last one");
    EXPECT_REFUSED(ASK_REMOVE(1), OST_CONFLICT, "the last one");
}

Test(master_stores, a_store_dies_and_comes_back)
{
    set_state(3, MASTER_STORE_UP, MASTER_STORE_DEAD);
    EXPECT_REFUSED(ASK_UNDRAIN(3), OST_CONFLICT, "dead, not draining");
    master_stores_state_command(3, MASTER_STORE_UP, MASTER_STORE_DEAD, &command);
    cr_expect_not(commit(&command));
    set_state(3, MASTER_STORE_DEAD, MASTER_STORE_UP);
    cr_expect_eq(state_of(3), MASTER_STORE_UP);
    /* Who drains is not forgotten to drain by being silent: DEAD is for who is UP. */
    set_state(4, MASTER_STORE_UP, MASTER_STORE_DRAINING);
    cr_expect_not(commit(&command));
    master_stores_state_command(4, MASTER_STORE_UP, MASTER_STORE_DEAD, &command);
    cr_expect_not(commit(&command));
    cr_expect_eq(state_of(4), MASTER_STORE_DRAINING);
    /* A person says that a dead one is not to come back. */
    join(5);
    set_state(3, MASTER_STORE_UP, MASTER_STORE_DEAD);
    cr_assert_eq(ASK_DRAIN(3), OST_OK, "%s", why);
    cr_expect(commit(&command));
    cr_expect_eq(state_of(3), MASTER_STORE_DRAINING);
}

Test(master_stores, a_state_that_is_none_is_not_taken)
{
    master_stores_state_command(3, MASTER_STORE_UP, 0, &command);
    cr_expect_not(commit(&command));
    master_stores_state_command(3, MASTER_STORE_UP, 4, &command);
    cr_expect_not(commit(&command));
}

Test(master_stores, the_host_is_the_label_or_what_the_address_says)
{
    Ostraka__MasterCommand__StoreHostSet set = OSTRAKA__MASTER_COMMAND__STORE_HOST_SET__INIT;
    cr_expect(bytes_equal(master_store_host(master_map_store(map, 2)), bytes_of_string("h2")));
    set.store = 2;
    set.host = "rack-1";
    cr_expect(master_store_host_set(map, &set, &arena));
    cr_expect_not(master_store_host_set(map, &set, &arena));
    cr_expect(bytes_equal(master_store_host(master_map_store(map, 2)), bytes_of_string("rack-1")));
    set.host = "";
    cr_expect(master_store_host_set(map, &set, &arena));
    cr_expect(bytes_equal(master_store_host(master_map_store(map, 2)), bytes_of_string("h2")));
    set.host = "no\nline";
    cr_expect_not(master_store_host_set(map, &set, &arena));
    set.store = 9;
    cr_expect_not(master_store_host_set(map, &set, &arena));
}
