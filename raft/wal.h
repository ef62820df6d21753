/* wal.h: the log on disk, one for all groups of a store: which bytes go where, and back.
 *
 * It does no I/O: it hands out log operations (write these bytes there, make that segment, that one
 * is not needed any more) and is told when they are done. DESIGN section 3, "The log on disk".
 *
 * Form. A segment is a row of writes. A write is a run of 4 KiB blocks: a header (segment and salt,
 * number, what went before it, the highest number known durable, checksums) and a row of chunks. A
 * chunk is a whole unit or a part of one. A unit is what one step of a core wants persisted, all or
 * nothing: records of one group (hard state, entries, reset, cut, destroyed, damaged), each with
 * its own checksum over group, replica, index, term and payload. A write also names the groups of
 * the write before it, so that it is known who has lost something when that one cannot be read.
 *
 * Invariants:
 *   W1 One write is under way at a time; the next one is built when it is durable.
 *   W2 Blocks that hold a durable write are never written again; numbers of segments are never
 *      reused, so what a recycled file held before can not be taken for the log.
 *   W3 The units of a group are written in the order in which they came.
 *   W4 A segment is retired only when all that is live in it stands, durable, in later ones.
 *   W5 What is not durable is dropped at recovery whole units at a time. Who may have had something
 * in what was durable and does not check is damaged, for good: nothing of it is used.
 *   W6 What the log holds of a replica is of that replica alone. The number of one that was
 * destroyed stays until a later one has a record of its own.
 *
 * Memory: the live entries of each group are kept by reference, so that what lags can be written
 * forward; one write buffer is used over and over.
 */
#pragma once

#include "base/bytes.h"
#include "base/status.h"
#include "raft/log_operation.h"
#include "raft/raft.h"

#define WAL_BLOCK_BYTES 4096u
/* out_why is at least this long. */
#define WAL_WHY_BYTES 256u

struct wal_options {
    uint32_t segment_bytes;   /* multiple of the block */
    uint32_t write_bytes_max; /* multiple of the block; not above segment_bytes */
    uint32_t segments_kept;   /* above, groups that lag are written forward; 4 */
    uint64_t seed;            /* of the segments' salts */
};

struct wal;
struct wal_group;

struct wal *wal_new(const struct wal_options *options);
void wal_free(struct wal *wal);

/* Segments in ascending order, whole. `content` is borrowed. Neither a torn tail nor damage is an
 * error; `out_why` says what is damaged, and is empty when nothing is. OST_WRONG_VERSION. */
OST_MUST_CHECK int wal_recover_segment(struct wal *wal, uint32_t segment, struct bytes content,
                                       char *out_why);
void wal_recover_end(struct wal *wal, char *out_why);
/* Something was lost of which it is not known whose it was: a group that the log knows nothing of
 * may have been there. */
bool wal_has_lost_unknown(const struct wal *wal);

/* What the log holds of a group; what is queued but not written is not in it yet. */
struct wal_group_state {
    replica_id_t replica;
    bool destroyed; /* and so is every replica with a lower number */
    bool damaged;
    bool busy; /* something is queued */
    bool hard_state_known;
    raft_term_t term;
    replica_id_t vote;
    bool begin_known; /* the log begins after begin_index; begin_term 0: not known */
    raft_index_t begin_index;
    raft_term_t begin_term;
    raft_index_t last_index; /* begin_index when there are no entries */
};
/* False: the log knows nothing of it. */
bool wal_group_get(const struct wal *wal, group_id_t group, struct wal_group_state *out_state);
/* The next group that the log knows; `after` NULL: the first. False: no more. */
bool wal_group_next(const struct wal *wal, const group_id_t *after, group_id_t *out_group);
/* NULL when it is not in the log. */
const struct raft_entry *wal_group_entry(const struct wal *wal, group_id_t group,
                                         raft_index_t index);

/* Takes a group over, known or not, for writing. What the log holds of a replica with a lower
 * number is dropped. `owner` comes back with what became durable. */
struct wal_group *wal_group_claim(struct wal *wal, group_id_t group, replica_id_t replica,
                                  void *owner);

/* The replica, known or not, is destroyed (W6), and what is queued of it is dropped; nobody claims
 * it any more. `owner` comes back with `persist_id` when that is durable (0: nobody asks for it).
 */
void wal_destroy(struct wal *wal, group_id_t group, replica_id_t replica, void *owner,
                 uint64_t persist_id);
/* What the log holds of the replica is of no use: forgets all but that. Not of one that is claimed.
 */
void wal_mark_damaged(struct wal *wal, group_id_t group, replica_id_t replica);

struct wal_unit_request {
    uint64_t persist_id; /* 0: nobody asks for it */
    bool hard_state_changed;
    raft_term_t term;
    replica_id_t vote;
    bool log_reset; /* before the entries */
    raft_index_t reset_index;
    raft_term_t reset_term;
    const struct raft_entry *entries; /* copied; payloads are referenced */
    uint32_t entries_count;
};
void wal_persist(struct wal *wal, struct wal_group *group, const struct wal_unit_request *request);
/* Nothing up to and with `index` is needed any more. */
void wal_cut(struct wal *wal, struct wal_group *group, raft_index_t index);
/* Retires what is behind every group, and writes forward what lags. After cuts. */
void wal_maintain(struct wal *wal);
/* Lets go of some of what was dropped. */
void wal_turn_ended(struct wal *wal);

/* The next thing to do; false: nothing (now). `may_write` false: no write yet, but all else. */
bool wal_next_operation(struct wal *wal, bool may_write, struct log_operation *out_operation);
struct wal_durable {
    void *owner;
    uint64_t persist_id; /* the owner's units up to this one are durable */
};
/* Reports an operation done. For a write: what became durable by it, good until the next call of
 * wal_next_operation. */
void wal_operation_done(struct wal *wal, enum log_operation_type type, uint32_t segment,
                        uint64_t cookie, const struct wal_durable **out_durable,
                        size_t *out_durable_count);
/* Is anything written or waiting to be? */
bool wal_is_busy(const struct wal *wal);
/* Could a write begin, and has not? */
bool wal_is_waiting(const struct wal *wal);
/* Segments in use, without spares. */
size_t wal_segments_count(const struct wal *wal);
