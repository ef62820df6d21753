#include "txn/record.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/sometimes.h"
#include "proto/frame.h"
#include "proto/write_set.h"

#include <stdlib.h>

#define uthash_malloc(bytes_count) memory_alloc(bytes_count)
#include <uthash.h>

struct record {
    struct txn_open open;
    UT_hash_handle hh;
};

struct txn_records {
    struct record *by_id;
    record_find_outcome_fn find_outcome;
    void *context;
};

/* --- the update --- */

void record_update_init(struct record_update *update)
{
    *update = (struct record_update){0};
    arena_init(&update->arena);
}

void record_update_reset(struct record_update *update)
{
    arena_reset(&update->arena);
    blob_unref(update->write_set);
    update->write_set = NULL;
    update->effects_count = 0;
    update->decision = (struct record_decision){0};
    update->finished = false;
    update->prepared = false;
    update->txn = (struct txn_id){0};
}

void record_update_fini(struct record_update *update)
{
    record_update_reset(update);
    arena_fini(&update->arena);
    free(update->effects);
    *update = (struct record_update){0};
}

static struct record_effect *update_effect(struct record_update *update,
                                           enum record_effect_type type, struct txn_id txn)
{
    if (update->effects_count == update->effects_capacity) {
        update->effects_capacity = update->effects_capacity ? 2 * update->effects_capacity : 8;
        update->effects =
            memory_realloc(update->effects, update->effects_capacity * sizeof(update->effects[0]));
    }
    struct record_effect *effect = &update->effects[update->effects_count++];
    *effect = (struct record_effect){.type = type, .txn = txn};
    update->decision.changed = true;
    return effect;
}

static void update_put_outcome(struct record_update *update, struct txn_id txn, struct bytes anchor,
                               const struct txn_outcome *outcome)
{
    struct record_effect *effect = update_effect(update, RECORD_PUT_OUTCOME, txn);
    effect->anchor = arena_copy(&update->arena, anchor);
    effect->outcome = *outcome;
}

static void update_begin(struct record_update *update, struct txn_id txn)
{
    ASSERT(update->effects_count == 0 && !update->write_set);
    update->txn = txn;
}

static void update_decide(struct record_update *update, int status, Ostraka__TxnState state,
                          timestamp_t commit_timestamp)
{
    update->decision.status = status;
    update->decision.state = state;
    update->decision.commit_timestamp = commit_timestamp;
}

/* --- the open transactions --- */

struct txn_records *txn_records_new(record_find_outcome_fn find_outcome, void *context)
{
    struct txn_records *records = memory_alloc_zeroed(1, sizeof(*records));
    records->find_outcome = find_outcome;
    records->context = context;
    return records;
}

static struct bytes bytes_of_message(ProtobufCBinaryData data)
{
    return bytes_of(data.data, data.len);
}

static struct record *records_find(const struct txn_records *records, struct txn_id txn)
{
    struct record *record;
    HASH_FIND(hh, records->by_id, &txn, sizeof(txn), record);
    return record;
}

static struct record *records_add(struct txn_records *records, struct txn_id txn,
                                  struct bytes anchor, timestamp_t deadline)
{
    struct record *record = memory_alloc_zeroed(1, sizeof(*record));
    record->open.txn = txn;
    record->open.anchor = blob_copy(anchor);
    record->open.deadline = deadline;
    record->open.state = OSTRAKA__TXN_STATE__PENDING;
    HASH_ADD(hh, records->by_id, open.txn, sizeof(record->open.txn), record);
    return record;
}

static void open_drop_prepared(struct txn_open *open)
{
    blob_unref(open->write_set);
    blob_unref(open->prepared_message);
    open->write_set = NULL;
    open->prepared_message = NULL;
    open->is_prepared = false;
}

static void records_remove(struct txn_records *records, struct record *record)
{
    HASH_DEL(records->by_id, record);
    open_drop_prepared(&record->open);
    blob_unref(record->open.anchor);
    for (uint32_t index = 0; index < record->open.participant_keys_count; index++)
        blob_unref(record->open.participant_keys[index]);
    free(record->open.participant_keys);
    free(record);
}

