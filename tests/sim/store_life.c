#include "tests/sim/store_life.h"

#include "cmd/node_internal.h"
#include "raft/host_internal.h"
#include "shardmaster/master_map.h"
#include "shardmaster/master_replicas.h"
#include "shardmaster/master_stores.h"
#include "tests/sim/faults.h"
#include "tests/sim/quorum.h"
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

bool store_life_join(struct sim *sim)
{
    for (uint32_t place = 0; place < sim->stores_count; place++) {
        struct process *process = &sim->stores[place];
        if (process->life != LIFE_AWAITED)
            continue;
        trace_tell(&sim->trace, "store %" PRIu64 " is to join", process->store_id);
        process->life = LIFE_HERE;
        sim->counts.joins++;
        process_start(process);
        return true;
    }
    return false;
}

static bool is_spared(const struct sim *sim, uint32_t spared)
{
    bool takes_part[SIM_STORES_MAX];
    for (uint32_t place = 0; place < SIM_STORES_MAX; place++)
        takes_part[place] = place != spared;
    return quorum_is_kept(sim, takes_part);
}

bool store_life_die(struct sim *sim, struct random *random)
{
    uint32_t place = (uint32_t)random_below(random, sim->stores_count);
    struct process *process = &sim->stores[place];
    if (!process_is_up(process) || !admin_all_disks_are_known(sim) || !is_spared(sim, place))
        return false;
    trace_tell(&sim->trace, "store %" PRIu64 " is gone for good", process->store_id);
    sim->counts.deaths++;
    process->life = LIFE_OVER;
    process_stop(process, STOP_POWER);
    return true;
}

void store_life_removed(struct sim *sim, store_id_t store)
{
    struct process *process = &sim->stores[sim_host_of_store(store)];
    if (process->life == LIFE_HERE)
        sim->counts.removals++;
    process->life = LIFE_OVER;
}

/* The answer to who asked for its removal may have been lost. */
static bool is_struck_out(const struct process *process, const Ostraka__Map *map)
{
    return map && process->is_to_be_removed && process->life == LIFE_HERE &&
           !master_map_store(map, process->store_id);
}

void store_life_end_removed(struct sim *sim)
{
    for (uint32_t place = 0; place < sim->stores_count; place++) {
        struct process *process = &sim->stores[place];
        if (is_struck_out(process, admin_map_newest(sim)))
            store_life_removed(sim, process->store_id);
        if (process->life == LIFE_OVER)
            process_stop(process, STOP_KILLED);
    }
}

/* --- In the end --- */

struct tally {
    const Ostraka__Map *map;
    uint32_t up_count;
    bool is_up[SIM_STORES_MAX + 1]; /* by number */
    uint32_t replicas_count[SIM_STORES_MAX + 1];
    uint32_t lost_count[SIM_STORES_MAX + 1]; /* of these */
    char *text;
    size_t text_bytes_max;
};

__attribute__((format(printf, 2, 3))) static bool refuse(const struct tally *tally,
                                                         const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(tally->text, tally->text_bytes_max, format, arguments);
    va_end(arguments);
    return false;
}

static const Ostraka__GroupInfo *group_at(const Ostraka__Map *map, size_t place)
{
    return place < map->n_groups ? map->groups[place] : map->master;
}

static void tally_fill(struct tally *tally)
{
    const Ostraka__Map *map = tally->map;
    for (size_t place = 0; place < map->n_stores; place++) {
        const Ostraka__StoreInfo *store = map->stores[place];
        tally->is_up[store->id] = store->state == MASTER_STORE_UP;
        tally->up_count += tally->is_up[store->id];
    }
    for (size_t index = 0; index <= map->n_groups; index++)
        for (size_t place = 0; place < group_at(map, index)->n_replicas; place++) {
            const Ostraka__ReplicaInfo *replica = group_at(map, index)->replicas[place];
            tally->replicas_count[replica->store]++;
            tally->lost_count[replica->store] += replica->lost ? 1 : 0;
        }
}

