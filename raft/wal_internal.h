/* wal_internal.h: shared by wal.c (groups, segments, operations), wal_write.c (units to bytes) and
 * wal_recover.c (bytes to groups). The layout of all that is on disk is here. Little endian. */
#pragma once

#include "base/blob_bin.h"
#include "base/buffer.h"
#include "raft/wal.h"

#include <bsd/sys/queue.h>
#include <endian.h>
#include <uthash.h>

/* Header of a write, at the start of its first block:
 *     0  u32 magic "OWAL"           4  u32 version
 *     8  u64 salt of the segment   16  u64 number of the write
 *    24  u64 number of the write before it, 32 that one's segment (u32)
 *    36  u32 this segment          40  u64 offset in it
 *    48  u64 highest number known durable
 *    56  u32 bytes of chunks       60  u32 bytes in all, whole blocks
 *    64  u64 run: number of the first write since the last recovery
 *    72  u64 XXH3 of all that follows the header, padding too, seeded with salt and number
 *    80  u64 XXH3 of bytes 0-79 */
#define WAL_MAGIC                     0x4c41574fu
#define WAL_VERSION                   2u
#define WAL_WRITE_HEADER_BYTES        88u
#define WAL_WRITE_HEADER_SUMMED_BYTES 80u

/* Header of a chunk:
 *     0  u32 kind    4  u32 bytes   8  u64 group   16  u64 replica
 *    24  u64 number of the write in which its unit begins   32  u64 bytes of the whole unit
 * PREVIOUS is no unit but the groups that had a chunk in the write before: u64 group, u64 replica
 * each. It is left out when they are too many, and then nobody knows. */
#define WAL_CHUNK_HEADER_BYTES 40u
enum wal_chunk_kind {
    WAL_CHUNK_WHOLE = 1,
    WAL_CHUNK_FIRST,
    WAL_CHUNK_MIDDLE,
    WAL_CHUNK_LAST,
    WAL_CHUNK_PREVIOUS,
};
#define WAL_NAME_BYTES 16u

/* Header of a record; the payload follows:
 *     0  u8 type, u8 entry type, u16 zero   4  u32 payload bytes
 *     8  u64 group  16  u64 replica  24  u64 term  32  u64 index (hard state: the vote)
 *    40  u64 log timestamp          48  u64 XXH3 of bytes 0-47 and of the payload */
#define WAL_RECORD_HEADER_BYTES 56u
enum wal_record_type {
    WAL_HARD_STATE = 1,
    WAL_ENTRY,
    WAL_RESET,
    WAL_CUT,
    WAL_DESTROYED,
    WAL_DAMAGED,
};

/* Of one group in one turn of the round. */
#define WAL_QUANTUM_BYTES (64u << 10)
/* Less space than this is not worth the header of a chunk. */
#define WAL_CHUNK_BYTES_MIN 256u
/* No unit can be larger: more than a core lets be uncommitted, with headers. */
#define WAL_UNIT_BYTES_MAX (UINT64_C(1) << 30)

static inline void wal_put_u32(uint8_t *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof(value));
}
static inline void wal_put_u64(uint8_t *at, uint64_t value)
{
    value = htole64(value);
    memcpy(at, &value, sizeof(value));
}
static inline uint32_t wal_get_u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof(value));
    return le32toh(value);
}
static inline uint64_t wal_get_u64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof(value));
    return le64toh(value);
}

struct wal_entry {
    struct raft_entry entry; /* payload counted */
    uint32_t segment;        /* where its unit begins */
};

/* All that is known of a replica that has no log any more. */
enum wal_mark { WAL_MARK_NONE, WAL_MARK_DESTROYED, WAL_MARK_DAMAGED };

/* One unit on its way to the disk. Its records in order: mark, reset, cut, entries, hard state. */
struct wal_unit {
    TAILQ_ENTRY(wal_unit) link;
    uint64_t persist_id;
    enum wal_mark mark; /* alone in its unit */
    bool rewrite;       /* what is live of the group, filled in when it is its turn */
    bool hard_state;
    raft_term_t term;
    replica_id_t vote;
    bool reset;
    raft_index_t reset_index;
    raft_term_t reset_term;
    bool cut;
    raft_index_t cut_index;
    struct raft_entry *entries;
    uint32_t entries_count;

    /* Progress. */
    bool started;
    uint32_t first_segment;
    uint64_t first_write;
    uint64_t bytes_count;
    uint64_t bytes_done;
    uint32_t record; /* the record under way, and how much of it is done */
    uint64_t record_bytes_done;
    uint8_t record_header[WAL_RECORD_HEADER_BYTES];
};
TAILQ_HEAD(wal_units, wal_unit);

struct wal_group {
    group_id_t group;
    replica_id_t replica;
    void *owner;
    bool claimed;
    struct blob_bin *bin; /* the log's */