void txn_records_clear(struct txn_records *records)
{
    struct record *record, *next;
    HASH_ITER (hh, records->by_id, record, next) {
        records_remove(records, record);
    }
}

void txn_records_free(struct txn_records *records)
{
    if (!records)
        return;
    txn_records_clear(records);
    free(records);
}

static void open_set_prepared(struct txn_open *open, const Ostraka__PreparedCommand *command,
                              struct bytes message, struct bytes write_set)
{
    open->is_prepared = true;
    open->age = txn_age_of_message(command->age);
    open->bound = command->commit_timestamp_min;
    open->write_set = blob_copy(write_set);
    open->prepared_message = blob_copy(message);
}

static void open_set_participants(struct txn_open *open, Ostraka__Participant **participants,
                                  size_t participants_count)
{
    if (participants_count == 0)
        return;
    open->participant_keys = memory_alloc_zeroed(participants_count, sizeof(struct blob *));
    open->participant_keys_count = (uint32_t)participants_count;
    for (size_t index = 0; index < participants_count; index++)
        open->participant_keys[index] = blob_copy(bytes_of_message(participants[index]->key));
}

/* --- rows --- */

int txn_records_load_prepared(struct txn_records *records, struct bytes message,
                              struct bytes write_set)
{
    struct arena arena;
    arena_init(&arena);
    int status = OST_CORRUPT;
    Ostraka__PreparedCommand *command = (Ostraka__PreparedCommand *)message_unpack(
        &ostraka__prepared_command__descriptor, message, &arena);
    if (!command || !command->txn)
        goto out_free_arena;
    struct txn_id txn = txn_id_of_message(command->txn);
    struct record *record = records_find(records, txn);
    if (record && record->open.is_prepared)
        goto out_free_arena;
    if (!record)
        record = records_add(records, txn, bytes_of_message(command->anchor), command->deadline);
    open_set_prepared(&record->open, command, message, write_set);
    status = OST_OK;
out_free_arena:
    arena_fini(&arena);
    return status;
}

static bool state_is_decided(Ostraka__TxnState state)
{
    return state == OSTRAKA__TXN_STATE__COMMITTED || state == OSTRAKA__TXN_STATE__ABORTED;
}

int txn_records_load_open(struct txn_records *records, struct bytes message)
{
    struct arena arena;
    arena_init(&arena);
    int status = OST_CORRUPT;
    Ostraka__TxnRecord *row =
        (Ostraka__TxnRecord *)message_unpack(&ostraka__txn_record__descriptor, message, &arena);
    if (!row || !row->txn ||
        (row->state != OSTRAKA__TXN_STATE__PENDING && !state_is_decided(row->state)))
        goto out_free_arena;
    struct txn_id txn = txn_id_of_message(row->txn);
    struct record *record = records_find(records, txn);
    if (record && record->open.is_home)
        goto out_free_arena;
    if (!record)
        record = records_add(records, txn, bytes_of_message(row->anchor), row->deadline);
    record->open.is_home = true;
    record->open.state = row->state;
    record->open.commit_timestamp = row->commit_timestamp;
    open_set_participants(&record->open, row->participants, row->n_participants);
    status = OST_OK;
out_free_arena:
    arena_fini(&arena);
    return status;
}

static ProtobufCBinaryData message_of_bytes(struct bytes bytes)
{
    return (ProtobufCBinaryData){.len = bytes.bytes_count,
                                 .data = (uint8_t *)(uintptr_t)bytes.data};
}

static struct bytes record_row_pack(const Ostraka__TxnRecord *row, struct arena *arena)
{
    size_t bytes_count = ostraka__txn_record__get_packed_size(row);
    uint8_t *packed = arena_alloc(arena, bytes_count);
    ostraka__txn_record__pack(row, packed);
    return bytes_of(packed, bytes_count);
}

