/* Where replicas and leaders are put: thousands of random clusters, and a few by hand. */
#include "shardmaster/placement.h"

#include "base/random.h"
#include "shardmaster/master_stores.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STORES_MAX = 10, GROUPS_MAX = 25, ACTIONS_MAX = 16, ROUNDS_MAX = 4000, CLUSTERS = 4000 };

/* A cluster that does what it is told, at once or after a while. */
struct world {
    struct random random;
    struct arena arena;
    Ostraka__Map map;
    Ostraka__StoreInfo *stores[STORES_MAX];
    Ostraka__GroupInfo *groups[GROUPS_MAX];
    Ostraka__GroupInfo master;
    struct placement_store known[STORES_MAX];
    store_id_t leaders[GROUPS_MAX + 1];
    struct placement_input input;
    struct placement_action actions[ACTIONS_MAX];
    size_t actions_count;
    /* How many actions there were. */
    size_t moves_count, transfers_count;
};

static struct world world;

static uint64_t below(uint64_t bound)
{
    return random_below(&world.random, bound);
}

static Ostraka__GroupInfo *group_at(size_t index)
{
    return index < world.map.n_groups ? world.groups[index] : &world.master;
}

static size_t groups_count(void)
{
    return world.map.n_groups + 1;
}

/* --- Making one --- */

static void store_add(const char *host)
{
    size_t place = world.map.n_stores++;
    cr_assert_lt(place, STORES_MAX);
    Ostraka__StoreInfo *store = arena_alloc(&world.arena, sizeof(*store));
    ostraka__store_info__init(store);
    store->id = place + 1;
    store->address = arena_printf(&world.arena, "h%zu:7100", place + 1);
    store->host = arena_printf(&world.arena, "%s", host);
    store->state = MASTER_STORE_UP;
    store->incarnation = 100 + place;
    world.stores[place] = store;
    world.known[place] = (struct placement_store){.is_live = true};
}

static void replica_add(Ostraka__GroupInfo *group, store_id_t store)
{
    Ostraka__ReplicaInfo *replica = arena_alloc(&world.arena, sizeof(*replica));
    ostraka__replica_info__init(replica);
    replica->replica = world.map.next_replica++;
    replica->store = store;
    replica->role = MASTER_REPLICA_VOTER;
    group->replicas[group->n_replicas++] = replica;
}

static void group_init(Ostraka__GroupInfo *group, group_id_t id)
{
    ostraka__group_info__init(group);
    group->id = id;
    group->epoch = 1;
    group->replicas = arena_alloc(&world.arena, RAFT_MEMBERS_MAX * sizeof(group->replicas[0]));
}

static Ostraka__GroupInfo *group_add(void)
{
    size_t place = world.map.n_groups++;
    cr_assert_lt(place, GROUPS_MAX);
    Ostraka__GroupInfo *group = arena_alloc(&world.arena, sizeof(*group));
    group_init(group, place + 1);
    world.groups[place] = group;
    return group;
}

static void world_begin(uint64_t seed)
{
    world = (struct world){0};
    random_init(&world.random, seed);
    arena_init(&world.arena);
    ostraka__map__init(&world.map);
    world.map.epoch = 1;
    world.map.next_replica = 1;
    world.map.stores = world.stores;
    world.map.groups = world.groups;
    group_init(&world.master, SHARD_MASTER_GROUP);
    world.map.master = &world.master;
    world.input = (struct placement_input){.map = &world.map,
                                           .stores = world.known,
                                           .leaders = world.leaders,
                                           .replica_changes_max = 2};
}

static void world_end(void)
{
    arena_fini(&world.arena);
}

/* As many as `count` replicas on random stores. */
static void group_fill(Ostraka__GroupInfo *group, size_t count, size_t stores_count)
{
    while (group->n_replicas < count && group->n_replicas < stores_count) {
        store_id_t store = 1 + below(stores_count);
        if (!master_group_replica_on(group, store))
            replica_add(group, store);
    }
}

