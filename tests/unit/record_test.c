#include "txn/record.h"

#include "base/memory.h"
#include "proto/write_set.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

/* A group's rows, kept in arrays: what the effects say is done to them, so that a test can throw
 * the records away and load them again. */
enum { ROWS_COUNT_MAX = 32 };
struct kept_row {
    bool used;
    struct txn_id txn;
    struct blob *anchor;
    struct blob *message;
    struct blob *write_set;
};
struct kept_write {
    struct blob *write_set;
    timestamp_t timestamp;
};
struct group {
    struct txn_records *records;
    struct record_update update;
    struct kept_row prepared[ROWS_COUNT_MAX];
    struct kept_row open[ROWS_COUNT_MAX];
    struct kept_row outcomes[ROWS_COUNT_MAX];
    struct kept_write writes[ROWS_COUNT_MAX];
    size_t writes_count;
    timestamp_t log_timestamp;
    bool ranges_hold;
};

static void row_drop(struct kept_row *row)
{
    blob_unref(row->anchor);
    blob_unref(row->message);
    blob_unref(row->write_set);
    *row = (struct kept_row){0};
}

static struct kept_row *row_find(struct kept_row *rows, struct txn_id txn)
{
    for (size_t index = 0; index < ROWS_COUNT_MAX; index++)
        if (rows[index].used && txn_id_equal(rows[index].txn, txn))
            return &rows[index];
    return NULL;
}

static struct kept_row *row_put(struct kept_row *rows, struct txn_id txn)
{
    struct kept_row *row = row_find(rows, txn);
    for (size_t index = 0; !row; index++) {
        cr_assert_lt(index, ROWS_COUNT_MAX);
        if (!rows[index].used)
            row = &rows[index];
    }
    row_drop(row);
    row->used = true;
    row->txn = txn;
    return row;
}

static int find_outcome(void *context, struct bytes anchor, struct txn_id txn,
                        struct txn_outcome *out_outcome)
{
    struct group *group = context;
    struct kept_row *row = row_find(group->outcomes, txn);
    if (!row || !bytes_equal(blob_bytes(row->anchor), anchor))
        return OST_NOT_FOUND;
    cr_assert_eq(txn_outcome_unpack(blob_bytes(row->message), out_outcome), OST_OK);
    return OST_OK;
}

static void group_init(struct group *group)
{
    *group = (struct group){.log_timestamp = timestamp_from_ms(1000), .ranges_hold = true};
    group->records = txn_records_new(find_outcome, group);
    record_update_init(&group->update);
}

static void group_fini(struct group *group)
{
    for (size_t index = 0; index < ROWS_COUNT_MAX; index++) {
        row_drop(&group->prepared[index]);
        row_drop(&group->open[index]);
        row_drop(&group->outcomes[index]);
        blob_unref(group->writes[index].write_set);
    }
    record_update_fini(&group->update);
    txn_records_free(group->records);
}

static void group_do_effect(struct group *group, const struct record_effect *effect)
{
    struct arena arena;
    arena_init(&arena);
    struct kept_row *row;
    switch (effect->type) {
    case RECORD_PUT_OUTCOME:
        row = row_put(group->outcomes, effect->txn);
        row->anchor = blob_copy(effect->anchor);
        row->message = blob_copy(txn_outcome_pack(effect, &arena));
        break;
    case RECORD_APPLY_WRITES:
        cr_assert_lt(group->writes_count, ROWS_COUNT_MAX);
        group->writes[group->writes_count++] =
            (struct kept_write){blob_copy(effect->write_set), effect->timestamp};
        break;
    }
    arena_fini(&arena);
}

/* A checkpoint: what is open, as rows. */
static void checkpoint_put(void *context, struct txn_open *open)
{
    struct group *group = context;
    struct arena arena;
    arena_init(&arena);
    if (open->is_prepared) {
        struct kept_row *row = row_put(group->prepared, open->txn);
        row->message = blob_ref(open->prepared_message);
        row->write_set = blob_ref(open->write_set);
    }
    if (open->is_home)
        row_put(group->open, open->txn)->message = blob_copy(txn_open_pack(open, &arena));
    arena_fini(&arena);
}

static void group_checkpoint(struct group *group)
{
    for (size_t index = 0; index < ROWS_COUNT_MAX; index++) {
        row_drop(&group->prepared[index]);
        row_drop(&group->open[index]);
    }
    txn_records_each(group->records, checkpoint_put, group);
}