static bool store_is_settled(const struct tally *tally, const struct process *process)
{
    store_id_t id = process->store_id;
    const Ostraka__StoreInfo *store = master_map_store(tally->map, id);
    if (process->life == LIFE_OVER && store && store->state == MASTER_STORE_UP)
        return refuse(tally, "store %" PRIu64 " is gone, and counts as up", id);
    if (process->life != LIFE_HERE)
        return true;
    if (!process_is_up(process))
        return refuse(tally, "store %" PRIu64 " does not run", id);
    if (!store)
        return refuse(tally, "store %" PRIu64 " is not in the map", id);
    if (store->state == MASTER_STORE_DEAD)
        return refuse(tally, "store %" PRIu64 " runs, and counts as dead", id);
    uint32_t wanted_count = tally->replicas_count[id] - tally->lost_count[id];
    if (HASH_COUNT(process->node->raft->groups) != wanted_count)
        return refuse(tally, "store %" PRIu64 " has %u replicas, the map says %u", id,
                      HASH_COUNT(process->node->raft->groups), wanted_count);
    return true;
}

/* With fewer stores than wanted, an even number would be no safer than one less. */
static uint32_t replicas_least(const struct sim *sim, uint32_t up_count)
{
    if (sim->plan.replicas <= up_count)
        return (uint32_t)sim->plan.replicas;
    return up_count % 2 == 1 || up_count == 0 ? up_count : up_count - 1;
}

static bool group_is_settled(const struct sim *sim, const struct tally *tally,
                             const Ostraka__GroupInfo *group)
{
    uint32_t on_up_count = 0;
    if (master_group_is_changing(group))
        return refuse(tally, "group %" PRIu64 " is changing", group->id);
    for (size_t place = 0; place < group->n_replicas; place++) {
        const Ostraka__ReplicaInfo *replica = group->replicas[place];
        if (replica->lost && tally->is_up[replica->store])
            return refuse(tally, "group %" PRIu64 " has lost a replica", group->id);
        on_up_count += tally->is_up[replica->store];
    }
    bool has_room = on_up_count < tally->up_count;
    if (has_room && on_up_count < group->n_replicas)
        return refuse(tally, "group %" PRIu64 " has a replica on a store that is not up",
                      group->id);
    if (on_up_count < replicas_least(sim, tally->up_count))
        return refuse(tally, "group %" PRIu64 " has %u replicas on stores that are up", group->id,
                      on_up_count);
    const struct process *leader = faults_leader_of(sim, group->id);
    if (!leader)
        return refuse(tally, "nobody leads group %" PRIu64, group->id);
    if (on_up_count > 0 && !tally->is_up[leader->store_id])
        return refuse(tally, "group %" PRIu64 " is led by store %" PRIu64 ", which is not up",
                      group->id, leader->store_id);
    return true;
}

/* Whoever has two more than another could give one away, where that has none of the group. */
static bool group_is_even(const struct tally *tally, const Ostraka__GroupInfo *group)
{
    for (size_t place = 0; place < group->n_replicas; place++)
        if (!tally->is_up[group->replicas[place]->store])
            return true; /* left alone */
    for (size_t place = 0; place < group->n_replicas; place++) {
        store_id_t from = group->replicas[place]->store;
        for (store_id_t to = 1; to <= SIM_STORES_MAX; to++)
            if (tally->is_up[to] && !master_group_replica_on(group, to) &&
                tally->replicas_count[from] >= tally->replicas_count[to] + 2)
                return refuse(tally,
                              "store %" PRIu64 " has %u replicas, store %" PRIu64
                              " has %u, and none of group %" PRIu64,
                              from, tally->replicas_count[from], to, tally->replicas_count[to],
                              group->id);
    }
    return true;
}

bool store_life_is_settled(const struct sim *sim, char *text, size_t text_bytes_max)
{
    struct tally tally = {
        .map = admin_map_newest(sim), .text = text, .text_bytes_max = text_bytes_max};
    if (!tally.map)
        return refuse(&tally, "there is no map");
    tally_fill(&tally);
    for (uint32_t place = 0; place < sim->stores_count; place++)
        if (!store_is_settled(&tally, &sim->stores[place]))
            return false;
    for (size_t place = 0; place <= tally.map->n_groups; place++)
        if (!group_is_settled(sim, &tally, group_at(tally.map, place)))
            return false;
    for (size_t place = 0; place <= tally.map->n_groups && sim->plan.replica_changes_max > 0;
         place++)
        if (!group_is_even(&tally, group_at(tally.map, place)))
            return false;
    return true;
}
