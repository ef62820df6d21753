/* thread.h: starts a thread which leaves all signals to the main thread. Internal to this folder.
 */
#pragma once

#include "base/status.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>

/* `name` is at most 15 characters, for ps and debuggers. OST_IO when the system has no threads
 * left. */
OST_MUST_CHECK int io_thread_start(const char *name, void *(*run)(void *context), void *context,
                                   pthread_t *out_thread);

/* The loop wakes threads by semaphores: to post never waits. To signal a condition variable may,
 * for a thread that was woken before and does not get a processor, and then all of the loop does.
 */
static inline void io_semaphore_wait(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0 && errno == EINTR)
        continue;
}