/* A crash after a checkpoint: everything comes back from the rows, and is what it was. */
static void group_reload(struct group *group)
{
    group_checkpoint(group);
    txn_records_clear(group->records);
    for (size_t index = 0; index < ROWS_COUNT_MAX; index++)
        if (group->open[index].used)
            cr_assert_eq(
                txn_records_load_open(group->records, blob_bytes(group->open[index].message)),
                OST_OK);
    for (size_t index = 0; index < ROWS_COUNT_MAX; index++)
        if (group->prepared[index].used)
            cr_assert_eq(txn_records_load_prepared(group->records,
                                                   blob_bytes(group->prepared[index].message),
                                                   blob_bytes(group->prepared[index].write_set)),
                         OST_OK);
}

static const struct record_decision *group_finish(struct group *group)
{
    for (uint32_t index = 0; index < group->update.effects_count; index++)
        group_do_effect(group, &group->update.effects[index]);
    if (group->update.effects_count > 0)
        cr_assert(group->update.decision.changed);
    return &group->update.decision;
}

/* --- commands --- */

#define ID(n)     ((struct txn_id){.client = 7, .sequence = (n)})
#define MS(n)     timestamp_from_ms(n)
#define COMMITTED OSTRAKA__TXN_STATE__COMMITTED
#define ABORTED   OSTRAKA__TXN_STATE__ABORTED
#define PENDING   OSTRAKA__TXN_STATE__PENDING

static ProtobufCBinaryData binary(const char *text)
{
    return (ProtobufCBinaryData){.len = strlen(text), .data = (uint8_t *)(uintptr_t)text};
}

static void write_set_of(struct buffer *buffer, uint64_t sequence)
{
    char value[32];
    snprintf(value, sizeof(value), "value %lu", sequence);
    struct write write = {WRITE_PUT, bytes_of_string("key"), bytes_of_string(value)};
    write_set_append(buffer, &write);
}

struct prepare {
    uint64_t sequence;
    bool is_home;
    timestamp_t bound;
    timestamp_t deadline;
    const char *participants[3];
    bool without_writes;
};

static const struct record_decision *prepare(struct group *group, struct prepare args)
{
    Ostraka__TxnId id = OSTRAKA__TXN_ID__INIT;
    txn_id_to_message(ID(args.sequence), &id);
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    Ostraka__RangeRef *ranges[] = {&range};
    Ostraka__Participant participants[3];
    Ostraka__Participant *pointers[3];
    Ostraka__PreparedCommand command = OSTRAKA__PREPARED_COMMAND__INIT;
    command.txn = &id;
    command.anchor = binary("anchor");
    command.is_home = args.is_home;
    command.deadline = args.deadline ? args.deadline : MS(5000);
    command.commit_timestamp_min = args.bound;
    command.n_ranges = args.without_writes ? 0 : 1;
    command.ranges = ranges;
    command.participants = pointers;
    for (size_t index = 0; index < 3 && args.participants[index]; index++) {
        ostraka__participant__init(&participants[index]);
        participants[index].key = binary(args.participants[index]);
        pointers[index] = &participants[index];
        command.n_participants++;
    }
    uint8_t message[512];
    cr_assert_lt(ostraka__prepared_command__get_packed_size(&command), sizeof(message));
    size_t message_bytes = ostraka__prepared_command__pack(&command, message);
    struct buffer write_set = BUFFER_INIT;
    if (!args.without_writes)
        write_set_of(&write_set, args.sequence);
    record_update_reset(&group->update);
    txn_records_apply_prepared(group->records, &command, bytes_of(message, message_bytes),
                               buffer_bytes(&write_set), group->log_timestamp, group->ranges_hold,
                               &group->update);
    buffer_fini(&write_set);
    return group_finish(group);
}

static const struct record_decision *commit_one(struct group *group, uint64_t sequence,
                                                timestamp_t commit_timestamp)
{
    Ostraka__TxnId id = OSTRAKA__TXN_ID__INIT;
    txn_id_to_message(ID(sequence), &id);
    Ostraka__CommitOneCommand command = OSTRAKA__COMMIT_ONE_COMMAND__INIT;
    command.txn = &id;
    command.anchor = binary("anchor");
    command.deadline = MS(5000);
    command.commit_timestamp = commit_timestamp;
    struct buffer write_set = BUFFER_INIT;
    write_set_of(&write_set, sequence);
    record_update_reset(&group->update);
    txn_records_apply_commit_one(group->records, &command, buffer_bytes(&write_set),
                                 group->log_timestamp, group->ranges_hold, &group->update);
    const struct record_decision *decision = group_finish(group);
    buffer_fini(&write_set);
    return decision;
}

