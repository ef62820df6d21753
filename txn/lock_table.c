#include "txn/lock_table.h"

#include "base/memory.h"
#include "base/sometimes.h"
#include "txn/lock_node.h"

#include <stdlib.h>

LIST_HEAD(lock_owner_list, lock_owner);
LIST_HEAD(lock_owner_notice_list, lock_notice);
TAILQ_HEAD(lock_notice_list, lock_notice);
RB_HEAD(lock_points, lock_node);

struct lock_owner {
    LIST_ENTRY(lock_owner) link;
    struct txn_age age;
    uint64_t attempt;
    uint64_t serial; /* in the order of their making */
    void *context;
    struct lock_list points;    /* held keys */
    struct lock_list intervals; /* held intervals */
    struct lock_list waits;
    struct lock_owner_notice_list notices;
    uint32_t points_count;
    uint32_t intervals_count;
    uint64_t visit_serial; /* of the last lock_table_conflicts that named it */
};

struct lock_table {
    struct lock_table_options options;
    struct lock_points points;
    struct lock_intervals intervals;
    struct lock_owner_list owners;
    struct lock_notice_list notices; /* granted after a wait, not yet reported; the oldest first */
    uint64_t owner_serial_last;
    uint64_t visit_serial_last;
    uint64_t locks_count; /* held and waited for */
    uint64_t waiters_count;
    uint64_t keys_locked; /* nodes with a holder */
    uint64_t owners_count;
};

static int point_compare(const struct lock_node *a, const struct lock_node *b)
{
    return bytes_compare(a->target.start, b->target.start);
}

RB_GENERATE_INTERNAL(lock_points, lock_node, link, point_compare, __attribute__((unused)) static)

struct lock_table *lock_table_new(const struct lock_table_options *options)
{
    struct lock_table *table = memory_alloc_zeroed(1, sizeof(*table));
    table->options = *options;
    RB_INIT(&table->points);
    RB_INIT(&table->intervals);
    LIST_INIT(&table->owners);
    TAILQ_INIT(&table->notices);
    return table;
}

/* ---- Owners ---- */

struct lock_owner *lock_owner_new(struct lock_table *table, const struct txn_age *age,
                                  uint64_t attempt, void *context)
{
    struct lock_owner *owner = memory_alloc(sizeof(*owner));
    owner->age = *age;
    owner->attempt = attempt;
    owner->serial = ++table->owner_serial_last;
    owner->context = context;
    owner->points_count = 0;
    owner->intervals_count = 0;
    owner->visit_serial = 0;
    TAILQ_INIT(&owner->points);
    TAILQ_INIT(&owner->intervals);
    TAILQ_INIT(&owner->waits);
    LIST_INIT(&owner->notices);
    LIST_INSERT_HEAD(&table->owners, owner, link);
    table->owners_count++;
    return owner;
}

void *lock_owner_context(const struct lock_owner *owner)
{
    return owner->context;
}

const struct txn_age *lock_owner_age(const struct lock_owner *owner)
{
    return &owner->age;
}

int lock_owner_compare(const struct lock_owner *a, const struct lock_owner *b)
{
    int order = txn_age_compare(&a->age, &b->age);
    if (order != 0)
        return order;
    if (a->attempt != b->attempt)
        return a->attempt > b->attempt ? -1 : 1;
    return (a->serial > b->serial) - (a->serial < b->serial);
}

/* ---- Nodes ---- */

static struct lock_node *node_find(struct lock_table *table, const struct lock_target *target)
{
    if (target->is_interval)
        return lock_intervals_find(&table->intervals, target);
    struct lock_node wanted;
    wanted.target = *target;
    return RB_FIND(lock_points, &table->points, &wanted);
}

static struct bytes copy_into(uint8_t *to, struct bytes from)
{
    if (from.bytes_count > 0)
        memcpy(to, from.data, from.bytes_count);
    return bytes_of(to, from.bytes_count);
}

