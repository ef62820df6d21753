/* ostraka.h: the client of Ostraka, a sharded, replicated, strictly serializable key-value store.
 *
 * Link with -lostraka (pkg-config ostraka). Every function may be called from any thread. A client
 * has one thread of its own, which does all its networking; blocking calls wait for it, and the
 * callbacks of the `_async` calls run on it: there, blocking calls are refused
 * (OST_INVALID_ARGUMENT), async ones are welcome.
 *
 * Return values: 0, or a negative code (ost_status_text). Classes: retryable (nothing happened),
 * refused, maybe committed (OST_MAYBE_COMMITTED: no quorum answered within the deadline), fatal.
 *
 * Limits: keys 1 B to 8 KiB, values 0 B to 1 MiB, a transaction 64 MiB and 100,000 operations.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ost_client;
struct ost_txn;

/* The codes are in ostraka_status.h; OST_OK is 0. */
#include "ostraka_status.h"

/* --- Bytes and values
 * ----------------------------------------------------------------------------- */

/* Borrowed for the length of the call. */
struct ost_bytes {
    const void *data;
    size_t bytes_count;
};
static inline struct ost_bytes ost_bytes(const void *data, size_t bytes_count)
{
    struct ost_bytes bytes = {data, bytes_count};
    return bytes;
}
struct ost_bytes ost_string(const char *text);

/* A value that was read; ost_value_free when done (NULL data is fine). */
struct ost_value {
    void *data;
    size_t bytes_count;
    uint64_t version; /* the commit timestamp that wrote it */
};
void ost_value_free(struct ost_value *value);

struct ost_row {
    struct ost_bytes key;
    struct ost_bytes value;
    uint64_t version;
};
/* Rows in the order asked for; ost_rows_free when done. */
struct ost_rows {
    const struct ost_row *rows;
    size_t rows_count;
    bool more; /* the limit ended it, not the interval */
    void *memory;
};
void ost_rows_free(struct ost_rows *rows);

/* --- A client
 * ---------------------------------------------------------------------------------------- */

struct ost_options {
    const char *endpoints;         /* "host:port[,host:port...]": any stores of the cluster */
    uint32_t operation_timeout_ms; /* 5000: then a call gives up */
    uint32_t retry_backoff_ms_max; /* 100: ost_run waits a random time up to this, growing from 1 */
};
void ost_options_default(struct ost_options *out_options);

/* Connects and fetches the map, or fails within the timeout: OST_INVALID_ARGUMENT,
 * OST_DISCONNECTED, OST_NOT_READY (no map yet). `out_why`, when not NULL, gets one line for people
 * (256 bytes). */
int ost_open(const struct ost_options *options, struct ost_client **out_client, char *out_why);
/* Waits for calls under way (they end with OST_CANCELED), ends the thread. Not from a callback. */
void ost_close(struct ost_client *client);

/* --- Single operations: each is a transaction of its own, strictly serializable
 * ------------------------- */

/* OST_NOT_FOUND when there is no such key. */
int ost_get(struct ost_client *client, struct ost_bytes key, struct ost_value *out_value);
int ost_put(struct ost_client *client, struct ost_bytes key, struct ost_bytes value);
/* OST_OK whether or not the key was there. */
int ost_delete(struct ost_client *client, struct ost_bytes key);
/* Rows of [start, end), consistent as one transaction; an empty end is the end of the key space;
 * rows_count_max 0: no limit but memory. */
int ost_scan(struct ost_client *client, struct ost_bytes start, struct ost_bytes end,
             uint32_t rows_count_max, bool reverse, struct ost_rows *out_rows);
/* Deletes the keys of [start, end), all or none; `out_count` (may be NULL) gets how many there
 * were. OST_TOO_LARGE: more than a transaction may have, and nothing is deleted: do it in parts. */
int ost_delete_range(struct ost_client *client, struct ost_bytes start, struct ost_bytes end,
                     uint64_t *out_count);
/* Writes `value` if the key has the value `expected`, or, with NULL, is absent. OST_CONFLICT: it
 * is not so, and nothing is written. */
int ost_compare_and_set(struct ost_client *client, struct ost_bytes key,
                        const struct ost_bytes *expected, struct ost_bytes value);