static const struct record_decision *commit(struct group *group, uint64_t sequence,
                                            timestamp_t commit_timestamp)
{
    Ostraka__TxnId id = OSTRAKA__TXN_ID__INIT;
    txn_id_to_message(ID(sequence), &id);
    Ostraka__CommitCommand command = OSTRAKA__COMMIT_COMMAND__INIT;
    command.txn = &id;
    command.anchor = binary("anchor");
    command.commit_timestamp = commit_timestamp;
    record_update_reset(&group->update);
    txn_records_apply_commit(group->records, &command, group->log_timestamp, true, &group->update);
    return group_finish(group);
}

static const struct record_decision *abort_it(struct group *group, uint64_t sequence,
                                              timestamp_t deadline, bool only_after_deadline)
{
    Ostraka__TxnId id = OSTRAKA__TXN_ID__INIT;
    txn_id_to_message(ID(sequence), &id);
    Ostraka__AbortCommand command = OSTRAKA__ABORT_COMMAND__INIT;
    command.txn = &id;
    command.anchor = binary("anchor");
    command.deadline = deadline;
    command.only_after_deadline = only_after_deadline;
    record_update_reset(&group->update);
    txn_records_apply_abort(group->records, &command, group->log_timestamp, true, &group->update);
    return group_finish(group);
}

static const struct record_decision *resolve(struct group *group, uint64_t sequence,
                                             Ostraka__TxnState outcome,
                                             timestamp_t commit_timestamp)
{
    Ostraka__TxnId id = OSTRAKA__TXN_ID__INIT;
    txn_id_to_message(ID(sequence), &id);
    Ostraka__ResolvedCommand command = OSTRAKA__RESOLVED_COMMAND__INIT;
    command.txn = &id;
    command.anchor = binary("anchor");
    command.outcome = outcome;
    command.commit_timestamp = commit_timestamp;
    record_update_reset(&group->update);
    txn_records_apply_resolved(group->records, &command, group->log_timestamp, &group->update);
    return group_finish(group);
}

static void acknowledge(struct group *group, uint64_t first, uint64_t second)
{
    Ostraka__TxnId ids[2];
    Ostraka__TxnId *pointers[2] = {&ids[0], &ids[1]};
    ostraka__txn_id__init(&ids[0]);
    ostraka__txn_id__init(&ids[1]);
    txn_id_to_message(ID(first), &ids[0]);
    txn_id_to_message(ID(second), &ids[1]);
    Ostraka__AcknowledgedCommand command = OSTRAKA__ACKNOWLEDGED_COMMAND__INIT;
    command.txns = pointers;
    command.n_txns = 2;
    record_update_reset(&group->update);
    txn_records_apply_acknowledged(group->records, &command, &group->update);
    group_finish(group);
}

static void expect(const struct group *group, int status, Ostraka__TxnState state,
                   timestamp_t commit_timestamp, bool changed, bool finished)
{
    const struct record_decision *decision = &group->update.decision;
    cr_expect_eq(decision->status, status, "status %s, not %s", ost_status_name(decision->status),
                 ost_status_name(status));
    cr_expect_eq(decision->state, state, "state %d, not %d", (int)decision->state, (int)state);
    cr_expect_eq(decision->commit_timestamp, commit_timestamp, "timestamp %lu",
                 decision->commit_timestamp);
    cr_expect_eq(decision->changed, changed);
    cr_expect_eq(group->update.finished, finished);
}

#define BEGIN(name)                                                                                \
    struct group name;                                                                             \
    group_init(&name)

/* --- a transaction over several groups --- */

Test(record, home_commits_applies_and_keeps_the_record_until_acknowledged)
{
    BEGIN(group);
    prepare(&group, (struct prepare){1, true, MS(1001), 0, {"p1", "p2"}, false});
    expect(&group, OST_OK, PENDING, MS(1001), true, false);
    cr_expect(group.update.prepared);
    group_reload(&group);
    commit(&group, 1, MS(1002));
    expect(&group, OST_OK, COMMITTED, MS(1002), true, true);
    cr_expect(txn_id_equal(group.update.txn, ID(1)));
    cr_assert_eq(group.writes_count, 1);
    cr_expect_eq(group.writes[0].timestamp, MS(1002));
    group_reload(&group);
    cr_expect_not(row_find(group.prepared, ID(1)), "its own part is over");
    const struct txn_open *open = txn_records_find(group.records, ID(1));
    cr_assert(open);
    cr_expect_eq(open->state, COMMITTED);
    cr_assert_eq(open->participant_keys_count, 2);
    cr_expect(bytes_equal(blob_bytes(open->participant_keys[1]), bytes_of_string("p2")));
    cr_expect_not(row_find(group.outcomes, ID(1)));
    acknowledge(&group, 1, 99);
    cr_expect_not(txn_records_find(group.records, ID(1)));
    cr_expect(row_find(group.outcomes, ID(1)));
    group_fini(&group);
}

