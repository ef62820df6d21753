/* The simulator's checker of stores that come and go: maps that it must flag, and maps that it must
 * let pass; and the steps that it sees. */
#include "tests/sim/store_check.h"

#include "shardmaster/master_map.h"
#include "shardmaster/master_replicas.h"

#include <criterion/criterion.h>

static struct store_check *check;
static struct admin admin;
static Ostraka__Map map;
static Ostraka__StoreInfo stores[4];
static Ostraka__StoreInfo *store_pointers[4];
static Ostraka__GroupInfo master, group;
static Ostraka__GroupInfo *group_pointers[] = {&group};
static Ostraka__ReplicaInfo replicas[4];
static Ostraka__ReplicaInfo *replica_pointers[4];

static void look(void)
{
    map.epoch++;
    store_check_map(check, &map, &admin);
}

static void replica_add(store_id_t store, enum master_replica_role role)
{
    Ostraka__ReplicaInfo *replica = &replicas[group.n_replicas];
    ostraka__replica_info__init(replica);
    replica->replica = 1 + group.n_replicas;
    replica->store = store;
    replica->role = role;
    group.replicas[group.n_replicas++] = replica;
}

static void store_add(store_id_t id)
{
    Ostraka__StoreInfo *store = &stores[id - 1];
    ostraka__store_info__init(store);
    store->id = id;
    store->state = MASTER_STORE_UP;
    store_pointers[map.n_stores++] = store;
}

/* Three stores, and a group on 1 and 2. */
static void setup(void)
{
    check = store_check_new();
    admin = (struct admin){0};
    ostraka__map__init(&map);
    ostraka__group_info__init(&master);
    ostraka__group_info__init(&group);
    map.stores = store_pointers;
    map.groups = group_pointers;
    map.n_groups = 1;
    map.master = &master;
    master.epoch = 1;
    group.id = 1;
    group.epoch = 1;
    group.replicas = replica_pointers;
    for (store_id_t id = 1; id <= 3; id++)
        store_add(id);
    replica_add(1, MASTER_REPLICA_VOTER);
    replica_add(2, MASTER_REPLICA_VOTER);
    look();
}

static void teardown(void)
{
    store_check_free(check);
}

TestSuite(sim_store_check, .init = setup, .fini = teardown);

static void expect(const char *name)
{
    const struct check_result *result = store_check_result(check);
    cr_expect_eq(result->verdict, name ? CHECK_VIOLATION : CHECK_OK, "%s", result->explanation);
    if (name)
        cr_expect_str_eq(result->name, name);
}

static void expect_step(enum store_step_kind kind, store_id_t store)
{
    struct store_step step;
    cr_assert(store_check_take_step(check, &step));
    cr_expect_eq(step.kind, kind);
    cr_expect_eq(step.store, store);
    cr_expect_not(store_check_take_step(check, &step));
}

Test(sim_store_check, a_store_joins_is_filled_drained_and_removed)
{
    struct store_step step;
    cr_expect_not(store_check_take_step(check, &step), "it was there from the first");
    store_add(4);
    look();
    expect_step(STORE_STEP_JOINED, 4);
    replica_add(4, MASTER_REPLICA_JOINING);
    group.epoch = 2;
    look();
    expect_step(STORE_STEP_FILLED, 4);
    stores[3].state = MASTER_STORE_DRAINING;
    replicas[2].role = MASTER_REPLICA_VOTER;
    look();
    expect_step(STORE_STEP_DRAINED, 4);
    replicas[2].role = MASTER_REPLICA_LEAVING;
    replica_add(3, MASTER_REPLICA_JOINING);
    group.epoch = 3;
    look();
    expect_step(STORE_STEP_REPLACED, 4);
    group.replicas[2] = &replicas[3];
    group.n_replicas = 3;
    look();
    expect_step(STORE_STEP_EMPTIED, 4);
    map.n_stores = 3;
    look();
    expect_step(STORE_STEP_REMOVED, 4);
    expect(NULL);
}

Test(sim_store_check, a_store_that_holds_replicas_is_not_removed)
{
    stores[2].state = MASTER_STORE_DRAINING;
    replica_add(3, MASTER_REPLICA_LEAVING);
    look();
    map.n_stores = 2;
    look();
    expect("replica-of-nobody");
}

Test(sim_store_check, nor_one_whose_replicas_go_with_it)
{
    stores[2].state = MASTER_STORE_DRAINING;
    replica_add(3, MASTER_REPLICA_LEAVING);
    look();
    group.n_replicas = 2;
    map.n_stores = 2;
    look();
    expect("store-removed-too-soon");
}

Test(sim_store_check, who_drains_is_not_declared_dead)
{
    stores[2].state = MASTER_STORE_DRAINING;
    look();
    stores[2].state = MASTER_STORE_DEAD;
    look();
    expect("store-from-nowhere");
}

Test(sim_store_check, a_replica_goes_when_another_comes)
{
    stores[1].state = MASTER_STORE_DEAD;
    look();
    group.n_replicas = 1;
    group.epoch = 2;
    look();
    expect("removed-before-added");
}

Test(sim_store_check, or_when_a_person_wants_it)
{
    admin.requests[admin.requests_count++] =
        (struct admin_request){.group = 1, .group_epoch = 1, .remove_store = 2};
    replicas[1].role = MASTER_REPLICA_LEAVING;
    group.epoch = 2;
    look();
    expect(NULL);
}

Test(sim_store_check, or_when_it_never_came)
{
    replica_add(3, MASTER_REPLICA_JOINING);
    group.epoch = 2;
    look();
    replicas[2].role = MASTER_REPLICA_LEAVING;
    group.epoch = 3;
    look();
    expect(NULL);
}
