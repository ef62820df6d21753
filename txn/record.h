/* record.h: the replicated half of a group's transactions: what is prepared here, and, at home, the
 * records. Every decision is made here, when an entry is applied (R4); equal entries give equal
 * decisions on every replica.
 *
 * Open transactions are in memory, and as rows on disk to be found again; what is over lives on
 * only as an outcome row beside its anchor key, until nobody can ask any more (T6): that is expiry
 * = deadline + OUTCOME_KEPT_MS by the log's own time. An expired row counts as absent, whether it
 * is still there or not, so that compaction may drop it on each replica in its own time.
 *
 * States of a record at home:  PENDING -> COMMITTED -> outcome;  PENDING -> ABORTED -> outcome;
 * none -> ABORTED outcome (tombstone). A participant's part: prepared -> gone, by the outcome.
 */
#pragma once

#include "base/arena.h"
#include "base/status.h"
#include "proto/command.pb-c.h"
#include "txn/lock_table.h"
#include "txn/txn_id.h"

#define OUTCOME_KEPT_MS 60000u
/* T5: a deadline that is further ahead of the oracle's time is refused. */
#define DEADLINE_AHEAD_MS 60000u
/* A commit timestamp may be as far ahead of the log's time as a deadline. */
#define COMMIT_AHEAD_MS DEADLINE_AHEAD_MS

/* An open transaction: a prepared part, a record, or both (home with its own part). */
struct txn_open {
    struct txn_id txn;
    struct txn_age age;
    struct blob *anchor;
    timestamp_t deadline;
    /* The prepared part. */
    bool is_prepared;
    timestamp_t bound;
    struct blob *write_set;
    struct blob *prepared_message; /* PreparedCommand, packed: shared locks and ranges are in it */
    /* The record. */
    bool is_home;
    Ostraka__TxnState state; /* PENDING, COMMITTED, ABORTED */
    timestamp_t commit_timestamp;
    struct blob **participant_keys; /* to be told */
    uint32_t participant_keys_count;
};

/* What a group remembers after the end. Home's row is the truth for whoever asks; a participant
 * keeps one of its own, under the same anchor, so that a late duplicate of its Prepare is answered
 * and does not lock again. A participant's row does not lie beside a key of its own ranges, so it
 * stays behind when they move. The new owner may then prepare a duplicate once more, within the
 * deadline; that costs locks and time, and nothing else: it asks home, and either learns COMMITTED
 * and writes the same values at the same timestamp, or (ABORTED, or long forgotten, which home does
 * only after every participant has acknowledged) drops a copy of what is already there. */
struct txn_outcome {
    Ostraka__TxnState state; /* COMMITTED or ABORTED */
    timestamp_t commit_timestamp;
    timestamp_t deadline;
};

/* What an apply does to the rows; the caller writes them in its batch, in this order. Open
 * transactions are not among them: they live in memory, come back by applying the log again from
 * the last checkpoint, and are written only with a checkpoint (txn_records_each). That is exact,
 * because a decision depends on nothing but the log and this state: rows from after the checkpoint
 * are versions, which are written again as they are, and outcomes, which `find_outcome` hides until
 * their entry's turn has come. */
enum record_effect_type {
    RECORD_APPLY_WRITES, /* write_set at timestamp */
    RECORD_PUT_OUTCOME,  /* outcome, beside anchor */
};
struct record_effect {
    enum record_effect_type type;
    struct txn_id txn;
    struct bytes anchor;        /* PUT_OUTCOME */
    struct txn_outcome outcome; /* PUT_OUTCOME */
    struct bytes write_set;     /* APPLY_WRITES */
    timestamp_t timestamp;
};

/* The answer that the state gives, for whoever waits at the leader. */
struct record_decision {
    int status;                   /* OST_OK; OST_ABORTED; OST_DEADLINE_EXCEEDED; OST_RANGE_MOVED;
                                   * OST_UNKNOWN_TXN; OST_EXISTS; OST_INVALID_ARGUMENT: a client broke
                                   * the protocol, and nothing happened */
    Ostraka__TxnState state;      /* what the transaction is here after this entry */
    timestamp_t commit_timestamp; /* the bound when prepared, the commit timestamp when committed */
    bool changed;                 /* false: a duplicate; the state is as before */
};

struct record_update {
    struct arena arena;
    struct record_effect *effects;
    uint32_t effects_count, effects_capacity;
    struct record_decision decision;
    /* Its locks end now / it is now prepared: for the leader's participant. A Prepare or a
     * one-group commit that is refused, or answered from an outcome, is finished too. */
    bool finished;
    bool prepared;
    struct txn_id txn;      /* zeros after an AcknowledgedCommand, which is about many */
    struct blob *write_set; /* keeps what APPLY_WRITES points to */
};
/* Reset before every apply; what the effects point to is good until then, or until the next apply.
 */
