#include "shardmaster/master_map.h"

#include "base/memory.h"
#include "proto/frame.h"
#include "shardmaster/master.h"
#include "shardmaster/master_replicas.h"

#include <stdlib.h>

/* One that founds, one that may have lost its disk, and one that knows better. */
#define FOUNDING_STORES_MIN 3u

size_t master_initial_replicas_count(const struct master_options *options)
{
    uint32_t wanted = options->initial_replicas_count;
    return wanted < options->initial_stores_count ? wanted : options->initial_stores_count;
}

size_t master_founding_stores_count(const struct master_options *options)
{
    size_t replicas_count = master_initial_replicas_count(options);
    size_t wanted = replicas_count < FOUNDING_STORES_MIN ? FOUNDING_STORES_MIN : replicas_count;
    return wanted < options->initial_stores_count ? wanted : options->initial_stores_count;
}

static int compare_replicas(const void *a, const void *b)
{
    const Ostraka__ReplicaInfo *const *x = a, *const *y = b;
    return (*x)->store < (*y)->store ? -1 : (*x)->store > (*y)->store;
}

/* Each group begins one store further on, so that all of them get as many replicas. */
static Ostraka__GroupInfo *bootstrap_group(const struct master_options *options, group_id_t id,
                                           struct arena *arena)
{
    size_t count = master_initial_replicas_count(options);
    Ostraka__GroupInfo *group = arena_alloc(arena, sizeof(*group));
    ostraka__group_info__init(group);
    group->id = id;
    group->epoch = 1;
    group->n_replicas = count;
    group->replicas = arena_alloc(arena, count * sizeof(group->replicas[0]));
    for (size_t place = 0; place < count; place++) {
        Ostraka__ReplicaInfo *replica = arena_alloc(arena, sizeof(*replica));
        ostraka__replica_info__init(replica);
        replica->store = options->initial_stores[(id + place) % options->initial_stores_count].id;
        /* Group 0 has its replicas: one of them asks. Those of the others are yet to be made. */
        if (id != SHARD_MASTER_GROUP)
            replica->role = MASTER_REPLICA_JOINING;
        group->replicas[place] = replica;
    }
    qsort(group->replicas, count, sizeof(group->replicas[0]), compare_replicas);
    for (size_t place = 0; place < count; place++)
        group->replicas[place]->replica = 1 + id * count + place;
    return group;
}

static Ostraka__RangeInfo *bootstrap_range(const struct master_options *options, size_t place,
                                           struct arena *arena)
{
    Ostraka__RangeInfo *range = arena_alloc(arena, sizeof(*range));
    ostraka__range_info__init(range);
    if (place > 0)
        range->start = master_binary(arena_copy(arena, options->initial_splits[place - 1]));
    if (place < options->initial_splits_count)
        range->end = master_binary(arena_copy(arena, options->initial_splits[place]));
    range->group = 1 + place % options->initial_groups_count;
    range->epoch = 1;
    return range;
}

const Ostraka__Map *master_bootstrap_map(const struct master_options *options, struct arena *arena)
{
    ASSERT(options->initial_stores_count > 0 && options->initial_groups_count > 0);
    Ostraka__Map *map = arena_alloc(arena, sizeof(*map));
    ostraka__map__init(map);
    map->cluster_id = options->cluster_id;
    map->epoch = 1;
    size_t stores_count = options->initial_stores_count;
    map->n_stores = stores_count;
    map->stores = arena_alloc(arena, stores_count * sizeof(map->stores[0]));
    for (size_t place = 0; place < stores_count; place++) {
        Ostraka__StoreInfo *store = arena_alloc(arena, sizeof(*store));
        *store = options->initial_stores[place];
        store->address = arena_printf(arena, "%s", options->initial_stores[place].address);
        store->state = MASTER_STORE_UP;
        map->stores[place] = store;
    }
    map->master = bootstrap_group(options, SHARD_MASTER_GROUP, arena);
    size_t groups_count = options->initial_groups_count;
    map->n_groups = groups_count;
    map->groups = arena_alloc(arena, groups_count * sizeof(map->groups[0]));
    for (size_t place = 0; place < groups_count; place++)
        map->groups[place] = bootstrap_group(options, place + 1, arena);
    map->replicas_wanted = options->initial_replicas_count;
    map->next_change = 1;
    map->next_group = groups_count + 1;
    map->next_replica = 1 + (groups_count + 1) * master_initial_replicas_count(options);
    map->n_ranges = options->initial_splits_count + 1;
    map->ranges = arena_alloc(arena, map->n_ranges * sizeof(map->ranges[0]));
    for (size_t place = 0; place < map->n_ranges; place++)
        map->ranges[place] = bootstrap_range(options, place, arena);
    return map;
}