static struct lock_node *node_new(struct lock_table *table, const struct lock_target *target)
{
    size_t end_bytes = target->is_interval ? target->end.bytes_count : 0;
    struct lock_node *node = memory_alloc(sizeof(*node) + target->start.bytes_count + end_bytes);
    node->target.is_interval = target->is_interval;
    node->target.start = copy_into(node->data, target->start);
    node->target.end = bytes_of(NULL, 0);
    if (target->is_interval)
        node->target.end = copy_into(node->data + target->start.bytes_count, target->end);
    TAILQ_INIT(&node->holders);
    TAILQ_INIT(&node->waiters);
    node->holders_count = 0;
    node->waiters_count = 0;
    node->exclusive_waiters_count = 0;
    struct lock_node *there = target->is_interval ? lock_intervals_insert(&table->intervals, node)
                                                  : RB_INSERT(lock_points, &table->points, node);
    ASSERT(!there);
    return node;
}

static void node_free_if_unused(struct lock_table *table, struct lock_node *node)
{
    if (node->holders_count > 0 || node->waiters_count > 0)
        return;
    if (node->target.is_interval)
        lock_intervals_remove(&table->intervals, node);
    else
        RB_REMOVE(lock_points, &table->points, node);
    free(node);
}

/* A walk over the nodes that share a key with a target: keys in order, then intervals. The table's
 * nodes must neither come nor go meanwhile. */
struct overlap {
    struct lock_target target;
    struct lock_node *point;
    struct lock_node *interval;
};

static struct lock_node *point_in_target(struct lock_node *point, const struct lock_target *target)
{
    return point && lock_key_before_end(point->target.start, target->end) ? point : NULL;
}

/* `own` is the target's own node, or NULL when there is none. */
static struct overlap overlap_begin(struct lock_table *table, const struct lock_target *target,
                                    struct lock_node *own)
{
    struct overlap overlap = {.target = *target, .point = own};
    if (target->is_interval) {
        struct lock_node wanted;
        wanted.target = *target;
        overlap.point = point_in_target(RB_NFIND(lock_points, &table->points, &wanted), target);
    }
    if (!RB_EMPTY(&table->intervals))
        overlap.interval = lock_intervals_first(&table->intervals, target);
    return overlap;
}

static struct lock_node *overlap_next(struct overlap *overlap)
{
    struct lock_node *node = overlap->point;
    if (node) {
        overlap->point = NULL;
        if (overlap->target.is_interval)
            overlap->point = point_in_target(RB_NEXT(lock_points, NULL, node), &overlap->target);
        return node;
    }
    node = overlap->interval;
    if (node)
        overlap->interval = lock_intervals_next(node, &overlap->target);
    return node;
}

/* ---- What is held, what conflicts ---- */

/* The owner's lock on this very node. Looks through the shorter one of the two lists it is in. */
static struct lock *held_find(const struct lock_node *node, const struct lock_owner *owner)
{
    bool is_interval = node->target.is_interval;
    uint32_t owned_count = is_interval ? owner->intervals_count : owner->points_count;
    struct lock *lock;
    if (node->holders_count <= owned_count) {
        TAILQ_FOREACH (lock, &node->holders, node_link) {
            if (lock->owner == owner)
                return lock;
        }
        return NULL;
    }
    TAILQ_FOREACH (lock, is_interval ? &owner->intervals : &owner->points, owner_link) {
        if (lock->node == node)
            return lock;
    }
    return NULL;
}

static bool interval_covers(const struct lock_target *interval, const struct lock_target *target)
{
    if (bytes_compare(interval->start, target->start) > 0)
        return false;
    if (!target->is_interval)
        return lock_key_before_end(target->start, interval->end);
    if (interval->end.bytes_count == 0)
        return true;
    return target->end.bytes_count > 0 && bytes_compare(target->end, interval->end) <= 0;
}

