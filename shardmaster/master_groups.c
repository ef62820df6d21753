#include "shardmaster/master_groups.h"

#include "shardmaster/master_replicas.h"
#include "shardmaster/master_stores.h"

#include <string.h>

group_id_t master_groups_next_id(const Ostraka__Map *map)
{
    group_id_t next = map->next_group;
    /* A map from before groups were counted. */
    for (size_t place = 0; map->next_group == 0 && place < map->n_groups; place++)
        if (map->groups[place]->id >= next)
            next = map->groups[place]->id + 1;
    return next;
}

static size_t up_count(const Ostraka__Map *map)
{
    size_t count = 0;
    for (size_t place = 0; place < map->n_stores; place++)
        count += map->stores[place]->state == MASTER_STORE_UP;
    return count;
}

size_t master_groups_count_wanted(const Ostraka__Map *map)
{
    return (up_count(map) * map->groups_per_1000_stores + 999) / 1000;
}

static size_t replicas_count_wanted(const Ostraka__Map *map)
{
    size_t wanted = map->replicas_wanted ? map->replicas_wanted : map->master->n_replicas;
    size_t stores_count = up_count(map);
    if (wanted > REPLICAS_PER_GROUP_MAX)
        wanted = REPLICAS_PER_GROUP_MAX;
    return wanted < stores_count ? wanted : stores_count;
}

/* --- Where the next one begins --- */

static bool is_chosen(const struct master_group_command *chosen, store_id_t store)
{
    for (size_t index = 0; index < chosen->command.n_stores; index++)
        if (chosen->stores[index] == store)
            return true;
    return false;
}

static bool shares_host(const Ostraka__Map *map, const struct master_group_command *chosen,
                        const Ostraka__StoreInfo *store)
{
    for (size_t index = 0; index < chosen->command.n_stores; index++) {
        const Ostraka__StoreInfo *other = master_map_store(map, chosen->stores[index]);
        if (bytes_equal(master_store_host(other), master_store_host(store)))
            return true;
    }
    return false;
}

/* The next best store; false: none is left. */
static bool store_choose(const struct placement_input *input, struct master_group_command *chosen)
{
    const Ostraka__Map *map = input->map;
    const Ostraka__StoreInfo *best = NULL;
    bool best_shares = false;
    size_t best_count = 0;
    for (size_t place = 0; place < map->n_stores; place++) {
        const Ostraka__StoreInfo *store = map->stores[place];
        if (store->state != MASTER_STORE_UP || !input->stores[place].is_live ||
            is_chosen(chosen, store->id))
            continue;
        bool shares = shares_host(map, chosen, store);
        size_t count = master_store_replicas_count(map, store->id);
        if (best && (shares != best_shares ? shares : count >= best_count))
            continue;
        best = store;
        best_shares = shares;
        best_count = count;
    }
    if (best)
        chosen->stores[chosen->command.n_stores++] = best->id;
    return best != NULL;
}

bool master_groups_next(const struct placement_input *input,
                        struct master_group_command *out_command)
{
    const Ostraka__Map *map = input->map;
    if (map->n_groups >= master_groups_count_wanted(map))
        return false;
    for (size_t place = 0; place < map->n_groups; place++)
        if (master_group_is_beginning(map->groups[place]))
            return false; /* G1 */
    ostraka__master_command__group_created__init(&out_command->command);
    out_command->command.group = master_groups_next_id(map);
    out_command->command.stores = out_command->stores;
    while (out_command->command.n_stores < replicas_count_wanted(map))
        if (!store_choose(input, out_command))
            return false;
    return true;
}

/* --- What a committed command does --- */

static bool is_sound(const Ostraka__Map *map, const Ostraka__MasterCommand__GroupCreated *command)
{
    if (command->group != master_groups_next_id(map) || command->n_stores == 0 ||
        command->n_stores > REPLICAS_PER_GROUP_MAX)
        return false;
    for (size_t index = 0; index < command->n_stores; index++) {
        const Ostraka__StoreInfo *store = master_map_store(map, command->stores[index]);
        if (!store || store->state != MASTER_STORE_UP)
            return false;
        for (size_t before = 0; before < index; before++)
            if (command->stores[before] == command->stores[index])
                return false;
    }
    return true;
}

bool master_group_created(Ostraka__Map *map, const Ostraka__MasterCommand__GroupCreated *command,
                          struct arena *arena)
{
    if (!is_sound(map, command))
        return false;
    Ostraka__GroupInfo *group = arena_alloc(arena, sizeof(*group));
    ostraka__group_info__init(group);
    group->id = command->group;
    group->epoch = 1;
    group->replicas = arena_alloc(arena, command->n_stores * sizeof(group->replicas[0]));
    for (size_t index = 0; index < command->n_stores; index++) {
        Ostraka__ReplicaInfo *replica = arena_alloc(arena, sizeof(*replica));
        ostraka__replica_info__init(replica);
        replica->replica = map->next_replica++;
        replica->store = command->stores[index];
        replica->role = MASTER_REPLICA_JOINING;
        group->replicas[group->n_replicas++] = replica;
    }
    Ostraka__GroupInfo **groups = arena_alloc(arena, (map->n_groups + 1) * sizeof(groups[0]));
    memcpy(groups, map->groups, map->n_groups * sizeof(groups[0]));
    groups[map->n_groups++] = group;
    map->groups = groups;
    map->next_group = group->id + 1; /* G2 */
    map->epoch++;
    return true;
}