Test(record, home_without_participants_goes_straight_to_an_outcome)
{
    BEGIN(group);
    prepare(&group, (struct prepare){.sequence = 1, .is_home = true, .bound = MS(1001)});
    commit(&group, 1, MS(1001));
    expect(&group, OST_OK, COMMITTED, MS(1001), true, true);
    cr_expect_not(txn_records_find(group.records, ID(1)));
    cr_expect(row_find(group.outcomes, ID(1)));
    group_fini(&group);
}

Test(record, writes_outlive_their_transaction_until_the_reset)
{
    BEGIN(group);
    prepare(&group, (struct prepare){.sequence = 1, .is_home = true, .bound = MS(1001)});
    commit(&group, 1, MS(1001));
    struct buffer expected = BUFFER_INIT;
    write_set_of(&expected, 1);
    cr_expect_eq(group.update.effects[0].type, RECORD_APPLY_WRITES);
    cr_expect(bytes_equal(group.update.effects[0].write_set, buffer_bytes(&expected)));
    buffer_fini(&expected);
    group_fini(&group);
}

Test(record, duplicates_at_home_are_answered_from_the_state)
{
    BEGIN(group);
    struct prepare args = {1, true, MS(1001), 0, {"p1"}, false};
    prepare(&group, args);
    args.bound = MS(2000);
    prepare(&group, args);
    expect(&group, OST_OK, PENDING, MS(1001), false, false);
    cr_expect_not(group.update.prepared);
    commit(&group, 1, MS(1005));
    commit(&group, 1, MS(1009));
    expect(&group, OST_OK, COMMITTED, MS(1005), false, false);
    prepare(&group, args);
    expect(&group, OST_OK, COMMITTED, MS(1005), false, true);
    abort_it(&group, 1, MS(5000), false);
    expect(&group, OST_EXISTS, COMMITTED, MS(1005), false, false);
    acknowledge(&group, 1, 1);
    group_reload(&group);
    prepare(&group, args);
    expect(&group, OST_OK, COMMITTED, MS(1005), false, true);
    commit(&group, 1, MS(1009));
    expect(&group, OST_OK, COMMITTED, MS(1005), false, false);
    abort_it(&group, 1, MS(5000), false);
    expect(&group, OST_EXISTS, COMMITTED, MS(1005), false, false);
    cr_expect_eq(group.writes_count, 1);
    group_fini(&group);
}

Test(record, participant_applies_the_outcome_once_and_answers_late_prepares_from_it)
{
    BEGIN(group);
    struct prepare args = {.sequence = 1, .bound = MS(1001)};
    prepare(&group, args);
    expect(&group, OST_OK, PENDING, MS(1001), true, false);
    group_reload(&group);
    resolve(&group, 1, COMMITTED, MS(1003));
    expect(&group, OST_OK, COMMITTED, MS(1003), true, true);
    cr_assert_eq(group.writes_count, 1);
    cr_expect_eq(group.writes[0].timestamp, MS(1003));
    resolve(&group, 1, COMMITTED, MS(1003));
    expect(&group, OST_OK, COMMITTED, MS(1003), false, false);
    /* The duplicate that the network kept: it must not lock again. */
    prepare(&group, args);
    expect(&group, OST_OK, COMMITTED, MS(1003), false, true);
    cr_expect_not(txn_records_find(group.records, ID(1)));

    args.sequence = 2;
    prepare(&group, args);
    resolve(&group, 2, ABORTED, 0);
    expect(&group, OST_OK, ABORTED, 0, true, true);
    prepare(&group, args);
    expect(&group, OST_ABORTED, ABORTED, 0, false, true);
    cr_expect_eq(group.writes_count, 1);
    group_fini(&group);
}

