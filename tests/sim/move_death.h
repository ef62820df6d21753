/* move_death.h: at which steps of a range's change leaders die. The observer tells of each step
 * when a group's log, or group 0's, has come to it (range_steps.h): right then the leader of the
 * group that gives, of the one that takes, of group 0, or of all three is gone. Each step is a RARE
 * site (base/sometimes.h), so that a seed stresses some of them, and `--sites` says how often each
 * has come to pass. */
#pragma once

#include "tests/sim/schedule.h"

struct faults;
struct sim;

/* Killing everybody again and again would let no change come to its end. */
#define MOVE_DEATHS_MAX 10u

struct move_death {
    struct random random;
    uint32_t deaths_count;
};

void move_death_init(struct move_death *death, uint64_t seed);
/* A store's turn is over. */
void move_death_look(struct move_death *death, struct sim *sim, struct faults *faults);
