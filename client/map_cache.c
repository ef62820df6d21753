#include "client/map_cache.h"

#include "base/memory.h"

#include <stdlib.h>

static struct bytes bytes_of_binary(ProtobufCBinaryData data)
{
    return bytes_of(data.data, data.len);
}

void map_cache_init(struct map_cache *cache)
{
    *cache = (struct map_cache){0};
    arena_init(&cache->arenas[0]);
    arena_init(&cache->arenas[1]);
}

void map_cache_fini(struct map_cache *cache)
{
    struct map_group *group, *next;
    HASH_ITER (hh, cache->groups, group, next) {
        HASH_DEL(cache->groups, group);
        free(group);
    }
    arena_fini(&cache->arenas[0]);
    arena_fini(&cache->arenas[1]);
}

static bool map_is_whole(const Ostraka__Map *map)
{
    struct bytes end = bytes_of(NULL, 0);
    for (size_t index = 0; index < map->n_ranges; index++) {
        const Ostraka__RangeInfo *range = map->ranges[index];
        struct bytes start = bytes_of_binary(range->start);
        if (!bytes_equal(start, end) || (index > 0 && start.bytes_count == 0))
            return false;
        end = bytes_of_binary(range->end);
        if (end.bytes_count && bytes_compare(start, end) >= 0)
            return false;
    }
    for (size_t index = 0; index < map->n_groups; index++) {
        if (map->groups[index]->n_replicas > 2 * REPLICAS_PER_GROUP_MAX)
            return false;
    }
    if (map->master && map->master->n_replicas > 2 * REPLICAS_PER_GROUP_MAX)
        return false;
    return end.bytes_count == 0;
}

static struct map_group *group_find_or_add(struct map_cache *cache, group_id_t id)
{
    struct map_group *group;
    HASH_FIND(hh, cache->groups, &id, sizeof(id), group);
    if (group)
        return group;
    group = memory_alloc_zeroed(1, sizeof(*group));
    group->id = id;
    HASH_ADD(hh, cache->groups, id, sizeof(group->id), group);
    return group;
}

static bool group_has_store(const struct map_group *group, store_id_t store)
{
    for (uint32_t index = 0; index < group->stores_count; index++) {
        if (group->stores[index] == store)
            return true;
    }
    return false;
}

static void group_learn(struct map_cache *cache, const Ostraka__GroupInfo *info, bool is_newer)
{
    struct map_group *group = group_find_or_add(cache, info->id);
    if (is_newer) {
        /* While a store's replica is replaced by another one on the same store both are listed.
         * They are one candidate: else the turn that passes the first one would come to the second.
         */
        group->stores_count = 0;
        for (size_t replica = 0; replica < info->n_replicas; replica++)
            if (!group_has_store(group, info->replicas[replica]->store))
                group->stores[group->stores_count++] = info->replicas[replica]->store;
        if (!group_has_store(group, group->leader_store))
            group->leader_store = 0;
    }
    /* A hint of the same term was tried already, if it is not believed any more. */
    bool hint_is_news =
        info->leader_term > group->leader_term || (is_newer && group->leader_store == 0);
    if (info->leader_store && hint_is_news && group_has_store(group, info->leader_store)) {
        group->leader_store = info->leader_store;
        group->leader_term = info->leader_term;
    }
}

static void groups_learn(struct map_cache *cache, const Ostraka__Map *map, bool is_newer)
{
    for (size_t index = 0; index < map->n_groups; index++)
        group_learn(cache, map->groups[index], is_newer);
    if (map->master)
        group_learn(cache, map->master, is_newer);
    struct map_group *master = group_find_or_add(cache, SHARD_MASTER_GROUP);
    if (master->stores_count == 0) {
        for (size_t index = 0;
             index < map->n_stores && master->stores_count < REPLICAS_PER_GROUP_MAX; index++)
            master->stores[master->stores_count++] = map->stores[index]->id;
    }
}