Test(record, resolved_on_nothing_or_at_home_or_without_an_outcome_has_no_effect)
{
    BEGIN(group);
    resolve(&group, 1, COMMITTED, MS(1003));
    expect(&group, OST_OK, COMMITTED, MS(1003), false, false);
    prepare(&group, (struct prepare){2, true, MS(1001), 0, {"p1"}, false});
    resolve(&group, 2, COMMITTED, MS(1003));
    expect(&group, OST_OK, PENDING, 0, false, false);
    prepare(&group, (struct prepare){.sequence = 3, .bound = MS(1001)});
    resolve(&group, 3, PENDING, 0);
    expect(&group, OST_INVALID_ARGUMENT, OSTRAKA__TXN_STATE__UNKNOWN, 0, false, false);
    cr_expect(txn_records_find(group.records, ID(3))->is_prepared);
    group_fini(&group);
}

Test(record, a_read_only_participant_is_prepared_by_its_range)
{
    BEGIN(group);
    struct prepare args = {.sequence = 1, .bound = MS(1001), .without_writes = true};
    prepare(&group, args);
    expect(&group, OST_INVALID_ARGUMENT, OSTRAKA__TXN_STATE__UNKNOWN, 0, false, true);
    group_fini(&group);
}

/* --- abort --- */

Test(record, a_prepare_that_finds_a_tombstone_never_locks)
{
    BEGIN(group);
    abort_it(&group, 1, MS(5000), false);
    expect(&group, OST_OK, ABORTED, 0, true, false);
    prepare(&group, (struct prepare){1, true, MS(1001), 0, {"p1"}, false});
    expect(&group, OST_ABORTED, ABORTED, 0, false, true);
    commit_one(&group, 1, MS(1001));
    expect(&group, OST_ABORTED, ABORTED, 0, false, true);
    commit(&group, 1, MS(1001));
    expect(&group, OST_ABORTED, ABORTED, 0, false, false);
    abort_it(&group, 1, MS(5000), false);
    expect(&group, OST_OK, ABORTED, 0, false, false);
    cr_expect_eq(group.writes_count, 0);
    group_fini(&group);
}

/* Home refused its own part, but another group had voted: it must be told, not wait to ask. */
Test(record, a_tombstone_that_names_participants_is_a_record_until_they_know)
{
    BEGIN(group);
    Ostraka__TxnId id = OSTRAKA__TXN_ID__INIT;
    txn_id_to_message(ID(1), &id);
    Ostraka__Participant participant = OSTRAKA__PARTICIPANT__INIT;
    participant.key = binary("p1");
    Ostraka__Participant *participants[1] = {&participant};
    Ostraka__AbortCommand command = OSTRAKA__ABORT_COMMAND__INIT;
    command.txn = &id;
    command.anchor = binary("anchor");
    command.deadline = MS(5000);
    command.participants = participants;
    command.n_participants = 1;
    record_update_reset(&group.update);
    txn_records_apply_abort(group.records, &command, group.log_timestamp, true, &group.update);
    group_finish(&group);
    expect(&group, OST_OK, ABORTED, 0, true, false);
    group_reload(&group);
    const struct txn_open *open = txn_records_find(group.records, ID(1));
    cr_assert(open && open->is_home && open->state == ABORTED);
    cr_expect_eq(open->participant_keys_count, 1);
    prepare(&group, (struct prepare){1, true, MS(1001), 0, {"p1"}, false});
    expect(&group, OST_ABORTED, ABORTED, 0, false, true);
    acknowledge(&group, 1, 2);
    cr_expect_null(txn_records_find(group.records, ID(1)));
    abort_it(&group, 1, MS(5000), false);
    expect(&group, OST_OK, ABORTED, 0, false, false);
    group_fini(&group);
}

Test(record, a_tombstone_outlives_every_prepare_whatever_deadline_it_was_given)
{
    BEGIN(group);
    abort_it(&group, 1, 0, false);
    group.log_timestamp = MS(1000 + 60000);
    prepare(&group, (struct prepare){.sequence = 1, .bound = MS(1), .deadline = MS(1000 + 60000)});
    expect(&group, OST_ABORTED, ABORTED, 0, false, true);
    abort_it(&group, 2, UINT64_MAX, false);
    group.log_timestamp = UINT64_MAX - 1;
    prepare(&group, (struct prepare){.sequence = 2, .bound = MS(1), .deadline = UINT64_MAX});
    expect(&group, OST_ABORTED, ABORTED, 0, false, true);
    group_fini(&group);
}

