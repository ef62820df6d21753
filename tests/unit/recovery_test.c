#include "txn/recovery.h"

#include "proto/frame.h"
#include "proto/write_set.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

/* One group's records and its recovery, with commands applied at once when a test says so. No
 * outcome is ever looked up here: record_test.c does that. */
struct fixture {
    struct txn_records *records;
    struct record_update record_update;
    struct recovery_options options;
    struct recovery *recovery;
    struct outbox outbox;
    struct recovery_update update;
    nanoseconds_t now_ns;
    struct arena arena;
};

#define ID(n)     ((struct txn_id){.client = 7, .sequence = (n)})
#define MS(n)     timestamp_from_ms(n)
#define COMMITTED OSTRAKA__TXN_STATE__COMMITTED
#define ABORTED   OSTRAKA__TXN_STATE__ABORTED

static int find_no_outcome(void *context, struct bytes anchor, struct txn_id txn,
                           struct txn_outcome *out_outcome)
{
    (void)context, (void)anchor, (void)txn, (void)out_outcome;
    return OST_NOT_FOUND;
}

static void begin(struct fixture *f)
{
    *f = (struct fixture){.now_ns = 5 * NS_PER_S};
    f->records = txn_records_new(find_no_outcome, f);
    record_update_init(&f->record_update);
    recovery_options_default(&f->options);
    f->recovery = recovery_new(&f->options, f->records);
    outbox_init(&f->outbox);
    recovery_update_init(&f->update, &f->outbox);
    arena_init(&f->arena);
}

static void end(struct fixture *f)
{
    recovery_free(f->recovery);
    recovery_update_fini(&f->update);
    outbox_fini(&f->outbox);
    record_update_fini(&f->record_update);
    txn_records_free(f->records);
    arena_fini(&f->arena);
}

static void clear(struct fixture *f)
{
    recovery_update_reset(&f->update);
    outbox_reset(&f->outbox);
}

static ProtobufCBinaryData binary(const char *text)
{
    return (ProtobufCBinaryData){.len = strlen(text), .data = (uint8_t *)(uintptr_t)text};
}

static Ostraka__TxnId *id_message(struct fixture *f, uint64_t sequence)
{
    Ostraka__TxnId *id = arena_alloc(&f->arena, sizeof(*id));
    ostraka__txn_id__init(id);
    txn_id_to_message(ID(sequence), id);
    return id;
}

static void prepare(struct fixture *f, uint64_t sequence, bool is_home, size_t participants_count)
{
    static const char *const keys[] = {"p0", "p1", "p2"};
    Ostraka__Participant participants[3];
    Ostraka__Participant *pointers[3];
    for (size_t index = 0; index < participants_count; index++) {
        ostraka__participant__init(&participants[index]);
        participants[index].key = binary(keys[index]);
        pointers[index] = &participants[index];
    }
    Ostraka__PreparedCommand command = OSTRAKA__PREPARED_COMMAND__INIT;
    command.txn = id_message(f, sequence);
    command.anchor = binary("anchor");
    command.deadline = MS(5000);
    command.commit_timestamp_min = MS(1001);
    command.is_home = is_home;
    command.participants = pointers;
    command.n_participants = participants_count;
    Ostraka__LockInterval lock = OSTRAKA__LOCK_INTERVAL__INIT;
    Ostraka__LockInterval *locks[] = {&lock};
    lock.start = binary("read");
    command.shared_locks = locks;
    command.n_shared_locks = 1;
    uint8_t message[512];
    size_t message_bytes = ostraka__prepared_command__pack(&command, message);
    struct buffer write_set = BUFFER_INIT;
    struct write write = {WRITE_PUT, bytes_of_string("mine"), bytes_of_string("v")};
    if (sequence % 2 == 1) /* odd ones write, even ones only read */
        write_set_append(&write_set, &write);
    record_update_reset(&f->record_update);
    txn_records_apply_prepared(f->records, &command, bytes_of(message, message_bytes),
                               buffer_bytes(&write_set), MS(1000), true, &f->record_update);
    cr_assert_eq(f->record_update.decision.status, OST_OK);
    buffer_fini(&write_set);
    recovery_changed(f->recovery, ID(sequence), f->now_ns, &f->update);
}

