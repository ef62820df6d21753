#include "tests/sim/observe.h"

#include "base/memory.h"
#include "tests/sim/sim.h"

#include <stdlib.h>

struct observer {
    struct sim *sim;
};

struct observer *observer_new(struct sim *sim)
{
    struct observer *observer = memory_alloc_zeroed(1, sizeof *observer);
    observer->sim = sim;
    return observer;
}

void observer_free(struct observer *observer)
{
    free(observer);
}

void observe_started(struct observer *observer, struct process *process)
{
    (void)observer;
    (void)process;
}

void observe_turn(struct observer *observer, struct process *process)
{
    (void)observer;
    (void)process;
}

void observe_stopped(struct observer *observer, struct process *process)
{
    (void)observer;
    (void)process;
}
