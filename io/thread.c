#define _GNU_SOURCE /* pthread_setname_np, syscall */

#include "io/thread.h"

#include "base/log.h"
#include "io/loop.h"

#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SHORT_SLICE_NS     100000u /* the shortest there is */
#define FLAG_RESET_ON_FORK 1u      /* SCHED_FLAG_RESET_ON_FORK */
#define STEPS_PER_LOOK     16u     /* at the clock */
#define WORK_NS            100000u
#define REST_NS            300000u

/* As in sched_setattr(2), its first version: <linux/sched/types.h> cannot stand beside <sched.h>,
 * and Debian 12 has no function for it. */
struct scheduling {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
};

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

static _Thread_local bool is_prompt;

void io_thread_be_prompt(void)
{
    is_prompt = true;
    struct scheduling scheduling = {0};
    if (syscall(SYS_sched_getattr, 0, &scheduling, sizeof(scheduling), 0) != 0)
        return;
    scheduling.flags = FLAG_RESET_ON_FORK;
    scheduling.runtime_ns = SHORT_SLICE_NS;
    long failed = syscall(SYS_sched_setattr, 0, &scheduling, 0);
    (void)failed; /* it is slower then, and as right */
}

void io_thread_give_way(void)
{
    static _Thread_local uint32_t steps_count;
    static _Thread_local nanoseconds_t rested_ns;
    if (is_prompt || ++steps_count < STEPS_PER_LOOK)
        return;
    steps_count = 0;
    if (io_clock_read_ns() - rested_ns < WORK_NS)
        return;
    struct timespec rest = {.tv_nsec = REST_NS};
    (void)nanosleep(&rest, NULL); /* a signal: it rests less */
    rested_ns = io_clock_read_ns();
}
