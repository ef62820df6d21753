/* kv_group.h: one replica of a data group: the state machine that its log drives, and at the
 * leader, what clients and other groups have asked of it. Internal to the room.
 *
 * Files: kv_group.c life, leadership, the parts' updates; kv_apply.c entries into one batch;
 * kv_chain.c a hash of what they did; kv_checkpoint.c the rows from which it starts;
 * kv_requests.c what clients ask; kv_reads.c reads and locks; kv_commit.c what commits; kv_check.c
 * what was read without locks; kv_closed.c reads as of a timestamp, at the leader and at others;
 * kv_peers.c what other groups ask; kv_scan.c reading rows; kv_answers.c the frames that go back;
 * kv_steps.c what becomes of ranges, kv_orders.c what the shard master asks of them, kv_feed.c and
 * kv_copy.c how they go from group to group, kv_load.c how much is asked of them; kv_snapshot.c to
 * and from other replicas; kv_flush.c what of it is durable; kv_server.c all replicas of a store,
 * kv_report.c what it says of them.
 *
 * A request is in one state at a time and is answered once; an answer frees it. Allowed moves:
 *   NEW -> CLOCK, READ, LOCKS, APPLY      CLOCK -> NEW           READ -> LOCKS, APPLY
 *   LOCKS -> TIMESTAMP, APPLY, POOL       TIMESTAMP -> LOCKS     POOL -> LOCKS
 *   at a replica that does not lead: NEW -> CLOCK, CLOSED        CLOSED -> POOL -> CLOSED
 * and from each to its end. On a fall from leadership all of them end with OST_NOT_LEADER, so none
 * outlives the term it began in.
 */
#pragma once

#include "base/arena.h"
#include "base/memory.h"
#include "base/rate_limit.h"
#include "proto/command.pb-c.h"
#include "shardkv/kv_gc.h"
#include "shardkv/kv_load.h"
#include "shardkv/kv_ranges.h"
#include "shardkv/kv_server.h"
#include "shardkv/oracle_client.h"

#define uthash_malloc(bytes_count) memory_alloc(bytes_count)
#include <uthash.h>

struct kv_group;
struct kv_request;

#define KV_WHY_BYTES 256
/* An entry travels as one frame's payload, and as a row of a snapshot together with what else is in
 * its chunk. The writes of the largest transaction fit, with 4 MiB of a request's message; its read
 * locks are what may not. */
#define KV_ENTRY_BYTES_MAX (FRAME_PAYLOAD_BYTES_MAX - (2u << 20))

/* What the groups of one server share. */
struct kv_shared {
    struct kv_environment environment;
    struct kv_options options;
    nanoseconds_t now_ns; /* of the turn */
    struct oracle_client *oracle;
    struct kv_request *requests_by_token;
    uint32_t requests_count;
    uint64_t requests_bytes; /* as they came */
    uint64_t last_token;
    struct buffer key, found_key, value; /* scratch, for one call each */
    nanoseconds_t unflushed_since_ns;    /* 0: nothing */
    struct rate_limit copy_limit;
    timestamp_t safe_point;       /* group 0's, as last heard */
    char fatal_why[KV_WHY_BYTES]; /* not empty: the process must end */
};

/* GroupMeta in plain form. */
struct kv_meta {
    uint64_t group_epoch;
    uint32_t generation;
    raft_index_t applied_index;
    raft_term_t applied_term;
    timestamp_t log_timestamp;
    timestamp_t commit_timestamp_max;
    timestamp_t safe_point;
    uint64_t chain_hash;
    bool assigns_refused;
    struct blob *configuration; /* counted */
    raft_index_t configuration_index;
};

/* What follows from an entry once its batch is in the store. */
struct kv_consequence {
    raft_index_t index;
    raft_term_t term;
    Ostraka__KvCommand__CommandCase command;
    struct record_decision decision;
    struct txn_id txn;
    bool has_txn;
    bool prepared;
    bool finished;
    /* Of a range's step, or of rows that came in; in the slice's arena. */
    const Ostraka__RangeCommand *step;
    const Ostraka__CopyRowsCommand *copy_rows;
    const Ostraka__RangeLuggage *luggage; /* OWN */
    const Ostraka__AssignRangeCommand *assign;
    bool is_step_done;
};