struct bytes txn_open_pack(const struct txn_open *open, struct arena *arena)
{
    Ostraka__TxnId id = OSTRAKA__TXN_ID__INIT;
    txn_id_to_message(open->txn, &id);
    Ostraka__TxnRecord row = OSTRAKA__TXN_RECORD__INIT;
    row.txn = &id;
    row.anchor = message_of_bytes(blob_bytes(open->anchor));
    row.state = open->state;
    row.deadline = open->deadline;
    row.commit_timestamp = open->commit_timestamp;
    uint32_t count = open->participant_keys_count;
    row.n_participants = count;
    row.participants = arena_alloc(arena, count * sizeof(row.participants[0]));
    Ostraka__Participant *participants = arena_alloc(arena, count * sizeof(participants[0]));
    for (uint32_t index = 0; index < count; index++) {
        ostraka__participant__init(&participants[index]);
        participants[index].key = message_of_bytes(blob_bytes(open->participant_keys[index]));
        row.participants[index] = &participants[index];
    }
    return record_row_pack(&row, arena);
}

struct bytes txn_outcome_pack(const struct record_effect *effect, struct arena *arena)
{
    ASSERT(effect->type == RECORD_PUT_OUTCOME && state_is_decided(effect->outcome.state));
    Ostraka__TxnId id = OSTRAKA__TXN_ID__INIT;
    txn_id_to_message(effect->txn, &id);
    Ostraka__TxnRecord row = OSTRAKA__TXN_RECORD__INIT;
    row.txn = &id;
    row.anchor = message_of_bytes(effect->anchor);
    row.state = effect->outcome.state;
    row.deadline = effect->outcome.deadline;
    row.commit_timestamp = effect->outcome.commit_timestamp;
    return record_row_pack(&row, arena);
}

int txn_outcome_unpack(struct bytes message, struct txn_outcome *out_outcome)
{
    struct arena arena;
    arena_init(&arena);
    int status = OST_CORRUPT;
    Ostraka__TxnRecord *row =
        (Ostraka__TxnRecord *)message_unpack(&ostraka__txn_record__descriptor, message, &arena);
    if (row && state_is_decided(row->state)) {
        *out_outcome = (struct txn_outcome){
            .state = row->state,
            .commit_timestamp = row->commit_timestamp,
            .deadline = row->deadline,
        };
        status = OST_OK;
    }
    arena_fini(&arena);
    return status;
}

/* --- questions --- */

const struct txn_open *txn_records_find(const struct txn_records *records, struct txn_id txn)
{
    struct record *record = records_find(records, txn);
    return record ? &record->open : NULL;
}

void txn_records_each(struct txn_records *records,
                      void (*visit)(void *context, struct txn_open *open), void *context)
{
    struct record *record, *next;
    HASH_ITER (hh, records->by_id, record, next) {
        visit(context, &record->open);
    }
}

/* `ms` later; stays at the end of time, because a deadline may come from anybody. */
static timestamp_t timestamp_later(timestamp_t timestamp, uint64_t ms)
{
    timestamp_t later = timestamp + timestamp_from_ms(ms);
    return later < timestamp ? UINT64_MAX : later;
}

bool txn_outcome_is_over(const struct txn_outcome *outcome, timestamp_t log_timestamp)
{
    return log_timestamp > timestamp_later(outcome->deadline, OUTCOME_KEPT_MS);
}

/* An expired row is absent (T5), so that it makes no difference whether it was dropped already. */
static bool records_find_outcome(struct txn_records *records, struct bytes anchor,
                                 struct txn_id txn, timestamp_t log_timestamp,
                                 struct txn_outcome *out_outcome)
{
    if (records->find_outcome(records->context, anchor, txn, out_outcome) != OST_OK)
        return false;
    return !txn_outcome_is_over(out_outcome, log_timestamp);
}

