/* master_ranges.h: splits, merges and moves of ranges (docs/range-moves.md), as pure functions over
 * the map: what may be asked for, and what a committed command changes.
 *
 * A range has one change at a time, which stands beside it under a number that is given once (R7).
 * `-` is a range without one:
 *
 *   split:  - --RangeChangeWanted--> SPLIT --RangeSplit--> - and -
 *   merge:  - and - --RangeChangeWanted--> MERGE and MERGE --RangesMerged--> -
 *   move:   - --RangeChangeWanted--> MOVE --RangeSwitched--> MOVE, switched --RangeAssigned--> -
 *                                    MOVE --RangeChangeCancelled--> -
 *
 * While it stands, the range keeps its start and its end, and nothing but these steps changes it.
 * A change is over when its number is below next_change and stands beside no range.
 */
#pragma once

#include "shardmaster/master_map.h"

/* At one time: each costs its group a copy, or a pause at least. */
#define RANGE_CHANGES_COUNT_MAX 256u
/* Packed: it travels in one message (FRAME_MESSAGE_BYTES_MAX). No split begins beyond; those that
 * have begun may yet write their key twice more. */
#define MAP_BYTES_MAX (2u << 20)

/* "split", "merge", "move"; static. */
const char *master_range_change_name(uint32_t kind);
/* The move cannot be called off any more: the map says that the range is the other group's. */
bool master_range_is_switched(const Ostraka__RangeInfo *range);
/* The range that begins at `start`, if this change stands beside it; of a merge the left one. NULL:
 * it does not, or not any more. */
Ostraka__RangeInfo *master_range_of_change(const Ostraka__Map *map, struct bytes start,
                                           uint64_t change);
/* A merge: the right one, which begins where the change says. */
Ostraka__RangeInfo *master_range_right_of(const Ostraka__Map *map, const Ostraka__RangeInfo *left);
size_t master_range_changes_count(const Ostraka__Map *map);

/* What a person asked for: a split, a merge or a move. OST_OK, and the command to commit, without
 * the change's number; its bytes are the request's and the map's. OST_EXISTS: it is under way (then
 * with its number) or done, as this request wanted it; else why not, as a text: OST_NOT_FOUND,
 * OST_CONFLICT, OST_TOO_LARGE, OST_INVALID_ARGUMENT, OST_BUSY. */
OST_MUST_CHECK int master_ranges_check(const Ostraka__Map *map, const Ostraka__ChangeRange *request,
                                       Ostraka__MasterCommand__RangeChangeWanted *out_command,
                                       char *out_why);
/* The same for a move that is to be called off. */
OST_MUST_CHECK int
master_ranges_check_cancel(const Ostraka__Map *map, uint64_t change,
                           Ostraka__MasterCommand__RangeChangeCancelled *out_command,
                           char *out_why);

/* What committed commands do (compare and set, R7). False: nothing changed. New things are put in
 * the map's arena. */
bool master_range_change_wanted(Ostraka__Map *map,
                                const Ostraka__MasterCommand__RangeChangeWanted *command,
                                struct arena *arena);
bool master_range_split(Ostraka__Map *map, const Ostraka__MasterCommand__RangeSplit *command,
                        struct arena *arena);
bool master_ranges_merged(Ostraka__Map *map, const Ostraka__MasterCommand__RangesMerged *command);
bool master_range_switched(Ostraka__Map *map, const Ostraka__MasterCommand__RangeSwitched *command);
bool master_range_change_cancelled(Ostraka__Map *map,
                                   const Ostraka__MasterCommand__RangeChangeCancelled *command);
