/* configuration_check.h: is each replica's configuration the one that its log says?
 *
 * It asks no core how it comes to its configuration: it looks through the entries that a log got
 * since it was last looked at, and holds what is in force against the newest of them.
 *
 *   "configuration-not-last"   what is in force is not the log's newest configuration: it stayed
 *                              when its entry was cut off, or did not come with it
 *   "configuration-outdated"   a replica knows a later configuration to be committed
 *   "configuration-differs"    two replicas have committed different ones at one index
 *   "configuration-step"       two that follow each other in a log have quorums that need not meet
 *   "two-changes"              a leader began a change before the one before it was committed
 *   "change-before-own-commit" or before it had committed an entry of its term (Ongaro, 2015)
 */
#pragma once

#include "raft/host_internal.h"
#include "tests/check/result.h"

struct configuration_check;

struct configuration_check *configuration_check_new(void);
void configuration_check_free(struct configuration_check *check);
/* After each turn, and after a start. */
void configuration_check_replica(struct configuration_check *check, const struct host_group *group,
                                 const struct raft_status *status);
const struct check_result *configuration_check_result(const struct configuration_check *check);