/* A voter of a store that lives, or nobody. Who leads goes on if it can. */
static void leader_elect(size_t index)
{
    const Ostraka__GroupInfo *group = group_at(index);
    bool leads_on = false;
    store_id_t able[RAFT_MEMBERS_MAX];
    size_t able_count = 0, voters_count = 0;
    for (size_t place = 0; place < group->n_replicas; place++) {
        const Ostraka__ReplicaInfo *replica = group->replicas[place];
        bool votes = replica->role == MASTER_REPLICA_VOTER;
        voters_count += votes;
        if (votes && !replica->lost && world.known[replica->store - 1].is_live)
            able[able_count++] = replica->store;
        leads_on = leads_on || (able_count > 0 && able[able_count - 1] == world.leaders[index]);
    }
    if (leads_on && 2 * able_count > voters_count)
        return;
    world.leaders[index] = 2 * able_count > voters_count ? able[below(able_count)] : 0;
}

static void leaders_elect(void)
{
    for (size_t index = 0; index < groups_count(); index++)
        leader_elect(index);
}

/* --- What is to be true of it --- */

static bool is_usable(store_id_t store)
{
    return world.stores[store - 1]->state == MASTER_STORE_UP && world.known[store - 1].is_live;
}

static bool is_gone(const Ostraka__ReplicaInfo *replica)
{
    return replica->role == MASTER_REPLICA_LEAVING;
}

static bool same_host(store_id_t a, store_id_t b)
{
    return bytes_equal(master_store_host(world.stores[a - 1]),
                       master_store_host(world.stores[b - 1]));
}

/* What placement cares about in a group, the most important first; less is better. */
struct worth {
    size_t dead_count, draining_count, missing_count, sharing_count;
};

static struct worth worth_of(const Ostraka__GroupInfo *group)
{
    struct worth worth = {0};
    size_t count = 0;
    for (size_t place = 0; place < group->n_replicas; place++) {
        const Ostraka__ReplicaInfo *replica = group->replicas[place];
        if (is_gone(replica))
            continue;
        count++;
        uint32_t state = world.stores[replica->store - 1]->state;
        worth.dead_count +=
            state == MASTER_STORE_DEAD || (replica->lost && state != MASTER_STORE_UP);
        worth.draining_count += state == MASTER_STORE_DRAINING;
        for (size_t other = 0; other < place; other++)
            worth.sharing_count += !is_gone(group->replicas[other]) &&
                                   same_host(group->replicas[other]->store, replica->store);
    }
    worth.missing_count = count < world.map.replicas_wanted ? world.map.replicas_wanted - count : 0;
    return worth;
}

static int worth_compare(struct worth a, struct worth b)
{
    const size_t x[] = {a.dead_count, a.draining_count, a.missing_count, a.sharing_count};
    const size_t y[] = {b.dead_count, b.draining_count, b.missing_count, b.sharing_count};
    for (size_t index = 0; index < 4; index++)
        if (x[index] != y[index])
            return x[index] < y[index] ? -1 : 1;
    return 0;
}

/* Groups that change, and could come to an end. */
static size_t changing_count(void)
{
    size_t count = 0;
    for (size_t index = 0; index < groups_count(); index++)
        count += master_group_is_changing(group_at(index)) && world.leaders[index] != 0 &&
                 world.known[world.leaders[index] - 1].is_live;
    return count;
}

static void replicas_by_store(size_t *counts)
{
    memset(counts, 0, STORES_MAX * sizeof(counts[0]));
    for (size_t index = 0; index < groups_count(); index++)
        for (size_t place = 0; place < group_at(index)->n_replicas; place++)
            if (!is_gone(group_at(index)->replicas[place]))
                counts[group_at(index)->replicas[place]->store - 1]++;
}

static void leaders_by_store(size_t *counts)
{
    memset(counts, 0, STORES_MAX * sizeof(counts[0]));
    for (size_t index = 0; index < groups_count(); index++)
        if (world.leaders[index] != 0)
            counts[world.leaders[index] - 1]++;
}

/* --- Doing what is asked --- */

