/* rows_check.h: what a store's rows say, in the end: have the replicas of a group that stand at the
 * same index the same rows, as far as anybody may read at or above the safe point? What became of
 * each transaction, wherever it is remembered?
 *
 * Anomalies: "rows-differ", and "rows-left": versions of keys that the group's log says nothing of.
 * Outcomes go to atomic_check.h, but for what says nothing: an abort that was asked for when the
 * outcome of a commit had been forgotten (T6) leaves a tombstone.
 */
#pragma once

#include "shardkv/store.h"
#include "tests/check/atomic_check.h"
#include "tests/sim/range_fact.h"

struct rows_check;

struct rows_check *rows_check_new(void);
void rows_check_free(struct rows_check *check);

/* All rows of a group in a store, which has these ranges: versions in those that are OWNED are
 * hashed without the generation, which is each replica's own; outcomes are collected. */
void rows_check_replica(struct rows_check *check, struct store *store, uint64_t store_id,
                        group_id_t group, raft_index_t applied_index, timestamp_t safe_point,
                        struct range_facts ranges);
/* What a client was told. `time`: up to which an outcome was in force for sure; 0: not known. */
void rows_check_outcome(struct rows_check *check, struct bytes txn,
                        enum atomic_check_outcome outcome, timestamp_t commit_timestamp,
                        timestamp_t time, const char *where);
/* Everything was collected. */
void rows_check_report(struct rows_check *check, struct atomic_check *outcomes);
const struct check_result *rows_check_result(const struct rows_check *check);