Test(record, abort_of_a_pending_record_drops_home_and_keeps_it_for_the_participants)
{
    BEGIN(group);
    prepare(&group, (struct prepare){1, true, MS(1001), 0, {"p1"}, false});
    abort_it(&group, 1, MS(5000), false);
    expect(&group, OST_OK, ABORTED, 0, true, true);
    group_reload(&group);
    cr_expect_eq(txn_records_find(group.records, ID(1))->state, ABORTED);
    commit(&group, 1, MS(1002));
    expect(&group, OST_ABORTED, ABORTED, 0, false, false);
    prepare(&group, (struct prepare){1, true, MS(1001), 0, {"p1"}, false});
    expect(&group, OST_ABORTED, ABORTED, 0, false, true);
    acknowledge(&group, 1, 2);
    abort_it(&group, 1, MS(5000), false);
    expect(&group, OST_OK, ABORTED, 0, false, false);
    cr_expect_eq(group.writes_count, 0);
    group_fini(&group);
}

Test(record, an_inquiry_aborts_a_live_record_only_after_its_deadline)
{
    BEGIN(group);
    prepare(&group, (struct prepare){1, true, MS(1001), 0, {"p1"}, false});
    group.log_timestamp = MS(5000);
    abort_it(&group, 1, MS(5000), true);
    expect(&group, OST_OK, PENDING, MS(1001), false, false);
    group.log_timestamp = MS(5000) + 1;
    abort_it(&group, 1, MS(5000), true);
    expect(&group, OST_OK, ABORTED, 0, true, true);
    group_fini(&group);
}

/* --- what is refused --- */

Test(record, commit_past_the_deadline_aborts_and_tells)
{
    BEGIN(group);
    prepare(&group, (struct prepare){1, true, MS(1001), 0, {"p1"}, false});
    prepare(&group, (struct prepare){2, true, MS(1001), 0, {"p1"}, false});
    group.log_timestamp = MS(5000);
    commit(&group, 1, MS(1002));
    expect(&group, OST_OK, COMMITTED, MS(1002), true, true);
    group.log_timestamp = MS(5000) + 1;
    commit(&group, 2, MS(1002));
    expect(&group, OST_DEADLINE_EXCEEDED, ABORTED, 0, true, true);
    cr_expect_eq(txn_records_find(group.records, ID(2))->state, ABORTED, "participants are told");
    commit(&group, 2, MS(1002));
    expect(&group, OST_ABORTED, ABORTED, 0, false, false);
    cr_expect_eq(group.writes_count, 1);
    group_fini(&group);
}

Test(record, commit_of_the_unknown_creates_nothing)
{
    BEGIN(group);
    commit(&group, 1, MS(1002));
    expect(&group, OST_UNKNOWN_TXN, OSTRAKA__TXN_STATE__UNKNOWN, 0, false, false);
    /* A participant is no home. */
    prepare(&group, (struct prepare){.sequence = 2, .bound = MS(1001)});
    commit(&group, 2, MS(1002));
    expect(&group, OST_UNKNOWN_TXN, OSTRAKA__TXN_STATE__UNKNOWN, 0, false, false);
    group_fini(&group);
}

Test(record, commit_timestamps_that_no_vote_gave_are_refused)
{
    BEGIN(group);
    prepare(&group, (struct prepare){1, true, MS(1001), 0, {"p1"}, false});
    commit(&group, 1, MS(1001) - 1);
    expect(&group, OST_INVALID_ARGUMENT, PENDING, MS(1001), false, false);
    commit(&group, 1, UINT64_MAX);
    expect(&group, OST_INVALID_ARGUMENT, PENDING, MS(1001), false, false);
    commit(&group, 1, MS(1001));
    expect(&group, OST_OK, COMMITTED, MS(1001), true, true);
    group_fini(&group);
}

/* However far ahead one client commits, the votes that follow from it are not refused. */
Test(record, a_commit_far_ahead_does_not_refuse_those_who_come_after_it)
{
    BEGIN(group);
    timestamp_t highest = group.log_timestamp + timestamp_from_ms(COMMIT_AHEAD_MS);
    prepare(&group, (struct prepare){1, true, MS(1001), highest, {"p1"}, false});
    commit(&group, 1, highest + 1);
    expect(&group, OST_INVALID_ARGUMENT, PENDING, MS(1001), false, false);
    commit(&group, 1, highest);
    expect(&group, OST_OK, COMMITTED, highest, true, true);
    /* A later one with a short deadline: its vote here, or its other vote, is above that. */
    group.log_timestamp++;
    prepare(&group, (struct prepare){2, true, highest + 1, MS(1500), {"p1"}, false});
    commit(&group, 2, highest + 1);
    expect(&group, OST_OK, COMMITTED, highest + 1, true, true);
    prepare(&group, (struct prepare){3, true, MS(1002), MS(1500), {"p1"}, false});
    commit(&group, 3, highest + 1);
    expect(&group, OST_OK, COMMITTED, highest + 1, true, true);
    group_fini(&group);
}