/* An outcome that was put in the slice under way, and is not in the store yet. By its row's key, as
 * in the store: an id may come with several anchors, and how entries are cut into slices must make
 * no difference. */
struct kv_slice_outcome {
    struct blob *row_key;
    struct txn_outcome outcome;
    UT_hash_handle hh;
};

/* Entries on their way into the store: one batch. The memory of the group is ahead of the store
 * from the moment the batch is built until it is written; when the store is busy, that same batch
 * is tried again, and nothing is applied twice. */
struct kv_slice {
    bool is_built;
    bool is_refused; /* by the store, once or more */
    size_t entries_count;
    struct store_batch *batch;
    struct kv_meta meta;
    struct kv_slice_outcome *outcomes;
    struct kv_consequence *consequences;
    size_t consequences_count, consequences_capacity;
    struct record_update record;
    struct arena arena;
    struct buffer key, value;
};

/* Which rows of open transactions the store holds: what the next checkpoint deletes. */
struct kv_checkpoint_row {
    struct txn_id txn;
    bool is_prepared;
    bool is_record;
};
struct kv_checkpoint {
    struct kv_checkpoint_row *rows;
    size_t rows_count, rows_capacity;
    size_t rows_count_before; /* while one is written: the first of them are to be deleted */
    /* Where ranges begin, or began, whose rows are out of date. */
    struct blob **touched_ranges;
    size_t touched_count, touched_capacity;
    size_t touched_count_before; /* while one is written */
};

/* A step of the participant may be needed while another's update is being worked off: each depth
 * has its own. Granting leads to reading, a bound to a proposal, its refusal to one more step: no
 * deeper. */
#define KV_STEPS_DEPTH_MAX 8

/* Closed timestamps at a replica (kv_closed.c). */
struct kv_closed {
    timestamp_t timestamp; /* every commit at or below it is in what is applied here */
    timestamp_t coming;    /* the same, once `coming_index` is applied; 0: none */
    raft_index_t coming_index;
    timestamp_t asked; /* the leader was asked to close it; 0: no question is under way */
    nanoseconds_t asked_ns;
    TAILQ_HEAD(, kv_request) waiting; /* in the order of their deadlines */
};

struct kv_group {
    UT_hash_handle hh;
    group_id_t id;
    replica_id_t replica;
    struct kv_shared *shared;

    struct kv_meta meta; /* of what is applied; the store has it as of the last checkpoint */
    struct kv_ranges ranges;
    uint64_t ranges_ended_count; /* their rows are gone */
    struct txn_records *records;
    struct kv_slice slice;
    struct kv_checkpoint checkpoint;
    uint32_t generation_last; /* the highest that was ever used */
    bool is_doomed;           /* it is being destroyed, and is there for nobody */
    bool is_restoring;        /* a snapshot comes in: nothing is applied */
    raft_index_t flushed_index;
    struct kv_gc_point flushed_point;   /* of the same checkpoint; what may be dropped by it */
    struct kv_gc_point published_point; /* as the store has it (kv_gc.h) */
    uint32_t snapshots_count;           /* being sent */
    timestamp_t garbage_from; /* a safe point below it makes nothing superfluous (kv_sweep.c) */

    struct raft_leadership leadership;
    bool is_leading; /* ready, and all below is in use */
    raft_term_t term;
    timestamp_t snapshot_served_timestamp; /* T3: the highest that a snapshot read was served at */
    struct participant *participant;
    struct participant_update steps[KV_STEPS_DEPTH_MAX];
    uint32_t steps_depth;
    nanoseconds_t participant_deadline_ns;
    struct kv_closed closed;
    timestamp_t safe_point_proposed; /* by this leader */
    nanoseconds_t safe_point_retry_ns;
    struct recovery *recovery;
    struct recovery_update recovery_update;
    nanoseconds_t recovery_deadline_ns;

