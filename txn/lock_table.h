/* lock_table.h: shared and exclusive locks on keys and intervals of one group, with wound-wait
 * queues. In memory, at the leader.
 *
 * Source: Rosenkrantz, Stearns, Lewis, "System Level Concurrency Control for Distributed Database
 * Systems" (TODS 1978), wound-wait; Gray and Reuter 7.8 for intervals.
 *
 * A key lock is the interval [key, key+"\0"). Two locks of different owners conflict when their
 * intervals share a key and one of them is exclusive. Invariants:
 *   K1 no two granted locks of different owners conflict.
 *   K2 a waiter waits for at least one granted lock, or for an older waiter, that it conflicts
 * with. K3 waiters for a key are granted in age order (T2); a younger one never passes an older one
 * with which it conflicts; an owner's upgrade is tested like any other request. K4 no waiter is
 * older than a conflicting holder that may be wounded: those were named by lock_table_conflicts
 * when it came. (A younger waiter needs no wound: it is behind in the queue.) The table decides
 * nothing about wounds: it names who stands in the way, and the participant, which knows who is
 * past wounding, releases them or lets the request wait.
 *
 * Costs, n locks: a key lock is O(log n), with intervals around O(log n + those that cover the
 * key); an interval lock is O(log n + the locked keys and intervals in it).
 */
#pragma once

#include "base/status.h"
#include "txn/txn_id.h"

enum lock_mode { LOCK_SHARED, LOCK_EXCLUSIVE };

struct lock_table;
/* One transaction's locks; made and freed by the table. */
struct lock_owner;

struct lock_table_options {
    uint32_t queue_count_max; /* waiters per key or interval, 1024: above, OST_BUSY */
    uint32_t locks_count_max; /* per table, 1,000,000: above, OST_BUSY */
};

/* What is asked for: the key `start`, or with is_interval [start, end) (empty end: to the very
 * end). */
struct lock_target {
    struct bytes start;
    struct bytes end;
    bool is_interval;
};

struct lock_table *lock_table_new(const struct lock_table_options *options);
void lock_table_free(struct lock_table *table);

/* `context` is the caller's, see lock_owner_context. Equal ages are tries of one transaction: the
 * higher `attempt` counts as older, because the client drives only its newest try. */
struct lock_owner *lock_owner_new(struct lock_table *table, const struct txn_age *age,
                                  uint64_t attempt, void *context);
/* The order of all queues: <0: a is older. Never 0 for two owners of one table. */
int lock_owner_compare(const struct lock_owner *a, const struct lock_owner *b);
void *lock_owner_context(const struct lock_owner *owner);
const struct txn_age *lock_owner_age(const struct lock_owner *owner);
/* Drops its locks and its waits and frees it. Whoever can be granted now is: see
 * lock_table_granted. */
void lock_owner_release(struct lock_table *table, struct lock_owner *owner);

/* Asks for a lock. OST_OK: granted (or held already, in this mode or a stronger one; a held shared
 * lock is upgraded). OST_WOULD_BLOCK: queued under `token`; it will come out of lock_table_granted
 * or end by lock_table_cancel or the owner's release. OST_BUSY: over a limit, nothing happened.
 * Copies the keys. */
OST_MUST_CHECK int lock_table_acquire(struct lock_table *table, struct lock_owner *owner,
                                      const struct lock_target *target, enum lock_mode mode,
                                      uint64_t token);
/* A lock out of the replicated state: granted whatever the limits say. It is a bug if it conflicts.
 */
void lock_table_restore(struct lock_table *table, struct lock_owner *owner,
                        const struct lock_target *target, enum lock_mode mode);
/* Owners that this request would conflict with: first holders, then waiters that are older (T2),
 * each once. No `owner`: the asker holds nothing here; no `age`: holders alone. `visit` returns
 * false to stop, and must not change the table. */
void lock_table_conflicts(struct lock_table *table, const struct lock_owner *owner,
                          const struct lock_target *target, enum lock_mode mode,
                          const struct txn_age *age,
                          bool (*visit)(void *context, struct lock_owner *other, bool is_holder),
                          void *context);
/* Withdraws the waiting request; one that has been granted keeps its lock and is not reported. */
void lock_table_cancel(struct lock_table *table, struct lock_owner *owner, uint64_t token);
/* The next waiter that has been granted since, the oldest first; false when there is none. */
bool lock_table_granted(struct lock_table *table, struct lock_owner **out_owner,
                        uint64_t *out_token);

/* Each lock that an owner holds (granted): keys, then intervals, each in the order of their grants.
 */
void lock_owner_each(const struct lock_owner *owner,
                     void (*visit)(void *context, const struct lock_target *target,
                                   enum lock_mode mode),
                     void *context);
uint64_t lock_owner_locks_count(const struct lock_owner *owner);
/* Does it hold the target in this mode or a stronger one, by one lock that covers it? */
bool lock_owner_holds(const struct lock_table *table, const struct lock_owner *owner,
                      const struct lock_target *target, enum lock_mode mode);

void lock_table_counts(const struct lock_table *table, uint64_t *out_keys_locked,
                       uint64_t *out_waiters, uint64_t *out_owners);
/* K1 to K3; asserts. For tests: it walks everything. */
void lock_table_check(const struct lock_table *table);