static struct record_decision decision_of_outcome(const struct txn_outcome *outcome)
{
    bool committed = outcome->state == OSTRAKA__TXN_STATE__COMMITTED;
    return (struct record_decision){
        .status = committed ? OST_OK : OST_ABORTED,
        .state = outcome->state,
        .commit_timestamp = committed ? outcome->commit_timestamp : 0,
    };
}

static struct record_decision decision_of_open(const struct txn_open *open)
{
    if (!state_is_decided(open->state))
        return (struct record_decision){
            .status = OST_OK,
            .state = OSTRAKA__TXN_STATE__PENDING,
            .commit_timestamp = open->bound,
        };
    struct txn_outcome outcome = {.state = open->state, .commit_timestamp = open->commit_timestamp};
    return decision_of_outcome(&outcome);
}

int txn_records_lookup(struct txn_records *records, struct txn_id txn, struct bytes anchor,
                       timestamp_t log_timestamp, struct record_decision *out_decision)
{
    /* A part that is only prepared here knows less than an outcome beside the anchor. */
    struct record *record = records_find(records, txn);
    struct txn_outcome outcome;
    if (record && record->open.is_home)
        *out_decision = decision_of_open(&record->open);
    else if (records_find_outcome(records, anchor, txn, log_timestamp, &outcome))
        *out_decision = decision_of_outcome(&outcome);
    else if (record)
        *out_decision = decision_of_open(&record->open);
    else
        return OST_NOT_FOUND;
    return OST_OK;
}

/* --- applying --- */

bool txn_open_is_of_form(const struct txn_open *open, bool is_home, struct bytes anchor)
{
    if (!bytes_equal(blob_bytes(open->anchor), anchor))
        return false;
    /* A record that has come here with its range may meet a late Prepare of another part. */
    return open->is_home == is_home || state_is_decided(open->state);
}

/* A part must have a key under which home's answer finds its group again. */
static bool prepared_is_addressable(const Ostraka__PreparedCommand *command, struct bytes write_set)
{
    return write_set.bytes_count > 0 || command->n_shared_locks > 0 || command->n_ranges > 0;
}

/* Does the state answer a request of one id already (T5, T6)? Fills the decision. */
static bool records_answer(struct txn_records *records, struct txn_id txn, struct bytes anchor,
                           timestamp_t log_timestamp, struct record_update *update)
{
    return txn_records_lookup(records, txn, anchor, log_timestamp, &update->decision) == OST_OK;
}

/* What an id that is not known here meets (T5, R7): OST_OK to go on. */
static int entry_refusal(timestamp_t deadline, timestamp_t log_timestamp, bool ranges_hold)
{
    if (!ranges_hold)
        return OST_RANGE_MOVED;
    if (log_timestamp <= deadline)
        return OST_OK;
    COVER(PREPARE_EXPIRED);
    return OST_DEADLINE_EXCEEDED;
}

void txn_records_apply_prepared(struct txn_records *records,
                                const Ostraka__PreparedCommand *command, struct bytes message,
                                struct bytes write_set, timestamp_t log_timestamp, bool ranges_hold,
                                struct record_update *update)
{
    struct txn_id txn = txn_id_of_message(command->txn);
    struct bytes anchor = bytes_of_message(command->anchor);
    update_begin(update, txn);

    struct record *known = records_find(records, txn);
    if (known && !txn_open_is_of_form(&known->open, command->is_home, anchor)) {
        /* The same id in another form: a vote for one is not a vote for the other. Nothing ends
         * the locks taken for this entry but its refusal, unless they are those of a part that is
         * prepared. */
        update_decide(update, OST_INVALID_ARGUMENT, known->open.state, 0);
        update->finished = !known->open.is_prepared;
        return;
    }
    if (records_answer(records, txn, anchor, log_timestamp, update)) {
        /* What is prepared keeps its locks; what is over must not get any. */
        COVER(PREPARE_ANSWERED_FROM_STATE);
        update->finished = !known || !known->open.is_prepared;
        return;
    }
    int status = entry_refusal(command->deadline, log_timestamp, ranges_hold);
    if (status == OST_OK && !prepared_is_addressable(command, write_set))
        status = OST_INVALID_ARGUMENT;
    if (status != OST_OK) {
        update_decide(update, status, OSTRAKA__TXN_STATE__UNKNOWN, 0);
        update->finished = true;
        return;
    }