static void change_do(const struct placement_action *action)
{
    Ostraka__GroupInfo *group = master_map_group(&world.map, action->group);
    Ostraka__ChangeReplicas request = OSTRAKA__CHANGE_REPLICAS__INIT;
    Ostraka__MasterCommand__ReplicasWanted command;
    char why[MASTER_WHY_BYTES] = "";
    request.group = action->group;
    request.group_epoch = action->group_epoch;
    request.add_store = action->add_store;
    request.remove_store = action->remove_store;
    bool was_changing = master_group_is_changing(group);
    struct worth before = worth_of(group);
    cr_assert_eq(master_replicas_check(&world.map, &request, &command, why), OST_OK, "%s", why);
    cr_assert(master_replicas_wanted(&world.map, &command, &world.arena));
    if (action->add_store != 0)
        cr_assert(is_usable(action->add_store), "a replica is put on a store that is not up");
    if (was_changing)
        cr_assert_eq(action->add_store, 0, "a change can only be called off");
    else
        cr_assert_leq(worth_compare(worth_of(group), before), 0, "group %lu is worse off: %s",
                      group->id, action->why);
    world.moves_count++;
}

static void transfer_do(const struct placement_action *action)
{
    size_t index = action->group == SHARD_MASTER_GROUP ? world.map.n_groups : action->group - 1;
    const Ostraka__ReplicaInfo *replica =
        master_group_replica_on(group_at(index), action->to_store);
    cr_assert(replica && replica->role == MASTER_REPLICA_VOTER && !replica->lost);
    cr_assert(is_usable(action->to_store));
    cr_assert_neq(world.leaders[index], action->to_store);
    cr_assert_neq(world.leaders[index], 0);
    world.leaders[index] = action->to_store;
    world.transfers_count++;
}

static void actions_do(void)
{
    for (size_t index = 0; index < world.actions_count; index++) {
        cr_assert_neq(world.actions[index].why[0], '\0', "an action has a reason");
        for (size_t other = 0; other < index; other++)
            cr_assert_neq(world.actions[other].group, world.actions[index].group,
                          "one action for a group");
        if (world.actions[index].kind == PLACEMENT_CHANGE_REPLICAS)
            change_do(&world.actions[index]);
        else
            transfer_do(&world.actions[index]);
    }
}

/* A change comes to its end when all that are to vote live. */
static bool can_settle(size_t index)
{
    const Ostraka__GroupInfo *group = group_at(index);
    for (size_t place = 0; place < group->n_replicas; place++)
        if (group->replicas[place]->role == MASTER_REPLICA_JOINING &&
            (group->replicas[place]->lost ||
             !world.known[group->replicas[place]->store - 1].is_live))
            return false;
    return world.leaders[index] != 0;
}

static bool settle_some(bool all)
{
    bool any = false;
    for (size_t index = 0; index < groups_count(); index++) {
        Ostraka__GroupInfo *group = group_at(index);
        if (!master_group_is_changing(group) || !can_settle(index) || (!all && below(3) == 0))
            continue;
        cr_assert(master_replicas_settled(&world.map, group->id, group->epoch));
        if (!master_group_replica_on(group, world.leaders[index]))
            leader_elect(index);
        any = true;
    }
    return any;
}

/* Until nothing is asked for any more. */
static void run_to_rest(void)
{
    for (size_t round = 0; round < ROUNDS_MAX; round++) {
        size_t changes_before = changing_count();
        world.actions_count = placement_next(&world.input, world.actions, ACTIONS_MAX);
        actions_do();
        size_t changes = changing_count();
        cr_assert(changes <= world.input.replica_changes_max || changes <= changes_before,
                  "too many groups change at a time");
        if (!settle_some(world.actions_count == 0) && world.actions_count == 0)
            return;
    }
    cr_assert_fail("it does not come to rest");
}

/* --- At rest --- */

static bool group_is_calm(size_t index)
{
    const Ostraka__GroupInfo *group = group_at(index);
    for (size_t place = 0; place < group->n_replicas; place++)
        if (group->replicas[place]->lost || !is_usable(group->replicas[place]->store))
            return false;
    return !master_group_is_changing(group) && world.leaders[index] != 0 &&
           world.known[world.leaders[index] - 1].is_live;
}

static size_t overlap(const Ostraka__GroupInfo *group, store_id_t host_of, store_id_t except)
{
    size_t count = 0;
    for (size_t place = 0; place < group->n_replicas; place++)
        count += group->replicas[place]->store != except &&
                 same_host(group->replicas[place]->store, host_of);
    return count;
}

