/* host.h: many groups over one log and one transport; itself a step function.
 *
 * It feeds each group's core, writes what cores want persisted into one log (wal.h), holds messages
 * back until the write they depend on is durable (R1), applies committed and durable entries (R5),
 * and streams snapshots. Frames go into the outbox of its update, messages to one store together.
 *
 * In a turn: any number of receive, log_written, propose, read ... calls, then
 * raft_host_turn_ended, which lets every touched group send and starts one durable write with what
 * all groups want persisted. State machines are called back from inside these calls, and may
 * propose and read from there.
 */
#pragma once

#include "base/job.h"
#include "base/metrics.h"
#include "proto/outbox.h"
#include "raft/log_operation.h"
#include "raft/raft.h"
#include "raft/state_machine.h"

struct raft_host;

struct raft_host_options {
    store_id_t store;
    uint64_t seed;
    struct raft_options raft;        /* replica and seed are set per group */
    uint32_t log_segment_bytes;      /* 16 MiB; a multiple of the block */
    uint32_t log_write_bytes_max;    /* 1 MiB */
    uint32_t log_write_hung_ms;      /* 500: above, leaders step down (R9) */
    uint64_t log_retained_bytes_max; /* 64 MiB of entries kept for a live follower that lags */
    uint64_t log_followed_bytes_max; /* 512 MiB: and for one that is given a snapshot, no more than
                                        that has */
    uint32_t snapshot_chunk_bytes;   /* 512 KiB */
    uint64_t snapshot_bytes_per_s;   /* 22 MiB, of all snapshots that are sent; 0: no limit */
    struct metrics *metrics;         /* may be NULL */
};
void raft_host_options_default(struct raft_host_options *out_options);

#define LOG_OPERATIONS_PER_TURN_MAX 8
struct raft_host_update {
    struct outbox *outbox; /* the caller's */
    struct log_operation log_operations[LOG_OPERATIONS_PER_TURN_MAX];
    uint32_t log_operations_count;
    struct job *jobs;   /* linked by next; snapshot chunks to read or write */
    bool more_to_apply; /* come back at once: applying was cut into a slice */
    nanoseconds_t deadline_ns;
};

/* The host writes into `update` during every call below; the caller drains it after each turn. */
struct raft_host *raft_host_new(const struct raft_host_options *options,
                                struct raft_host_update *update);
/* Lets go of every snapshot: after this no state machine is called, and they may be freed before
 * the host, which they use to their end. */
void raft_host_stop(struct raft_host *host);
void raft_host_free(struct raft_host *host);

/* Start-up: hand over the segments found on disk in ascending order, whole; then close the
 * recovery. A torn tail is cut off. What was durable and does not check costs the replicas that may
 * have had something in it (raft_host_group_damaged), and no others; `out_why` (at least 256 bytes)
 * then names segment and offset, and is empty otherwise. OST_WRONG_VERSION: not a log of this
 * version. */
OST_MUST_CHECK int raft_host_recover_segment(struct raft_host *host, uint32_t segment,
                                             struct bytes content, char *out_why);
OST_MUST_CHECK int raft_host_recover_end(struct raft_host *host, char *out_why);

/* After the recovery, the replicas that the log knows, in order of their groups: begin with NULL,
 * then give the last one back. False: no more. Those that are neither destroyed nor added by the
 * first raft_host_flushed are forgotten. */
struct raft_host_recovered {
    group_id_t group;
    replica_id_t replica;
    bool destroyed; /* wipe what the store still has of it */
    bool damaged;   /* may have lost what it had promised: not to be added, to be destroyed */
};
bool raft_host_recovered_next(const struct raft_host *host, const struct raft_host_recovered *last,
                              struct raft_host_recovered *out_next);
/* Damage to the log may have cost the replica of this group votes or entries: it is not served, and
 * neither votes nor stands, which is to say that it is not added; it waits for
 * raft_host_group_remove and comes back under a new number. True until then, over restarts. */
bool raft_host_group_damaged(const struct raft_host *host, group_id_t group);
/* Writes down for good that this one is damaged. For a replica that only the store's rows know:
 * what the log had of it may be lost without a trace, and the log's next start may see no damage
 * any more, for the segments that show it go once nobody needs them. Not of one that was added. */
void raft_host_group_mark_damaged(struct raft_host *host, group_id_t group, replica_id_t replica);

/* Adds a replica of a group: one that the log knows (recovered), or, with nothing in the log and an
 * empty state machine, a new one with the configuration in `initial`: that of the group's birth, or
 * for one that joins a living group none (members_count 0): it is fed by the leader that has it as
 * a learner. `initial` is what applied_meta says for a recovered one.
 *   OST_EXISTS      a replica of the group is here
 *   OST_BUSY        the one that was here is not yet destroyed
 *   OST_NOT_FOUND   this replica, or one with a higher number, was destroyed here: its number is
 *                   used up (R6); wipe what the store has of it
 *   OST_CORRUPT     log and state leave a gap, or the log was damaged: raft_host_group_damaged from
 *                   now on */