    struct record *record = records_add(records, txn, anchor, command->deadline);
    update->decision.changed = true;
    open_set_prepared(&record->open, command, message, write_set);
    if (command->is_home) {
        record->open.is_home = true;
        open_set_participants(&record->open, command->participants, command->n_participants);
    }
    update_decide(update, OST_OK, OSTRAKA__TXN_STATE__PENDING, record->open.bound);
    update->prepared = true;
}

void txn_records_apply_commit_one(struct txn_records *records,
                                  const Ostraka__CommitOneCommand *command, struct bytes write_set,
                                  timestamp_t log_timestamp, bool ranges_hold,
                                  struct record_update *update)
{
    struct txn_id txn = txn_id_of_message(command->txn);
    struct bytes anchor = bytes_of_message(command->anchor);
    update_begin(update, txn);

    struct record *known = records_find(records, txn);
    if (known) {
        /* The id belongs to a transaction over several groups: if its part is prepared, the locks
         * are that part's and must not end here. */
        update_decide(update, OST_INVALID_ARGUMENT, known->open.state, 0);
        update->finished = !known->open.is_prepared;
        return;
    }
    update->finished = true;
    if (records_answer(records, txn, anchor, log_timestamp, update))
        return;
    int status = entry_refusal(command->deadline, log_timestamp, ranges_hold);
    if (status != OST_OK) {
        update_decide(update, status, OSTRAKA__TXN_STATE__UNKNOWN, 0);
        return;
    }

    struct record_effect *writes = update_effect(update, RECORD_APPLY_WRITES, txn);
    writes->write_set = write_set;
    writes->timestamp = command->commit_timestamp;
    struct txn_outcome outcome = {
        .state = OSTRAKA__TXN_STATE__COMMITTED,
        .commit_timestamp = command->commit_timestamp,
        .deadline = command->deadline,
    };
    update_put_outcome(update, txn, anchor, &outcome);
    update_decide(update, OST_OK, OSTRAKA__TXN_STATE__COMMITTED, command->commit_timestamp);
}

static struct txn_outcome outcome_of_open(const struct txn_open *open)
{
    return (struct txn_outcome){
        .state = open->state,
        .commit_timestamp = open->commit_timestamp,
        .deadline = open->deadline,
    };
}

/* The prepared part ends as `open->state` says; its memory is kept by the update. */
static void open_end_prepared(struct txn_open *open, struct record_update *update)
{
    ASSERT(open->is_prepared && state_is_decided(open->state));
    if (open->state == OSTRAKA__TXN_STATE__COMMITTED) {
        update->write_set = blob_ref(open->write_set);
        struct record_effect *writes = update_effect(update, RECORD_APPLY_WRITES, open->txn);
        writes->write_set = blob_bytes(update->write_set);
        writes->timestamp = open->commit_timestamp;
    }
    open_drop_prepared(open);
    update->finished = true;
}

/* Home: PENDING -> COMMITTED or ABORTED. With participants the record stays until they know. */
static void records_decide(struct txn_records *records, struct record *record,
                           Ostraka__TxnState state, timestamp_t commit_timestamp,
                           struct record_update *update)
{
    struct txn_open *open = &record->open;
    ASSERT(open->is_home && open->state == OSTRAKA__TXN_STATE__PENDING);
    open->state = state;
    open->commit_timestamp = commit_timestamp;
    update->decision.changed = true;
    if (open->is_prepared)
        open_end_prepared(open, update);
    if (open->participant_keys_count > 0)
        return;
    struct txn_outcome outcome = outcome_of_open(open);
    update_put_outcome(update, open->txn, blob_bytes(open->anchor), &outcome);
    records_remove(records, record);
}

