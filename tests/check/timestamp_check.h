/* timestamp_check.h: does the oracle hand out each timestamp once (O1), and does it never go back
 * in real time (O2)? Across all leaders of group 0, of which several may believe that they lead.
 *
 * Anomalies: "timestamp-twice"; "timestamp-goes-back": an answer is not above a timestamp that
 * somebody had already when it was asked for.
 */
#pragma once

#include "base/types.h"
#include "tests/check/result.h"

struct timestamp_check;

struct timestamp_check *timestamp_check_new(void);
void timestamp_check_free(struct timestamp_check *check);

/* `oracle` (a store) hands out `count` timestamps from `first` on. */
void timestamp_check_handed_out(struct timestamp_check *check, timestamp_t first, uint32_t count,
                                uint64_t oracle);
/* Somebody has this timestamp now, out of an answer or by hearsay. */
void timestamp_check_heard(struct timestamp_check *check, timestamp_t timestamp);
/* `asker` sends a request. Sent again under its id it is the same one. */
void timestamp_check_asked(struct timestamp_check *check, uint64_t asker, uint64_t request_id);
/* Its answer has come. What nobody asked for, or has an answer already, is not looked at. */
void timestamp_check_answered(struct timestamp_check *check, uint64_t asker, uint64_t request_id,
                              timestamp_t first, uint32_t count);

const struct check_result *timestamp_check_result(const struct timestamp_check *check);