/* --- what makes a map sound --- */

static const char *stores_fault(const Ostraka__Map *map)
{
    if (map->n_stores == 0 || map->n_stores > STORES_COUNT_MAX)
        return "the number of stores is out of bounds";
    for (size_t index = 0; index < map->n_stores; index++)
        if (map->stores[index]->id == 0 ||
            master_map_store(map, map->stores[index]->id) != map->stores[index])
            return "a store's id is 0 or used twice";
    return NULL;
}

static const char *replica_fault(const Ostraka__Map *map, const Ostraka__GroupInfo *group,
                                 size_t place)
{
    const Ostraka__ReplicaInfo *replica = group->replicas[place];
    if (replica->replica == 0 || !master_map_store(map, replica->store))
        return "a replica has no number or is on no store of the map";
    if (replica->replica >= map->next_replica)
        return "a replica's number was never given";
    if (replica->role > MASTER_REPLICA_LEAVING)
        return "a replica has no role";
    for (size_t other = 0; other < place; other++)
        if (group->replicas[other]->replica == replica->replica)
            return "two replicas of a group share a number";
    if (replica->role != MASTER_REPLICA_LEAVING &&
        master_group_replica_on(group, replica->store) != replica)
        return "two replicas of a group share a store";
    return NULL;
}

static const char *group_fault(const Ostraka__Map *map, const Ostraka__GroupInfo *group)
{
    struct raft_configuration wanted;
    if (group->n_replicas == 0 || group->n_replicas > RAFT_MEMBERS_MAX)
        return "a group's number of replicas is out of bounds";
    for (size_t place = 0; place < group->n_replicas; place++) {
        const char *fault = replica_fault(map, group, place);
        if (fault)
            return fault;
    }
    master_group_wanted(group, &wanted);
    if (wanted.members_count == 0 || wanted.members_count > REPLICAS_PER_GROUP_MAX)
        return "a group's number of voters is out of bounds";
    return NULL;
}

static const char *groups_fault(const Ostraka__Map *map)
{
    if (!map->master || map->master->id != SHARD_MASTER_GROUP)
        return "the shard master's own group is not there";
    const char *fault = group_fault(map, map->master);
    for (size_t index = 0; !fault && index < map->n_groups; index++) {
        const Ostraka__GroupInfo *group = map->groups[index];
        if (group->id == SHARD_MASTER_GROUP || master_map_group(map, group->id) != group)
            return "a group's id is 0 or used twice";
        if (map->next_group != 0 && group->id >= map->next_group)
            return "a group's id was never given";
        fault = group_fault(map, group);
    }
    return fault;
}