/* The timestamp comes from a client. Below home's bound it would rewrite what was read; far ahead
 * it would push the bounds of all later writers of the group into the future. So it is measured by
 * the log's time, not by a deadline that its client chose: however far somebody has gone, whoever
 * comes later may go at least as far, and is not refused because of it. True bounds are taken
 * before the deadline, so none of them is refused either. */
static bool commit_timestamp_is_allowed(const struct txn_open *open, timestamp_t commit_timestamp,
                                        timestamp_t log_timestamp)
{
    timestamp_t highest = timestamp_later(log_timestamp, COMMIT_AHEAD_MS);
    if (highest < open->deadline)
        highest = open->deadline;
    if (highest < open->bound)
        highest = open->bound;
    return commit_timestamp >= open->bound && commit_timestamp <= highest;
}

static void update_decide_elsewhere(struct record_update *update)
{
    COVER(DECIDED_ELSEWHERE);
    update_decide(update, OST_RANGE_MOVED, OSTRAKA__TXN_STATE__UNKNOWN, 0);
}

void txn_records_apply_commit(struct txn_records *records, const Ostraka__CommitCommand *command,
                              timestamp_t log_timestamp, bool anchor_is_here,
                              struct record_update *update)
{
    struct txn_id txn = txn_id_of_message(command->txn);
    struct bytes anchor = bytes_of_message(command->anchor);
    update_begin(update, txn);
    if (!anchor_is_here) {
        update_decide_elsewhere(update);
        return;
    }

    struct record *record = records_find(records, txn);
    if (!record || !record->open.is_home) {
        struct txn_outcome outcome;
        if (records_find_outcome(records, anchor, txn, log_timestamp, &outcome)) {
            COVER(COMMIT_ANSWERED_FROM_STATE);
            update->decision = decision_of_outcome(&outcome);
        } else {
            COVER(COMMIT_UNKNOWN);
            update_decide(update, OST_UNKNOWN_TXN, OSTRAKA__TXN_STATE__UNKNOWN, 0);
        }
        return;
    }
    if (state_is_decided(record->open.state)) {
        COVER(COMMIT_ANSWERED_FROM_STATE);
        update->decision = decision_of_open(&record->open);
        return;
    }
    if (log_timestamp > record->open.deadline) {
        COVER(COMMIT_EXPIRED);
        records_decide(records, record, OSTRAKA__TXN_STATE__ABORTED, 0, update);
        update_decide(update, OST_DEADLINE_EXCEEDED, OSTRAKA__TXN_STATE__ABORTED, 0);
        return;
    }
    if (!commit_timestamp_is_allowed(&record->open, command->commit_timestamp, log_timestamp)) {
        update_decide(update, OST_INVALID_ARGUMENT, OSTRAKA__TXN_STATE__PENDING,
                      record->open.bound);
        return;
    }
    records_decide(records, record, OSTRAKA__TXN_STATE__COMMITTED, command->commit_timestamp,
                   update);
    update_decide(update, OST_OK, OSTRAKA__TXN_STATE__COMMITTED, command->commit_timestamp);
}

static void update_decide_abort(struct record_update *update, Ostraka__TxnState state,
                                timestamp_t commit_timestamp)
{
    bool committed = state == OSTRAKA__TXN_STATE__COMMITTED;
    if (committed)
        COVER(ABORT_TOO_LATE);
    update_decide(update, committed ? OST_EXISTS : OST_OK, state, commit_timestamp);
}

void txn_records_apply_abort(struct txn_records *records, const Ostraka__AbortCommand *command,
                             timestamp_t log_timestamp, bool anchor_is_here,
                             struct record_update *update)
{
    struct txn_id txn = txn_id_of_message(command->txn);
    struct bytes anchor = bytes_of_message(command->anchor);
    update_begin(update, txn);
    if (!anchor_is_here) {
        update_decide_elsewhere(update);
        return;
    }

