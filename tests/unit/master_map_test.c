#include "shardmaster/master_map.h"

#include "shardmaster/master.h"
#include "shardmaster/master_replicas.h"

#include <criterion/criterion.h>

static struct arena arena;

static void setup(void)
{
    arena_init(&arena);
}

static void teardown(void)
{
    arena_fini(&arena);
}

TestSuite(master_map, .init = setup, .fini = teardown);

static Ostraka__Map *new_map(void)
{
    static Ostraka__StoreInfo stores[3];
    static struct bytes splits[4];
    for (size_t index = 0; index < 3; index++) {
        ostraka__store_info__init(&stores[index]);
        stores[index].id = 10 + index;
        stores[index].address = "host:7100";
    }
    const char *const texts[] = {"b", "d", "f", "h"};
    for (size_t index = 0; index < 4; index++)
        splits[index] = bytes_of_string(texts[index]);
    struct master_options options = {
        .store_id = 10,
        .cluster_id = 99,
        .initial_stores = stores,
        .initial_stores_count = 3,
        .initial_groups_count = 2,
        .initial_replicas_count = 3,
        .initial_splits = splits,
        .initial_splits_count = 4,
    };
    return (Ostraka__Map *)(uintptr_t)master_bootstrap_map(&options, &arena);
}

static bool is_sound(const Ostraka__Map *map)
{
    const char *why = NULL;
    int status = master_map_check(map, &why);
    cr_expect_eq(status == OST_OK, why == NULL);
    return status == OST_OK;
}

Test(master_map, bootstrap_deals_the_ranges_to_the_groups)
{
    Ostraka__Map *map = new_map();
    cr_assert(is_sound(map));
    cr_expect_eq(map->cluster_id, 99);
    cr_expect_eq(map->epoch, 1);
    cr_assert_eq(map->n_groups, 2);
    cr_assert_eq(map->n_ranges, 5);
    for (size_t index = 0; index < 5; index++) {
        cr_expect_eq(map->ranges[index]->group, 1 + index % 2);
        cr_expect_eq(map->ranges[index]->epoch, 1);
        cr_expect_not(map->ranges[index]->assigned);
    }
    /* Numbers are given once in a cluster; group 0 has 1 to 3. */
    bool seen[16] = {false};
    for (size_t index = 0; index < 2; index++)
        for (size_t place = 0; place < 3; place++) {
            uint64_t replica = map->groups[index]->replicas[place]->replica;
            cr_assert(replica > 3 && replica < 16 && !seen[replica]);
            seen[replica] = true;
            cr_expect_eq(map->groups[index]->replicas[place]->store, 10 + place);
        }
    cr_expect_eq(map->next_replica, 10);
    cr_assert_eq(map->master->n_replicas, 3);
    for (size_t place = 0; place < 3; place++)
        cr_expect_eq(map->master->replicas[place]->replica, 1 + place);
}

Test(master_map, bootstrap_spreads_the_replicas_over_more_stores)
{
    Ostraka__StoreInfo stores[5];
    for (size_t index = 0; index < 5; index++) {
        ostraka__store_info__init(&stores[index]);
        stores[index].id = 1 + index;
        stores[index].address = "host:7100";
    }
    struct master_options options = {.store_id = 1,
                                     .cluster_id = 99,
                                     .initial_stores = stores,
                                     .initial_stores_count = 5,
                                     .initial_groups_count = 5,
                                     .initial_replicas_count = 3};
    const Ostraka__Map *map = master_bootstrap_map(&options, &arena);
    cr_assert(is_sound(map));
    size_t counts[6] = {0};
    for (size_t index = 0; index < 5; index++) {
        cr_assert_eq(map->groups[index]->n_replicas, 3);
        for (size_t place = 0; place < 3; place++)
            counts[map->groups[index]->replicas[place]->store]++;
    }
    for (size_t store = 1; store <= 5; store++)
        cr_expect_eq(counts[store], 3);
    cr_expect_eq(map->next_replica, 19);
    for (size_t place = 0; place < 3; place++)
        cr_expect_eq(map->master->replicas[place]->store, 1 + place);
    cr_expect_eq(master_founder_replica(&options, 3), 3);
    cr_expect_eq(master_founder_replica(&options, 4), 0);
}