int map_cache_receive(struct map_cache *cache, struct bytes message, timestamp_t *out_heard)
{
    struct arena *arena = &cache->arenas[!cache->current];
    arena_reset(arena);
    const Ostraka__Map *map =
        (const Ostraka__Map *)message_unpack(&ostraka__map__descriptor, message, arena);
    if (!map || !map_is_whole(map))
        return OST_PROTOCOL;
    *out_heard = map->heard_timestamp;
    if (map->epoch > cache->epoch_heard)
        cache->epoch_heard = map->epoch;
    if (map->ranges_since != 0) { /* news of who leads, for whoever has the map of this epoch */
        if (cache->map && map->epoch == cache->map->epoch)
            groups_learn(cache, map, false);
        return OST_EXISTS;
    }
    if (map->n_ranges == 0 || map->n_stores == 0)
        return OST_NOT_READY;
    bool is_newer = map->epoch > map_cache_epoch(cache);
    if (is_newer || (cache->map && map->epoch == cache->map->epoch))
        groups_learn(cache, map, is_newer);
    if (!is_newer)
        return OST_EXISTS;
    cache->map = map;
    cache->current = !cache->current;
    return OST_OK;
}

uint64_t map_cache_epoch(const struct map_cache *cache)
{
    return cache->map ? cache->map->epoch : 0;
}

bool map_cache_is_behind(const struct map_cache *cache)
{
    return cache->epoch_heard > map_cache_epoch(cache);
}

static void route_of_range(const Ostraka__RangeInfo *range, struct coordinator_route *out_route)
{
    *out_route = (struct coordinator_route){
        .group = range->group,
        .range_start = bytes_of_binary(range->start),
        .range_end = bytes_of_binary(range->end),
        .epoch = range->epoch,
    };
}

/* How many ranges start at or before `key`; with `strictly`, before it. */
static size_t ranges_count_before(const Ostraka__Map *map, struct bytes key, bool strictly)
{
    size_t low = 0, high = map->n_ranges;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = bytes_compare(bytes_of_binary(map->ranges[middle]->start), key);
        if (order < 0 || (order == 0 && !strictly))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool map_cache_route(void *context, struct bytes key, struct coordinator_route *out_route)
{
    const struct map_cache *cache = context;
    if (!cache->map)
        return false;
    size_t count = ranges_count_before(cache->map, key, false);
    ASSERT(count > 0); /* M2: the first range starts with the empty key */
    route_of_range(cache->map->ranges[count - 1], out_route);
    return true;
}

bool map_cache_route_before(const struct map_cache *cache, struct bytes end,
                            struct coordinator_route *out_route)
{
    if (!cache->map)
        return false;
    size_t count =
        end.bytes_count ? ranges_count_before(cache->map, end, true) : cache->map->n_ranges;
    ASSERT(count > 0);
    route_of_range(cache->map->ranges[count - 1], out_route);
    return true;
}

struct map_group *map_cache_group(struct map_cache *cache, group_id_t id)
{
    struct map_group *group;
    HASH_FIND(hh, cache->groups, &id, sizeof(id), group);
    return group;
}

const Ostraka__StoreInfo *map_cache_store(const struct map_cache *cache, store_id_t store)
{
    for (size_t index = 0; cache->map && index < cache->map->n_stores; index++) {
        if (cache->map->stores[index]->id == store)
            return cache->map->stores[index];
    }
    return NULL;
}

store_id_t map_group_candidate(const struct map_group *group)
{
    if (group->leader_store)
        return group->leader_store;
    return group->stores_count ? group->stores[group->turn % group->stores_count] : 0;
}

void map_group_turn(struct map_group *group, store_id_t store, store_id_t hint)
{
    if (hint && hint != store && group_has_store(group, hint)) {
        group->leader_store = hint;
        return;
    }
    if (group->leader_store == store)
        group->leader_store = 0;
    for (uint32_t index = 0; index < group->stores_count; index++) {
        if (group->stores[index] == store)
            group->turn = index + 1;
    }
}
