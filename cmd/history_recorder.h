/* history_recorder.h: writes the events of running clients to a file, stamped and in order
 * (history.h). From any thread. */
#pragma once

#include "cmd/history.h"

struct history_recorder;

/* Makes or empties the file. OST_IO with a line in `out_why` (HISTORY_WHY_BYTES). */
OST_MUST_CHECK int history_recorder_open(const char *path, struct history_recorder **out_recorder,
                                         char *out_why);
/* Sets the event's time. An invocation before its request leaves, a completion after its answer
 * came. NULL recorder: does nothing. An error of the file shows at the close. */
void history_recorder_add(struct history_recorder *recorder, struct history_event *event);
uint64_t history_recorder_events_count(struct history_recorder *recorder);
/* Frees it. OST_IO: not all was written. NULL is fine. */
OST_MUST_CHECK int history_recorder_close(struct history_recorder *recorder, char *out_why);
