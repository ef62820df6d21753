#include "tests/sim/admin.h"

#include "cmd/node_internal.h"
#include "shardmaster/master_map.h"
#include "tests/sim/sim.h"

const Ostraka__Map *admin_map_newest(const struct sim *sim)
{
    const Ostraka__Map *newest = NULL;
    for (uint32_t place = 0; place < sim->stores_count; place++) {
        const struct process *process = &sim->stores[place];
        const Ostraka__Map *map = process_is_up(process) ? process->node->map : NULL;
        if (map && (!newest || map->epoch > newest->epoch))
            newest = map;
    }
    return newest;
}

bool admin_all_disks_are_known(const struct sim *sim)
{
    const Ostraka__Map *map = admin_map_newest(sim);
    for (uint32_t place = 0; place < sim->stores_count; place++) {
        const struct process *process = &sim->stores[place];
        if (process_is_joiner(process) || process->life == LIFE_OVER)
            continue;
        const Ostraka__StoreInfo *store = map ? master_map_store(map, place + 1) : NULL;
        if (!store || !process_is_up(process) || process->node->incarnation != store->incarnation ||
            process->node->founding == FOUNDING_WRITING)
            return false;
    }
    return true;
}

void admin_submit(struct sim *sim, struct operation *operation_take,
                  void (*done)(struct operation *operation))
{
    sim->admin.waiting_count++;
    client_process_submit(sim_admin(sim), operation_take, done, sim);
}

struct sim *admin_take_answer(const struct operation *operation)
{
    struct sim *sim = operation->done_context[0];
    sim->admin.waiting_count--;
    return sim;
}
