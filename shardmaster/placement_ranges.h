/* placement_ranges.h: how ranges are to be cut and dealt to groups, as one pure function: of the
 * map, and of what the groups' leaders report of their load (RangeLoad). It makes the next change;
 * what it has asked for shows in the map, and then it asks for the next.
 *
 * In this order:
 *   1. a range that its leader calls large or hot is split where the leader says
 *   2. a range moves from the busiest group to the least busy one, when they differ by more than a
 *      fifth and that makes their difference smaller; what is on its way counts where it goes
 *   3. where little is asked of both, the same by the number of ranges: from the group with the
 *      most to the one with the fewest, when they differ by two or more
 *   4. a range that its leader calls small is merged with its right neighbour
 *
 * P1. Each is legal as the map stands (master_ranges_check), and touches no range that changes.
 * P2. It comes to rest: a move by load makes the sum of squares of the groups' loads fall by a
 *     share of it; a move by number does the same for the counts, and neither is undone by the
 *     other, because by number move only ranges of groups that are far from busy; a split makes
 * pieces that are not split or merged again unless what is asked of them changes: the limits for
 * both lie a factor of four apart. P3. A merge never leaves fewer ranges than groups, so every
 * group has work to take. P4. Nothing is done to a range that rests from it: what a person has just
 * done, or what was just called off, is not tried at once.
 */
#pragma once

#include "base/bytes.h"
#include "base/types.h"
#include "proto/master.pb-c.h"

/* What the leader of a group says of it. In the order of the map's groups. */
struct placement_group {
    bool is_known; /* somebody leads it, and has reported lately */
    /* What it says is of before a range has come or gone: nothing is moved by it. */
    bool is_outdated;
    uint64_t operations_per_s;
    const Ostraka__RangeLoad *const *loads;
    size_t loads_count;
};

/* Of ranges between these keys, what is not to be done now. */
struct placement_rest {
    struct bytes start, end;
    unsigned kinds; /* bits: 1 << Ostraka__RangeChangeKind */
};

struct placement_ranges_input {
    const Ostraka__Map *map;
    const struct placement_group *groups;
    uint32_t changes_max; /* ranges that may change at a time, whoever asked for it */
    bool may_merge;
    const struct placement_rest *rests;
    size_t rests_count;
};

#define PLACEMENT_RANGE_WHY_BYTES 96
struct placement_range_change {
    Ostraka__RangeChangeKind kind;
    ProtobufCBinaryData start; /* borrowed from the map, or from the loads */
    uint64_t epoch;
    ProtobufCBinaryData at; /* SPLIT */
    group_id_t to_group;    /* MOVE */
    bool is_by_load;        /* MOVE; else by number */
    char why[PLACEMENT_RANGE_WHY_BYTES];
};

/* False: nothing is to be done, or `changes_max` ranges are changing already. */
bool placement_ranges_next(const struct placement_ranges_input *input,
                           struct placement_range_change *out_change);