/* Adds to a number: the value is a signed number of 8 bytes, little endian; an absent key counts as
 * 0. `out_value` (may be NULL) gets the sum. OST_INVALID_ARGUMENT: the value has another length, or
 * the sum does not fit. */
int ost_add(struct ost_client *client, struct ost_bytes key, int64_t delta, int64_t *out_value);
/* One line about this thread's last call that failed: what the status says, and why. Borrowed until
 * the next one. */
const char *ost_last_error(void);

/* --- Transactions
 * --------------------------------------------------------------------------------------- */

/* Runs `body` as one transaction and commits it; on a conflict runs it again, keeping its age,
 * until it commits, `body` returns something that is not retryable, or the timeout ends it. `body`
 * may run many times and must have no effect but through the transaction. What it returns when it
 * is not OST_OK rolls back and comes back from ost_run. */
int ost_run(struct ost_client *client, int (*body)(struct ost_txn *txn, void *context),
            void *context);

/* By hand. A transaction belongs to one thread at a time. */
int ost_begin(struct ost_client *client, struct ost_txn **out_txn);
/* The same in optimistic mode: reads take no locks, so that they hold up nobody and cost their
 * leaders no more than a plain get; at the commit all of them, scanned intervals included, are
 * locked and looked at again, and when one has changed the commit ends with OST_VERSION_CHANGED,
 * which is retryable. As strict as the other mode: but what was read is true only if the commit
 * succeeds. One that wrote nothing and made one read commits without asking anybody. Good where
 * conflicts are rare or reads many; where they are not, from the fourth try on it takes locks after
 * all (ost_run_optimistic, ost_txn_restart), so that nobody starves. ost_txn_get_for_update reads
 * like ost_txn_get there. */
int ost_run_optimistic(struct ost_client *client, int (*body)(struct ost_txn *txn, void *context),
                       void *context);
int ost_begin_optimistic(struct ost_client *client, struct ost_txn **out_txn);
/* Does the try under way read without locks? */
bool ost_txn_is_optimistic(const struct ost_txn *txn);
/* Takes a shared lock. Sees the transaction's own writes. */
int ost_txn_get(struct ost_txn *txn, struct ost_bytes key, struct ost_value *out_value);
/* Takes an exclusive lock: for what will be written after. */
int ost_txn_get_for_update(struct ost_txn *txn, struct ost_bytes key, struct ost_value *out_value);
/* Locks the interval: no phantoms. */
int ost_txn_scan(struct ost_txn *txn, struct ost_bytes start, struct ost_bytes end,
                 uint32_t rows_count_max, bool reverse, struct ost_rows *out_rows);
/* The same with an exclusive lock on the interval: for what will be written in it. */
int ost_txn_scan_for_update(struct ost_txn *txn, struct ost_bytes start, struct ost_bytes end,
                            uint32_t rows_count_max, bool reverse, struct ost_rows *out_rows);
/* As ost_delete_range. Locks the interval, reads its keys, and deletes those that the transaction
 * sees there, its own writes too. With an error nothing is deleted, and the transaction goes on. */
int ost_txn_delete_range(struct ost_txn *txn, struct ost_bytes start, struct ost_bytes end,
                         uint64_t *out_count);
/* As ost_compare_and_set and ost_add. OST_CONFLICT and OST_INVALID_ARGUMENT leave the transaction
 * as it was, but for the lock on the key; like all that it has read they are true only if it
 * commits. */
int ost_txn_compare_and_set(struct ost_txn *txn, struct ost_bytes key,
                            const struct ost_bytes *expected, struct ost_bytes value);
int ost_txn_add(struct ost_txn *txn, struct ost_bytes key, int64_t delta, int64_t *out_value);
/* Kept in the client until the commit. */
int ost_txn_put(struct ost_txn *txn, struct ost_bytes key, struct ost_bytes value);
int ost_txn_delete(struct ost_txn *txn, struct ost_bytes key);
/* OST_OK: committed. A retryable code: nothing happened; ost_txn_restart and do it again.
 * OST_MAYBE_COMMITTED: call it again to learn the outcome (exactly once: it is never done twice).
 */
