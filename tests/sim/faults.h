/* faults.h: the nemesis: what goes wrong, when, and until when, as the plan's weights and the seed
 * have it. Each fault has a beginning and an end; several may be under way. */
#pragma once

#include "tests/sim/schedule.h"

struct sim;
struct faults;

struct faults *faults_new(struct sim *sim);
void faults_free(struct faults *faults);
void faults_start(struct faults *faults);
/* No new ones; those under way end. A bare majority of the stores that can run is left in good
 * health; each other one is down, or stands still, or is cut off. */
void faults_heal_majority(struct faults *faults);
void faults_heal_all(struct faults *faults);