/* No move of one replica is left that would make counts more even or hosts less shared. */
static void check_replicas(void)
{
    size_t counts[STORES_MAX];
    replicas_by_store(counts);
    for (size_t index = 0; index < groups_count(); index++) {
        const Ostraka__GroupInfo *group = group_at(index);
        bool is_waiting = changing_count() >= world.input.replica_changes_max;
        for (size_t place = 0; group_is_calm(index) && !is_waiting && place < group->n_replicas;
             place++) {
            store_id_t from = group->replicas[place]->store;
            for (store_id_t to = 1; to <= world.map.n_stores; to++) {
                if (!is_usable(to) || master_group_replica_on(group, to))
                    continue;
                size_t now = overlap(group, from, from), then = overlap(group, to, from);
                cr_assert(then > 0 || now == 0, "a host is shared for nothing");
                cr_assert(then > now || counts[from - 1] < counts[to - 1] + 2,
                          "a replica could go from a store with %zu to one with %zu",
                          counts[from - 1], counts[to - 1]);
            }
        }
    }
}

static bool may_lead(size_t index, store_id_t store)
{
    const Ostraka__ReplicaInfo *replica = master_group_replica_on(group_at(index), store);
    return replica && replica->role == MASTER_REPLICA_VOTER && !replica->lost && is_usable(store);
}

/* From no store that leads two more than another is there a way to that one, by handing over. */
static void check_leaders(void)
{
    bool reaches[STORES_MAX + 1][STORES_MAX + 1] = {0};
    for (size_t index = 0; index < world.map.n_groups; index++)
        for (store_id_t to = 1; to <= world.map.n_stores; to++)
            if (world.leaders[index] != 0 && is_usable(world.leaders[index]) &&
                !master_group_is_changing(group_at(index)) && may_lead(index, to))
                reaches[world.leaders[index]][to] = true;
    for (store_id_t by = 1; by <= world.map.n_stores; by++)
        for (store_id_t from = 1; from <= world.map.n_stores; from++)
            for (store_id_t to = 1; to <= world.map.n_stores; to++)
                reaches[from][to] = reaches[from][to] || (reaches[from][by] && reaches[by][to]);
    size_t counts[STORES_MAX];
    leaders_by_store(counts);
    for (store_id_t from = 1; from <= world.map.n_stores; from++)
        for (store_id_t to = 1; to <= world.map.n_stores; to++)
            cr_assert(!reaches[from][to] || !is_usable(from) ||
                          counts[from - 1] < counts[to - 1] + 2,
                      "store %lu leads %zu, and store %lu only %zu", from, counts[from - 1], to,
                      counts[to - 1]);
}

static size_t usable_count(void)
{
    size_t count = 0;
    for (store_id_t store = 1; store <= world.map.n_stores; store++)
        count += is_usable(store);
    return count;
}

/* What had to go is gone, where there is a leader and a place to go to. */
static void check_emptied(void)
{
    if (changing_count() >= world.input.replica_changes_max)
        return; /* who is to join is silent, and not yet dead */
    for (size_t index = 0; index < groups_count(); index++) {
        const Ostraka__GroupInfo *group = group_at(index);
        bool has_room = false, has_lost = false;
        for (store_id_t store = 1; store <= world.map.n_stores; store++)
            has_room = has_room || (is_usable(store) && !master_group_replica_on(group, store));
        for (size_t place = 0; place < group->n_replicas; place++)
            has_lost = has_lost || group->replicas[place]->lost;
        if (!has_room || has_lost || world.leaders[index] == 0 ||
            !world.known[world.leaders[index] - 1].is_live || master_group_is_changing(group))
            continue;
        for (size_t place = 0; place < group->n_replicas; place++) {
            store_id_t store = group->replicas[place]->store;
            cr_assert(world.stores[store - 1]->state != MASTER_STORE_DEAD ||
                          world.known[store - 1].is_live,
                      "group %lu stays on store %lu, which is dead", group->id, store);
            cr_assert_neq(world.stores[store - 1]->state, MASTER_STORE_DRAINING,
                          "group %lu stays on store %lu, which drains", group->id, store);
        }
        size_t aim = world.map.replicas_wanted <= usable_count() ? world.map.replicas_wanted
                     : usable_count() % 2 == 1                   ? usable_count()
                     : usable_count() == 0                       ? 0
                                                                 : usable_count() - 1;
        cr_assert_geq(group->n_replicas, aim);
    }
}

static void check_rest(void)
{
    const size_t moves = world.moves_count, transfers = world.transfers_count;
    run_to_rest();
    cr_assert_eq(world.moves_count + world.transfers_count, moves + transfers,
                 "it began again after it had come to rest");
    check_emptied();
    check_replicas();
    check_leaders();
}

