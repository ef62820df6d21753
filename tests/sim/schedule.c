#include "tests/sim/schedule.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

void schedule_init(struct schedule *schedule, nanoseconds_t now_ns)
{
    *schedule = (struct schedule){.now_ns = now_ns};
    for (size_t alarm = 0; alarm < SCHEDULE_ALARMS_MAX; alarm++)
        schedule->alarms[alarm].at_ns = NS_NEVER;
}

void schedule_fini(struct schedule *schedule)
{
    free(schedule->heap);
    *schedule = (struct schedule){0};
}

static bool event_is_before(const struct event *a, const struct event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->sequence < b->sequence;
}

static struct event event_new(struct schedule *schedule, nanoseconds_t at_ns,
                              void (*fire)(void *target, uint64_t number), void *target,
                              uint64_t number)
{
    return (struct event){.at_ns = at_ns > schedule->now_ns ? at_ns : schedule->now_ns,
                          .sequence = ++schedule->sequence,
                          .fire = fire,
                          .target = target,
                          .number = number};
}

static void alarms_order(struct schedule *schedule)
{
    size_t first = 0;
    for (size_t alarm = 1; alarm < schedule->alarms_count; alarm++)
        if (event_is_before(&schedule->alarms[alarm], &schedule->alarms[first]))
            first = alarm;
    schedule->first_alarm = first;
}

void schedule_set_alarm(struct schedule *schedule, size_t alarm, nanoseconds_t at_ns,
                        void (*fire)(void *target, uint64_t number), void *target, uint64_t number)
{
    ASSERT(alarm < SCHEDULE_ALARMS_MAX);
    if (at_ns == NS_NEVER)
        return;
    if (alarm >= schedule->alarms_count)
        schedule->alarms_count = alarm + 1;
    schedule->alarms[alarm] = event_new(schedule, at_ns, fire, target, number);
    if (alarm == schedule->first_alarm)
        alarms_order(schedule);
    else if (event_is_before(&schedule->alarms[alarm], &schedule->alarms[schedule->first_alarm]))
        schedule->first_alarm = alarm;
}

void schedule_add(struct schedule *schedule, nanoseconds_t at_ns,
                  void (*fire)(void *target, uint64_t number), void *target, uint64_t number)
{
    if (at_ns == NS_NEVER)
        return;
    if (schedule->count == schedule->capacity) {
        schedule->capacity = schedule->capacity ? 2 * schedule->capacity : 1024;
        schedule->heap =
            memory_realloc(schedule->heap, schedule->capacity * sizeof schedule->heap[0]);
    }
    struct event event = event_new(schedule, at_ns, fire, target, number);
    size_t place = schedule->count++;
    while (place > 0) {
        size_t parent = (place - 1) / 4;
        if (!event_is_before(&event, &schedule->heap[parent]))
            break;
        schedule->heap[place] = schedule->heap[parent];
        place = parent;
    }
    schedule->heap[place] = event;
}

static struct event schedule_take(struct schedule *schedule)
{
    struct event first = schedule->heap[0];
    struct event last = schedule->heap[--schedule->count];
    size_t place = 0;
    for (;;) {
        size_t child = 4 * place + 1, least = child;
        if (child >= schedule->count)
            break;
        for (size_t other = child + 1; other < child + 4 && other < schedule->count; other++)
            if (event_is_before(&schedule->heap[other], &schedule->heap[least]))
                least = other;
        if (!event_is_before(&schedule->heap[least], &last))
            break;
        schedule->heap[place] = schedule->heap[least];
        place = least;
    }
    schedule->heap[place] = last;
    return first;
}

static struct event alarm_take(struct schedule *schedule)
{
    struct event first = schedule->alarms[schedule->first_alarm];
    schedule->alarms[schedule->first_alarm].at_ns = NS_NEVER;
    alarms_order(schedule);
    return first;
}

bool schedule_step(struct schedule *schedule, nanoseconds_t until_ns)
{
    const struct event *alarm = &schedule->alarms[schedule->first_alarm];
    bool is_alarm = schedule->count == 0 || event_is_before(alarm, &schedule->heap[0]);
    if ((is_alarm ? alarm : &schedule->heap[0])->at_ns > until_ns) {
        schedule->now_ns = until_ns;
        return false;
    }
    struct event event = is_alarm ? alarm_take(schedule) : schedule_take(schedule);
    ASSERT(event.at_ns >= schedule->now_ns);
    schedule->now_ns = event.at_ns;
    event.fire(event.target, event.number);
    return true;
}

struct random schedule_random(uint64_t seed, const char *subsystem)
{
    struct random random;
    random_init(&random, XXH3_64bits_withSeed(subsystem, strlen(subsystem), seed));
    return random;
}

bool random_happens(struct random *random, uint64_t parts_per_million)
{
    return parts_per_million > 0 && random_below(random, 1000000) < parts_per_million;
}

uint64_t random_between(struct random *random, uint64_t low, uint64_t high)
{
    return low >= high ? low : low + random_below(random, high - low + 1);
}
