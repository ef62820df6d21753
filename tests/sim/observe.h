/* observe.h: what the checkers that look inside stores are fed with: after each turn, what each
 * replica is and has done. It changes nothing. */
#pragma once

#include "tests/sim/process.h"

struct sim;
struct observer;

struct observer *observer_new(struct sim *sim);
void observer_free(struct observer *observer);
/* Recovered and loaded. */
void observe_started(struct observer *observer, struct process *process);
void observe_turn(struct observer *observer, struct process *process);
/* Its memory is about to be lost. */
void observe_stopped(struct observer *observer, struct process *process);