/* --- Random clusters --- */

static void world_random(uint64_t seed)
{
    static const char *const HOSTS[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
    world_begin(seed);
    size_t stores_count = 1 + below(STORES_MAX), hosts_count = 1 + below(STORES_MAX);
    for (size_t place = 0; place < stores_count; place++)
        store_add(HOSTS[below(hosts_count)]);
    size_t count = 1 + below(5);
    world.map.replicas_wanted = (uint32_t)below(6);
    world.input.replica_changes_max = (uint32_t)(1 + below(4));
    size_t groups = below(GROUPS_MAX + 1);
    for (size_t index = 0; index < groups; index++)
        group_fill(group_add(), below(8) == 0 ? 1 + below(7) : count, stores_count);
    group_fill(&world.master, count, stores_count);
    for (size_t place = 0; place < stores_count; place++) {
        world.known[place].bytes = below(3) * 1000;
        uint64_t fate = below(10);
        if (fate == 0)
            world.stores[place]->state = MASTER_STORE_DRAINING;
        if (fate == 1) {
            world.stores[place]->state = MASTER_STORE_DEAD;
            world.known[place].is_live = below(5) == 0;
        }
        if (fate == 2)
            world.known[place].is_live = false;
    }
    for (size_t index = 0; index < groups_count(); index++)
        if (below(20) == 0)
            group_at(index)->replicas[below(group_at(index)->n_replicas)]->lost = true;
    leaders_elect();
}

/* A store dies, drains, comes back, or joins, in the midst of it. */
static void world_disturb(void)
{
    size_t place = below(world.map.n_stores);
    switch (below(4)) {
    case 0:
        world.stores[place]->state = MASTER_STORE_DEAD;
        world.known[place].is_live = false;
        break;
    case 1:
        world.stores[place]->state = MASTER_STORE_UP;
        world.known[place].is_live = true;
        break;
    case 2:
        if (world.known[place].is_live)
            world.stores[place]->state = MASTER_STORE_DRAINING;
        break;
    default:
        if (world.map.n_stores < STORES_MAX)
            store_add("new");
        break;
    }
    leaders_elect();
}

Test(placement, any_cluster_comes_to_rest_and_never_gets_worse)
{
    for (uint64_t seed = 0; seed < CLUSTERS; seed++) {
        world_random(seed);
        for (uint64_t round = below(4); round > 0; round--) {
            for (uint64_t step = below(10); step > 0; step--) {
                world.actions_count = placement_next(&world.input, world.actions, ACTIONS_MAX);
                actions_do();
                settle_some(false);
            }
            world_disturb();
        }
        run_to_rest();
        check_rest();
        world_end();
    }
}

/* --- Clusters by hand --- */

/* `count` stores on hosts of their own, `groups` groups of three, placed by itself. */
static void world_even(size_t count, size_t groups, uint64_t seed)
{
    world_begin(seed);
    world.map.replicas_wanted = 3;
    for (size_t place = 0; place < count; place++)
        store_add("");
    for (size_t index = 0; index < groups; index++)
        group_fill(group_add(), 3, count);
    group_fill(&world.master, 3, count);
    leaders_elect();
    run_to_rest();
    world.moves_count = world.transfers_count = 0;
}

static void expect_even(size_t (*counts_of)(size_t *counts), size_t first, size_t end)
{
    size_t counts[STORES_MAX];
    counts_of(counts);
    size_t least = SIZE_MAX, most = 0;
    for (size_t place = first; place < end; place++) {
        least = counts[place] < least ? counts[place] : least;
        most = counts[place] > most ? counts[place] : most;
    }
    cr_assert_leq(most, least + 1, "from %zu to %zu on a store", least, most);
}

static size_t replicas_of(size_t *counts)
{
    replicas_by_store(counts);
    return 0;
}

static size_t leaders_of(size_t *counts)
{
    leaders_by_store(counts);
    return 0;
}

Test(placement, counts_differ_by_one_at_most_where_nothing_forbids_it)
{
    for (uint64_t seed = 0; seed < 300; seed++) {
        world_even(3 + seed % 7, seed % GROUPS_MAX, seed);
        expect_even(replicas_of, 0, world.map.n_stores);
        check_rest();
        world_end();
    }
    world_even(5, 20, 1);
    expect_even(leaders_of, 0, 5);
    world_end();
}

Test(placement, nothing_is_done_when_nothing_is_wrong)
{
    for (uint64_t seed = 0; seed < 200; seed++) {
        world_even(3 + seed % 7, 1 + seed % 20, seed);
        cr_assert_eq(placement_next(&world.input, world.actions, ACTIONS_MAX), 0);
        world_end();
    }
}

/* From n stores to n + 1: a share of the replicas moves, no more, and all of it to the new one. */
Test(placement, a_store_that_joins_gets_its_share_and_no_more_is_moved)
{
    for (uint64_t seed = 0; seed < 200; seed++) {
        size_t count = 3 + seed % 6, groups = seed % GROUPS_MAX;
        world_even(count, groups, seed);
        store_add("");
        run_to_rest();
        size_t counts[STORES_MAX];
        replicas_by_store(counts);
        size_t share = 3 * (groups + 1) / (count + 1);
        cr_assert_eq(counts[count], share, "%zu instead of %zu", counts[count], share);
        cr_assert_eq(world.moves_count, share, "%zu moves for %zu replicas", world.moves_count,
                     share);
        world_end();
    }
}

Test(placement, a_store_that_drains_ends_with_nothing)
{
    for (uint64_t seed = 0; seed < 200; seed++) {
        size_t count = 4 + seed % 6;
        world_even(count, 1 + seed % 20, seed);
        store_id_t drained = 1 + below(count);
        world.stores[drained - 1]->state = MASTER_STORE_DRAINING;
        /* The first thing that is done is to hand over all that it leads. */
        bool leads = false;
        for (size_t index = 0; index < groups_count(); index++)
            leads = leads || world.leaders[index] == drained;
        world.actions_count = placement_next(&world.input, world.actions, ACTIONS_MAX);
        cr_assert(!leads || world.actions[0].kind == PLACEMENT_TRANSFER_LEADER);
        run_to_rest();
        cr_assert_eq(master_store_replicas_count(&world.map, drained), 0);
        for (size_t index = 0; index < groups_count(); index++)
            cr_assert_neq(world.leaders[index], drained);
        check_rest();
        world_end();
    }
}

Test(placement, a_store_whose_log_is_slow_is_given_no_leadership)
{
    for (uint64_t seed = 0; seed < 200; seed++) {
        size_t count = 3 + seed % 6;
        world_even(count, 1 + seed % 20, seed);
        store_id_t slow = 1 + below(count), drained = slow % count + 1;
        world.known[slow - 1].is_slow = true;
        /* It leads nothing: its leaderships went when its log hung. */
        for (size_t index = 0; index < groups_count(); index++)
            if (world.leaders[index] == slow)
                world.leaders[index] =
                    group_at(index)->replicas[group_at(index)->replicas[0]->store == slow]->store;
        if (count > 3)
            world.stores[drained - 1]->state = MASTER_STORE_DRAINING;
        run_to_rest();
        for (size_t index = 0; index < groups_count(); index++)
            cr_assert_neq(world.leaders[index], slow);
        world_end();
    }
}

Test(placement, a_dead_store_is_replaced_by_others_and_by_nobody_before_it_is_dead)
{
    world_even(5, 10, 7);
    world.known[1].is_live = false;
    leaders_elect();
    run_to_rest();
    cr_expect_eq(world.moves_count, 0, "it may come back");
    world.stores[1]->state = MASTER_STORE_DEAD;
    size_t held = master_store_replicas_count(&world.map, 2);
    cr_assert_gt(held, 0);
    run_to_rest();
    cr_expect_eq(master_store_replicas_count(&world.map, 2), 0);
    cr_expect_geq(world.moves_count, held);
    check_rest();
    world_end();
}

/* Three hosts of two stores: never two of a group on one. */
Test(placement, replicas_of_a_group_are_on_different_hosts_where_there_are_enough)
{
    for (uint64_t seed = 0; seed < 200; seed++) {
        world_begin(seed);
        for (size_t place = 0; place < 6; place++)
            store_add(place < 2 ? "a" : place < 4 ? "b" : "c");
        for (size_t index = 0; index < 12; index++)
            group_fill(group_add(), 3, 6);
        group_fill(&world.master, 3, 6);
        leaders_elect();
        run_to_rest();
        for (size_t index = 0; index < groups_count(); index++)
            cr_assert_eq(worth_of(group_at(index)).sharing_count, 0);
        expect_even(replicas_of, 0, 2);
        expect_even(replicas_of, 2, 4);
        check_rest();
        world_end();
    }
}

static const struct placement_action *action_of(group_id_t group)
{
    world.actions_count = placement_next(&world.input, world.actions, ACTIONS_MAX);
    for (size_t index = 0; index < world.actions_count; index++)
        if (world.actions[index].group == group)
            return &world.actions[index];
    return NULL;
}

/* Of a store that drains nobody says that it is dead. */
static void check_call_off(enum master_store_state state, bool is_lost)
{
    world_even(5, 4, 3);
    Ostraka__GroupInfo *group = world.groups[0];
    store_id_t from = group->replicas[0]->store, to = 0;
    for (store_id_t store = 1; store <= 5; store++)
        if (!master_group_replica_on(group, store))
            to = store;
    const struct placement_action asked = {
        .group = 1, .group_epoch = group->epoch, .add_store = to, .remove_store = from};
    change_do(&asked);
    if (is_lost)
        cr_assert(master_replica_lost(&world.map, 1, master_group_replica_on(group, to)->replica));
    else
        world.known[to - 1].is_live = false;
    leaders_elect();
    cr_expect_null(action_of(1), "it may come back, or is replaced where it was");
    if (!is_lost)
        cr_expect_eq(world.actions_count, 0);
    world.stores[to - 1]->state = state;
    store_id_t leader = world.leaders[0];
    world.leaders[0] = to;
    const struct placement_action *action = action_of(1);
    if (!is_lost)
        cr_expect(!action || action->kind == PLACEMENT_TRANSFER_LEADER,
                  "the change may have come so far that it leads");
    world.leaders[0] = leader;
    action = action_of(1);
    cr_assert_not_null(action);
    if (!is_lost)
        cr_expect_eq(action, &world.actions[0]);
    cr_expect_eq(action->remove_store, to);
    cr_expect_eq(action->add_store, 0);
    run_to_rest();
    cr_expect_not(master_group_is_changing(group));
    cr_expect_eq(group->n_replicas, 3);
    cr_expect_eq(master_store_replicas_count(&world.map, to), 0);
    world_end();
}

Test(placement, who_was_to_join_and_died_is_called_off)
{
    check_call_off(MASTER_STORE_DEAD, false);
    check_call_off(MASTER_STORE_DRAINING, false);
}

Test(placement, who_was_to_join_and_is_lost_on_a_store_that_drains_is_called_off)
{
    check_call_off(MASTER_STORE_DRAINING, true);
}

Test(placement, a_cluster_grows_to_the_replicas_that_are_wanted)
{
    world_begin(1);
    world.map.replicas_wanted = 3;
    store_add("");
    for (size_t index = 0; index < 4; index++)
        group_fill(group_add(), 1, 1);
    group_fill(&world.master, 1, 1);
    leaders_elect();
    store_add("");
    run_to_rest();
    for (size_t index = 0; index < groups_count(); index++)
        cr_expect_eq(group_at(index)->n_replicas, 1, "two are no safer than one");
    store_add("");
    run_to_rest();
    for (size_t index = 0; index < groups_count(); index++)
        cr_expect_eq(group_at(index)->n_replicas, 3);
    world_end();
}

Test(placement, it_says_why_a_store_is_not_emptied)
{
    char why[PLACEMENT_WHY_BYTES] = "";
    world_even(3, 2, 1);
    world.stores[0]->state = MASTER_STORE_DRAINING;
    cr_expect(placement_waits(&world.input, 1, why));
    cr_expect(strstr(why, "no other store"), "%s", why);
    world_end();
    world_even(4, 2, 1);
    cr_expect_eq(placement_share(&world.map), 2);
    world.stores[0]->state = MASTER_STORE_DRAINING;
    cr_expect_not(placement_waits(&world.input, 1, why));
    memset(world.leaders, 0, sizeof(world.leaders));
    cr_expect(placement_waits(&world.input, 1, why));
    cr_expect(strstr(why, "no leader"), "%s", why);
    world_end();
}