static void commit(struct fixture *f, uint64_t sequence)
{
    Ostraka__CommitCommand command = OSTRAKA__COMMIT_COMMAND__INIT;
    command.txn = id_message(f, sequence);
    command.anchor = binary("anchor");
    command.commit_timestamp = MS(1002);
    record_update_reset(&f->record_update);
    txn_records_apply_commit(f->records, &command, MS(1000), true, &f->record_update);
    cr_assert_eq(f->record_update.decision.status, OST_OK);
    recovery_changed(f->recovery, ID(sequence), f->now_ns, &f->update);
}

/* Applies what was proposed, as the log would. */
static void apply_proposals(struct fixture *f, timestamp_t log_timestamp)
{
    for (uint32_t index = 0; index < f->update.proposals_count; index++) {
        const Ostraka__KvCommand *command = &f->update.proposals[index].command;
        record_update_reset(&f->record_update);
        if (command->command_case == OSTRAKA__KV_COMMAND__COMMAND_ABORT)
            txn_records_apply_abort(f->records, command->abort, log_timestamp, true,
                                    &f->record_update);
        else if (command->command_case == OSTRAKA__KV_COMMAND__COMMAND_RESOLVED)
            txn_records_apply_resolved(f->records, command->resolved, log_timestamp,
                                       &f->record_update);
        else
            txn_records_apply_acknowledged(f->records, command->acknowledged, &f->record_update);
    }
}

static void lead(struct fixture *f)
{
    recovery_led(f->recovery, f->now_ns, &f->update);
}

static void timer(struct fixture *f, timestamp_t log_timestamp)
{
    recovery_timer(f->recovery, log_timestamp, f->now_ns, &f->update);
}

static void resolve_answer(struct fixture *f, uint64_t sequence, const char *key, int status)
{
    Ostraka__ResolveAnswer answer = OSTRAKA__RESOLVE_ANSWER__INIT;
    answer.txn = id_message(f, sequence);
    answer.key = binary(key);
    answer.anchor = binary("anchor");
    answer.status = status;
    recovery_resolve_answered(f->recovery, &answer, f->now_ns, &f->update);
}

static void inquire_answer(struct fixture *f, uint64_t sequence, Ostraka__TxnState state)
{
    Ostraka__InquireAnswer answer = OSTRAKA__INQUIRE_ANSWER__INIT;
    answer.txn = id_message(f, sequence);
    answer.key = binary("mine");
    answer.state = state;
    answer.commit_timestamp = MS(1002);
    recovery_inquire_answered(f->recovery, &answer, f->now_ns, &f->update);
}

static bool sent_resolve(struct fixture *f, const char *key, Ostraka__TxnState outcome)
{
    for (size_t index = 0; index < f->outbox.items_count; index++) {
        struct frame frame = frame_of_blob(f->outbox.items[index].frame);
        if (frame.type != FRAME_RESOLVE)
            continue;
        Ostraka__ResolveRequest *request = (Ostraka__ResolveRequest *)message_unpack(
            &ostraka__resolve_request__descriptor, frame.message, &f->arena);
        cr_assert(request);
        cr_expect(bytes_equal(blob_bytes(f->outbox.items[index].to.key),
                              bytes_of(request->key.data, request->key.len)));
        if (bytes_equal(bytes_of_string(key), bytes_of(request->key.data, request->key.len)) &&
            request->outcome == outcome)
            return true;
    }
    return false;
}

static const Ostraka__InquireRequest *sent_inquire(struct fixture *f, size_t index)
{
    cr_assert_lt(index, f->outbox.items_count);
    struct frame frame = frame_of_blob(f->outbox.items[index].frame);
    cr_assert_eq(frame.type, FRAME_INQUIRE);
    cr_assert(bytes_equal(blob_bytes(f->outbox.items[index].to.key), bytes_of_string("anchor")));
    return (Ostraka__InquireRequest *)message_unpack(&ostraka__inquire_request__descriptor,
                                                     frame.message, &f->arena);
}

/* --- home --- */

