/* state_machine.h: what the host asks of a state machine that a group replicates.
 *
 * All calls come on the loop's thread but those marked "pool", which may block, touch only the
 * object they are given, and never run twice at a time for one object.
 */
#pragma once

#include "base/buffer.h"
#include "raft/raft.h"

struct raft_leadership {
    enum raft_role role;
    raft_term_t term;
    store_id_t leader_store; /* 0: not known */
    bool ready;              /* leads, and has applied the entry that opens its term (R4) */
};

struct raft_state_machine_ops {
    /* Apply entries in order, all types; returns how many were taken. Fewer than all: come again in
     * the next turn, with all those that were not taken and perhaps more; none: the store is
     * stalled, come again later. After a crash the machine comes back as of some applied index, and
     * is given what follows it once more. */
    size_t (*apply)(void *machine, const struct raft_entry *entries, size_t entries_count);
    /* Role, term, leader or readiness changed. On a fall from leadership every waiting request is
     * answered here. */
    void (*leadership_changed)(void *machine, const struct raft_leadership *leadership);
    /* The read asked for with raft_host_read may be served now (OST_OK: the leader was confirmed
     * and what it needs is applied), or never (OST_NOT_LEADER). What it finds may leave this store
     * only while a clock read at that moment shows less than `valid_until_ns` (outbox.h); NS_NEVER
     * unless the read was asked for by lease. */
    void (*read_ready)(void *machine, uint64_t read_id, int status, nanoseconds_t valid_until_ns);
    /* What is applied now. */
    void (*applied_meta)(void *machine, struct raft_snapshot_meta *out_meta);
    /* What would be found after a crash (S1). */
    raft_index_t (*flushed_index)(void *machine);

    /* A consistent picture of the applied state, for a follower that is too far behind. */
    int (*snapshot_open)(void *machine, struct raft_snapshot_meta *out_meta, void **out_snapshot);
    /* Pool. Appends about `bytes_max` to `chunk`. */
    int (*snapshot_read)(void *snapshot, struct buffer *chunk, size_t bytes_max, bool *out_last);
    void (*snapshot_close)(void *snapshot);

    /* The other side. Nothing of it shows until restore_finish has made it durable. While it is
     * open the machine may refuse to apply. */
    int (*restore_open)(void *machine, const struct raft_snapshot_meta *meta, void **out_restore);
    int (*restore_write)(void *restore, struct bytes chunk); /* pool */
    int (*restore_finish)(void *restore); /* pool; durable when it returns OST_OK */
    /* Loop: take over what was restored, or (adopt false) throw it away. Frees `restore`. */
    void (*restore_close)(void *machine, void *restore, bool adopt);

    /* The last call: the replica was removed (raft_host_group_remove), which is durable; no
     * snapshot of it is open any more. The machine wipes its rows and may free itself. NULL: its
     * groups are never removed. */
    void (*destroyed)(void *machine);
};
