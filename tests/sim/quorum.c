#include "tests/sim/quorum.h"

#include "cmd/node_internal.h"
#include "raft/host_internal.h"
#include "shardmaster/master_internal.h"
#include "shardmaster/master_replicas.h"
#include "tests/sim/sim.h"

static bool voter_takes_part(const struct sim *sim, const bool *takes_part, group_id_t group_id,
                             const struct raft_member *member)
{
    uint32_t place = sim_host_of_store(member->store);
    const struct process *process = &sim->stores[place];
    if (!takes_part[place] || !process_is_up(process))
        return false;
    const struct host_group *group = host_group_find(process->node->raft, group_id);
    /* One that was just born, or lost, knows of no configuration with itself in it. */
    return group && group->replica == member->replica &&
           raft_configuration_find(raft_get_configuration(group->raft), member->replica);
}

static bool majority_takes_part(const struct sim *sim, const bool *takes_part, group_id_t group,
                                const struct raft_configuration *configuration)
{
    uint32_t old_count = 0, old_present = 0, new_count = 0, new_present = 0;
    for (uint32_t i = 0; i < configuration->members_count; i++) {
        const struct raft_member *member = &configuration->members[i];
        bool is_present = voter_takes_part(sim, takes_part, group, member);
        old_count += member->voter_old;
        old_present += member->voter_old && is_present;
        new_count += member->voter_new;
        new_present += member->voter_new && is_present;
    }
    return old_present > old_count / 2 && new_present > new_count / 2;
}

/* Stores that are to have a replica of the group; one that joins counts with its store. */
struct wish {
    bool has_replica[SIM_STORES_MAX];
    bool is_present[SIM_STORES_MAX];
};

static bool majority_is_present(const struct sim *sim, const struct wish *wish)
{
    uint32_t count = 0, present = 0;
    for (uint32_t place = 0; place < sim->stores_count; place++) {
        count += wish->has_replica[place];
        present += wish->has_replica[place] && wish->is_present[place];
    }
    return count == 0 || present > count / 2;
}

static void wish_add(const struct sim *sim, const bool *takes_part, struct wish *wish,
                     store_id_t store)
{
    uint32_t place = sim_host_of_store(store);
    wish->has_replica[place] = true;
    wish->is_present[place] = takes_part[place] && process_is_up(&sim->stores[place]);
}

static void wish_of(const struct sim *sim, const bool *takes_part, const Ostraka__GroupInfo *group,
                    struct wish *out_wish)
{
    *out_wish = (struct wish){0};
    for (size_t i = 0; i < group->n_replicas; i++) {
        const Ostraka__ReplicaInfo *replica = group->replicas[i];
        struct raft_member member = {.replica = replica->replica, .store = replica->store};
        if (replica->role == MASTER_REPLICA_LEAVING)
            continue;
        wish_add(sim, takes_part, out_wish, replica->store);
        if (replica->role == MASTER_REPLICA_VOTER &&
            !voter_takes_part(sim, takes_part, group->id, &member))
            out_wish->is_present[sim_host_of_store(replica->store)] = false;
    }
}

/* What the map wants, and what each request would make of it that may still be on its way. */
static bool wish_takes_part(const struct sim *sim, const bool *takes_part,
                            const Ostraka__GroupInfo *group)
{
    struct wish wish;
    wish_of(sim, takes_part, group, &wish);
    if (!majority_is_present(sim, &wish))
        return false;
    for (size_t i = 0; i < sim->admin.requests_count; i++) {
        const struct admin_request *request = &sim->admin.requests[i];
        if (request->group != group->id || request->group_epoch != group->epoch)
            continue;
        struct wish changed = wish;
        if (request->add_store)
            wish_add(sim, takes_part, &changed, request->add_store);
        if (request->remove_store)
            changed.has_replica[sim_host_of_store(request->remove_store)] = false;
        if (!majority_is_present(sim, &changed))
            return false;
    }
    return true;
}

static bool wishes_take_part(const struct sim *sim, const bool *takes_part, const Ostraka__Map *map)
{
    if (!map || map->epoch == 0)
        return true;
    for (group_id_t group = 0; group <= sim->plan.groups; group++) {
        const Ostraka__GroupInfo *wanted = master_map_group(map, group);
        if (wanted && !wish_takes_part(sim, takes_part, wanted))
            return false;
    }
    return true;
}

bool quorum_is_kept(const struct sim *sim, const bool *takes_part)
{
    for (uint32_t place = 0; place < sim->stores_count; place++) {
        const struct process *process = &sim->stores[place];
        if (!process_is_up(process))
            continue;
        const struct node *node = process->node;
        for (group_id_t group = 0; group <= sim->plan.groups; group++) {
            const struct raft_configuration *configuration =
                raft_host_configuration(node->raft, group);
            if (configuration && configuration->members_count > 0 &&
                !majority_takes_part(sim, takes_part, group, configuration))
                return false;
        }
        /* Whoever has an older map may act on it still. */
        if (!wishes_take_part(sim, takes_part, node->map) ||
            (node->master && !wishes_take_part(sim, takes_part, node->master->map)))
            return false;
    }
    return true;
}