/* `own` as in overlap_begin. */
static bool owner_covers(struct lock_table *table, const struct lock_owner *owner,
                         const struct lock_target *target, enum lock_mode mode,
                         struct lock_node *own)
{
    struct lock *held = own ? held_find(own, owner) : NULL;
    if (held && held->mode >= mode)
        return true;
    if (owner->intervals_count == 0)
        return false;
    struct lock_node *node = lock_intervals_first(&table->intervals, target);
    for (; node; node = lock_intervals_next(node, target)) {
        if (!interval_covers(&node->target, target))
            continue;
        held = held_find(node, owner);
        if (held && held->mode >= mode)
            return true;
    }
    return false;
}

/* A node has one exclusive holder or many shared ones, so that the first tells about all. */
static bool holders_conflict(const struct lock_node *node, const struct lock_owner *owner,
                             enum lock_mode mode)
{
    const struct lock *first = TAILQ_FIRST(&node->holders);
    if (!first)
        return false;
    if (mode == LOCK_SHARED && first->mode == LOCK_SHARED)
        return false;
    return node->holders_count > 1 || first->owner != owner;
}

static bool older_waiters_conflict(const struct lock_node *node, const struct lock_owner *owner,
                                   enum lock_mode mode)
{
    if (mode == LOCK_SHARED && node->exclusive_waiters_count == 0)
        return false;
    const struct lock *waiter;
    TAILQ_FOREACH (waiter, &node->waiters, node_link) {
        if (waiter->owner == owner)
            continue;
        if (lock_owner_compare(waiter->owner, owner) > 0)
            return false;
        if (mode == LOCK_EXCLUSIVE || waiter->mode == LOCK_EXCLUSIVE)
            return true;
    }
    return false;
}

/* K1 and K3 in one question, for a new request and for one that waits. */
static bool request_is_blocked(struct lock_table *table, const struct lock_owner *owner,
                               const struct lock_target *target, enum lock_mode mode,
                               struct lock_node *own)
{
    struct overlap overlap = overlap_begin(table, target, own);
    struct lock_node *node;
    while ((node = overlap_next(&overlap))) {
        if (holders_conflict(node, owner, mode) || older_waiters_conflict(node, owner, mode))
            return true;
    }
    return false;
}

/* ---- Locks in and out of their lists ---- */

static struct lock *lock_new(struct lock_table *table, struct lock_owner *owner,
                             struct lock_node *node, enum lock_mode mode, uint64_t token)
{
    struct lock *lock = memory_alloc(sizeof(*lock));
    lock->owner = owner;
    lock->node = node;
    lock->token = token;
    lock->mode = mode;
    lock->is_granted = false;
    table->locks_count++;
    return lock;
}

static void lock_insert_held(struct lock_table *table, struct lock *lock)
{
    struct lock_node *node = lock->node;
    struct lock_owner *owner = lock->owner;
    lock->is_granted = true;
    TAILQ_INSERT_TAIL(&node->holders, lock, node_link);
    if (node->holders_count++ == 0)
        table->keys_locked++;
    if (node->target.is_interval) {
        TAILQ_INSERT_TAIL(&owner->intervals, lock, owner_link);
        owner->intervals_count++;
    } else {
        TAILQ_INSERT_TAIL(&owner->points, lock, owner_link);
        owner->points_count++;
    }
}

static void lock_unlink_held(struct lock_table *table, struct lock *lock)
{
    struct lock_node *node = lock->node;
    struct lock_owner *owner = lock->owner;
    TAILQ_REMOVE(&node->holders, lock, node_link);
    if (--node->holders_count == 0)
        table->keys_locked--;
    if (node->target.is_interval) {
        TAILQ_REMOVE(&owner->intervals, lock, owner_link);
        owner->intervals_count--;
    } else {
        TAILQ_REMOVE(&owner->points, lock, owner_link);
        owner->points_count--;
    }
}