    /* Ranges that change: kv_orders.c, kv_feed.c, kv_copy.c. */
    nanoseconds_t ranges_report_ns, seal_retry_ns;
    uint64_t seal_asked_change;
    nanoseconds_t seal_asked_ns;
    TAILQ_HEAD(, kv_feed) feeds;
    uint32_t feeds_count;
    uint64_t feed_id_last;
    TAILQ_HEAD(, kv_copy) copies;
    struct kv_loads loads;

    TAILQ_HEAD(, kv_request) checks_due; /* Prepares that hold what they have read */
    bool are_checks_running;
    TAILQ_HEAD(, kv_request) requests;
    struct kv_request *requests_by_read;
    struct kv_request *requests_by_index;
    struct kv_request *prepares_by_txn;
};

enum kv_request_state {
    KV_REQUEST_NEW,
    KV_REQUEST_CLOCK, /* its deadline looks too far ahead: the oracle is asked what time it is */
    KV_REQUEST_READ,  /* R3: that this is still the leader */
    KV_REQUEST_LOCKS, /* the participant */
    KV_REQUEST_TIMESTAMP, /* T3: the oracle */
    KV_REQUEST_POOL,      /* a read that blocks */
    KV_REQUEST_APPLY,     /* its entry */
    KV_REQUEST_CLOSED,    /* at a replica: that the timestamp is closed here */
};

struct kv_request {
    uint64_t token;
    enum kv_request_state state;
    uint16_t type; /* enum frame_type, of the request */
    bool is_from_group;
    bool is_clock_checked;
    bool is_value_read;    /* LOCK, SCAN: read on the pool; the lock is looked at once more */
    bool is_orphan;        /* nobody is there for the answer */
    bool is_prepare_known; /* stands in prepares_by_txn */
    bool is_any_replica;   /* need not be answered by the leader */
    bool is_at_replica;    /* nor is it */
    bool is_waiting;       /* stands in closed.waiting */
    uint64_t connection_id;
    uint64_t request_id;
    struct kv_shared *shared;
    struct kv_group *group; /* NULL: there is none by that number here */
    struct arena arena;     /* holds `message` and what hangs on it */
    const ProtobufCMessage *message;
    struct blob *write_set;
    uint64_t bytes_count; /* as it came: message and payload */
    struct txn_id txn;
    uint64_t read_id;
    nanoseconds_t valid_until_ns; /* of what was read: the end of the lease; else NS_NEVER */
    raft_index_t index;
    raft_term_t index_term;
    struct lock_entry_number entry;    /* granted */
    timestamp_t timestamp;             /* as of when it reads; 0: the newest */
    uint32_t timestamps_refused_count; /* TIMESTAMP: answers of the oracle that were too old */
    uint32_t generation;               /* of the rows that it reads, with a timestamp */
    nanoseconds_t closed_by_ns;        /* CLOSED: waits no longer */
    struct kv_read *read;
    timestamp_t read_timestamp; /* GET, SCAN: kv_check.c */
    struct kv_check *check;     /* PREPARE, VALIDATE */
    uint32_t check_place;       /* VALIDATE: nobody is in the way of those before it */
    uint64_t ranges_ended_seen; /* VALIDATE: when it was found that its ranges are here */
    bool is_check_due;
    bool is_checked; /* VALIDATE */
    struct oracle_waiter oracle_waiter;
    TAILQ_ENTRY(kv_request) link, check_link, closed_link;
    UT_hash_handle by_token, by_read, by_index, by_txn;
};

static inline struct bytes bytes_of_field(ProtobufCBinaryData field)
{
    return bytes_of(field.data, field.len);
}
static inline ProtobufCBinaryData field_of_bytes(struct bytes bytes)
{
    return (ProtobufCBinaryData){bytes.bytes_count, (uint8_t *)(uintptr_t)bytes.data};
}
static inline struct lock_entry_number kv_entry_of_message(const Ostraka__LockEntry *message)
{
    return message ? (struct lock_entry_number){message->term, message->counter}
                   : (struct lock_entry_number){0, 0};
}

/* --- kv_group.c --- */
extern const struct raft_state_machine_ops kv_group_ops;

/* kv_server.c: NULL: it is not here, or being destroyed. */
struct kv_group *kv_server_group(struct kv_shared *shared, group_id_t id);
/* kv_server.c: the last that the raft host says to a replica (raft_host_group_remove). */
void kv_server_group_destroyed(void *machine);
/* Answers everybody who waits, as on a fall from leadership. */
void kv_group_doom(struct kv_group *group);

