/* master.h: the shard master: group 0's state machine and its leader's work. Part of the store's
 * step function, like kv_server.h.
 *
 * State: the map (stores, groups, ranges), the ceiling of timestamps, the safe point and who holds
 * it back (safe_point.h). The leader serves timestamps
 * (oracle.h: O1-O4), makes the map true (tells stores which replicas to create, groups which ranges
 * they own, until their own logs say so), and pushes the map to every store.
 *
 * The state is small and kept in memory; what is applied is written to the store's rows with the
 * applied index in one batch, like any group's.
 *
 * Reading order: master_map.h, oracle.h, master_replicas.h, master_ranges.h, master_stores.h,
 * placement.h (all pure), master_internal.h, master_machine.c (what entries do), master.c
 * (timestamps, time), master_leader.c (what the leader sees to), master_ranges_leader.c (how it
 * moves ranges), master_placement.c (where replicas and leaders go), master_ranges_placement.c
 * (which ranges are split, merged and moved), master_change.c,
 * master_ranges_ask.c and master_store_change.c (what people ask of it).
 */
#pragma once

#include "base/buffer.h"
#include "proto/master.pb-c.h"
#include "proto/outbox.h"
#include "raft/host.h"

/* Named rows of the store, given by the process: the master knows no RocksDB. */
struct master_row {
    struct bytes name;
    struct bytes value;
};
struct master_rows {
    /* OST_OK, OST_NOT_FOUND or an error; `flushed`: only what a crash would leave. May block:
     * start-up and the pool. */
    int (*read)(void *context, struct bytes name, bool flushed, struct buffer *out_value);
    /* All rows in one atomic batch. OST_BUSY: stalled, try again later. From the loop and the pool.
     */
    int (*write)(void *context, const struct master_row *rows, size_t rows_count);
    /* Makes all that was written durable. Blocks: for the pool. */
    int (*flush)(void *context);
    void *context;
};

struct master_options {
    store_id_t store_id;
    cluster_id_t cluster_id;
    /* What the first leader makes of an empty cluster: stores with their addresses, in id order,
     * groups 1..groups_count with their replicas spread over the stores (group 0's on the first
     * ones), ranges cut at the split keys and dealt to the groups in turn. */
    const Ostraka__StoreInfo *initial_stores;
    size_t initial_stores_count;
    uint32_t initial_groups_count;
    uint32_t initial_replicas_count;    /* 3 of each group, or as many as there are stores; more
                                           when more stores have come */
    const struct bytes *initial_splits; /* ascending, no duplicates */
    size_t initial_splits_count;
    uint32_t ceiling_ahead_ms;    /* 1000 (O1) */
    uint32_t reconcile_ms;        /* 500: how often what is not yet true is asked for again */
    uint64_t dead_after_ms;       /* 300000: a store that has not reported for so long is dead;
                               0: never */
    uint32_t replica_changes_max; /* 2 groups at a time are given other replicas; 0: none, and no
                                     leadership is placed either */
    uint32_t range_changes_max; /* 2 ranges at a time are split, merged or moved by placement, which
                                   also makes new groups; 0: none, and no group */
    uint64_t merge_after_ms;    /* 600000: placement merges no ranges for so long after a split, and
                                   does not undo for so long what a person has done */
    uint64_t history_ms; /* 600000: versions that old may be dropped when newer ones hide them */
};

struct master;
/* What the options and `rows` point to is borrowed for the master's whole life. */
struct master *master_new(const struct master_options *options, const struct master_rows *rows,
                          struct raft_host *host, struct outbox *outbox);
void master_free(struct master *master);

/* OST_INVALID_ARGUMENT: no sound map can be made of the options; `out_why` (256 bytes). */
OST_MUST_CHECK int master_options_check(const struct master_options *options, char *out_why);

/* Group 0 as the options found it: its replicas are numbered from 1. The number that a store's has,
 * 0: none. */
size_t master_initial_replicas_count(const struct master_options *options);
/* The first so many of the initial stores see to it that group 0 is founded once (node_identity.c):
 * those that have a replica of it, and at least three where there are as many. */
size_t master_founding_stores_count(const struct master_options *options);
replica_id_t master_founder_replica(const struct master_options *options, store_id_t store);
void master_founding_configuration(const struct master_options *options,
                                   struct raft_configuration *out_configuration);

/* Reads the rows back, and adds this replica of group 0 to the raft host. `founding` is its
 * configuration while there are no rows; no members: it joins a group that lives. OST_CORRUPT: the
 * rows make no sense, or they and the log leave a gap; `out_why` (256 bytes). */
OST_MUST_CHECK int master_load(struct master *master, replica_id_t replica,
                               const struct raft_configuration *founding, nanoseconds_t now_ns,
                               char *out_why);

/* TIMESTAMP, STORE_REPORT, CHANGE_REPLICAS, CHANGE_STORE, HOLD, RANGE_REPORT, CHANGE_RANGE,
 * PROGRESS. OST_PROTOCOL: does not parse. `wall_ms` is the wall clock, for O4. */
OST_MUST_CHECK int master_receive(struct master *master, uint64_t connection_id,
                                  const struct frame *frame, nanoseconds_t now_ns,
                                  uint64_t wall_ms);
void master_timer(struct master *master, nanoseconds_t now_ns, uint64_t wall_ms);
/* One ReadIndex round for all timestamps asked in this turn (O2). */
void master_turn_ended(struct master *master, nanoseconds_t now_ns);
nanoseconds_t master_deadline_ns(const struct master *master);

/* S1: the log is cut behind what a crash would leave. After each flush of the store the process
 * reads it on the pool, sets it on the loop, and then calls raft_host_flushed. OST_OK (0: nothing
 * was flushed yet) or what the rows' read or a damaged row says. */
OST_MUST_CHECK int master_read_flushed_index(const struct master_rows *rows,
                                             raft_index_t *out_index);
void master_set_flushed_index(struct master *master, raft_index_t index);

void master_status(const struct master *master, struct arena *arena,
                   Ostraka__GroupStatus **out_group);
/* Of this replica of group 0, like those of the data groups (kv_server_report). In the arena. */
Ostraka__ReplicaReport *master_report(const struct master *master, struct arena *arena);

/* It is being removed from the raft host: nothing is answered for it from now on. */
void master_doom(struct master *master);
/* The raft host has said its last word: it may be freed, and its rows be wiped. */
bool master_is_destroyed(const struct master *master);

/* The leader's stores that drain, are dead, or are being filled, for FRAME_PROGRESS. In the arena.
 */
void master_stores_progress(struct master *master, struct arena *arena,
                            Ostraka__ProgressItem ***out_items, size_t *out_count);

timestamp_t master_safe_point(const struct master *master);
/* Pure: the map of a new cluster. In the arena. */
const Ostraka__Map *master_bootstrap_map(const struct master_options *options, struct arena *arena);