OST_MUST_CHECK int raft_host_group_add(struct raft_host *host, group_id_t group,
                                       replica_id_t replica,
                                       const struct raft_snapshot_meta *initial,
                                       const struct raft_state_machine_ops *ops, void *machine,
                                       nanoseconds_t now_ns);

/* Would raft_host_group_add answer OST_BUSY? */
bool raft_host_group_is_busy(const struct raft_host *host, group_id_t group, replica_id_t replica);

/* Destroys the replica with this number: one that was added, or one that is damaged, or one that
 * the log knows nothing of. From now on nothing answers for it; its log is forgotten durably, and
 * its number never comes back here. One that was added hears of it by its `destroyed`, when a turn
 * ends. OST_NOT_FOUND: another replica of the group is here. OST_OK again for one that is gone. Not
 * from inside a machine's call. */
OST_MUST_CHECK int raft_host_group_remove(struct raft_host *host, group_id_t group,
                                          replica_id_t replica, nanoseconds_t now_ns);

/* A log write hangs: nothing here leads or stands until it is over (R9). */
bool raft_host_log_is_slow(const struct raft_host *host);

/* A FRAME_RAFT_BATCH or FRAME_RAFT_SNAPSHOT_CHUNK from a store. OST_PROTOCOL: does not parse. */
OST_MUST_CHECK int raft_host_receive(struct raft_host *host, store_id_t from_store,
                                     const struct frame *frame, nanoseconds_t now_ns);
/* A log operation is done; a status that is not OST_OK for a write ends the process (R9), which is
 * the caller's part: the host asserts that it is not told. */
void raft_host_log_done(struct raft_host *host, enum log_operation_type type, uint32_t segment,
                        uint64_t cookie, nanoseconds_t now_ns);
/* A connection to a store broke or was made again. */
void raft_host_peer_reset(struct raft_host *host, store_id_t store, nanoseconds_t now_ns);
void raft_host_timer(struct raft_host *host, nanoseconds_t now_ns);
void raft_host_turn_ended(struct raft_host *host, nanoseconds_t now_ns);

/* Leader: append a command. OST_NOT_LEADER, OST_LOG_FULL. Takes a reference of its own. */
OST_MUST_CHECK int raft_host_propose(struct raft_host *host, group_id_t group,
                                     enum raft_entry_type type, struct blob *payload,
                                     nanoseconds_t now_ns, raft_index_t *out_index,
                                     raft_term_t *out_term);
/* Leader: begin to make `target` the group's configuration; what is answered is at
 * RAFT_EV_CONFIGURATION_PROPOSED. It is done when raft_host_configuration is the target and
 * raft_host_configuration_is_settled. OST_NOT_FOUND. */
OST_MUST_CHECK int raft_host_configure(struct raft_host *host, group_id_t group,
                                       const struct raft_configuration *target,
                                       nanoseconds_t now_ns);
/* The configuration in force is plain and committed, as far as this replica knows. */
bool raft_host_configuration_is_settled(const struct raft_host *host, group_id_t group);
/* R3. The machine's read_ready follows, never inside this call. By lease: where leases are on and
 * this leader has one, no round is waited for; the machine obeys valid_until_ns. */
OST_MUST_CHECK int raft_host_read(struct raft_host *host, group_id_t group, nanoseconds_t now_ns,
                                  uint64_t *out_read_id);
OST_MUST_CHECK int raft_host_read_by_lease(struct raft_host *host, group_id_t group,
                                           nanoseconds_t now_ns, uint64_t *out_read_id);
/* OST_NOT_FOUND, OST_NOT_LEADER. `to` 0: to the best follower. */
OST_MUST_CHECK int raft_host_transfer(struct raft_host *host, group_id_t group, replica_id_t to,
                                      nanoseconds_t now_ns);

/* The store was flushed: cut every group's log behind its flushed index (S1), retire segments. */
void raft_host_flushed(struct raft_host *host, nanoseconds_t now_ns);

/* The highest oracle timestamp heard, from anywhere: stamps entries (R8), travels with every batch.
 */
void raft_host_heard(struct raft_host *host, timestamp_t timestamp);
timestamp_t raft_host_heard_timestamp(const struct raft_host *host);

/* OST_NOT_FOUND. */
OST_MUST_CHECK int raft_host_group_status(const struct raft_host *host, group_id_t group,
                                          struct raft_status *out_status);
OST_MUST_CHECK int raft_host_leadership(const struct raft_host *host, group_id_t group,
                                        struct raft_leadership *out_leadership);
const struct raft_configuration *raft_host_configuration(const struct raft_host *host,
                                                         group_id_t group);