/* Logs it, and asks the process to end; the first reason stays. */
__attribute__((format(printf, 2, 3))) void kv_fatal(struct kv_shared *shared, const char *format,
                                                    ...);

struct kv_group *kv_group_new(struct kv_shared *shared, group_id_t id, replica_id_t replica);
void kv_group_free(struct kv_group *group);
/* The rows of a new replica that has seen nothing yet, in place of all that is left of a former
 * one. */
OST_MUST_CHECK int kv_group_create_rows(struct kv_group *group, uint64_t group_epoch,
                                        struct blob *configuration);
OST_MUST_CHECK int kv_meta_unpack(struct bytes row, struct kv_meta *out_meta,
                                  replica_id_t *out_replica);
void kv_meta_pack(const struct kv_meta *meta, replica_id_t replica, struct buffer *out_row);
/* The counted configuration. */
void kv_meta_copy(struct kv_meta *to, const struct kv_meta *from);
void kv_meta_fini(struct kv_meta *meta);
void kv_meta_to_raft(const struct kv_meta *meta, struct raft_snapshot_meta *out_meta);

/* One step of the participant, and everything that follows from it. Only while leading. */
void kv_group_step(struct kv_group *group, struct participant_event *event);
/* Around each call of recovery: reset, call, work off. */
struct recovery_update *kv_group_recovery_begin(struct kv_group *group);
void kv_group_recovery_end(struct kv_group *group);
void kv_group_timer(struct kv_group *group);
nanoseconds_t kv_group_deadline_ns(const struct kv_group *group);
OST_MUST_CHECK int kv_group_propose(struct kv_group *group, const Ostraka__KvCommand *command,
                                    struct bytes write_set, raft_index_t *out_index,
                                    raft_term_t *out_term);
/* A write by this group: starts the flush timer. */
OST_MUST_CHECK int kv_group_write(struct kv_group *group, struct store_batch *batch);
/* The outcome row of a transaction (record.h). `context` is the group. */
int kv_group_find_outcome(void *context, struct bytes anchor, struct txn_id txn,
                          struct txn_outcome *out_outcome);

/* --- kv_safe_point.c --- */
/* Proposes what group 0 allows, if that is worth an entry. */
void kv_group_safe_point_step(struct kv_group *group);
/* Below it nobody may read. Of entries that are applied and not written yet, too: with one of them
 * a range may have come that others have swept up to there. */
timestamp_t kv_group_safe_point(const struct kv_group *group);
void kv_group_safe_point_apply(struct kv_meta *meta, timestamp_t safe_point);
/* A checkpoint that says so is durable: the store may drop rows by it. */
void kv_group_point_flushed(struct kv_group *group, const struct kv_gc_point *point);
void kv_group_snapshot_opened(struct kv_group *group);
void kv_group_snapshot_closed(struct kv_group *group);
void kv_group_gc_withdraw(struct kv_group *group);

/* --- kv_flush.c --- */
struct kv_flusher;
struct kv_flusher *kv_flusher_new(struct kv_shared *shared);
/* Whoever waits is told OST_CANCELED. */
void kv_flusher_free(struct kv_flusher *flusher);
/* `done` is told when all that is written by now has been flushed, or why it cannot be. */
void kv_flusher_ask(struct kv_flusher *flusher, void (*done)(void *context, int status),
                    void *context);
/* `groups`: the hash of all. */
void kv_flusher_step(struct kv_flusher *flusher, struct kv_group *groups);
nanoseconds_t kv_flusher_deadline_ns(const struct kv_flusher *flusher);