void record_update_init(struct record_update *update);
void record_update_reset(struct record_update *update);
void record_update_fini(struct record_update *update);

/* Looks for an outcome row beside `anchor`. OST_OK or OST_NOT_FOUND. It must see every outcome that
 * an earlier apply has put, also one that still waits in the caller's batch. */
typedef int (*record_find_outcome_fn)(void *context, struct bytes anchor, struct txn_id txn,
                                      struct txn_outcome *out_outcome);

struct txn_records;
struct txn_records *txn_records_new(record_find_outcome_fn find_outcome, void *context);
void txn_records_free(struct txn_records *records);
void txn_records_clear(struct txn_records *records);

/* Start and restore: put back what the rows say. */
OST_MUST_CHECK int txn_records_load_prepared(struct txn_records *records, struct bytes message,
                                             struct bytes write_set);
OST_MUST_CHECK int txn_records_load_open(struct txn_records *records, struct bytes message);
/* Both: OST_CORRUPT when the row does not parse or is there twice. */
/* How an open record's row and an outcome's row are written: a packed TxnRecord. */
struct bytes txn_open_pack(const struct txn_open *open, struct arena *arena);
struct bytes txn_outcome_pack(const struct record_effect *effect, struct arena *arena);
OST_MUST_CHECK int txn_outcome_unpack(struct bytes message, struct txn_outcome *out_outcome);
/* Nobody can ask for it any more: it counts as absent. */
bool txn_outcome_is_over(const struct txn_outcome *outcome, timestamp_t log_timestamp);

/* May a Prepare in this form be one for the open transaction? */
bool txn_open_is_of_form(const struct txn_open *open, bool is_home, struct bytes anchor);
const struct txn_open *txn_records_find(const struct txn_records *records, struct txn_id txn);
/* The open one, or the outcome row; a copy in out_decision as an apply would answer. For inquiries
 * and for the leader's quick answers to duplicates. OST_NOT_FOUND: never heard of it, or forgotten.
 */
OST_MUST_CHECK int txn_records_lookup(struct txn_records *records, struct txn_id txn,
                                      struct bytes anchor, timestamp_t log_timestamp,
                                      struct record_decision *out_decision);
/* Each open transaction; `visit` must not open or close any. */
void txn_records_each(struct txn_records *records,
                      void (*visit)(void *context, struct txn_open *open), void *context);

/* Applying. `log_timestamp` is the entry's; `ranges_hold` tells whether the entry's ranges still
 * stand at their epochs (the caller's check, at apply): if not, OST_RANGE_MOVED and no effect. An
 * outcome comes before the ranges, the ranges before the deadline. */
void txn_records_apply_prepared(struct txn_records *records,
                                const Ostraka__PreparedCommand *command, struct bytes message,
                                struct bytes write_set, timestamp_t log_timestamp, bool ranges_hold,
                                struct record_update *update);
void txn_records_apply_commit_one(struct txn_records *records,
                                  const Ostraka__CommitOneCommand *command, struct bytes write_set,
                                  timestamp_t log_timestamp, bool ranges_hold,
                                  struct record_update *update);
/* `anchor_is_here`: the range of the anchor lies in this group, and is not sealed; if not,
 * OST_RANGE_MOVED and no effect, because home's record may be elsewhere by now. */
void txn_records_apply_commit(struct txn_records *records, const Ostraka__CommitCommand *command,
                              timestamp_t log_timestamp, bool anchor_is_here,
                              struct record_update *update);
void txn_records_apply_abort(struct txn_records *records, const Ostraka__AbortCommand *command,
                             timestamp_t log_timestamp, bool anchor_is_here,
                             struct record_update *update);
void txn_records_apply_resolved(struct txn_records *records,
                                const Ostraka__ResolvedCommand *command, timestamp_t log_timestamp,
                                struct record_update *update);
void txn_records_apply_acknowledged(struct txn_records *records,
                                    const Ostraka__AcknowledgedCommand *command,
                                    struct record_update *update);

/* --- A range that moves (docs/range-moves.md) --- */

/* How many transactions are prepared with a write or a durable lock in [start, end). */
uint32_t txn_records_prepared_count_in(const struct txn_records *records, struct bytes start,
                                       struct bytes end);
/* Is it a record of a home in [start, end)? Where nothing is prepared these are decided, and only
 * have participants to be told: they go along with the range, packed by txn_open_pack. */
bool txn_open_is_home_in(const struct txn_open *open, struct bytes start, struct bytes end);
/* One of them arrives: this group is its home now. A part of the same transaction that is prepared
 * here ends, because home's own part ends with the decision. OST_CORRUPT: it is none such. */
OST_MUST_CHECK int txn_records_adopt(struct txn_records *records, struct bytes row,
                                     struct record_update *update);
/* They have gone elsewhere. */
void txn_records_drop_homes_in(struct txn_records *records, struct bytes start, struct bytes end);
