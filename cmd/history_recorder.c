#include "cmd/history_recorder.h"

#include "base/memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct history_recorder {
    pthread_mutex_t mutex;
    FILE *file;
    char *path;
    uint64_t events_count;
    int status;
};

int history_recorder_open(const char *path, struct history_recorder **out_recorder, char *out_why)
{
    FILE *file = fopen(path, "we");
    if (!file) {
        snprintf(out_why, HISTORY_WHY_BYTES, "cannot write history '%.150s': %s", path,
                 strerror(errno));
        return OST_IO;
    }
    struct history_recorder *recorder = memory_alloc_zeroed(1, sizeof *recorder);
    pthread_mutex_init(&recorder->mutex, NULL);
    recorder->file = file;
    recorder->path = memory_copy_string(path);
    *out_recorder = recorder;
    return OST_OK;
}

void history_recorder_add(struct history_recorder *recorder, struct history_event *event)
{
    if (!recorder)
        return;
    pthread_mutex_lock(&recorder->mutex);
    /* The time is taken here, so that it does not fall as the events follow each other. */
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    event->time_ns = (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
    int status = history_write_event(recorder->file, recorder->events_count, event);
    recorder->events_count++;
    if (recorder->status == OST_OK)
        recorder->status = status;
    pthread_mutex_unlock(&recorder->mutex);
}

uint64_t history_recorder_events_count(struct history_recorder *recorder)
{
    pthread_mutex_lock(&recorder->mutex);
    uint64_t count = recorder->events_count;
    pthread_mutex_unlock(&recorder->mutex);
    return count;
}

int history_recorder_close(struct history_recorder *recorder, char *out_why)
{
    if (!recorder)
        return OST_OK;
    int status = recorder->status;
    if (fclose(recorder->file) != 0)
        status = OST_IO;
    if (status != OST_OK)
        snprintf(out_why, HISTORY_WHY_BYTES, "the history '%.150s' is not complete: %s",
                 recorder->path, ost_status_text(status));
    pthread_mutex_destroy(&recorder->mutex);
    free(recorder->path);
    free(recorder);
    return status;
}