/* --- kv_sweep.c --- */
struct kv_sweeper;
struct kv_sweeper *kv_sweeper_new(struct kv_shared *shared);
void kv_sweeper_free(struct kv_sweeper *sweeper);
/* `groups`: the hash of all. One job at a time. */
void kv_sweeper_step(struct kv_sweeper *sweeper, struct kv_group *groups);
nanoseconds_t kv_sweeper_deadline_ns(const struct kv_sweeper *sweeper, struct kv_group *groups);
bool kv_sweeper_is_busy_with(const struct kv_sweeper *sweeper, group_id_t group);
/* Before rows of the group are replaced by others. False: not yet. */
bool kv_sweeper_give_way(struct kv_sweeper *sweeper, struct kv_group *group);
/* A safe point at or above this timestamp may make something superfluous. */
void kv_group_garbage_from(struct kv_group *group, timestamp_t timestamp);
/* All rows in [lower, upper) have been deleted: their space is to come back. */
void kv_sweeper_space_freed(struct kv_sweeper *sweeper, struct bytes lower, struct bytes upper);
/* kv_server.c: the store's. */
struct kv_sweeper *kv_server_sweeper(struct kv_shared *shared);

/* --- kv_checkpoint.c --- */
/* Reads meta, ranges and open transactions out of the store, in place of what it has. */
OST_MUST_CHECK int kv_group_load(struct kv_group *group);
bool kv_checkpoint_is_possible(const struct kv_group *group);
/* Writes what a restart begins with. OST_BUSY: not now; an error of the store. */
OST_MUST_CHECK int kv_checkpoint_write(struct kv_group *group);
/* The same in two parts, for a batch that holds more: say when it has been written. */
void kv_checkpoint_put(struct kv_group *group, struct store_batch *batch);
void kv_checkpoint_written(struct kv_group *group);
/* The range that begins, or began, there is no longer what its row says. */
void kv_checkpoint_touch_range(struct kv_group *group, struct blob *start);
void kv_checkpoint_fini(struct kv_checkpoint *checkpoint);

/* --- kv_chain.c --- */
/* What an entry is and asks for: a command's message without its write set, or a configuration. */
void kv_chain_entry(struct kv_meta *meta, const struct raft_entry *entry, struct bytes asked);
/* What was decided by it, and every effect; `write_set` came with the entry. */
void kv_chain_update(struct kv_meta *meta, const struct record_update *update,
                     struct bytes write_set);
void kv_chain_range(struct kv_meta *meta, bool is_done);
void kv_chain_rows(struct kv_meta *meta, bool is_done, struct bytes rows);
void kv_chain_safe_point(struct kv_meta *meta);

/* --- kv_apply.c --- */
void kv_slice_init(struct kv_group *group);
void kv_slice_fini(struct kv_group *group);
/* Forgets a batch that was not written. */
void kv_slice_drop(struct kv_group *group);
size_t kv_group_apply(void *machine, const struct raft_entry *entries, size_t entries_count);

/* --- kv_steps.c --- */
/* False: it changed nothing. */
bool kv_step_apply(struct kv_group *group, const Ostraka__RangeCommand *command,
                   struct kv_consequence *consequence);
bool kv_step_apply_rows(struct kv_group *group, const Ostraka__CopyRowsCommand *command,
                        struct bytes rows);

/* --- kv_orders.c --- */
/* The shard master's order reached this group. */
void kv_group_order(struct kv_group *group, const Ostraka__RangeOrder *order);
/* At the leader: a range's step, or rows that came in, were applied. */
void kv_group_step_taken(struct kv_group *group, const struct kv_consequence *consequence);
/* At the leader: something that was prepared has ended. */
void kv_group_prepared_ended(struct kv_group *group);
void kv_group_report_range(struct kv_group *group, const struct kv_range *range);
/* Of a step that names no more than the range itself. */
OST_MUST_CHECK int kv_group_propose_step(struct kv_group *group, const struct kv_range *range,
                                         Ostraka__RangeStep step);
void kv_group_ranges_led(struct kv_group *group);
void kv_group_ranges_deposed(struct kv_group *group);
void kv_group_ranges_timer(struct kv_group *group);
nanoseconds_t kv_group_ranges_deadline_ns(const struct kv_group *group);

/* --- kv_requests.c --- */
struct kv_request *kv_request_new(struct kv_shared *shared, uint16_t type, uint64_t connection_id,
                                  uint64_t request_id);
