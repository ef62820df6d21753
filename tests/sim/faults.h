/* faults.h: the nemesis: what goes wrong, when, and until when, as the plan's weights and the seed
 * have it. Each fault has a beginning and an end; several may be under way. */
#pragma once

#include "tests/sim/process.h"

struct faults;

struct faults *faults_new(struct sim *sim);
void faults_free(struct faults *faults);
void faults_start(struct faults *faults);
/* A store's turn is over, and what it asks for is under way: the power may go right then
 * (site_crash_percent), or leaders may die (move_death.h). */
void faults_turn_ended(struct faults *faults, struct process *process);
/* Who leads the group; NULL: nobody that runs. */
struct process *faults_leader_of(const struct sim *sim, group_id_t group);
/* It comes back by itself, after no longer than a fault lasts. */
void faults_stop_for_a_while(struct faults *faults, struct process *process, enum stop_cause cause,
                             struct random *random);
/* No new ones; those under way end. A bare majority of the stores that can run is left in good
 * health; each other one is down, or stands still, or is cut off. */
void faults_heal_majority(struct faults *faults);
void faults_heal_all(struct faults *faults);
