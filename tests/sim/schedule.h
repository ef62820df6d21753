/* schedule.h: virtual time: what happens next, in the order of (time, when it was put in). Nothing
 * else in a run may decide an order, so equal times have one too. */
#pragma once

#include "base/random.h"
#include "base/types.h"

struct event {
    nanoseconds_t at_ns;
    uint64_t sequence;
    void (*fire)(void *target, uint64_t number);
    void *target; /* lives as long as the run: what may be gone is named by `number` */
    uint64_t number;
};

#define SCHEDULE_ALARMS_MAX 24u

/* Most events are turns and wake-ups of hosts, and most of those are moved before they fire: each
 * host has one alarm, beside the heap, so that what was moved leaves nothing behind. */
struct schedule {
    struct event *heap;
    size_t count, capacity;
    struct event alarms[SCHEDULE_ALARMS_MAX];
    size_t alarms_count; /* those beyond were never set */
    size_t first_alarm;
    uint64_t sequence;
    nanoseconds_t now_ns;
};

void schedule_init(struct schedule *schedule, nanoseconds_t now_ns);
void schedule_fini(struct schedule *schedule);
/* `at_ns` in the past counts as now. */
void schedule_add(struct schedule *schedule, nanoseconds_t at_ns,
                  void (*fire)(void *target, uint64_t number), void *target, uint64_t number);
/* The same in the place of what was set with this alarm before. */
void schedule_set_alarm(struct schedule *schedule, size_t alarm, nanoseconds_t at_ns,
                        void (*fire)(void *target, uint64_t number), void *target, uint64_t number);
/* Fires the next event; false: there is none at or before `until_ns`, and now is `until_ns`. */
bool schedule_step(struct schedule *schedule, nanoseconds_t until_ns);

/* Each subsystem draws from a generator of its own, so that a change in one leaves the others
 * alone. */
struct random schedule_random(uint64_t seed, const char *subsystem);
/* True `parts` times of a million. */
bool random_happens(struct random *random, uint64_t parts_per_million);
/* Uniform in [low, high]. */
uint64_t random_between(struct random *random, uint64_t low, uint64_t high);
