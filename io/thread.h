/* thread.h: starts a thread which leaves all signals to the main thread. Internal to this folder.
 */
#pragma once

#include "base/status.h"

#include <pthread.h>

/* `name` is at most 15 characters, for ps and debuggers. OST_IO when the system has no threads
 * left. */
OST_MUST_CHECK int io_thread_start(const char *name, void *(*run)(void *context), void *context,
                                   pthread_t *out_thread);