Test(master_map, a_copy_is_equal_and_its_own)
{
    Ostraka__Map *map = new_map();
    Ostraka__Map *copy = master_map_copy(map, &arena);
    cr_assert(is_sound(copy));
    cr_expect_eq(ostraka__map__get_packed_size(map), ostraka__map__get_packed_size(copy));
    copy->groups[0]->replicas[0]->replica = 77;
    cr_expect_neq(map->groups[0]->replicas[0]->replica, 77);
}

Test(master_map, finds_ranges_groups_and_stores)
{
    Ostraka__Map *map = new_map();
    const struct {
        const char *key;
        size_t place;
    } cases[] = {{"", 0}, {"a", 0}, {"b", 1}, {"c", 1}, {"d", 2}, {"g", 3}, {"h", 4}, {"zz", 4}};
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        struct bytes key = bytes_of_string(cases[index].key);
        cr_expect_eq(master_map_range_of_key(map, key), map->ranges[cases[index].place], "key %s",
                     cases[index].key);
        cr_expect_eq(master_map_place_of_key(map, key), cases[index].place);
    }
    cr_expect_eq(master_map_group(map, 2), map->groups[1]);
    cr_expect_eq(master_map_group(map, 0), map->master);
    cr_expect_null(master_map_group(map, 3));
    cr_expect_eq(master_map_store(map, 12), map->stores[2]);
    cr_expect_null(master_map_store(map, 13));
    Ostraka__Map empty = OSTRAKA__MAP__INIT;
    cr_expect_null(master_map_range_of_key(&empty, bytes_of_string("a")));
}

Test(master_map, assign_is_compare_and_set)
{
    Ostraka__Map *map = new_map();
    cr_expect_not(master_map_assign(map, bytes_of_string("c"), 1, 2), "no range begins there");
    cr_expect_not(master_map_assign(map, bytes_of_string("b"), 2, 2), "another epoch");
    cr_expect_not(master_map_assign(map, bytes_of_string("b"), 1, 1), "another group");
    cr_expect_eq(map->epoch, 1);
    cr_expect(master_map_assign(map, bytes_of_string("b"), 1, 2));
    cr_expect(map->ranges[1]->assigned);
    cr_expect_eq(map->epoch, 2);
    cr_expect_not(master_map_assign(map, bytes_of_string("b"), 1, 2), "the second time");
    cr_expect_eq(map->epoch, 2);
    cr_expect(master_map_assign(map, bytes_of_string(""), 1, 1));
}

#define FAULT(name, change)                                                                        \
    Test(master_map, check_refuses_##name)                                                         \
    {                                                                                              \
        Ostraka__Map *map = new_map();                                                             \
        cr_assert(is_sound(map));                                                                  \
        change;                                                                                    \
        cr_expect_not(is_sound(map));                                                              \
    }

static ProtobufCBinaryData binary(const char *text)
{
    return master_binary(bytes_of_string(text));
}

FAULT(no_epoch, map->epoch = 0)
FAULT(no_stores, map->n_stores = 0)
FAULT(a_store_twice, map->stores[1]->id = 10)
FAULT(store_zero, map->stores[1]->id = 0)
FAULT(a_group_twice, map->groups[1]->id = 1)
FAULT(group_zero, map->groups[1]->id = 0)
FAULT(a_replica_on_no_store, map->groups[0]->replicas[0]->store = 13)
FAULT(two_replicas_on_a_store, map->groups[0]->replicas[0]->store = 11)
FAULT(a_number_twice, map->groups[0]->replicas[0]->replica = map->groups[0]->replicas[1]->replica)
FAULT(no_replicas, map->groups[0]->n_replicas = 0)
FAULT(a_number_never_given, map->next_replica = 9)
FAULT(a_role_of_none, map->groups[0]->replicas[0]->role = 3)
FAULT(nobody_who_stays, {
    for (size_t place = 0; place < 3; place++)
        map->groups[0]->replicas[place]->role = MASTER_REPLICA_LEAVING;
})
FAULT(no_group_zero, map->master = NULL)
FAULT(no_ranges, map->n_ranges = 0)
FAULT(a_late_start, map->ranges[0]->start = binary("a"))
FAULT(an_early_end, map->ranges[4]->end = binary("z"))
FAULT(a_gap, map->ranges[1]->end = binary("c"))
FAULT(an_overlap, map->ranges[1]->end = binary("e"))
FAULT(disorder, { map->ranges[1]->end = map->ranges[2]->start = binary("a"); })
FAULT(a_range_of_no_group, map->ranges[1]->group = 3)
FAULT(a_range_without_epoch, map->ranges[1]->epoch = 0)
