#include "tests/sim/master_death.h"

#include "tests/sim/faults.h"
#include "tests/sim/observe.h"
#include "tests/sim/sim.h"

#include <inttypes.h>

void master_death_init(struct master_death *death, uint64_t seed)
{
    *death = (struct master_death){.random = schedule_random(seed, "deaths of masters")};
}

static const char *const step_names[] = {
    [STORE_STEP_JOINED] = "joined",
    [STORE_STEP_FILLED] = "gets its first replica",
    [STORE_STEP_DRAINED] = "drains",
    [STORE_STEP_UNDRAINED] = "drains no more",
    [STORE_STEP_DIED] = "counts as dead",
    [STORE_STEP_CAME_BACK] = "came back",
    [STORE_STEP_REPLACED] = "loses a replica to another",
    [STORE_STEP_LEFT] = "has a replica less",
    [STORE_STEP_EMPTIED] = "has no replica any more",
    [STORE_STEP_REMOVED] = "was removed",
};

static bool step_kills(enum store_step_kind kind)
{
    switch (kind) {
    case STORE_STEP_JOINED:
        return RARE(MASTER_DIES_AT_JOIN);
    case STORE_STEP_FILLED:
        return RARE(MASTER_DIES_AT_FILL);
    case STORE_STEP_DRAINED:
        return RARE(MASTER_DIES_AT_DRAIN);
    case STORE_STEP_UNDRAINED:
        return RARE(MASTER_DIES_AT_UNDRAIN);
    case STORE_STEP_DIED:
        return RARE(MASTER_DIES_AT_STORE_DEATH);
    case STORE_STEP_CAME_BACK:
        return RARE(MASTER_DIES_AT_COMING_BACK);
    case STORE_STEP_REPLACED:
        return RARE(MASTER_DIES_AT_REPLACEMENT);
    case STORE_STEP_LEFT:
        return RARE(MASTER_DIES_AT_LEAVING);
    case STORE_STEP_EMPTIED:
        return RARE(MASTER_DIES_AT_LAST_LEAVING);
    case STORE_STEP_REMOVED:
        return RARE(MASTER_DIES_AT_REMOVAL);
    }
    return false;
}

static void process_kill(struct master_death *death, struct sim *sim, struct faults *faults,
                         struct process *process)
{
    enum stop_cause cause = random_below(&death->random, 2) ? STOP_POWER : STOP_KILLED;
    if (!process || !process_is_up(process))
        return;
    trace_tell(&sim->trace, "  store %" PRIu64 " is gone", process->store_id);
    faults_stop_for_a_while(faults, process, cause, &death->random);
}

void master_death_look(struct master_death *death, struct sim *sim, struct faults *faults)
{
    struct store_step step;
    while (observe_store_step(sim->observer, &step)) {
        trace_tell(&sim->trace, "store %" PRIu64 " %s", step.store, step_names[step.kind]);
        if (death->deaths_count == MASTER_DEATHS_MAX || !step_kills(step.kind))
            continue;
        death->deaths_count++;
        trace_tell(&sim->trace, "the shard master's leader dies");
        process_kill(death, sim, faults, faults_leader_of(sim, SHARD_MASTER_GROUP));
        if (random_below(&death->random, 4) == 0)
            process_kill(death, sim, faults, &sim->stores[sim_host_of_store(step.store)]);
    }
}
