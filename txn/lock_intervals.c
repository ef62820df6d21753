/* The tree of <bsd/sys/tree.h> calls RB_AUGMENT at each node below which something has changed, but
 * in some cases only at the lowest one. Going up to the root from each of them makes every
 * `farthest` right whichever the case, and costs O(log n) a few times. The macro counts for a whole
 * file, hence this one. */
#include <stddef.h>

struct lock_node;
static void farthest_update_upward(struct lock_node *node);
#define RB_AUGMENT(node) farthest_update_upward(node)

#include "txn/lock_node.h"

/* Ends in order; an empty one is the last. */
static int end_compare(struct bytes a, struct bytes b)
{
    if (a.bytes_count == 0 || b.bytes_count == 0)
        return (a.bytes_count == 0) - (b.bytes_count == 0);
    return bytes_compare(a, b);
}

static int interval_compare(const struct lock_node *a, const struct lock_node *b)
{
    int order = bytes_compare(a->target.start, b->target.start);
    return order != 0 ? order : end_compare(a->target.end, b->target.end);
}

RB_GENERATE_INTERNAL(lock_intervals, lock_node, link, interval_compare,
                     __attribute__((unused)) static)

static struct lock_node *farther(struct lock_node *best, struct lock_node *child)
{
    if (!child || end_compare(child->farthest->target.end, best->target.end) <= 0)
        return best;
    return child->farthest;
}

static struct lock_node *farthest_of(struct lock_node *node)
{
    return farther(farther(node, RB_LEFT(node, link)), RB_RIGHT(node, link));
}

static void farthest_update_upward(struct lock_node *node)
{
    for (; node; node = RB_PARENT(node, link))
        node->farthest = farthest_of(node);
}

struct lock_node *lock_intervals_insert(struct lock_intervals *intervals, struct lock_node *node)
{
    node->farthest = node;
    return RB_INSERT(lock_intervals, intervals, node);
}

void lock_intervals_remove(struct lock_intervals *intervals, struct lock_node *node)
{
    RB_REMOVE(lock_intervals, intervals, node);
}

struct lock_node *lock_intervals_find(struct lock_intervals *intervals,
                                      const struct lock_target *target)
{
    struct lock_node wanted;
    wanted.target = *target;
    return RB_FIND(lock_intervals, intervals, &wanted);
}

/* Does what ends at `end` reach the target's start? */
static bool reaches(struct bytes end, const struct lock_target *target)
{
    return lock_key_before_end(target->start, end);
}

/* Does the node begin in the target or before it? */
static bool begins_early(const struct lock_node *node, const struct lock_target *target)
{
    if (target->is_interval)
        return lock_key_before_end(node->target.start, target->end);
    return bytes_compare(node->target.start, target->start) <= 0;
}

/* The first match below `node`, whose subtree reaches the target. When the left subtree reaches it
 * but has no match, then because everything that reaches begins too late, and so does all to the
 * right. */
static struct lock_node *first_below(struct lock_node *node, const struct lock_target *target)
{
    for (;;) {
        struct lock_node *left = RB_LEFT(node, link);
        if (left && reaches(left->farthest->target.end, target)) {
            node = left;
            continue;
        }
        if (!begins_early(node, target))
            return NULL;
        if (reaches(node->target.end, target))
            return node;
        node = RB_RIGHT(node, link);
        if (!node || !reaches(node->farthest->target.end, target))
            return NULL;
    }
}

struct lock_node *lock_intervals_first(const struct lock_intervals *intervals,
                                       const struct lock_target *target)
{
    struct lock_node *root = RB_ROOT(intervals);
    if (!root || !reaches(root->farthest->target.end, target))
        return NULL;
    return first_below(root, target);
}

struct lock_node *lock_intervals_next(struct lock_node *node, const struct lock_target *target)
{
    for (;;) {
        struct lock_node *right = RB_RIGHT(node, link);
        if (right && reaches(right->farthest->target.end, target))
            return first_below(right, target);
        struct lock_node *child;
        do {
            child = node;
            node = RB_PARENT(node, link);
            if (!node)
                return NULL;
        } while (child == RB_RIGHT(node, link));
        if (!begins_early(node, target))
            return NULL;
        if (reaches(node->target.end, target))
            return node;
    }
}

struct lock_node *lock_intervals_each(const struct lock_intervals *intervals,
                                      struct lock_node *previous)
{
    struct lock_intervals head = *intervals;
    struct lock_node *node =
        previous ? RB_NEXT(lock_intervals, &head, previous) : RB_MIN(lock_intervals, &head);
    ASSERT(!node || end_compare(node->farthest->target.end, farthest_of(node)->target.end) == 0);
    return node;
}
