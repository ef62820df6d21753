/* range_changes.h: every change of a range by its number: which range it was given for, and whether
 * a move was switched or cancelled; held against what the groups made of it.
 *
 *   "change-of-two"   one number is used for two ranges
 *   "change-again"    one that was over is under way again
 *   "change-unknown"  a group has, or the map shows, a number that group 0 has not given
 *   "change-fate"     a range is owned by a change that was not switched, or unfrozen by one that
 *                     was not cancelled
 */
#pragma once

#include "proto/master.pb-c.h"
#include "tests/check/result.h"
#include "tests/sim/range_fact.h"

enum range_fate { RANGE_FATE_OPEN, RANGE_FATE_SWITCHED, RANGE_FATE_CANCELLED };

struct range_change {
    uint64_t id;
    Ostraka__RangeChangeKind kind; /* NO_CHANGE: the map has not shown it */
    struct bytes start, end;
    bool has_keys;
    uint64_t epoch; /* MOVE: the range's before it */
    group_id_t from_group, to_group;
    enum range_fate fate;
    bool is_over;  /* group 0 is through with it */
    bool is_shown; /* in the map that is looked at */
};

struct range_changes {
    struct range_changes_item *items;
    struct check_result *result; /* borrowed */
};

void range_changes_init(struct range_changes *changes, struct check_result *result);
void range_changes_fini(struct range_changes *changes);
/* NULL: nobody has named it. */
struct range_change *range_changes_find(const struct range_changes *changes, uint64_t id);
struct range_change *range_changes_of(struct range_changes *changes, uint64_t id);
void range_changes_each(struct range_changes *changes,
                        void (*visit)(void *context, struct range_change *change), void *context);
/* It is a change of these keys, whose bytes stay, and of no others. */
void range_change_names(struct range_changes *changes, struct range_change *change,
                        struct bytes start, struct bytes end, const char *where);
/* What group 0 says. */
void range_change_decided(struct range_changes *changes, struct range_change *change,
                          enum range_fate fate);
/* What a group has made of it. */
void range_change_owned(struct range_changes *changes, struct range_change *change,
                        const char *where);
void range_change_unfrozen(struct range_changes *changes, struct range_change *change,
                           const char *where);
