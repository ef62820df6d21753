#include "cmd/crowd.h"

#include "base/assert.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#define CANCEL_WAIT_MS 30000u /* longer than any call of the library may take */
#define REST_MS_MAX    64u

void crowd_init(struct crowd *crowd)
{
    *crowd = (struct crowd){0};
    pthread_mutex_init(&crowd->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&crowd->idle, &attributes);
    pthread_condattr_destroy(&attributes);
}

void crowd_fini(struct crowd *crowd)
{
    ASSERT(crowd->active_count == 0);
    pthread_cond_destroy(&crowd->idle);
    pthread_mutex_destroy(&crowd->mutex);
}

void crowd_enter(struct crowd *crowd, uint32_t count)
{
    pthread_mutex_lock(&crowd->mutex);
    crowd->active_count += count;
    pthread_mutex_unlock(&crowd->mutex);
}

bool crowd_is_stopping(struct crowd *crowd, bool *out_abandon)
{
    pthread_mutex_lock(&crowd->mutex);
    bool is_stopping = crowd->is_stopping;
    *out_abandon = crowd->is_abandoning;
    pthread_mutex_unlock(&crowd->mutex);
    return is_stopping;
}

void crowd_fail(struct crowd *crowd, int status, const char *doing, struct ost_txn *txn)
{
    const char *detail = txn ? ost_txn_error(txn) : "";
    pthread_mutex_lock(&crowd->mutex);
    if (crowd->error == OST_OK) {
        crowd->error = status;
        snprintf(crowd->why, sizeof crowd->why, "cannot %s: %s%s%s", doing, ost_status_text(status),
                 detail && detail[0] ? ": " : "", detail ? detail : "");
    }
    crowd->is_stopping = true;
    pthread_mutex_unlock(&crowd->mutex);
}

void crowd_leave(struct crowd *crowd)
{
    pthread_mutex_lock(&crowd->mutex);
    if (--crowd->active_count == 0)
        pthread_cond_broadcast(&crowd->idle);
    pthread_mutex_unlock(&crowd->mutex);
}

int crowd_error(struct crowd *crowd, char *out_why)
{
    pthread_mutex_lock(&crowd->mutex);
    int error = crowd->error;
    if (error != OST_OK)
        snprintf(out_why, CROWD_WHY_BYTES, "%s", crowd->why);
    pthread_mutex_unlock(&crowd->mutex);
    return error;
}

/* Under the mutex. False: the time is over. */
static bool wait_idle(struct crowd *crowd, uint32_t timeout_ms)
{
    struct timespec deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    uint64_t nanoseconds = (uint64_t)deadline.tv_nsec + (uint64_t)timeout_ms * UINT64_C(1000000);
    deadline.tv_sec += (time_t)(nanoseconds / UINT64_C(1000000000));
    deadline.tv_nsec = (long)(nanoseconds % UINT64_C(1000000000));
    int error = 0;
    while (crowd->active_count > 0 && error == 0)
        error = pthread_cond_timedwait(&crowd->idle, &crowd->mutex, &deadline);
    return crowd->active_count == 0;
}

int crowd_stop(struct crowd *crowd, uint32_t timeout_ms, char *out_why)
{
    pthread_mutex_lock(&crowd->mutex);
    crowd->is_stopping = true;
    if (!wait_idle(crowd, timeout_ms)) {
        crowd->is_abandoning = true;
        /* Each call of the library ends by itself within its timeout. */
        bool is_idle = wait_idle(crowd, CANCEL_WAIT_MS);
        ASSERT(is_idle);
    }
    pthread_mutex_unlock(&crowd->mutex);
    return crowd_error(crowd, out_why);
}

uint32_t crowd_rest_ms(struct random *random, uint32_t tries_count)
{
    uint32_t limit_ms = tries_count < 6 ? 1u << tries_count : REST_MS_MAX;
    return 1 + (uint32_t)random_below(random, limit_ms);
}