    struct record *record = records_find(records, txn);
    if (record && record->open.is_home) {
        if (state_is_decided(record->open.state)) {
            update_decide_abort(update, record->open.state, record->open.commit_timestamp);
        } else if (command->only_after_deadline && log_timestamp <= record->open.deadline) {
            update_decide(update, OST_OK, OSTRAKA__TXN_STATE__PENDING, record->open.bound);
        } else {
            records_decide(records, record, OSTRAKA__TXN_STATE__ABORTED, 0, update);
            update_decide(update, OST_OK, OSTRAKA__TXN_STATE__ABORTED, 0);
        }
        return;
    }
    struct txn_outcome outcome;
    if (records_find_outcome(records, anchor, txn, log_timestamp, &outcome)) {
        update_decide_abort(update, outcome.state, outcome.commit_timestamp);
        return;
    }
    /* A tombstone, for the Prepare that may still come. No Prepare is further than 60 s ahead of
     * the oracle, so one that lives from now on outlives it, whatever deadline was named. */
    timestamp_t deadline = command->deadline > log_timestamp ? command->deadline : log_timestamp;
    update_decide(update, OST_OK, OSTRAKA__TXN_STATE__ABORTED, 0);
    if (command->n_participants > 0 && !record) {
        /* Some of them may have voted: a record, so that they are told and need not hold their
         * locks until the deadline. */
        COVER(TOMBSTONE_WITH_PARTICIPANTS);
        record = records_add(records, txn, anchor, deadline);
        record->open.is_home = true;
        record->open.state = OSTRAKA__TXN_STATE__ABORTED;
        open_set_participants(&record->open, command->participants, command->n_participants);
        update->decision.changed = true;
        return;
    }
    COVER(TOMBSTONE_WRITTEN);
    outcome = (struct txn_outcome){.state = OSTRAKA__TXN_STATE__ABORTED, .deadline = deadline};
    update_put_outcome(update, txn, anchor, &outcome);
}

void txn_records_apply_resolved(struct txn_records *records,
                                const Ostraka__ResolvedCommand *command, timestamp_t log_timestamp,
                                struct record_update *update)
{
    (void)log_timestamp; /* an outcome has no deadline: what home decided holds for ever */
    struct txn_id txn = txn_id_of_message(command->txn);
    update_begin(update, txn);
    if (!state_is_decided(command->outcome)) {
        update_decide(update, OST_INVALID_ARGUMENT, OSTRAKA__TXN_STATE__UNKNOWN, 0);
        return;
    }
    struct record *record = records_find(records, txn);
    if (record && record->open.is_home) {
        /* Home counts its own key among the participants: its part ended with the decision. */
        update_decide(update, OST_OK, record->open.state, record->open.commit_timestamp);
        return;
    }
    bool committed = command->outcome == OSTRAKA__TXN_STATE__COMMITTED;
    timestamp_t commit_timestamp = committed ? command->commit_timestamp : 0;
    update_decide(update, OST_OK, command->outcome, commit_timestamp);
    if (!record) {
        COVER(RESOLVED_TWICE);
        return;
    }

    struct txn_open *open = &record->open;
    if (committed && commit_timestamp < open->bound)
        log_write(LOG_WARN, "a client committed below a vote's lower bound",
                  "client=%lu sequence=%lu", open->txn.client, open->txn.sequence);
    open->state = command->outcome;
    open->commit_timestamp = commit_timestamp;
    open_end_prepared(open, update);
    struct txn_outcome outcome = outcome_of_open(open);
    update_put_outcome(update, txn, blob_bytes(open->anchor), &outcome);
    records_remove(records, record);
}

void txn_records_apply_acknowledged(struct txn_records *records,
                                    const Ostraka__AcknowledgedCommand *command,
                                    struct record_update *update)
{
    update_begin(update, (struct txn_id){0});
    update_decide(update, OST_OK, OSTRAKA__TXN_STATE__UNKNOWN, 0);
    for (size_t index = 0; index < command->n_txns; index++) {
        struct record *record = records_find(records, txn_id_of_message(command->txns[index]));
        /* Forgotten already, or (a bug elsewhere) not decided: that one is never forgotten. */
        if (!record || !record->open.is_home || !state_is_decided(record->open.state))
            continue;
        struct txn_outcome outcome = outcome_of_open(&record->open);
        update_put_outcome(update, record->open.txn, blob_bytes(record->open.anchor), &outcome);
        records_remove(records, record);
    }
}

