/* election_check.h: who stands for election, and by whose votes it leads.
 *
 * It counts no core's votes: it notes what each replica says it voted, before that can leave its
 * store, and what reaches each store.
 *
 *   "elected-without-majority" a leader that no majority of its voters voted for; of both halves,
 *                              where its configuration is joint
 *   "voted-without-members"    a replica that knows no configuration has voted: it had the number
 * on a disk that was lost (R6) "term-from-nowhere"        a replica is in a term that nobody ever
 * stood in "candidate-unasked"        a replica raised its term though nobody can have said that it
 * would vote for it: nothing had reached it since it did so before (pre-vote)
 */
#pragma once

#include "raft/host_internal.h"
#include "tests/check/result.h"

struct election_check;

struct election_check *election_check_new(void);
void election_check_free(struct election_check *check);
/* Its process was started. `frames_count`: what other replicas have sent to this process. */
void election_check_started(struct election_check *check, const struct host_group *group,
                            uint64_t frames_count);
/* After each turn. */
void election_check_replica(struct election_check *check, const struct host_group *group,
                            const struct raft_status *status, uint64_t frames_count);
const struct check_result *election_check_result(const struct election_check *check);
