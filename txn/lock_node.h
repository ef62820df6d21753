/* lock_node.h: what one key or interval of the lock table is made of, and the tree of intervals.
 * Inside the lock table alone.
 */
#pragma once

#include "txn/lock_table.h"

#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>

TAILQ_HEAD(lock_list, lock);

/* A key or an interval that somebody holds or waits for; freed when nobody does any more. */
struct lock_node {
    RB_ENTRY(lock_node) link;
    struct lock_node
        *farthest; /* of an interval's subtree, itself included: the one that ends last */
    struct lock_target target; /* points into data */
    struct lock_list holders;
    struct lock_list waiters; /* the oldest first (K3) */
    uint32_t holders_count;
    uint32_t waiters_count;
    uint32_t exclusive_waiters_count;
    uint8_t data[];
};

/* One owner's lock on one node: it waits, then it is held. */
struct lock {
    TAILQ_ENTRY(lock) node_link;
    TAILQ_ENTRY(lock) owner_link;
    struct lock_owner *owner;
    struct lock_node *node;
    uint64_t token;
    enum lock_mode mode;
    bool is_granted;
};

static inline bool lock_target_is_empty(const struct lock_target *target)
{
    return target->is_interval && target->end.bytes_count > 0 &&
           bytes_compare(target->start, target->end) >= 0;
}

/* Is the key before `end`, where an empty end is behind every key? */
static inline bool lock_key_before_end(struct bytes key, struct bytes end)
{
    return end.bytes_count == 0 || bytes_compare(key, end) < 0;
}

/* Intervals by start, then end: an interval tree (Cormen et al., 14.3), so that the intervals
 * around a key are found without a walk over all. */
RB_HEAD(lock_intervals, lock_node);

/* Returns the node that stands there already, or NULL when `node` went in. */
struct lock_node *lock_intervals_insert(struct lock_intervals *intervals, struct lock_node *node);
void lock_intervals_remove(struct lock_intervals *intervals, struct lock_node *node);
struct lock_node *lock_intervals_find(struct lock_intervals *intervals,
                                      const struct lock_target *target);
/* The intervals that share a key with `target` (key or interval), in the tree's order. */
struct lock_node *lock_intervals_first(const struct lock_intervals *intervals,
                                       const struct lock_target *target);
struct lock_node *lock_intervals_next(struct lock_node *node, const struct lock_target *target);
/* Every interval, and the invariants of `farthest`; for tests. */
struct lock_node *lock_intervals_each(const struct lock_intervals *intervals,
                                      struct lock_node *previous);
