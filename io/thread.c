#define _GNU_SOURCE /* pthread_setname_np */

#include "io/thread.h"

#include "base/log.h"

#include <signal.h>
#include <string.h>

int io_thread_start(const char *name, void *(*run)(void *context), void *context,
                    pthread_t *out_thread)
{
    /* A thread inherits the mask of its maker, so it never runs with a signal open. */
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(out_thread, NULL, run, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        log_write(LOG_ERROR, "cannot start a thread", "name=%s reason=\"%s\"", name,
                  strerror(error));
        return OST_IO;
    }
    pthread_setname_np(*out_thread, name);
    return OST_OK;
}