static void lock_insert_waiting(struct lock_table *table, struct lock *lock)
{
    struct lock_node *node = lock->node;
    /* Most come in the order of their ages: look from the youngest on. */
    struct lock *before = TAILQ_LAST(&node->waiters, lock_list);
    while (before && lock_owner_compare(before->owner, lock->owner) > 0)
        before = TAILQ_PREV(before, lock_list, node_link);
    if (before)
        TAILQ_INSERT_AFTER(&node->waiters, before, lock, node_link);
    else
        TAILQ_INSERT_HEAD(&node->waiters, lock, node_link);
    TAILQ_INSERT_TAIL(&lock->owner->waits, lock, owner_link);
    node->waiters_count++;
    node->exclusive_waiters_count += lock->mode == LOCK_EXCLUSIVE;
    table->waiters_count++;
}

static void lock_unlink_waiting(struct lock_table *table, struct lock *lock)
{
    struct lock_node *node = lock->node;
    TAILQ_REMOVE(&node->waiters, lock, node_link);
    TAILQ_REMOVE(&lock->owner->waits, lock, owner_link);
    node->waiters_count--;
    node->exclusive_waiters_count -= lock->mode == LOCK_EXCLUSIVE;
    table->waiters_count--;
}

/* A wait that has ended by a grant, until the caller has heard of it. */
struct lock_notice {
    TAILQ_ENTRY(lock_notice) link;
    LIST_ENTRY(lock_notice) owner_link;
    struct lock_owner *owner;
    uint64_t token;
};

static void notice_new(struct lock_table *table, struct lock_owner *owner, uint64_t token)
{
    struct lock_notice *notice = memory_alloc(sizeof(*notice));
    notice->owner = owner;
    notice->token = token;
    LIST_INSERT_HEAD(&owner->notices, notice, owner_link);
    struct lock_notice *before = TAILQ_LAST(&table->notices, lock_notice_list);
    while (before && lock_owner_compare(before->owner, owner) > 0)
        before = TAILQ_PREV(before, lock_notice_list, link);
    if (before)
        TAILQ_INSERT_AFTER(&table->notices, before, notice, link);
    else
        TAILQ_INSERT_HEAD(&table->notices, notice, link);
}

static void notice_free(struct lock_table *table, struct lock_notice *notice)
{
    TAILQ_REMOVE(&table->notices, notice, link);
    LIST_REMOVE(notice, owner_link);
    free(notice);
}

/* ---- Grants ---- */

/* One owner has one lock on a node: an upgrade raises the mode of the one it holds. */
static void waiter_grant(struct lock_table *table, struct lock *waiter)
{
    lock_unlink_waiting(table, waiter);
    notice_new(table, waiter->owner, waiter->token);
    struct lock *held = held_find(waiter->node, waiter->owner);
    if (!held) {
        lock_insert_held(table, waiter);
        return;
    }
    if (held->mode < waiter->mode)
        held->mode = waiter->mode;
    free(waiter);
    table->locks_count--;
}

static void node_grant_waiters(struct lock_table *table, struct lock_node *node)
{
    const struct lock_owner *exclusive = NULL;
    struct lock *waiter = TAILQ_FIRST(&node->waiters);
    while (waiter) {
        struct lock *next = TAILQ_NEXT(waiter, node_link);
        /* All that follow are younger than an exclusive request, granted or not. */
        if (exclusive && exclusive != waiter->owner)
            return;
        if (waiter->mode == LOCK_EXCLUSIVE)
            exclusive = waiter->owner;
        if (!request_is_blocked(table, waiter->owner, &node->target, waiter->mode, node))
            waiter_grant(table, waiter);
        waiter = next;
    }
}

/* A lock or a wait on this node is gone: whoever waited for it may go on. A grant frees nobody else
 * (the waiter blocked the same ones that the holder blocks now), so one pass is enough. */
static void node_changed(struct lock_table *table, struct lock_node *node)
{
    if (table->waiters_count > 0) {
        struct overlap overlap = overlap_begin(table, &node->target, node);
        struct lock_node *other;
        while ((other = overlap_next(&overlap))) {
            if (other->waiters_count > 0)
                node_grant_waiters(table, other);
        }
    }
    node_free_if_unused(table, node);
}