Test(recovery, home_tells_every_participant_until_all_have_acknowledged)
{
    struct fixture f;
    begin(&f);
    lead(&f);
    prepare(&f, 1, true, 2);
    cr_expect_eq(f.outbox.items_count, 0, "nothing to tell yet");
    commit(&f, 1);
    cr_expect(sent_resolve(&f, "p0", COMMITTED));
    cr_expect(sent_resolve(&f, "p1", COMMITTED));
    clear(&f);
    resolve_answer(&f, 1, "p0", OST_OK);
    resolve_answer(&f, 1, "p1", OST_NOT_LEADER);
    cr_expect_eq(f.outbox.items_count, 0);
    cr_expect_leq(f.update.deadline_ns, f.now_ns + f.options.retry_ms * NS_PER_MS);
    f.now_ns = f.update.deadline_ns;
    timer(&f, MS(1000));
    cr_expect_eq(f.outbox.items_count, 1, "only to who has not answered");
    cr_expect(sent_resolve(&f, "p1", COMMITTED));
    clear(&f);
    resolve_answer(&f, 1, "p1", OST_OK);
    cr_assert_eq(f.update.proposals_count, 1);
    const Ostraka__KvCommand *command = &f.update.proposals[0].command;
    cr_assert_eq(command->command_case, OSTRAKA__KV_COMMAND__COMMAND_ACKNOWLEDGED);
    cr_assert_eq(command->acknowledged->n_txns, 1);
    cr_expect(txn_id_equal(txn_id_of_message(command->acknowledged->txns[0]), ID(1)));
    apply_proposals(&f, MS(1000));
    clear(&f);
    recovery_changed(f.recovery, ID(1), f.now_ns, &f.update);
    cr_expect_eq(f.update.deadline_ns, NS_NEVER, "nothing is left to do");
    end(&f);
}

Test(recovery, acknowledgements_share_an_entry_and_a_lost_one_is_proposed_again)
{
    struct fixture f;
    begin(&f);
    lead(&f);
    for (uint64_t sequence = 1; sequence <= 5; sequence++) {
        prepare(&f, sequence, true, 1);
        commit(&f, sequence);
    }
    clear(&f);
    for (uint64_t sequence = 1; sequence <= 5; sequence++)
        resolve_answer(&f, sequence, "p0", OST_OK);
    cr_assert_eq(f.update.proposals_count, 1, "one at once, the others wait for the next");
    cr_expect_eq(f.update.deadline_ns, f.now_ns + f.options.acknowledge_ms * NS_PER_MS);
    clear(&f);
    f.now_ns += f.options.acknowledge_ms * NS_PER_MS;
    timer(&f, MS(1000));
    cr_assert_eq(f.update.proposals_count, 1);
    cr_expect_eq(f.update.proposals[0].command.acknowledged->n_txns, 4);
    /* Both are lost with the log's tail: they come again. */
    clear(&f);
    size_t proposed_count = 0;
    for (int turn = 0; turn < 20 && proposed_count < 5; turn++) {
        f.now_ns += f.options.acknowledge_ms * NS_PER_MS;
        timer(&f, MS(1000));
        for (uint32_t index = 0; index < f.update.proposals_count; index++)
            proposed_count += f.update.proposals[index].command.acknowledged->n_txns;
        apply_proposals(&f, MS(1000));
        recovery_update_reset(&f.update);
        timer(&f, MS(1000));
    }
    cr_expect_eq(proposed_count, 5);
    /* Nobody said recovery_changed: it finds out by itself. */
    f.now_ns += 100 * NS_PER_S;
    timer(&f, MS(1000));
    cr_expect_eq(f.update.deadline_ns, NS_NEVER);
    end(&f);
}

Test(recovery, a_new_leader_takes_up_what_the_records_say)
{
    struct fixture f;
    begin(&f);
    prepare(&f, 1, true, 1);
    commit(&f, 1);
    prepare(&f, 3, false, 0);
    cr_expect_eq(f.outbox.items_count, 0, "a follower says nothing");
    lead(&f);
    cr_expect(sent_resolve(&f, "p0", COMMITTED));
    clear(&f);
    timer(&f, MS(6000));
    cr_expect_eq(f.outbox.items_count, 1);
    cr_expect(txn_id_equal(txn_id_of_message(sent_inquire(&f, 0)->txn), ID(3)));
    clear(&f);
    recovery_deposed(f.recovery);
    f.now_ns += 10 * NS_PER_S;
    timer(&f, MS(20000));
    cr_expect_eq(f.outbox.items_count, 0);
    cr_expect_eq(f.update.deadline_ns, NS_NEVER);
    end(&f);
}

