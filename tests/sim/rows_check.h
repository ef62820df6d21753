/* rows_check.h: what a store's rows say, in the end: have the replicas of a group that stand at the
 * same index the same rows? What became of each transaction, wherever it is remembered?
 *
 * Anomaly: "rows-differ"; outcomes go to atomic_check.h.
 */
#pragma once

#include "shardkv/store.h"
#include "tests/check/atomic_check.h"

struct rows_check;

struct rows_check *rows_check_new(void);
void rows_check_free(struct rows_check *check);

/* All rows of a group in a store: versions are hashed without the generation, which is each
 * replica's own; outcomes are reported. `outcomes` may be NULL. */
void rows_check_replica(struct rows_check *check, struct store *store, uint64_t store_id,
                        group_id_t group, raft_index_t applied_index,
                        struct atomic_check *outcomes);
const struct check_result *rows_check_result(const struct rows_check *check);