Test(record, ranges_come_before_the_deadline_and_outcomes_before_both)
{
    BEGIN(group);
    struct prepare args = {.sequence = 1, .bound = MS(1001)};
    commit_one(&group, 3, MS(1001));
    group.ranges_hold = false;
    prepare(&group, args);
    expect(&group, OST_RANGE_MOVED, OSTRAKA__TXN_STATE__UNKNOWN, 0, false, true);
    commit_one(&group, 2, MS(1001));
    expect(&group, OST_RANGE_MOVED, OSTRAKA__TXN_STATE__UNKNOWN, 0, false, true);
    group.log_timestamp = MS(5000) + 1;
    prepare(&group, args);
    expect(&group, OST_RANGE_MOVED, OSTRAKA__TXN_STATE__UNKNOWN, 0, false, true);
    commit_one(&group, 3, MS(1009));
    expect(&group, OST_OK, COMMITTED, MS(1001), false, true);
    group.ranges_hold = true;
    prepare(&group, args);
    expect(&group, OST_DEADLINE_EXCEEDED, OSTRAKA__TXN_STATE__UNKNOWN, 0, false, true);
    commit_one(&group, 2, MS(1001));
    expect(&group, OST_DEADLINE_EXCEEDED, OSTRAKA__TXN_STATE__UNKNOWN, 0, false, true);
    group.log_timestamp = MS(5000);
    prepare(&group, args);
    expect(&group, OST_OK, PENDING, MS(1001), true, false);
    group_fini(&group);
}

Test(record, one_id_has_one_form)
{
    BEGIN(group);
    prepare(&group, (struct prepare){.sequence = 1, .bound = MS(1001)});
    prepare(&group, (struct prepare){1, true, MS(1001), 0, {"p1"}, false});
    expect(&group, OST_INVALID_ARGUMENT, PENDING, 0, false, false);
    commit_one(&group, 1, MS(1001));
    expect(&group, OST_INVALID_ARGUMENT, PENDING, 0, false, false);
    cr_expect(txn_records_find(group.records, ID(1))->is_prepared);
    group_fini(&group);
}

/* An entry that is refused ends the locks that its leader took for it: else nothing ever would. */
Test(record, another_form_of_what_is_not_prepared_ends_its_locks)
{
    BEGIN(group);
    prepare(&group, (struct prepare){1, true, MS(1001), 0, {"p1"}, false});
    abort_it(&group, 1, MS(5000), false);
    expect(&group, OST_OK, ABORTED, 0, true, true);
    /* Not home, and what has become of it is known: a record may have come with its range. */
    prepare(&group, (struct prepare){.sequence = 1, .bound = MS(1001)});
    expect(&group, OST_ABORTED, ABORTED, 0, false, true);
    commit_one(&group, 1, MS(1001));
    expect(&group, OST_INVALID_ARGUMENT, ABORTED, 0, false, true);
    group_fini(&group);
}

/* --- one group, outcomes, rows --- */

Test(record, commit_one_is_done_once)
{
    BEGIN(group);
    commit_one(&group, 1, MS(1001));
    expect(&group, OST_OK, COMMITTED, MS(1001), true, true);
    commit_one(&group, 1, MS(1005));
    expect(&group, OST_OK, COMMITTED, MS(1001), false, true);
    cr_expect_eq(group.writes_count, 1);
    abort_it(&group, 1, MS(5000), false);
    expect(&group, OST_EXISTS, COMMITTED, MS(1001), false, false);
    group_fini(&group);
}

Test(record, an_expired_outcome_counts_as_absent_on_every_replica)
{
    BEGIN(group);
    commit_one(&group, 1, MS(1001));
    struct record_decision decision;
    group.log_timestamp = MS(5000 + 60000);
    cr_expect_eq(txn_records_lookup(group.records, ID(1), bytes_of_string("anchor"),
                                    group.log_timestamp, &decision),
                 OST_OK);
    cr_expect_eq(decision.state, COMMITTED);
    cr_expect_eq(decision.commit_timestamp, MS(1001));
    group.log_timestamp++;
    cr_expect_eq(txn_records_lookup(group.records, ID(1), bytes_of_string("anchor"),
                                    group.log_timestamp, &decision),
                 OST_NOT_FOUND);
    commit_one(&group, 1, MS(1005));
    expect(&group, OST_DEADLINE_EXCEEDED, OSTRAKA__TXN_STATE__UNKNOWN, 0, false, true);
    cr_expect_eq(group.writes_count, 1);
    group_fini(&group);
}