Test(recovery, home_aborts_what_nobody_drives_past_its_deadline)
{
    struct fixture f;
    begin(&f);
    lead(&f);
    prepare(&f, 1, true, 1);
    timer(&f, MS(5000));
    cr_expect_eq(f.update.proposals_count, 0, "the deadline itself is in time");
    timer(&f, MS(5000) + 1);
    cr_assert_eq(f.update.proposals_count, 1);
    const Ostraka__KvCommand *command = &f.update.proposals[0].command;
    cr_assert_eq(command->command_case, OSTRAKA__KV_COMMAND__COMMAND_ABORT);
    cr_expect(command->abort->only_after_deadline);
    /* It gets lost; then it does not. */
    clear(&f);
    f.now_ns += f.options.retry_ms * NS_PER_MS;
    timer(&f, MS(5000) + 1);
    cr_assert_eq(f.update.proposals_count, 1);
    apply_proposals(&f, MS(5000) + 1);
    clear(&f);
    recovery_changed(f.recovery, ID(1), f.now_ns, &f.update);
    cr_expect(sent_resolve(&f, "p0", ABORTED));
    end(&f);
}

/* --- participant --- */

Test(recovery, a_participant_past_the_deadline_asks_home_until_it_knows)
{
    struct fixture f;
    begin(&f);
    lead(&f);
    prepare(&f, 1, false, 0);
    prepare(&f, 2, false, 0);
    timer(&f, MS(5000));
    cr_expect_eq(f.outbox.items_count, 0);
    timer(&f, MS(5001));
    cr_assert_eq(f.outbox.items_count, 2);
    cr_expect_eq(f.update.inquiries_count, 2);
    const Ostraka__InquireRequest *request = sent_inquire(&f, 0);
    cr_expect_eq(request->kind, OSTRAKA__INQUIRE_KIND__ABORT);
    cr_expect_eq(request->deadline, MS(5000));
    cr_expect(bytes_equal(bytes_of(request->key.data, request->key.len), bytes_of_string("mine")));
    request = sent_inquire(&f, 1);
    cr_expect(bytes_equal(bytes_of(request->key.data, request->key.len), bytes_of_string("read")),
              "one that only read is found by what it read");
    clear(&f);
    inquire_answer(&f, 1, OSTRAKA__TXN_STATE__PENDING);
    inquire_answer(&f, 2, OSTRAKA__TXN_STATE__UNKNOWN);
    cr_expect_eq(f.update.proposals_count, 0, "no answer is no outcome");
    f.now_ns += f.options.retry_ms * NS_PER_MS;
    timer(&f, MS(5001));
    cr_assert_eq(f.outbox.items_count, 2);
    inquire_answer(&f, 1, COMMITTED);
    inquire_answer(&f, 1, COMMITTED);
    cr_assert_eq(f.update.proposals_count, 1, "one entry is enough");
    const Ostraka__KvCommand *command = &f.update.proposals[0].command;
    cr_assert_eq(command->command_case, OSTRAKA__KV_COMMAND__COMMAND_RESOLVED);
    cr_expect_eq(command->resolved->outcome, COMMITTED);
    cr_expect_eq(command->resolved->commit_timestamp, MS(1002));
    apply_proposals(&f, MS(5001));
    recovery_changed(f.recovery, ID(1), f.now_ns, &f.update);
    clear(&f);
    f.now_ns += 10 * NS_PER_S;
    timer(&f, MS(5001));
    cr_expect_eq(f.outbox.items_count, 1, "only the other is still in doubt");
    end(&f);
}

Test(recovery, a_lost_resolution_is_asked_for_again)
{
    struct fixture f;
    begin(&f);
    lead(&f);
    prepare(&f, 1, false, 0);
    timer(&f, MS(5001));
    inquire_answer(&f, 1, ABORTED);
    cr_assert_eq(f.update.proposals_count, 1);
    clear(&f);
    f.now_ns += NS_PER_S;
    timer(&f, MS(5001));
    cr_expect_eq(f.outbox.items_count, 1);
    inquire_answer(&f, 1, ABORTED);
    cr_expect_eq(f.update.proposals_count, 1);
    end(&f);
}

Test(recovery, an_older_waiter_makes_it_ask_at_once_and_once)
{
    struct fixture f;
    begin(&f);
    lead(&f);
    prepare(&f, 1, false, 0);
    recovery_inquire(f.recovery, ID(1), f.now_ns, &f.update);
    recovery_inquire(f.recovery, ID(1), f.now_ns, &f.update);
    recovery_inquire(f.recovery, ID(9), f.now_ns, &f.update);
    cr_assert_eq(f.outbox.items_count, 1);
    cr_assert_eq(f.update.proposals_count, 0);
    cr_expect_eq(sent_inquire(&f, 0)->kind, OSTRAKA__INQUIRE_KIND__ABORT);
    end(&f);
}

