/* timers.h: what shall happen at which time, in the order of time. A timer is a field of what it
 * wakes. */
#pragma once

#include "base/types.h"

#include <bsd/sys/tree.h>

struct timer {
    RB_ENTRY(timer) link;
    nanoseconds_t deadline_ns; /* NS_NEVER: not set */
    uint64_t sequence;         /* tells equal deadlines apart */
    void (*fired)(void *context, struct timer *timer);
};
RB_HEAD(timer_tree, timer);

struct timers {
    struct timer_tree tree;
    uint64_t sequence;
};

void timers_init(struct timers *timers);
/* Sets it, or sets it anew. */
void timer_set(struct timers *timers, struct timer *timer, nanoseconds_t deadline_ns,
               void (*fired)(void *context, struct timer *timer));
/* Nothing happens when it is not set. A timer of zeros counts as not set. */
void timer_stop(struct timers *timers, struct timer *timer);
static inline bool timer_is_set(const struct timer *timer)
{
    return timer->fired;
}
nanoseconds_t timers_deadline_ns(const struct timers *timers);
/* Fires what is due; each is stopped before. */
void timers_run(struct timers *timers, nanoseconds_t now_ns, void *context);