Test(record, acknowledged_never_forgets_what_is_not_decided)
{
    BEGIN(group);
    prepare(&group, (struct prepare){1, true, MS(1001), 0, {"p1"}, false});
    prepare(&group, (struct prepare){.sequence = 2, .bound = MS(1001)});
    acknowledge(&group, 1, 2);
    cr_expect_eq(group.update.effects_count, 0);
    cr_expect(txn_records_find(group.records, ID(1)));
    cr_expect(txn_records_find(group.records, ID(2)));
    group_fini(&group);
}

Test(record, rows_that_do_not_parse_or_come_twice_are_corrupt)
{
    BEGIN(group);
    prepare(&group, (struct prepare){1, true, MS(1001), 0, {"p1"}, false});
    struct bytes garbage = bytes_of_string("\xff\xff\xff");
    cr_expect_eq(txn_records_load_open(group.records, garbage), OST_CORRUPT);
    cr_expect_eq(txn_records_load_prepared(group.records, garbage, garbage), OST_CORRUPT);
    cr_expect_eq(txn_records_load_open(group.records, blob_bytes(group.open[0].message)),
                 OST_CORRUPT);
    cr_expect_eq(txn_records_load_prepared(group.records, blob_bytes(group.prepared[0].message),
                                           bytes_of(NULL, 0)),
                 OST_CORRUPT);
    struct txn_outcome outcome;
    cr_expect_eq(txn_outcome_unpack(garbage, &outcome), OST_CORRUPT);
    cr_expect_eq(txn_outcome_unpack(bytes_of(NULL, 0), &outcome), OST_CORRUPT);
    group_fini(&group);
}

/* --- a range that moves --- */

Test(record, what_is_prepared_in_a_range_is_counted_by_its_keys_and_locks)
{
    BEGIN(group);
    prepare(&group, (struct prepare){1, true, MS(1001), 0, {"p1"}, false});
    struct bytes none = bytes_of(NULL, 0);
    cr_expect_eq(txn_records_prepared_count_in(group.records, none, none), 1);
    cr_expect_eq(txn_records_prepared_count_in(group.records, bytes_of_string("anchor"),
                                               bytes_of_string("anchor0")),
                 1, "home holds its anchor");
    cr_expect_eq(txn_records_prepared_count_in(group.records, bytes_of_string("zz"), none), 0);
    abort_it(&group, 1, MS(5000), false);
    cr_expect_eq(txn_records_prepared_count_in(group.records, none, none), 0);
    group_fini(&group);
}

Test(record, a_home_that_moves_is_adopted_once_and_dropped_behind)
{
    BEGIN(group);
    prepare(&group, (struct prepare){1, true, MS(1001), 0, {"p1"}, false});
    abort_it(&group, 1, MS(5000), false);
    const struct txn_open *open = txn_records_find(group.records, (struct txn_id){7, 1});
    cr_assert(open && open->is_home && open->participant_keys_count == 1);
    struct arena arena;
    arena_init(&arena);
    struct bytes row = txn_open_pack(open, &arena);
    BEGIN(taker);
    record_update_reset(&taker.update);
    cr_assert_eq(txn_records_adopt(taker.records, row, &taker.update), OST_OK);
    cr_expect_eq(taker.update.decision.state, OSTRAKA__TXN_STATE__ABORTED);
    cr_expect_not(taker.update.finished, "no part of it was here");
    record_update_reset(&taker.update);
    cr_expect_eq(txn_records_adopt(taker.records, row, &taker.update), OST_CORRUPT, "twice");
    txn_records_drop_homes_in(group.records, bytes_of_string("zz"), bytes_of(NULL, 0));
    cr_expect(txn_records_find(group.records, (struct txn_id){7, 1}), "another range");
    txn_records_drop_homes_in(group.records, bytes_of_string("a"), bytes_of(NULL, 0));
    cr_expect_null(txn_records_find(group.records, (struct txn_id){7, 1}));
    cr_expect_eq(txn_records_adopt(group.records, bytes_of_string("?"), &group.update),
                 OST_CORRUPT);
    arena_fini(&arena);
    group_fini(&taker);
    group_fini(&group);
}
