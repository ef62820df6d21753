/* placement.h: where replicas and leaders are to be, as one pure function: of the map, and of what
 * the stores report, it makes the next few actions. It keeps nothing between two calls: what it
 * asks for shows in the map, and then it asks for the rest.
 *
 * In this order, each only where nothing before it could be done for the group:
 *   1. leaderships leave a store that drains; what is to join a store that died, or that drains and
 *      is silent or has lost it, is called off, where the group has a leader that is heard of
 *   2. a replica on a dead store is replaced, then one that is lost, then those on draining stores
 *   3. a group that has fewer replicas than wanted gets one more (an even number is never the aim)
 *   4. two replicas of a group that share a host come apart, when a host without one is there
 *   5. the store with the most replicas gives one to the store with the fewest, when they differ by
 *      two or more; of equals, the one that holds more bytes gives, the one that holds fewer gets
 *   6. the same with leaderships of data groups, if need be by way of other stores
 *
 * P1. An action never makes anything worse that comes earlier in this list, for its group.
 * P2. Each is legal as the map stands (master_replicas_check; a transfer goes to a voter).
 * P3. It comes to rest: 1 to 4 count something down that no action raises, 5 and 6 make the sum of
 *     squares of the counts fall (6 may leave it and shorten the way to where it falls).
 * Differences of one are left alone. P4. Nothing is moved to a store that is not UP or not heard
 * of, and nothing of a group that changes, has no leader, or lacks a replica's report (5), is
 * touched.
 *
 * "As far as the rules allow" means: no single move is left that would be better.
 */
#pragma once

#include "base/types.h"
#include "proto/master.pb-c.h"

enum placement_kind {
    PLACEMENT_CHANGE_REPLICAS, /* add_store, remove_store: one of them may be 0 */
    PLACEMENT_TRANSFER_LEADER, /* to_store */
};

#define PLACEMENT_WHY_BYTES 96
struct placement_action {
    enum placement_kind kind;
    group_id_t group;
    uint64_t group_epoch;
    store_id_t add_store, remove_store;
    store_id_t to_store;
    char why[PLACEMENT_WHY_BYTES];
};

/* What is known of a store beside the map. */
struct placement_store {
    bool is_live;       /* it has reported lately */
    bool is_slow;       /* a log write hangs there: it is given no leadership */
    uint64_t bytes;     /* of data; 0: not known */
    uint64_t loop_time; /* of a thousand, in work; 0: not known; kept for moves of ranges */
};

struct placement_input {
    const Ostraka__Map *map;
    const struct placement_store *stores; /* in the order of the map's */
    /* Who leads each group, 0: not known; in the order of the map's, then group 0's. */
    const store_id_t *leaders;
    uint32_t replica_changes_max; /* groups that may change at a time; 0: only 1 and 6 are done */
};

/* At most `actions_max`, the most urgent first, no two of one group. */
size_t placement_next(const struct placement_input *input, struct placement_action *out_actions,
                      size_t actions_max);

/* Does nothing on this store move away now, and why? A text of PLACEMENT_WHY_BYTES at most: of one
 * of its groups. */
bool placement_waits(const struct placement_input *input, store_id_t store, char *out_why);
/* How many replicas a store has when all are spread evenly over those that are UP. */
size_t placement_share(const Ostraka__Map *map);
