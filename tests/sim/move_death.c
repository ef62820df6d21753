#include "tests/sim/move_death.h"

#include "tests/sim/faults.h"
#include "tests/sim/observe.h"
#include "tests/sim/sim.h"

#include <inttypes.h>

void move_death_init(struct move_death *death, uint64_t seed)
{
    *death = (struct move_death){.random = schedule_random(seed, "deaths at moves")};
}

static const char *const step_names[] = {
    [RANGE_STEP_BEGUN] = "begun",         [RANGE_STEP_SWITCHED] = "switched",
    [RANGE_STEP_CANCELLED] = "cancelled", [RANGE_STEP_DONE] = "done",
    [RANGE_STEP_CLEARED] = "cleared",     [RANGE_STEP_COPIED] = "copied",
    [RANGE_STEP_OWNED] = "owned",         [RANGE_STEP_FROZEN] = "frozen",
    [RANGE_STEP_SEALED] = "sealed",       [RANGE_STEP_UNFROZEN] = "unfrozen",
    [RANGE_STEP_DROPPED] = "dropped",     [RANGE_STEP_DISCARDED] = "discarded",
    [RANGE_STEP_RESHAPED] = "reshaped",
};

static bool step_kills(enum range_step_kind kind)
{
    switch (kind) {
    case RANGE_STEP_BEGUN:
        return RARE(LEADERS_DIE_AT_BEGIN);
    case RANGE_STEP_SWITCHED:
        return RARE(LEADERS_DIE_AT_SWITCH);
    case RANGE_STEP_CANCELLED:
        return RARE(LEADERS_DIE_AT_CANCEL);
    case RANGE_STEP_DONE:
        return RARE(LEADERS_DIE_AT_DONE);
    case RANGE_STEP_CLEARED:
        return RARE(LEADERS_DIE_AT_CLEAR);
    case RANGE_STEP_COPIED:
        return RARE(LEADERS_DIE_AT_COPIED);
    case RANGE_STEP_OWNED:
        return RARE(LEADERS_DIE_AT_OWN);
    case RANGE_STEP_FROZEN:
        return RARE(LEADERS_DIE_AT_FREEZE);
    case RANGE_STEP_SEALED:
        return RARE(LEADERS_DIE_AT_SEAL);
    case RANGE_STEP_UNFROZEN:
        return RARE(LEADERS_DIE_AT_UNFREEZE);
    case RANGE_STEP_DROPPED:
        return RARE(LEADERS_DIE_AT_DROP);
    case RANGE_STEP_DISCARDED:
        return RARE(LEADERS_DIE_AT_DISCARD);
    case RANGE_STEP_RESHAPED:
        return RARE(LEADERS_DIE_AT_SPLIT_OR_MERGE);
    }
    return false;
}

static void leader_kill(struct move_death *death, struct sim *sim, struct faults *faults,
                        group_id_t group, enum stop_cause cause)
{
    struct process *leader = faults_leader_of(sim, group);
    if (!leader)
        return;
    trace_tell(&sim->trace, "  store %" PRIu64 " is gone, which led group %" PRIu64,
               leader->store_id, group);
    faults_stop_for_a_while(faults, leader, cause, &death->random);
}

/* Who gives, who takes, group 0, or all of them; a split or a merge has one group. */
static void leaders_kill(struct move_death *death, struct sim *sim, struct faults *faults,
                         const struct range_step *step)
{
    group_id_t from = step->group, to = step->group;
    observe_range_move(sim->observer, step->change, &from, &to);
    uint64_t drawn = random_below(&death->random, 4);
    enum stop_cause cause = random_below(&death->random, 2) ? STOP_POWER : STOP_KILLED;
    trace_tell(&sim->trace, "leaders die, of change %" PRIu64, step->change);
    if (drawn == 0 || drawn == 3)
        leader_kill(death, sim, faults, from, cause);
    if (drawn == 1 || drawn == 3)
        leader_kill(death, sim, faults, to, cause);
    if (drawn == 2 || drawn == 3)
        leader_kill(death, sim, faults, SHARD_MASTER_GROUP, cause);
}

void move_death_look(struct move_death *death, struct sim *sim, struct faults *faults)
{
    struct range_step step;
    while (observe_range_step(sim->observer, &step)) {
        trace_tell(&sim->trace, "range, change %" PRIu64 ": %s in group %" PRIu64, step.change,
                   step_names[step.kind], step.group);
        bool is_change = step.change != 0; /* or a range was assigned, at the beginning */
        if (!is_change || death->deaths_count == MOVE_DEATHS_MAX || !step_kills(step.kind))
            continue;
        death->deaths_count++;
        leaders_kill(death, sim, faults, &step);
    }
}