int ost_txn_commit(struct ost_txn *txn);
/* Begins the next try with the age of the first, after an abort or instead of a commit. */
int ost_txn_restart(struct ost_txn *txn);
/* Rolls back what is not committed and frees it. NULL is fine. */
void ost_txn_free(struct ost_txn *txn);
/* How many groups took part in the last commit; and its timestamp (0: nothing was written). */
uint32_t ost_txn_groups_count(const struct ost_txn *txn);
uint64_t ost_txn_commit_timestamp(const struct ost_txn *txn);
/* One line about the last error: which key, which other transaction, how long it waited. Borrowed.
 */
const char *ost_txn_error(const struct ost_txn *txn);
/* The same in parts, for programs. Zeros and NULL: not known, or there is none. */
struct ost_txn_reason {
    int status;
    /* Static: "wounded" (an older transaction took the locks), "lock_timeout",
     * "deadline_exceeded", "leader_changed", "expired" (the client was not heard of),
     * "range_moved", "conflict"; otherwise the name of the status. */
    const char *cause;
    struct ost_bytes key;                  /* borrowed, as the line */
    uint64_t other_client, other_sequence; /* the transaction that stood in the way */
    uint64_t other_age_ms;                 /* since its first try began */
    uint64_t waited_ms;
};
void ost_txn_get_reason(const struct ost_txn *txn, struct ost_txn_reason *out_reason);

/* --- Snapshots
 * ------------------------------------------------------------------------------------------ */

/* What was committed up to one moment, over all keys: each read of a snapshot shows exactly the
 * transactions whose commit timestamp is at or below its own. It takes no locks, is never aborted,
 * aborts and delays nobody, and writes nothing; it may wait for a commit that is under way. A
 * snapshot may be used by many threads at once. */
struct ost_snapshot;

struct ost_snapshot_options {
    /* 0: fresh. Else as of this commit timestamp (of a value's version, a commit or a snapshot).
     * Refused above the present (OST_INVALID_ARGUMENT, by the reads) and below the safe point,
     * where versions may be gone (OST_SNAPSHOT_TOO_OLD). */
    uint64_t timestamp;
    /* 0: strict, whatever was committed before the snapshot was opened is in it, whoever did it.
     * Else it may miss what was committed in the last so many milliseconds, and often costs no
     * question to the oracle. */
    uint32_t staleness_ms_max;
    /* Reads are spread over all replicas, each of which answers what its leader has told it is
     * closed; else the leaders answer. What is shown is the same. */
    bool any_replica;
};

/* NULL options: fresh, strict, from the leaders. Waits for the oracle, unless a timestamp is named
 * or one is young enough. History is kept for a snapshot that is older than a minute, as long as it
 * is open and read from once a minute at least; one that is named and older, from its opening. */
int ost_snapshot_open(struct ost_client *client, const struct ost_snapshot_options *options,
                      struct ost_snapshot **out_snapshot);
int ost_snapshot_get(struct ost_snapshot *snapshot, struct ost_bytes key,
                     struct ost_value *out_value);
/* As ost_scan. A scan of many pages, ranges and groups is of one moment as well. */
int ost_snapshot_scan(struct ost_snapshot *snapshot, struct ost_bytes start, struct ost_bytes end,
                      uint32_t rows_count_max, bool reverse, struct ost_rows *out_rows);
uint64_t ost_snapshot_timestamp(const struct ost_snapshot *snapshot);
/* Reads under way come to their ends. NULL is fine. */
void ost_snapshot_close(struct ost_snapshot *snapshot);

/* --- The same without waiting
 * --------------------------------------------------------------------------- */

/* What an operation brought; borrowed until the callback returns. */
struct ost_result {
    int status;
    struct ost_bytes value; /* get; compare-and-set: with OST_CONFLICT what is there */
    uint64_t version;
    const struct ost_row *rows; /* scan */
    size_t rows_count;
    bool more;
    int64_t number;         /* add: the sum */
    uint64_t deleted_count; /* delete-range */
    const char *error;      /* one line, as ost_last_error; NULL when there is none */
};
typedef void (*ost_done_fn)(void *context, const struct ost_result *result);

/* Each returns at once; `done` is called exactly once, on the client's thread, unless the call
 * itself returned an error. Keys and values are copied. */
