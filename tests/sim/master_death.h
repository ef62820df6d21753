/* master_death.h: at which steps in the life of a store the shard master's leader dies. The
 * observer tells of each step when a replica of group 0 has applied it (store_steps.h): right then
 * the leader is gone, and sometimes the store that it is about as well. Each step is a RARE site
 * (base/sometimes.h), so that a seed stresses some of them, and `--sites` says how often each has
 * come to pass. */
#pragma once

#include "tests/sim/schedule.h"

struct faults;
struct sim;

/* Killing it again and again would let nothing come to its end. */
#define MASTER_DEATHS_MAX 10u

struct master_death {
    struct random random;
    uint32_t deaths_count;
};

void master_death_init(struct master_death *death, uint64_t seed);
/* A store's turn is over. */
void master_death_look(struct master_death *death, struct sim *sim, struct faults *faults);