static void lock_remove(struct lock_table *table, struct lock *lock)
{
    struct lock_node *node = lock->node;
    if (lock->is_granted)
        lock_unlink_held(table, lock);
    else
        lock_unlink_waiting(table, lock);
    free(lock);
    table->locks_count--;
    node_changed(table, node);
}

/* ---- The interface ---- */

void lock_owner_release(struct lock_table *table, struct lock_owner *owner)
{
    struct lock_notice *notice;
    while ((notice = LIST_FIRST(&owner->notices)))
        notice_free(table, notice);
    struct lock *lock;
    /* The waits first, so that none of them is granted on the way out. */
    while ((lock = TAILQ_FIRST(&owner->waits)))
        lock_remove(table, lock);
    while ((lock = TAILQ_FIRST(&owner->points)))
        lock_remove(table, lock);
    while ((lock = TAILQ_FIRST(&owner->intervals)))
        lock_remove(table, lock);
    LIST_REMOVE(owner, link);
    table->owners_count--;
    free(owner);
}

/* Grants at once what is not blocked. */
static void request_grant(struct lock_table *table, struct lock_owner *owner,
                          const struct lock_target *target, enum lock_mode mode,
                          struct lock_node *own)
{
    struct lock *held = own ? held_find(own, owner) : NULL;
    if (held) {
        held->mode = mode; /* owner_covers has told that it was weaker */
        return;
    }
    if (!own)
        own = node_new(table, target);
    lock_insert_held(table, lock_new(table, owner, own, mode, 0));
}

int lock_table_acquire(struct lock_table *table, struct lock_owner *owner,
                       const struct lock_target *target, enum lock_mode mode, uint64_t token)
{
    if (lock_target_is_empty(target))
        return OST_OK;
    struct lock_node *node = node_find(table, target);
    if (owner_covers(table, owner, target, mode, node))
        return OST_OK;
    if (table->locks_count >= table->options.locks_count_max)
        return OST_BUSY;
    if (!request_is_blocked(table, owner, target, mode, node)) {
        request_grant(table, owner, target, mode, node);
        return OST_OK;
    }
    if ((node && node->waiters_count >= table->options.queue_count_max) || RARE(LOCK_QUEUE_FULL))
        return OST_BUSY;
    if (!node)
        node = node_new(table, target);
    lock_insert_waiting(table, lock_new(table, owner, node, mode, token));
    return OST_WOULD_BLOCK;
}

void lock_table_restore(struct lock_table *table, struct lock_owner *owner,
                        const struct lock_target *target, enum lock_mode mode)
{
    if (lock_target_is_empty(target))
        return;
    struct lock_node *node = node_find(table, target);
    if (owner_covers(table, owner, target, mode, node))
        return;
    ASSERT(!request_is_blocked(table, owner, target, mode, node));
    request_grant(table, owner, target, mode, node);
}

struct conflict_visit {
    uint64_t serial;
    bool (*visit)(void *context, struct lock_owner *other, bool is_holder);
    void *context;
};

static bool conflict_visit_once(struct conflict_visit *conflicts, struct lock_owner *other,
                                bool is_holder)
{
    if (other->visit_serial == conflicts->serial)
        return true;
    other->visit_serial = conflicts->serial;
    return conflicts->visit(conflicts->context, other, is_holder);
}

static bool holders_visit(struct conflict_visit *conflicts, const struct lock_node *node,
                          const struct lock_owner *owner, enum lock_mode mode)
{
    if (!holders_conflict(node, owner, mode))
        return true;
    struct lock *holder;
    TAILQ_FOREACH (holder, &node->holders, node_link) {
        if (holder->owner != owner && !conflict_visit_once(conflicts, holder->owner, true))
            return false;
    }
    return true;
}