void kv_request_attach(struct kv_request *request, struct kv_group *group);
void kv_request_free(struct kv_request *request);
struct kv_request *kv_request_find(struct kv_shared *shared, uint64_t token);
void kv_request_move(struct kv_request *request, enum kv_request_state state);
/* From the beginning: `message` is there and has the type's form. */
void kv_request_begin(struct kv_request *request);
/* Asks to be told when this is known to be the leader. */
void kv_request_confirm(struct kv_request *request);
/* Each of these answers, and returns false, when the request does not pass. */
bool kv_request_check_load(struct kv_request *request);
bool kv_request_check_key(struct kv_request *request, struct bytes key);
bool kv_request_check_txn(struct kv_request *request);
bool kv_request_check_range_of_key(struct kv_request *request, const Ostraka__RangeRef *ref,
                                   struct bytes key);
/* The same for what ends a transaction: a frozen range takes it. */
bool kv_request_check_range_of_anchor(struct kv_request *request, const Ostraka__RangeRef *ref,
                                      struct bytes anchor);
/* T5 */
bool kv_request_check_deadline(struct kv_request *request, timestamp_t deadline);
/* Never more than so far ahead. This store may merely not have heard for a while what time it is,
 * so the oracle has the last word; false also when that must be awaited. */
bool kv_request_check_ahead(struct kv_request *request, timestamp_t timestamp,
                            uint64_t ahead_ms_max, const char *text);
/* One step of the participant for it. */
void kv_request_step(struct kv_request *request, struct participant_event *event);
void kv_request_propose(struct kv_request *request, const Ostraka__KvCommand *command,
                        struct bytes write_set);
void kv_request_read_ready(struct kv_request *request, int status, nanoseconds_t valid_until_ns);
void kv_request_granted(struct kv_request *request, const struct participant_granted *granted);
void kv_request_timestamp(struct kv_request *request, timestamp_t timestamp);
/* Its entry was applied and this is what the state says. */
void kv_request_applied(struct kv_request *request, const struct record_decision *decision);
void kv_request_connection_closed(struct kv_request *request);
void kv_group_requests_drop(struct kv_group *group);

/* --- kv_reads.c --- */
/* As of when it reads, and whether any replica will do: before anything else is asked of it. */
void kv_read_options(struct kv_request *request);
/* A GET, or a SCAN without a transaction. */
void kv_read_begin(struct kv_request *request);
void kv_lock_begin(struct kv_request *request);
void kv_scan_begin(struct kv_request *request);
void kv_get_confirmed(struct kv_request *request);
void kv_scan_confirmed(struct kv_request *request);
/* Does the range that a read names hold what it reads? False: it has been answered. */
bool kv_request_check_target(struct kv_request *request);

/* --- kv_commit.c --- */
void kv_prepare_begin(struct kv_request *request);
/* The participant has its locks, or, later, its bound. */
void kv_request_ready(struct kv_request *request, const struct participant_ready *ready);
/* The oracle's answer. */
void kv_prepare_timestamp(struct kv_request *request, timestamp_t timestamp);
void kv_validate_begin(struct kv_request *request);
void kv_validate_confirmed(struct kv_request *request);
void kv_validate_granted(struct kv_request *request);
/* A Prepare or a Validate: what it has read is as it was. */
void kv_request_checked(struct kv_request *request);
void kv_commit_begin(struct kv_request *request);
void kv_abort_begin(struct kv_request *request);
void kv_heartbeat_begin(struct kv_request *request);

/* --- kv_peers.c --- */
/* A request of another replica or group; nobody is told no. */
struct kv_request *kv_peer_request_new(struct kv_group *group, const struct frame *frame,
                                       const ProtobufCMessageDescriptor *descriptor);
void kv_peer_resolve(struct kv_group *group, const struct frame *frame,
                     const Ostraka__ResolveRequest *message);
void kv_peer_inquire(struct kv_group *group, const struct frame *frame,
                     const Ostraka__InquireRequest *message);
void kv_peer_resolve_confirmed(struct kv_request *request);
void kv_peer_applied(struct kv_request *request, const struct record_decision *decision);
void kv_group_assign_range(struct kv_group *group, const Ostraka__AssignRange *message);
/* At the leader: it was applied. */
void kv_group_range_assigned(struct kv_group *group, const Ostraka__AssignRangeCommand *command);

