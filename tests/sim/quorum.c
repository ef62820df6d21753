#include "tests/sim/quorum.h"

#include "raft/host_internal.h"
#include "tests/sim/sim.h"

static bool voter_takes_part(const struct sim *sim, const bool *takes_part, group_id_t group,
                             const struct raft_member *member)
{
    uint32_t place = sim_host_of_store(member->store);
    struct process *process = &sim->stores[place];
    if (!takes_part[place] || !process_is_up(process))
        return false;
    /* Its store may have a successor by now, which knows it well: the number tells (R6). */
    const struct host_group *replica = host_group_find(node_raft_host(process->node), group);
    /* One that was just born, or lost, knows of no configuration with itself in it. */
    return replica && replica->replica == member->replica &&
           raft_configuration_find(raft_get_configuration(replica->raft), member->replica);
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

bool quorum_is_kept(const struct sim *sim, const bool *takes_part)
{
    for (uint32_t place = 0; place < sim->plan.stores; place++) {
        const struct process *process = &sim->stores[place];
        if (!process_is_up(process))
            continue;
        for (group_id_t group = 0; group <= sim->plan.groups; group++) {
            const struct raft_configuration *configuration =
                raft_host_configuration(node_raft_host(process->node), group);
            if (configuration && configuration->members_count > 0 &&
                !majority_takes_part(sim, takes_part, group, configuration))
                return false;
        }
    }
    return true;
}