int ost_get_async(struct ost_client *client, struct ost_bytes key, ost_done_fn done, void *context);
int ost_put_async(struct ost_client *client, struct ost_bytes key, struct ost_bytes value,
                  ost_done_fn done, void *context);
int ost_delete_async(struct ost_client *client, struct ost_bytes key, ost_done_fn done,
                     void *context);
int ost_delete_range_async(struct ost_client *client, struct ost_bytes start, struct ost_bytes end,
                           ost_done_fn done, void *context);
int ost_compare_and_set_async(struct ost_client *client, struct ost_bytes key,
                              const struct ost_bytes *expected, struct ost_bytes value,
                              ost_done_fn done, void *context);
int ost_add_async(struct ost_client *client, struct ost_bytes key, int64_t delta, ost_done_fn done,
                  void *context);
int ost_txn_get_async(struct ost_txn *txn, struct ost_bytes key, bool for_update, ost_done_fn done,
                      void *context);
int ost_txn_scan_async(struct ost_txn *txn, struct ost_bytes start, struct ost_bytes end,
                       uint32_t rows_count_max, bool reverse, ost_done_fn done, void *context);
int ost_txn_scan_for_update_async(struct ost_txn *txn, struct ost_bytes start, struct ost_bytes end,
                                  uint32_t rows_count_max, bool reverse, ost_done_fn done,
                                  void *context);
int ost_txn_delete_range_async(struct ost_txn *txn, struct ost_bytes start, struct ost_bytes end,
                               ost_done_fn done, void *context);
int ost_txn_compare_and_set_async(struct ost_txn *txn, struct ost_bytes key,
                                  const struct ost_bytes *expected, struct ost_bytes value,
                                  ost_done_fn done, void *context);
int ost_txn_add_async(struct ost_txn *txn, struct ost_bytes key, int64_t delta, ost_done_fn done,
                      void *context);
int ost_txn_commit_async(struct ost_txn *txn, ost_done_fn done, void *context);
/* `snapshot` is NULL unless the status is OST_OK. */
typedef void (*ost_snapshot_done_fn)(void *context, int status, struct ost_snapshot *snapshot);
int ost_snapshot_open_async(struct ost_client *client, const struct ost_snapshot_options *options,
                            ost_snapshot_done_fn done, void *context);
int ost_snapshot_get_async(struct ost_snapshot *snapshot, struct ost_bytes key, ost_done_fn done,
                           void *context);
int ost_snapshot_scan_async(struct ost_snapshot *snapshot, struct ost_bytes start,
                            struct ost_bytes end, uint32_t rows_count_max, bool reverse,
                            ost_done_fn done, void *context);
/* Runs `done` on the client's thread after `delay_ms`: for back-off without a thread of one's own.
 */
int ost_after_async(struct ost_client *client, uint32_t delay_ms, ost_done_fn done, void *context);

/* --- The cluster, for tools
 * -------------------------------------------------------------------------------- */

/* The group that serves a key, as the client's map has it. */
int ost_group_of_key(struct ost_client *client, struct ost_bytes key, uint64_t *out_group);

struct ost_replica_info {
    uint64_t replica; /* its number */
    uint64_t store;
    const char *role; /* static: "voter", "joining", "leaving" */
    bool lost;        /* it has forgotten what it promised, and is being replaced */
};
struct ost_group_info {
    uint64_t group;
    uint64_t epoch;        /* names the replicas that are wanted */
    uint64_t leader_store; /* 0: not known */
    bool changing;         /* the replicas are not yet those that are wanted */
    const struct ost_replica_info *replicas;
    uint32_t replicas_count;
};
/* What is being done to a range. */
struct ost_range_change {
    uint64_t change;               /* its number, given once; 0: nothing is */
    const char *kind;              /* static: "split", "merge", "move"; "" when nothing is */
    uint64_t from_group, to_group; /* of a move */
    struct ost_bytes at; /* where a split cuts; where the right one of two that merge begins, and
                          * both have the change */
};
struct ost_range_info {
    struct ost_bytes start, end;
    uint64_t group;
    uint64_t epoch;
    struct ost_range_change change;
};
struct ost_store_info {
    uint64_t store;
    const char *address;
    const char *state; /* static: "up", "draining", "dead"; it says nothing of this moment */
    const char *host;  /* the machine that it shares with others; may be empty */
};
struct ost_cluster_info {
    uint64_t cluster_id;
    uint64_t map_epoch;
    uint64_t
        next_change; /* every change of a range with a lower number was begun before this map */
    const struct ost_store_info *stores;
    size_t stores_count;
    struct ost_group_info master; /* group 0 */
    const struct ost_group_info *groups;
    size_t groups_count;
    const struct ost_range_info *ranges;
    size_t ranges_count;
    void *memory;
};
/* Asks a store for the newest map. ost_cluster_info_free when done. */
int ost_cluster_info(struct ost_client *client, struct ost_cluster_info *out_info);
void ost_cluster_info_free(struct ost_cluster_info *info);