/* Two that prepare at their own homes and then wait for one another: nobody else would ask. */
Test(recovery, an_older_waiter_makes_home_abort_before_the_deadline)
{
    struct fixture f;
    begin(&f);
    lead(&f);
    prepare(&f, 3, true, 1);
    recovery_inquire(f.recovery, ID(3), f.now_ns, &f.update);
    cr_assert_eq(f.outbox.items_count, 0);
    cr_assert_eq(f.update.proposals_count, 1);
    const Ostraka__KvCommand *command = &f.update.proposals[0].command;
    cr_assert_eq(command->command_case, OSTRAKA__KV_COMMAND__COMMAND_ABORT);
    cr_expect(txn_id_equal(txn_id_of_message(command->abort->txn), ID(3)));
    cr_expect_not(command->abort->only_after_deadline, "it does not wait for the deadline");
    end(&f);
}

Test(recovery, who_waits_for_a_deadline_wants_the_logs_time_to_go_on)
{
    struct fixture f;
    begin(&f);
    lead(&f);
    timer(&f, MS(1000));
    cr_expect_not(f.update.needs_log_time);
    cr_expect_eq(f.update.deadline_ns, NS_NEVER);
    prepare(&f, 1, false, 0);
    cr_expect_not(f.update.needs_log_time);
    cr_assert_neq(f.update.deadline_ns, NS_NEVER);
    f.now_ns = f.update.deadline_ns;
    timer(&f, MS(1000));
    cr_expect(f.update.needs_log_time);
    cr_expect_gt(f.update.deadline_ns, f.now_ns);
    end(&f);
}

Test(recovery, retries_slow_down_and_stay)
{
    struct fixture f;
    begin(&f);
    lead(&f);
    prepare(&f, 1, false, 0);
    timer(&f, MS(5001));
    nanoseconds_t last_ns = f.now_ns;
    for (int retry = 0; retry < 10; retry++) {
        clear(&f);
        timer(&f, MS(5001));
        cr_expect_eq(f.outbox.items_count, 0, "not before its time");
        cr_assert_neq(f.update.deadline_ns, NS_NEVER);
        cr_expect_leq(f.update.deadline_ns - last_ns, 8 * f.options.retry_ms * NS_PER_MS);
        f.now_ns = last_ns = f.update.deadline_ns;
        timer(&f, MS(5001));
        cr_expect_eq(f.outbox.items_count, 1);
    }
    end(&f);
}

Test(recovery, a_step_is_bounded_and_the_rest_follows)
{
    struct fixture f;
    begin(&f);
    for (uint64_t sequence = 1; sequence <= 6000; sequence++) {
        prepare(&f, sequence, true, 1);
        commit(&f, sequence);
    }
    lead(&f);
    cr_expect_lt(f.outbox.items_count, 6000);
    cr_expect_gt(f.outbox.items_count, 0);
    cr_expect_leq(f.update.deadline_ns, f.now_ns, "at once");
    timer(&f, MS(1000));
    cr_expect_eq(f.outbox.items_count, 6000);
    end(&f);
}

/* A client names the participants: those of one transaction do not come all at once either. */
Test(recovery, participants_are_told_some_at_a_time_until_all_are)
{
    enum { COUNT = 10000 };
    struct fixture f;
    begin(&f);
    lead(&f);
    static Ostraka__Participant participants[COUNT];
    static Ostraka__Participant *pointers[COUNT];
    static char keys[COUNT][8];
    for (int index = 0; index < COUNT; index++) {
        snprintf(keys[index], sizeof(keys[index]), "p%05d", index);
        ostraka__participant__init(&participants[index]);
        participants[index].key = binary(keys[index]);
        pointers[index] = &participants[index];
    }
    Ostraka__AbortCommand command = OSTRAKA__ABORT_COMMAND__INIT;
    command.txn = id_message(&f, 1);
    command.anchor = binary("anchor");
    command.deadline = MS(5000);
    command.participants = pointers;
    command.n_participants = COUNT;
    record_update_reset(&f.record_update);
    txn_records_apply_abort(f.records, &command, MS(1000), true, &f.record_update);
    recovery_changed(f.recovery, ID(1), f.now_ns, &f.update);
    bool told[COUNT] = {false};
    for (int tries = 0; tries < 4; tries++) {
        cr_expect_gt(f.outbox.items_count, 0);
        cr_expect_leq(f.outbox.items_count, 4096);
        for (size_t index = 0; index < f.outbox.items_count; index++) {
            char text[8] = "";
            struct bytes key = blob_bytes(f.outbox.items[index].to.key);
            cr_assert_lt(key.bytes_count, sizeof(text));
            memcpy(text, key.data, key.bytes_count);
            told[atoi(text + 1)] = true;
        }
        clear(&f);
        f.now_ns += NS_PER_S * 2;
        timer(&f, MS(1000));
    }
    for (int index = 0; index < COUNT; index++)
        cr_assert(told[index], "%d", index);
    end(&f);
}

