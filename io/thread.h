/* thread.h: starts a thread which leaves all signals to the main thread; and what a thread asks of
 * the scheduler. */
#pragma once

#include "base/status.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>

/* `name` is at most 15 characters, for ps and debuggers. OST_IO when the system has no threads
 * left. */
OST_MUST_CHECK int io_thread_start(const char *name, void *(*run)(void *context), void *context,
                                   pthread_t *out_thread);

/* For a calling thread that works a little and often, and others wait for: a loop, the log. When it
 * is woken it is not to stand behind a thread that computes (a compaction) until that one's slice,
 * some ms, is over. Asks for a short slice of its own: Linux 6.12 or later gives it, and what was
 * before did not make such threads wait. Threads that it starts are not like it. */
void io_thread_be_prompt(void);

/* For a calling thread that computes for long and that nobody waits for (a compaction, the reading
 * of a range that moves), at each of its little steps, of some microseconds. After 100 us of work
 * it rests for 300 us, so that it never takes more than a quarter of a processor. To yield is not
 * enough: threads of the same process have the processor then (of the same session or service,
 * where Linux schedules those as groups), and others may still wait for the next tick of the clock,
 * 4 ms on many kernels; and what it uses counts against its whole process. Nothing in a thread that
 * is prompt. */
void io_thread_give_way(void);

/* The loop wakes threads by semaphores: to post never waits. To signal a condition variable may,
 * for a thread that was woken before and does not get a processor, and then all of the loop does.
 */
static inline void io_semaphore_wait(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0 && errno == EINTR)
        continue;
}