/* Begins to change the replicas of a group (0: the shard master): a new one on `add_store`, none
 * any more on `remove_store`; 0 is none, both together replace one by the other. `epoch` is the
 * group's, as seen in the map: when it is another one by now, OST_CONFLICT; asking again what was
 * done before is harmless. It is done when the group's `changing` is false again; removing one that
 * joins calls the change off. `out_why` (256 bytes, may be NULL) says why not. OST_NOT_FOUND: no
 * such store, group or replica; OST_TOO_LARGE: over 7 replicas. */
int ost_change_replicas(struct ost_client *client, uint64_t group, uint64_t epoch,
                        uint64_t add_store, uint64_t remove_store, char *out_why);

/* Ranges are changed by group 0 and the groups that have them, with a number for each change. It is
 * under way when the call returns, and over when a map whose `next_change` is above the number does
 * not show it any more. Each names the range that holds a key, as it is in the client's map; when
 * that is old, the map is fetched and the call made once more. `out_change` gets the number (with
 * OST_OK). `out_why` (256 bytes, may be NULL) says why not.
 * OST_CONFLICT: the range has a change already, or became another one meanwhile. OST_EXISTS: it is
 * so already. OST_NOT_FOUND: there is no such group, or no right neighbour.
 *
 * In two, of which the right one begins with `at`. */
int ost_split_range(struct ost_client *client, struct ost_bytes at, uint64_t *out_change,
                    char *out_why);
/* The range that holds `key` (an empty one: the first) and its right neighbour, which must be in
 * the same group, in one. */
int ost_merge_ranges(struct ost_client *client, struct ost_bytes key, uint64_t *out_change,
                     char *out_why);
/* The range that holds `key` (an empty one: the first) to another group, with all that is in it.
 * For a moment it takes nothing new; requests wait and go on by themselves. */
int ost_move_range(struct ost_client *client, struct ost_bytes key, uint64_t to_group,
                   uint64_t *out_change, char *out_why);
/* Calls off a move that has not been decided yet: everything stays where it was. OST_NOT_FOUND: it
 * is over, or never was. OST_CONFLICT: it is decided, or cannot be called off, as splits and
 * merges.
 */
int ost_cancel_change(struct ost_client *client, uint64_t change, char *out_why);

/* Gives the store's replicas to others, one after the other; it gets no new ones. OST_EXISTS: it
 * drains already. */
int ost_drain_store(struct ost_client *client, uint64_t store, char *out_why);
/* It may have replicas again; what has left does not come back. OST_EXISTS: it does not drain. */
int ost_undrain_store(struct ost_client *client, uint64_t store, char *out_why);
/* Strikes a store that has no replicas any more from the map, for good. OST_CONFLICT: it has some,
 * drain it first. OST_NOT_FOUND: there is no such store. */
int ost_remove_store(struct ost_client *client, uint64_t store, char *out_why);

/* Something that is under way. Zeros: does not apply. */
struct ost_progress_item {
    const char *what; /* "move", "split", "merge", "drain", "join", "replace", "replica", "group" */
    uint64_t change;  /* of a range: its number, as in the map */
    uint64_t group;   /* of the range, or the one whose replicas change */
    uint64_t to_group;      /* of a move */
    uint64_t store;         /* that drains, joins, or is replaced */
    struct ost_bytes start; /* of the range */
    uint64_t done_count;    /* bytes of a move; replicas of a drain or a join */
    uint64_t whole_count;   /* of so many, by an estimate: it may be passed; 0: not known */
    uint64_t age_ms;        /* since the leader of group 0 has seen to it */
    const char *waits_for;  /* what it waits for, in words; empty: it goes on */
    const char *why;        /* what the shard master saw, in words; empty: a person asked for it */
};
struct ost_progress {
    const struct ost_progress_item *items;
    size_t items_count;
    void *memory;
};
/* What is under way in the cluster, and how far it is, from the leader of group 0; within
 * `timeout_ms` (0: the client's timeout). ost_progress_free when done. */
