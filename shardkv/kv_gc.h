/* kv_gc.h: what a store may drop by itself while it rewrites its rows, and up to which safe points
 * (S4). Pure decisions, and the one table through which the loop tells the store's threads.
 *
 * A version is shadowed when the next newer one of its key lies at or below the group's safe point:
 * nobody may read at a timestamp that would show it. An outcome is over when the group's log
 * timestamp has passed its expiry: then it counts as absent anyway (record.h). Nothing else is ever
 * dropped, and a delete marker never by this: an older version may lie in a file that is not being
 * rewritten, and would come back to life. Markers are the sweeper's (kv_sweep.c).
 *
 * What is published of a group is what its checkpoint says that was flushed last, never what is
 * merely applied. A drop is durable as soon as the rewritten file is; were the safe point that
 * allowed it still in memory, a crash would leave rows that are gone under a meta row that does not
 * know why. So the rows always come with a meta row that is at or above every point by which any of
 * them was dropped: there is no time in which a replica that applies its log again could show a
 * gap, and no decision of that replay can miss an outcome that the first time had found. While a
 * snapshot of the group is being sent nothing is published, for the same reason: its meta row went
 * first.
 */
#pragma once

#include "base/buffer.h"
#include "base/types.h"

/* --- Versions of a key, newest first -----------------------------------------------------------
 */

#define KV_GC_NOT_SHADOWED UINT64_MAX

struct kv_gc_versions {
    struct buffer prefix; /* the row before: its key without the timestamp; empty: none */
    timestamp_t timestamp;
};
void kv_gc_versions_fini(struct kv_gc_versions *versions);
/* To be called with the key of each data row, in order. The timestamp of the version just before,
 * when it is of the same user key: this row is shadowed once the safe point is there. */
timestamp_t kv_gc_versions_next(struct kv_gc_versions *versions, struct bytes row_key);
/* Something else came in between. */
void kv_gc_versions_reset(struct kv_gc_versions *versions);
timestamp_t kv_gc_timestamp(struct bytes data_row_key);

/* --- What was published ------------------------------------------------------------------------
 */

struct kv_gc_point {
    uint32_t generation; /* the rows that it is about; 0: nothing may be dropped */
    timestamp_t safe_point;
    timestamp_t log_timestamp;
};

/* Written by the loop, read by any thread without a lock. Groups are only ever added. */
struct kv_gc;
struct kv_gc *kv_gc_new(void);
/* When no thread can be reading. */
void kv_gc_free(struct kv_gc *gc);
/* Within a generation it never goes back. */
void kv_gc_publish(struct kv_gc *gc, group_id_t group, const struct kv_gc_point *point);
void kv_gc_withdraw(struct kv_gc *gc, group_id_t group);
void kv_gc_withdraw_all(struct kv_gc *gc);
struct kv_gc_point kv_gc_point(const struct kv_gc *gc, group_id_t group);
/* Grows with what is published, but for steps of a log timestamp within a second: as long as it is
 * the same, another run finds little. */
uint64_t kv_gc_epoch(const struct kv_gc *gc);
/* How many rows runs have told to drop. */
uint64_t kv_gc_dropped_count(const struct kv_gc *gc);

/* --- The filter --------------------------------------------------------------------------------
 */

/* One pass over rows in key order, on one thread: a compaction. */
struct kv_gc_run;
struct kv_gc_run *kv_gc_run_new(struct kv_gc *gc);
void kv_gc_run_free(struct kv_gc_run *run);
bool kv_gc_run_drops(struct kv_gc_run *run, struct bytes key, struct bytes value);
