/* durable_check.h: is what a leader calls committed durable on a majority (R1)?
 *
 * It believes no index that a core reports: it notes with which unit of the log each entry of a
 * replica was handed to the disk, and counts it from the moment that unit was reported. When a
 * leader's commit index moves, a majority of the voters must hold that very entry so.
 *
 *   "commit-not-durable"
 *   "durable-claimed"     a core takes an entry for durable that is not
 *   "applied-not-durable" an entry is applied that the replica's own log does not hold yet (R5)
 *   "vote-not-durable"    a leader's own vote is no more than a wish
 *   "vote-forgotten"      a vote that was durable is not there after a restart
 *   "tail-revived"        what a start did not find in the log, a later one does, though the store
 *                         has written since
 */
#pragma once

#include "raft/host_internal.h"
#include "tests/check/result.h"

struct durable_check;

struct durable_check *durable_check_new(void);
void durable_check_free(struct durable_check *check);
/* After each turn. True: the next look would find the same, unless the replica takes a step,
 * applies an entry, or hears that more of its log is durable. */
bool durable_check_replica(struct durable_check *check, const struct host_group *group,
                           const struct raft_status *status);
/* Its process was started: what its log holds comes from the disk. `has_written`: a write of the
 * process that was there before has become durable. */
void durable_check_started(struct durable_check *check, const struct host_group *group,
                           bool has_written);
/* A leader counted up to its commit index in this turn. */
void durable_check_committed(struct durable_check *check, const struct host_group *group,
                             raft_index_t commit_index);
const struct check_result *durable_check_result(const struct durable_check *check);
