#include "client/timers.h"

#include "base/assert.h"

static int timer_compare(const struct timer *a, const struct timer *b)
{
    if (a->deadline_ns != b->deadline_ns)
        return a->deadline_ns < b->deadline_ns ? -1 : 1;
    return a->sequence < b->sequence ? -1 : a->sequence > b->sequence;
}

/* The _STATIC forms want a macro that libbsd does not define on Linux. */
RB_PROTOTYPE_INTERNAL(timer_tree, timer, link, timer_compare, __attribute__((unused)) static)
RB_GENERATE_INTERNAL(timer_tree, timer, link, timer_compare, __attribute__((unused)) static)

void timers_init(struct timers *timers)
{
    RB_INIT(&timers->tree);
    timers->sequence = 0;
}

void timer_set(struct timers *timers, struct timer *timer, nanoseconds_t deadline_ns,
               void (*fired)(void *context, struct timer *timer))
{
    timer_stop(timers, timer);
    timer->deadline_ns = deadline_ns;
    timer->sequence = ++timers->sequence;
    timer->fired = fired;
    RB_INSERT(timer_tree, &timers->tree, timer);
}

void timer_stop(struct timers *timers, struct timer *timer)
{
    if (!timer->fired)
        return;
    RB_REMOVE(timer_tree, &timers->tree, timer);
    timer->fired = NULL;
}

nanoseconds_t timers_deadline_ns(const struct timers *timers)
{
    /* RB_MIN wants a head that it may change, and does not. */
    struct timer *first = RB_ROOT(&timers->tree);
    while (first && RB_LEFT(first, link))
        first = RB_LEFT(first, link);
    return first ? first->deadline_ns : NS_NEVER;
}

void timers_run(struct timers *timers, nanoseconds_t now_ns, void *context)
{
    /* What is set from within, even for now, waits for the next run: no round without an end. */
    uint64_t sequence_max = timers->sequence;
    struct timer *timer = RB_MIN(timer_tree, &timers->tree);
    while (timer && timer->deadline_ns <= now_ns) {
        if (timer->sequence > sequence_max) {
            timer = RB_NEXT(timer_tree, &timers->tree, timer);
            continue;
        }
        void (*fired)(void *, struct timer *) = timer->fired;
        timer_stop(timers, timer);
        fired(context, timer);
        timer = RB_MIN(timer_tree, &timers->tree); /* it may have stopped others */
    }
}