static int compare_numbers(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Of every range, so the groups are not walked for each. */
static const char *owners_fault(const Ostraka__Map *map)
{
    uint64_t *groups = memory_alloc((map->n_groups + 1) * sizeof(groups[0]));
    for (size_t index = 0; index < map->n_groups; index++)
        groups[index] = map->groups[index]->id;
    qsort(groups, map->n_groups, sizeof(groups[0]), compare_numbers);
    const char *fault = NULL;
    for (size_t index = 0; !fault && index < map->n_ranges; index++) {
        const Ostraka__RangeInfo *range = map->ranges[index];
        if (range->epoch == 0 ||
            !bsearch(&range->group, groups, map->n_groups, sizeof(groups[0]), compare_numbers))
            fault = "a range has no epoch or belongs to no group of the map";
    }
    free(groups);
    return fault;
}

static const char *ranges_fault(const Ostraka__Map *map)
{
    if (map->n_ranges == 0 || map->ranges[0]->start.len != 0 ||
        map->ranges[map->n_ranges - 1]->end.len != 0)
        return "the ranges do not reach from the first key to the last";
    for (size_t index = 1; index < map->n_ranges; index++) {
        const Ostraka__RangeInfo *range = map->ranges[index];
        const Ostraka__RangeInfo *before = map->ranges[index - 1];
        if (!bytes_equal(master_bytes(before->end), master_bytes(range->start)))
            return "two ranges leave a gap or overlap";
        if (bytes_compare(master_bytes(before->start), master_bytes(range->start)) >= 0)
            return "the ranges are not in order";
    }
    return owners_fault(map);
}

/* The other one of the two that are to be merged: the right one begins where the change says. */
static const Ostraka__RangeInfo *merge_neighbour(const Ostraka__Map *map, size_t place)
{
    struct bytes at = master_bytes(map->ranges[place]->change->at);
    bool is_right = bytes_equal(at, master_bytes(map->ranges[place]->start));
    if (is_right)
        return place > 0 ? map->ranges[place - 1] : NULL;
    const Ostraka__RangeInfo *right = place + 1 < map->n_ranges ? map->ranges[place + 1] : NULL;
    return right && bytes_equal(at, master_bytes(right->start)) ? right : NULL;
}

static const char *merge_fault(const Ostraka__Map *map, size_t place)
{
    const Ostraka__RangeInfo *range = map->ranges[place];
    const Ostraka__RangeInfo *other = merge_neighbour(map, place);
    if (!other || !other->change || other->change->id != range->change->id ||
        other->change->kind != OSTRAKA__RANGE_CHANGE_KIND__MERGE_RANGES ||
        !bytes_equal(master_bytes(other->change->at), master_bytes(range->change->at)))
        return "a range is to be merged with none";
    if (!range->assigned || range->group != other->group)
        return "two ranges are to be merged that no one group owns";
    return NULL;
}

static const char *change_fault(const Ostraka__Map *map, size_t place)
{
    const Ostraka__RangeInfo *range = map->ranges[place];
    const Ostraka__RangeChange *change = range->change;
    struct bytes at = master_bytes(change->at);
    if (change->id == 0 || change->id >= map->next_change)
        return "a change's number was never given";
    switch (change->kind) {
    case OSTRAKA__RANGE_CHANGE_KIND__SPLIT_RANGE:
        return range->assigned && bytes_compare(at, master_bytes(range->start)) > 0 &&
                       key_in_range(at, master_bytes(range->start), master_bytes(range->end))
                   ? NULL
                   : "a range is to be split where it is not";
    case OSTRAKA__RANGE_CHANGE_KIND__MERGE_RANGES:
        return merge_fault(map, place);
    case OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE:
        return change->from_group != change->to_group &&
                       range->group == (range->assigned ? change->from_group : change->to_group)
                   ? NULL
                   : "a range that moves is at neither end";
    default:
        return "a change is of no kind";
    }
}

/* A merge stands beside both of its ranges; it is counted with the left one. */
static bool is_right_of_merge(const Ostraka__RangeInfo *range)
{
    return range->change->kind == OSTRAKA__RANGE_CHANGE_KIND__MERGE_RANGES &&
           bytes_equal(master_bytes(range->change->at), master_bytes(range->start));
}

static const char *changes_fault(const Ostraka__Map *map)
{
    uint64_t *numbers = memory_alloc(map->n_ranges * sizeof(numbers[0]));
    size_t count = 0;
    const char *fault = NULL;
    for (size_t place = 0; !fault && place < map->n_ranges; place++) {
        if (!map->ranges[place]->change)
            continue;
        fault = change_fault(map, place);
        if (!is_right_of_merge(map->ranges[place]))
            numbers[count++] = map->ranges[place]->change->id;
    }
    qsort(numbers, count, sizeof(numbers[0]), compare_numbers);
    for (size_t index = 1; !fault && index < count; index++)
        if (numbers[index - 1] == numbers[index])
            fault = "two changes share a number";
    free(numbers);
    return fault;
}

int master_map_check(const Ostraka__Map *map, const char **out_why)
{
    const char *fault = map->epoch == 0 ? "the map has no epoch" : stores_fault(map);
    if (!fault)
        fault = groups_fault(map);
    if (!fault)
        fault = ranges_fault(map);
    if (!fault)
        fault = changes_fault(map);
    *out_why = fault;
    return fault ? OST_CONFLICT : OST_OK;
}

/* --- who is where --- */

/* Nearly always they are numbered from 1, and stand in that order. */
static bool is_nth(uint64_t id, size_t count)
{
    return id >= 1 && id <= count;
}

Ostraka__StoreInfo *master_map_store(const Ostraka__Map *map, store_id_t store)
{
    if (is_nth(store, map->n_stores) && map->stores[store - 1]->id == store)
        return map->stores[store - 1];
    for (size_t index = 0; index < map->n_stores; index++)
        if (map->stores[index]->id == store)
            return map->stores[index];
    return NULL;
}

Ostraka__GroupInfo *master_map_group(const Ostraka__Map *map, group_id_t group)
{
    if (group == SHARD_MASTER_GROUP)
        return map->master;
    if (is_nth(group, map->n_groups) && map->groups[group - 1]->id == group)
        return map->groups[group - 1];
    for (size_t index = 0; index < map->n_groups; index++)
        if (map->groups[index]->id == group)
            return map->groups[index];
    return NULL;
}

size_t master_map_place_of_key(const Ostraka__Map *map, struct bytes key)
{
    size_t first = 0, end = map->n_ranges;
    while (end > first + 1) {
        size_t middle = first + (end - first) / 2;
        if (bytes_compare(master_bytes(map->ranges[middle]->start), key) <= 0)
            first = middle;
        else
            end = middle;
    }
    return first;
}

Ostraka__RangeInfo *master_map_range_at(const Ostraka__Map *map, struct bytes start)
{
    Ostraka__RangeInfo *range = master_map_range_of_key(map, start);
    return range && bytes_equal(master_bytes(range->start), start) ? range : NULL;
}

Ostraka__RangeInfo *master_map_range_of_key(const Ostraka__Map *map, struct bytes key)
{
    return map->n_ranges > 0 ? map->ranges[master_map_place_of_key(map, key)] : NULL;
}

/* --- changes --- */

bool master_map_assign(Ostraka__Map *map, struct bytes start, uint64_t epoch, group_id_t group)
{
    Ostraka__RangeInfo *range = master_map_range_at(map, start);
    if (!range || range->epoch != epoch || range->group != group || range->assigned)
        return false;
    range->assigned = true;
    range->change = NULL;
    map->epoch++;
    return true;
}

Ostraka__Map *master_map_copy(const Ostraka__Map *map, struct arena *arena)
{
    struct blob *packed = blob_new(ostraka__map__get_packed_size(map));
    ostraka__map__pack(map, packed->data);
    Ostraka__Map *copy =
        (Ostraka__Map *)message_unpack(&ostraka__map__descriptor, blob_bytes(packed), arena);
    blob_unref(packed);
    ASSERT(copy);
    return copy;
}
