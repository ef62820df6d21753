/* raft_disk.h: the disk of one core in a test: units under way, what is durable, and how a core
 * comes back from that. When a unit becomes durable is up to the test; units do so in order, whole
 * (raft.h). */
#pragma once

#include "raft/raft.h"
#include "raft/raft_log.h"

struct raft_disk_unit;

struct raft_disk {
    raft_term_t term;
    replica_id_t vote;
    struct raft_log log;
    struct raft_snapshot_meta flushed; /* what the state machine has on disk */
    struct raft_disk_unit *units;      /* under way, oldest first */
};

void raft_disk_init(struct raft_disk *disk, const struct raft_snapshot_meta *flushed);
void raft_disk_fini(struct raft_disk *disk);

/* Takes what the update wants persisted, if anything. */
void raft_disk_write(struct raft_disk *disk, const struct raft *raft,
                     const struct raft_update *update);
uint32_t raft_disk_units_count(const struct raft_disk *disk);
/* The oldest unit becomes durable; returns its id. */
uint64_t raft_disk_take(struct raft_disk *disk);
/* A crash: what is under way is lost. */
void raft_disk_lose(struct raft_disk *disk);
/* Does it hold this entry, in the log or in what was flushed? */
bool raft_disk_holds(const struct raft_disk *disk, raft_index_t index, raft_term_t term);
/* What was applied up to `meta` is flushed, and the log is cut behind it. */
void raft_disk_flush(struct raft_disk *disk, const struct raft_snapshot_meta *meta);
/* The core that comes back. */
struct raft *raft_disk_start(struct raft_disk *disk, const struct raft_options *options,
                             nanoseconds_t now_ns);

/* Messages and units that outlive a step own their entries. NULL when there are none. */
struct raft_entry *raft_entries_copy(const struct raft_entry *entries, uint32_t entries_count);
void raft_entries_free(const struct raft_entry *entries, uint32_t entries_count);