/* --- kv_scan.c --- */
struct kv_read;
/* What was granted is read and answered: at once, or by way of the pool. */
void kv_read_value(struct kv_request *request);
void kv_read_rows(struct kv_request *request);
/* The value is here and the lock still stands. */
void kv_read_answer(struct kv_request *request);
void kv_read_free(struct kv_read *read);

/* --- kv_check.c --- */
struct kv_check;
/* Answers when its checks are malformed, or lie in ranges that are not here or not named. */
bool kv_check_passes(struct kv_request *request);
bool kv_checks_are_equal(const Ostraka__PrepareRequest *a, const Ostraka__PrepareRequest *b);
/* What is checked, in the request's arena. */
const struct lock_target *kv_check_targets(struct kv_request *request, uint32_t *out_count);
/* What is read here now is older than this or as old; whoever writes it later gets a higher one. */
timestamp_t kv_group_read_timestamp(const struct kv_group *group);
/* A Prepare holds all its locks: it is checked when the step under way has ended. */
void kv_check_due(struct kv_request *request);
void kv_checks_run(struct kv_group *group);
/* A Validate: waits for writers, one check after the other, and then looks. */
void kv_check_wait(struct kv_request *request);
void kv_check_free(struct kv_check *check);
/* --- kv_closed.c --- */
/* A read with a timestamp, whose arguments are checked. */
void kv_closed_read_begin(struct kv_request *request);
/* After the rows were read: was what it stood on there all the time? False: it has been answered.
 */
bool kv_closed_read_holds(struct kv_request *request);
/* The leader is asked to close a timestamp, has confirmed that it leads, and waits for nobody. */
void kv_closed_asked(struct kv_group *group, const struct frame *frame,
                     const Ostraka__CloseTimestamp *message);
void kv_closed_confirmed(struct kv_request *request);
void kv_closed_granted(struct kv_request *request);
/* Its answer, at the replica. */
void kv_closed_answered(struct kv_group *group, const Ostraka__CloseTimestampAnswer *answer);
/* More is applied. */
void kv_closed_applied(struct kv_group *group);
void kv_closed_leadership_changed(struct kv_group *group);
void kv_closed_timer(struct kv_group *group);
nanoseconds_t kv_closed_deadline_ns(const struct kv_group *group);
void kv_closed_forget(struct kv_request *request);
/* --- kv_server.c, for kv_txns.c --- */
/* The group with the lowest id from `id` on that this store leads; NULL: none. */
const struct kv_group *kv_server_led_from(const struct kv_server *server, group_id_t id);

/* --- kv_answers.c --- */
/* The group that a client's request names. */
group_id_t kv_request_group(const struct kv_request *request);
/* The descriptor of a client's request; NULL: none of this room's. */
const ProtobufCMessageDescriptor *kv_request_descriptor(uint16_t type);
/* Each of these frees the request. */
void kv_answer_status(struct kv_request *request, int status, const char *text);
void kv_answer_refused(struct kv_request *request, int status,
                       const struct participant_reason *reason);
void kv_answer_value(struct kv_request *request, int status, timestamp_t version, bool found,
                     struct bytes value);
void kv_answer_rows(struct kv_request *request, uint32_t rows_count, bool more, struct bytes rows);
void kv_answer_timestamp(struct kv_request *request, int status, timestamp_t timestamp);

/* --- kv_snapshot.c --- */
int kv_snapshot_open(void *machine, struct raft_snapshot_meta *out_meta, void **out_snapshot);
int kv_snapshot_read(void *snapshot, struct buffer *chunk, size_t bytes_max, bool *out_last);
void kv_snapshot_close(void *snapshot);
int kv_restore_open(void *machine, const struct raft_snapshot_meta *meta, void **out_restore);
int kv_restore_write(void *restore, struct bytes chunk);
int kv_restore_finish(void *restore);
void kv_restore_close(void *machine, void *restore, bool adopt);
/* Appends the deletion of all rows of a group, of its meta row as well. */
void kv_group_rows_delete(struct store_batch *batch, group_id_t group);
/* Appends the deletion of all rows of a generation. */
void kv_generation_delete(struct store_batch *batch, group_id_t group, uint32_t generation);