static bool older_waiters_visit(struct conflict_visit *conflicts, const struct lock_node *node,
                                const struct lock_owner *owner, enum lock_mode mode,
                                const struct txn_age *age)
{
    if (mode == LOCK_SHARED && node->exclusive_waiters_count == 0)
        return true;
    struct lock *waiter;
    TAILQ_FOREACH (waiter, &node->waiters, node_link) {
        if (waiter->owner == owner)
            continue;
        int order = owner ? lock_owner_compare(waiter->owner, owner)
                          : txn_age_compare(&waiter->owner->age, age);
        if (order >= 0)
            return true;
        if (mode == LOCK_SHARED && waiter->mode == LOCK_SHARED)
            continue;
        if (!conflict_visit_once(conflicts, waiter->owner, false))
            return false;
    }
    return true;
}

void lock_table_conflicts(struct lock_table *table, const struct lock_owner *owner,
                          const struct lock_target *target, enum lock_mode mode,
                          const struct txn_age *age,
                          bool (*visit)(void *context, struct lock_owner *other, bool is_holder),
                          void *context)
{
    if (lock_target_is_empty(target))
        return;
    struct conflict_visit conflicts = {++table->visit_serial_last, visit, context};
    struct lock_node *own = node_find(table, target);
    struct overlap overlap = overlap_begin(table, target, own);
    struct lock_node *node;
    while ((node = overlap_next(&overlap))) {
        if (!holders_visit(&conflicts, node, owner, mode))
            return;
    }
    if (!age || table->waiters_count == 0)
        return;
    overlap = overlap_begin(table, target, own);
    while ((node = overlap_next(&overlap))) {
        if (!older_waiters_visit(&conflicts, node, owner, mode, age))
            return;
    }
}

void lock_table_cancel(struct lock_table *table, struct lock_owner *owner, uint64_t token)
{
    struct lock *lock;
    TAILQ_FOREACH (lock, &owner->waits, owner_link) {
        if (lock->token == token) {
            lock_remove(table, lock);
            return;
        }
    }
    struct lock_notice *notice;
    LIST_FOREACH (notice, &owner->notices, owner_link) {
        if (notice->token == token) {
            notice_free(table, notice);
            return;
        }
    }
}

bool lock_table_granted(struct lock_table *table, struct lock_owner **out_owner,
                        uint64_t *out_token)
{
    struct lock_notice *notice = TAILQ_FIRST(&table->notices);
    if (!notice)
        return false;
    *out_owner = notice->owner;
    *out_token = notice->token;
    notice_free(table, notice);
    return true;
}

void lock_owner_each(const struct lock_owner *owner,
                     void (*visit)(void *context, const struct lock_target *target,
                                   enum lock_mode mode),
                     void *context)
{
    const struct lock *lock;
    TAILQ_FOREACH (lock, &owner->points, owner_link)
        visit(context, &lock->node->target, lock->mode);
    TAILQ_FOREACH (lock, &owner->intervals, owner_link)
        visit(context, &lock->node->target, lock->mode);
}

uint64_t lock_owner_locks_count(const struct lock_owner *owner)
{
    return (uint64_t)owner->points_count + owner->intervals_count;
}

bool lock_owner_holds(const struct lock_table *table, const struct lock_owner *owner,
                      const struct lock_target *target, enum lock_mode mode)
{
    if (lock_target_is_empty(target))
        return true;
    /* The trees' functions take what they only read as changeable. */
    struct lock_table *readable = (struct lock_table *)(uintptr_t)table;
    return owner_covers(readable, owner, target, mode, node_find(readable, target));
}

void lock_table_counts(const struct lock_table *table, uint64_t *out_keys_locked,
                       uint64_t *out_waiters, uint64_t *out_owners)
{
    *out_keys_locked = table->keys_locked;
    *out_waiters = table->waiters_count;
    *out_owners = table->owners_count;
}

void lock_table_free(struct lock_table *table)
{
    if (!table)
        return;
    /* With nobody waiting any more, the releases have nothing to grant. */
    struct lock_owner *owner;
    struct lock *lock;
    LIST_FOREACH (owner, &table->owners, link) {
        while ((lock = TAILQ_FIRST(&owner->waits))) {
            struct lock_node *node = lock->node;
            lock_unlink_waiting(table, lock);
            free(lock);
            node_free_if_unused(table, node);
        }
    }
    while ((owner = LIST_FIRST(&table->owners)))
        lock_owner_release(table, owner);
    ASSERT(RB_EMPTY(&table->points) && RB_EMPTY(&table->intervals));
    free(table);
}