/* --- silence --- */

static void at_silence(struct fixture *f, int64_t plus_ms)
{
    f->now_ns = (nanoseconds_t)((int64_t)(5 * NS_PER_S + f->options.silence_ms * NS_PER_MS) +
                                plus_ms * (int64_t)NS_PER_MS);
    clear(f);
    timer(f, MS(1000));
}

Test(recovery, home_aborts_when_nothing_is_heard_of_the_coordinator)
{
    struct fixture f;
    begin(&f);
    lead(&f);
    prepare(&f, 1, true, 1);
    cr_assert_leq(f.update.deadline_ns, f.now_ns + f.options.silence_ms * NS_PER_MS);
    at_silence(&f, -1);
    cr_assert_eq(f.update.proposals_count, 0);
    at_silence(&f, 0);
    cr_assert_eq(f.update.proposals_count, 1);
    cr_assert_eq(f.update.proposals[0].command.command_case, OSTRAKA__KV_COMMAND__COMMAND_ABORT);
    apply_proposals(&f, MS(1000)); /* long before the deadline */
    clear(&f);
    recovery_changed(f.recovery, ID(1), f.now_ns, &f.update);
    cr_assert(sent_resolve(&f, "p0", ABORTED));
    end(&f);
}

Test(recovery, a_participant_asks_home_when_nothing_is_heard_of_the_coordinator)
{
    struct fixture f;
    begin(&f);
    lead(&f);
    prepare(&f, 1, false, 0);
    at_silence(&f, -1);
    cr_assert_eq(f.outbox.items_count, 0);
    at_silence(&f, 0);
    cr_assert_eq(sent_inquire(&f, 0)->kind, OSTRAKA__INQUIRE_KIND__ABORT);
    end(&f);
}

Test(recovery, who_is_heard_of_is_waited_for)
{
    struct fixture f;
    begin(&f);
    lead(&f);
    prepare(&f, 1, true, 1);
    prepare(&f, 3, true, 1);
    at_silence(&f, -1);
    recovery_heard(f.recovery, ID(1), f.now_ns);
    recovery_heard(f.recovery, ID(9), f.now_ns); /* nobody's */
    at_silence(&f, 0);
    cr_assert_eq(f.update.proposals_count, 1);
    cr_assert_eq(f.update.proposals[0].command.abort->txn->sequence, 3);
    at_silence(&f, (int64_t)f.options.silence_ms - 1);
    bool is_aborted = false;
    for (uint32_t index = 0; index < f.update.proposals_count; index++)
        is_aborted |= f.update.proposals[index].command.abort->txn->sequence == 1;
    cr_assert(is_aborted, "but not for ever");
    end(&f);
}

Test(recovery, a_new_leader_listens_for_as_long_again)
{
    struct fixture f;
    begin(&f);
    prepare(&f, 1, true, 1);
    f.now_ns += 60 * NS_PER_S;
    lead(&f);
    cr_assert_eq(f.update.proposals_count, 0);
    cr_assert_eq(f.outbox.items_count, 0);
    end(&f);
}

/* The commit comes first, or the abort does: the log says which. */
Test(recovery, a_commit_before_the_abort_that_silence_led_to_stands)
{
    struct fixture f;
    begin(&f);
    lead(&f);
    prepare(&f, 1, true, 1);
    at_silence(&f, 0);
    cr_assert_eq(f.update.proposals_count, 1);
    commit(&f, 1);
    apply_proposals(&f, MS(1000));
    cr_assert_eq(f.record_update.decision.status, OST_EXISTS);
    clear(&f);
    recovery_changed(f.recovery, ID(1), f.now_ns, &f.update);
    f.now_ns += NS_PER_S;
    timer(&f, MS(1000));
    cr_assert(sent_resolve(&f, "p0", COMMITTED));
    end(&f);
}