int ost_progress(struct ost_client *client, uint32_t timeout_ms, struct ost_progress *out_progress);
void ost_progress_free(struct ost_progress *progress);

struct ost_group_status {
    uint64_t group, replica, term, leader_store, commit_index, applied_index, last_index,
        first_index, flushed_index;
    /* Of all that was applied: equal on all replicas of the group at an equal applied_index. */
    uint64_t chain_hash;
    uint64_t safe_point; /* below this timestamp old versions may be gone */
    const char *role;    /* static: "leader", "follower", ... */
    bool ready;
    uint64_t keys_locked_count, lock_waiters_count, txns_count, prepared_count;
};
struct ost_metric {
    const char *name;
    uint64_t value;
};
struct ost_store_status {
    uint64_t store;
    uint64_t uptime_ms;
    const char *address, *version;
    const struct ost_group_status *groups;
    size_t groups_count;
    const struct ost_metric *metrics;
    size_t metrics_count;
    void *memory;
};
/* Asks one store about itself, by its id in the map. */
int ost_store_status(struct ost_client *client, uint64_t store,
                     struct ost_store_status *out_status);
void ost_store_status_free(struct ost_store_status *status);
/* Asks many stores at once, each for itself: `out_results` gets a status for each, and
 * `out_statuses` what those with OST_OK say. Takes no longer than `timeout_ms` (0: the client's
 * timeout), however many are silent. OST_INVALID_ARGUMENT: called from a callback. */
int ost_store_statuses(struct ost_client *client, const uint64_t *stores, size_t stores_count,
                       uint32_t timeout_ms, struct ost_store_status *out_statuses,
                       int *out_results);

/* What a transaction waits for. */
struct ost_wait_info {
    struct ost_bytes start, end; /* a key, or the interval [start, end) */
    bool is_key;
    bool exclusive;
    uint64_t waited_ms;
    uint64_t behind_client, behind_sequence; /* the first in the way; zeros: nobody any more */
    uint32_t behind_count;
};
struct ost_txn_info {
    uint64_t group;
    uint64_t client, sequence; /* its id: each try has its own */
    uint64_t age_ms;           /* since its first try began */
    /* Static: "running", "preparing", "committing" (its commit time is fixed, and its entry on the
     * way to the log), "prepared", "in doubt" (prepared, and past its deadline). */
    const char *state;
    uint64_t quiet_ms; /* since something was heard of it */
    uint64_t locks_count;
    uint64_t reads_held_count;         /* reads that wait for its outcome */
    const struct ost_wait_info *waits; /* the first few */
    size_t waits_count;
    uint32_t waits_total;
    struct ost_bytes anchor; /* the key at which it is decided; empty while it runs */
};
struct ost_lock_info {
    uint64_t group;
    uint64_t client, sequence;
    struct ost_bytes start, end;
    bool is_key;
    bool exclusive;
    bool waits; /* it is asked for, not held */
    uint64_t waited_ms;
};
struct ost_txns {
    const struct ost_txn_info *txns;
    size_t txns_count;
    const struct ost_lock_info *locks;
    size_t locks_count;
    bool more; /* the limit ended it */
    void *memory;
};
/* The transactions, or the locks and waits one by one, in the groups that the store leads; at most
 * `rows_count_max` (0: 10,000). It is what was so while it was asked for, not one moment's picture.
 * ost_txns_free when done. */
int ost_store_txns(struct ost_client *client, uint64_t store, uint32_t rows_count_max,
                   struct ost_txns *out_txns);
int ost_store_locks(struct ost_client *client, uint64_t store, uint32_t rows_count_max,
                    struct ost_txns *out_txns);
void ost_txns_free(struct ost_txns *txns);

#ifdef __cplusplus
}
#endif