/* ---- For tests ---- */

static bool targets_overlap(const struct lock_target *a, const struct lock_target *b)
{
    if (!a->is_interval && !b->is_interval)
        return bytes_equal(a->start, b->start);
    if (!a->is_interval)
        return key_in_range(a->start, b->start, b->end);
    if (!b->is_interval)
        return key_in_range(b->start, a->start, a->end);
    return ranges_overlap(a->start, a->end, b->start, b->end);
}

static bool locks_conflict(const struct lock *a, const struct lock *b)
{
    return a->owner != b->owner && (a->mode == LOCK_EXCLUSIVE || b->mode == LOCK_EXCLUSIVE) &&
           targets_overlap(&a->node->target, &b->node->target);
}

/* Says whether some granted lock, or older waiter, conflicts; looked up without the trees. */
static bool conflict_exists(const struct lock_table *table, const struct lock *lock)
{
    const struct lock_owner *owner;
    const struct lock *other;
    LIST_FOREACH (owner, &table->owners, link) {
        TAILQ_FOREACH (other, &owner->points, owner_link) {
            if (locks_conflict(lock, other))
                return true;
        }
        TAILQ_FOREACH (other, &owner->intervals, owner_link) {
            if (locks_conflict(lock, other))
                return true;
        }
        if (lock->is_granted || lock_owner_compare(owner, lock->owner) > 0)
            continue;
        TAILQ_FOREACH (other, &owner->waits, owner_link) {
            if (locks_conflict(lock, other))
                return true;
        }
    }
    return false;
}

static void node_check(const struct lock_table *table, const struct lock_node *node)
{
    uint32_t holders_count = 0, waiters_count = 0, exclusive_count = 0;
    const struct lock *lock;
    TAILQ_FOREACH (lock, &node->holders, node_link) {
        ASSERT(lock->is_granted && lock->node == node && held_find(node, lock->owner) == lock);
        ASSERT(!conflict_exists(table, lock)); /* K1 */
        holders_count++;
    }
    const struct lock *previous = NULL;
    TAILQ_FOREACH (lock, &node->waiters, node_link) {
        ASSERT(!lock->is_granted && lock->node == node);
        ASSERT(conflict_exists(table, lock));                                       /* K2 */
        ASSERT(!previous || lock_owner_compare(previous->owner, lock->owner) <= 0); /* K3 */
        previous = lock;
        waiters_count++;
        exclusive_count += lock->mode == LOCK_EXCLUSIVE;
    }
    ASSERT(holders_count > 0 || waiters_count > 0);
    ASSERT(holders_count == node->holders_count && waiters_count == node->waiters_count);
    ASSERT(exclusive_count == node->exclusive_waiters_count);
}

void lock_table_check(const struct lock_table *table)
{
    struct lock_table *readable = (struct lock_table *)(uintptr_t)table;
    uint64_t locks_count = 0, waiters_count = 0, keys_locked = 0;
    struct lock_node *node;
    RB_FOREACH (node, lock_points, &readable->points) {
        node_check(table, node);
        locks_count += node->holders_count + node->waiters_count;
        waiters_count += node->waiters_count;
        keys_locked += node->holders_count > 0;
    }
    for (node = lock_intervals_each(&table->intervals, NULL); node;
         node = lock_intervals_each(&table->intervals, node)) {
        node_check(table, node);
        locks_count += node->holders_count + node->waiters_count;
        waiters_count += node->waiters_count;
        keys_locked += node->holders_count > 0;
    }
    ASSERT(locks_count == table->locks_count && waiters_count == table->waiters_count);
    ASSERT(keys_locked == table->keys_locked);
}
