/* atomic_check.h: has each transaction one outcome, wherever it is reported?
 *
 * Anomalies: "split-outcome" (committed here, aborted there), "two-timestamps" (committed at two).
 */
#pragma once

#include "base/bytes.h"
#include "base/types.h"
#include "tests/check/result.h"

#define ATOMIC_CHECK_ID_BYTES_MAX 32

enum atomic_check_outcome { ATOMIC_COMMITTED, ATOMIC_ABORTED };

struct atomic_check;

struct atomic_check *atomic_check_new(void);
void atomic_check_free(struct atomic_check *check);

/* `txn_id`: up to ATOMIC_CHECK_ID_BYTES_MAX bytes. `commit_ts`: 0 when aborted, or when the
 * reporter does not know it. `where` tells people who reports ("store 3 group 2", "client 7"); it
 * is copied and cut. */
void atomic_check_report(struct atomic_check *check, struct bytes txn_id,
                         enum atomic_check_outcome outcome, timestamp_t commit_ts,
                         const char *where);

const struct check_result *atomic_check_result(const struct atomic_check *check);