/* --- a range that moves --- */

static bool write_set_touches(struct bytes write_set, struct bytes start, struct bytes end)
{
    struct reader reader = reader_of(write_set);
    struct write write;
    while (write_set_next(&reader, &write) == OST_OK) {
        if (key_in_range(write.key, start, end))
            return true;
    }
    return false;
}

static bool prepared_touches(const struct txn_open *open, struct bytes start, struct bytes end)
{
    if (write_set_touches(blob_bytes(open->write_set), start, end))
        return true;
    struct arena arena;
    arena_init(&arena);
    const Ostraka__PreparedCommand *command = (const Ostraka__PreparedCommand *)message_unpack(
        &ostraka__prepared_command__descriptor, blob_bytes(open->prepared_message), &arena);
    ASSERT(command); /* it was parsed when it was applied or loaded */
    /* Home holds its anchor, even if it is not among its writes. */
    bool touches = command->is_home && key_in_range(bytes_of_message(command->anchor), start, end);
    for (size_t index = 0; index < command->n_shared_locks && !touches; index++) {
        const Ostraka__LockInterval *lock = command->shared_locks[index];
        struct bytes from = bytes_of_message(lock->start);
        touches = lock->is_key ? key_in_range(from, start, end)
                               : ranges_overlap(from, bytes_of_message(lock->end), start, end);
    }
    arena_fini(&arena);
    return touches;
}

uint32_t txn_records_prepared_count_in(const struct txn_records *records, struct bytes start,
                                       struct bytes end)
{
    uint32_t count = 0;
    const struct record *record;
    for (record = records->by_id; record; record = record->hh.next)
        count += record->open.is_prepared && prepared_touches(&record->open, start, end);
    return count;
}

bool txn_open_is_home_in(const struct txn_open *open, struct bytes start, struct bytes end)
{
    return open->is_home && key_in_range(blob_bytes(open->anchor), start, end);
}

int txn_records_adopt(struct txn_records *records, struct bytes row, struct record_update *update)
{
    struct arena arena;
    arena_init(&arena);
    int status = OST_CORRUPT;
    Ostraka__TxnRecord *message =
        (Ostraka__TxnRecord *)message_unpack(&ostraka__txn_record__descriptor, row, &arena);
    if (!message || !message->txn || !state_is_decided(message->state))
        goto out_free_arena;
    struct txn_id txn = txn_id_of_message(message->txn);
    struct record *record = records_find(records, txn);
    if (record && record->open.is_home)
        goto out_free_arena;
    update_begin(update, txn);
    if (!record)
        record = records_add(records, txn, bytes_of_message(message->anchor), message->deadline);
    struct txn_open *open = &record->open;
    open->is_home = true;
    open->state = message->state;
    open->commit_timestamp = message->commit_timestamp;
    open_set_participants(open, message->participants, message->n_participants);
    if (open->is_prepared) {
        COVER(HOME_CAME_TO_PARTICIPANT);
        open_end_prepared(open, update);
    }
    update->decision.changed = true;
    update_decide(update, OST_OK, open->state, open->commit_timestamp);
    status = OST_OK;
out_free_arena:
    arena_fini(&arena);
    return status;
}

void txn_records_drop_homes_in(struct txn_records *records, struct bytes start, struct bytes end)
{
    struct record *record, *next;
    HASH_ITER (hh, records->by_id, record, next) {
        if (!txn_open_is_home_in(&record->open, start, end))
            continue;
        ASSERT(!record->open.is_prepared); /* SEAL has waited for it */
        records_remove(records, record);
    }
}
