/* range_check.h: who owns which keys: what the logs of all groups say of their ranges, at each
 * index that a replica was seen at, held against docs/range-moves.md, against each other and
 * against the map. A group's newest state is that of the replica that has ever been seen furthest:
 * what was applied was committed, and what a group does follows from what it has applied.
 *
 *   "ranges-differ"    two replicas of a group have different ranges at one index
 *   "ranges-overlap"   two of one group's do
 *   "range-step"       no steps of the table lead from one index to the next
 *   "two-owners"       two groups have a key OWNED or FROZEN
 *   "range-epoch-back" a key's owner has an epoch that is not above the one before it; or two
 *                      ranges of other keys have the same
 *   "range-lost"       a group gave up a key that nobody else has
 *   "switched-early"   the map gives a range to another group, and its owner has not SEALED it, or
 *                      the other has not COPIED it
 *   "ranges-unsettled" at the end not every key is OWNED as the map says, or something is left over
 *   and what range_map.h and range_changes.h say
 */
#pragma once

#include "proto/master.pb-c.h"
#include "tests/check/result.h"
#include "tests/sim/range_fact.h"
#include "tests/sim/range_map.h"

struct range_check;

struct range_check *range_check_new(void);
void range_check_free(struct range_check *check);
/* What a replica's log says, applied up to `index`. */
void range_check_replica(struct range_check *check, group_id_t group, uint64_t store_id,
                         raft_index_t index, struct range_facts facts);
/* The state of a replica of group 0. One that is not newer than all before it says nothing. */
void range_check_map(struct range_check *check, const Ostraka__Map *map);
/* What has come to pass since it was last asked; false: nothing more. */
bool range_check_take_step(struct range_check *check, struct range_step *out_step);
/* Between whom a move is; false: it is none, or not known. */
bool range_check_move_of(const struct range_check *check, uint64_t change, group_id_t *out_from,
                         group_id_t *out_to);
/* Is every key OWNED as the map says, and nothing else anywhere? False: the text says what not. */
bool range_check_is_settled(const struct range_check *check, char *text, size_t text_bytes_max);
/* It must be, now. */
void range_check_end(struct range_check *check);
void range_check_get_counts(const struct range_check *check, struct range_counts *out_counts);
const struct check_result *range_check_result(const struct range_check *check);
