/* snapshot_check.h: does each snapshot show exactly the commits at or below its timestamp?
 *
 * It is told of every transaction with writes, before its commit is asked for, and then what became
 * of it, and of every key that was read as of a timestamp. Each value is written to its key once,
 * so that what a read shows tells who wrote it. A transaction whose outcome nobody learned may have
 * committed or not; a read that shows one of its writes tells that it has, and when, and from then
 * on it must be seen by all of them. A delete of unknown outcome explains that its key is not
 * there.
 *
 * Anomalies: "garbage-read" (nobody wrote that), "aborted-read", "future-read" (committed above the
 * timestamp), "moved-commit" (shown as committed at another timestamp than it was), "two-versions"
 * (of one key at one timestamp), "missed-commit" (there is a newer one at or below the timestamp).
 */
#pragma once

#include "base/bytes.h"
#include "base/types.h"
#include "tests/check/result.h"

struct snapshot_check;

struct snapshot_check *snapshot_check_new(void);
void snapshot_check_free(struct snapshot_check *check);

/* A transaction; the number names it. Nobody knows how it ends until it is said. */
uint64_t snapshot_check_begin(struct snapshot_check *check);
/* `value` NULL: a delete. Copied, as all below. */
void snapshot_check_write(struct snapshot_check *check, uint64_t txn, struct bytes key,
                          const struct bytes *value);
void snapshot_check_committed(struct snapshot_check *check, uint64_t txn, timestamp_t timestamp);
void snapshot_check_aborted(struct snapshot_check *check, uint64_t txn);

/* `value` NULL: there was none. `where` tells people who read ("client 2 at a replica"). */
void snapshot_check_read(struct snapshot_check *check, timestamp_t timestamp, struct bytes key,
                         const struct bytes *value, timestamp_t version, const char *where);

/* Once, at the end. */
void snapshot_check_judge(struct snapshot_check *check, struct check_result *out);
