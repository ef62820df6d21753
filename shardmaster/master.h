/* master.h: the shard master: group 0's state machine and its leader's work. Part of the store's
 * step function, like kv_server.h.
 *
 * State: the map (stores, groups, ranges), the ceiling of timestamps. The leader serves timestamps
 * (oracle.h: O1-O4), makes the map true (tells stores which replicas to create, groups which ranges
 * they own, until their own logs say so), and pushes the map to every store.
 *
 * The state is small and kept in memory; what is applied is written to the store's rows with the
 * applied index in one batch, like any group's.
 *
 * Reading order: master_map.h, oracle.h (both pure), master_internal.h, master_machine.c (what
 * entries do), master.c (timestamps, time), master_leader.c (what the leader sees to).
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
     * groups 1..groups_count with a replica on each store, ranges cut at the split keys and dealt
     * to the groups in turn. */
    const Ostraka__StoreInfo *initial_stores;
    size_t initial_stores_count;
    uint32_t initial_groups_count;
    const struct bytes *initial_splits; /* ascending, no duplicates */
    size_t initial_splits_count;
    uint32_t ceiling_ahead_ms; /* 1000 (O1) */
    uint32_t reconcile_ms;     /* 500: how often what is not yet true is asked for again */
};

struct master;
/* What the options and `rows` point to is borrowed for the master's whole life. */
struct master *master_new(const struct master_options *options, const struct master_rows *rows,
                          struct raft_host *host, struct outbox *outbox);
void master_free(struct master *master);

/* Reads the rows back, and adds group 0 to the raft host. A store that is not among the initial
 * ones has no replica of group 0 and calls nothing of this file. A store's replica number is its
 * place, from 1. OST_INVALID_ARGUMENT: the options make no sound map; OST_CORRUPT: the rows do not;
 * `out_why` (256 bytes) says what is wrong. */
OST_MUST_CHECK int master_load(struct master *master, nanoseconds_t now_ns, char *out_why);

/* TIMESTAMP, STORE_REPORT. OST_PROTOCOL: does not parse. `wall_ms` is the wall clock, for O4. */
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

/* Pure: the map of a new cluster. In the arena. */
const Ostraka__Map *master_bootstrap_map(const struct master_options *options, struct arena *arena);