    /* What a recovery would find, once the write under way is durable. */
    enum wal_mark mark;
    bool mark_replaced; /* a later replica has the group, and no record yet: the mark stands in */
    uint32_t mark_segment;
    bool hard_state_known;
    raft_term_t term;
    replica_id_t vote;
    uint32_t hard_state_segment;
    bool begin_known;
    bool begin_derived; /* from the first entry found: older ones were in segments now retired */
    raft_index_t begin_index;
    raft_term_t begin_term;
    struct wal_entry *entries; /* [head, head + count), indexes from begin_index + 1 */
    size_t entries_head;
    size_t entries_count;
    size_t entries_capacity;
    uint64_t entries_bytes;

    struct wal_units units;
    bool queued; /* in wal->ready */
    bool rewrite_queued;
    TAILQ_ENTRY(wal_group) ready_link;

    /* Recovery: the unit that is not whole yet. */
    struct buffer part;
    bool part_open;
    uint64_t part_first_write;
    uint64_t part_bytes_count;
    uint32_t part_first_segment;
    /* The write in which the last unit begins that says all there is to know of the replica, and
     * the last write in which something of it was lost. */
    uint64_t complete_number;
    uint64_t lost_number;

    UT_hash_handle hh;
};
TAILQ_HEAD(wal_groups, wal_group);

struct wal_write_header {
    uint64_t salt;
    uint64_t number;
    uint64_t previous_number;
    uint32_t previous_segment;
    uint32_t segment;
    uint64_t offset;
    uint64_t durable_number;
    uint32_t body_bytes;
    uint32_t run_bytes;
    uint64_t run;
};

struct wal_name {
    group_id_t group;
    replica_id_t replica;
};
/* Who had a chunk in a write. */
struct wal_names {
    uint64_t number; /* of the write; 0: not known */
    struct wal_name *items;
    size_t count;
    size_t capacity;
};

struct wal_numbers {
    uint32_t *items;
    size_t count;
    size_t capacity;
};

struct wal {
    struct wal_options options;
    struct wal_group *groups; /* by id */
    struct wal_groups ready;  /* have units to write; the round goes from the head */
    struct blob_bin bin;      /* payloads of entries that were dropped */

    /* Segments, ascending: used ones, the last of which is current (if `current`); then spares. */
    struct wal_numbers used;
    struct wal_numbers spares;
    uint32_t segment_next; /* the number to be made next */
    bool current;
    uint64_t current_offset;
    uint64_t current_salt;
    bool creating;
    struct wal_numbers to_retire;
    bool retiring;

    /* The write under way (W1). */
    uint8_t *data;
    bool writing;
    uint64_t number_next;
    uint64_t number_durable;
    uint64_t run;
    uint64_t previous_number;
    uint32_t previous_segment;
    struct wal_names names; /* of the last write */
    struct wal_durable *durable;
    size_t durable_count;
    size_t durable_capacity;
    bool maintain_wanted;

    struct {
        bool started;
        uint32_t first_segment;
        uint32_t last_segment;
        uint64_t first_number; /* of the writes taken in */
        uint64_t highest_number;
        bool pending;      /* the last header that checks: taken in when the next one names it */
        bool pending_lost; /* its body does not check */
        bool pending_copied;
        struct wal_write_header pending_header;
        struct bytes pending_body;
        struct buffer pending_copy;
        uint64_t lost_number; /* the last write that was lost and might have been anybody's */
        char *why;            /* WAL_WHY_BYTES; the first damage is told */
    } recovery;
};

/* wal.c: the picture of what is on disk. `segment` is where the record is. */
struct wal_group *wal_group_find(const struct wal *wal, group_id_t group);
struct wal_group *wal_group_make(struct wal *wal, group_id_t group, replica_id_t replica);
void wal_group_clear(struct wal_group *group);
void wal_group_reset_log(struct wal_group *group, raft_index_t index, raft_term_t term);
void wal_group_cut_log(struct wal_group *group, raft_index_t index);
/* Takes a reference. False: it leaves a gap. */
bool wal_group_append(struct wal_group *group, const struct raft_entry *entry, uint32_t segment);
void wal_group_set_hard_state(struct wal_group *group, raft_term_t term, replica_id_t vote,
                              uint32_t segment);
void wal_group_set_mark(struct wal_group *group, enum wal_mark mark, uint32_t segment);
void wal_names_add(struct wal_names *names, group_id_t group, replica_id_t replica);
void wal_numbers_push(struct wal_numbers *numbers, uint32_t number);
uint32_t wal_numbers_shift(struct wal_numbers *numbers);

/* wal_write.c */
void wal_unit_free(struct wal_unit *unit);
/* Fills wal->data with one write into the current segment; false when nothing is queued or there is
 * no segment to write to. */
bool wal_write_build(struct wal *wal, struct log_operation *out_operation);
uint64_t wal_checksum_record(const uint8_t *header, struct bytes payload);
uint64_t wal_checksum_body(const struct wal_write_header *header, const uint8_t *body,
                           size_t bytes_count);
