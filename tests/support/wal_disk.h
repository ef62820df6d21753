/* wal_disk.h: a log on a disk in memory, operation by operation. What is recycled keeps its old
 * bytes, as files do; a test may change what the segments hold before it recovers the log. */
#pragma once

#include "raft/wal.h"

#define WAL_DISK_SEGMENT_BYTES (64u << 10)
#define WAL_DISK_WRITE_BYTES   (16u << 10)
#define WAL_DISK_SEGMENTS_MAX  4096u

struct wal_disk {
    uint8_t *segments[WAL_DISK_SEGMENTS_MAX];
    uint8_t *recycled[WAL_DISK_SEGMENTS_MAX];
    size_t recycled_count;
    struct wal *wal;
    uint64_t seed;
    size_t writes_count;
    uint32_t last_segment; /* of the newest write, */
    uint64_t last_offset;
    size_t last_bytes_count;
    size_t last_cookie;
    bool writing;
    uint64_t durable[16];    /* by owner: the highest persist id reported */
    char why[WAL_WHY_BYTES]; /* the first damage of the last recovery; empty: none */
};

/* Where a write went. */
struct wal_disk_place {
    uint32_t segment;
    uint64_t offset;
    size_t bytes_count;
};

struct wal_disk *wal_disk_new(void);
void wal_disk_free(struct wal_disk *disk);
/* An empty log with the next seed; the one before it is the caller's to free. */
void wal_disk_wal_new(struct wal_disk *disk);

/* --- What the disk does --- */

/* Does one operation; a write stays under way when `hold`. False: there was none. */
bool wal_disk_step(struct wal_disk *disk, bool hold);
void wal_disk_write_done(struct wal_disk *disk);
/* All there is to do. */
void wal_disk_drain(struct wal_disk *disk);
size_t wal_disk_segments_count(const struct wal_disk *disk);

/* --- What is written --- */

struct wal_group *wal_disk_claim(struct wal_disk *disk, group_id_t group);
/* The payload is the caller's, and tells index, term and size; NULL: of no bytes. */
struct raft_entry wal_disk_entry(raft_index_t index, raft_term_t term, size_t payload_bytes);
void wal_disk_persist_entry(struct wal_disk *disk, struct wal_group *group, uint64_t persist_id,
                            raft_index_t index, raft_term_t term, size_t payload_bytes);
void wal_disk_persist_hard_state(struct wal_disk *disk, struct wal_group *group,
                                 uint64_t persist_id, raft_term_t term, replica_id_t vote);

/* --- What is found --- */

/* A new log of what the segments hold. */
int wal_disk_recover(struct wal_disk *disk);
void wal_disk_recover_undamaged(struct wal_disk *disk);
bool wal_disk_is_damaged(const struct wal_disk *disk, group_id_t group);
void wal_disk_expect_entry(const struct wal_disk *disk, group_id_t group, raft_index_t index,
                           raft_term_t term, size_t payload_bytes);
