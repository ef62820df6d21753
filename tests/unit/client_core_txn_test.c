/* Locks, votes, deadlines and commits of the client's transactions. */
#include "tests/support/client_script.h"

#include <criterion/criterion.h>

TestSuite(client_core_txn, .init = script_setup, .fini = script_teardown);

Test(client_core_txn, refused_write_runs_again_under_a_new_id)
{
    static struct script_outcome done = {0};
    script_submit(operation_on_key(OPERATION_WRITE, "a", "1"), &done);
    script_refuse(0, OST_WOUNDED, 0);
    cr_assert(!done.is_done);
    script_pass_ms(10);
    Ostraka__PrepareRequest *request = ostraka__prepare_request__unpack(
        NULL, script.inbox[0].frame.message.bytes_count, script.inbox[0].frame.message.data);
    cr_assert_eq(request->txn->sequence, 2u);
    cr_assert_eq(request->age->sequence, 1u, "T2: the age is that of the first try");
    ostraka__prepare_request__free_unpacked(request, NULL);
    script_only(FRAME_PREPARE, 1);
    script_answer_vote(0, 9);
    cr_assert_eq(done.status, OST_OK);
}

static struct core_txn *txn_writing_two_groups(void)
{
    struct coordinator *coordinator = client_core_coordinator_new(script.core);
    const char *why;
    struct write low = {WRITE_PUT, bytes_of_string("a"), bytes_of_string("1")};
    struct write high = {WRITE_PUT, bytes_of_string("x"), bytes_of_string("1")};
    cr_assert_eq(coordinator_write(coordinator, &low, &why), OST_OK);
    cr_assert_eq(coordinator_write(coordinator, &high, &why), OST_OK);
    return core_txn_new(coordinator);
}

Test(client_core_txn, transaction_over_two_groups)
{
    struct core_txn *txn = txn_writing_two_groups();
    static struct script_outcome done = {0}, dropped = {0};
    script_submit_txn(OPERATION_TXN_COMMIT, txn, &done);
    cr_assert_eq(script.inbox_count, 2u);
    script_answer_vote(0, 50);
    script_answer_vote(0, 60);
    const struct script_request *received = script_only(FRAME_COMMIT, 1);
    Ostraka__CommitRequest *request = ostraka__commit_request__unpack(
        NULL, received->frame.message.bytes_count, received->frame.message.data);
    cr_assert_eq(request->commit_timestamp, 60u);
    ostraka__commit_request__free_unpacked(request, NULL);
    script_refuse(0, OST_OK, 0);
    cr_assert(done.is_done);
    cr_assert_eq(done.status, OST_OK);
    script_submit_txn(OPERATION_TXN_DROP, txn, &dropped);
    cr_assert(dropped.is_done);
}

static timestamp_t prepare_deadline(const struct script_request *received)
{
    Ostraka__PrepareRequest *request = ostraka__prepare_request__unpack(
        NULL, received->frame.message.bytes_count, received->frame.message.data);
    timestamp_t deadline = request->deadline;
    ostraka__prepare_request__free_unpacked(request, NULL);
    return deadline;
}

/* The oracle may go at half the client's speed for as long as its clock is ahead of the wall's, and
 * any two clocks drift apart in a year. */
Test(client_core_txn, deadlines_do_not_run_ahead_of_a_slow_oracle)
{
    static struct script_outcome done[3] = {{0}};
    uint64_t oracle_ms = 1000000; /* as heard at the start */
    for (int i = 0; i < 3; i++) {
        script_pass_ms(100000);
        oracle_ms += 50000;
        script_submit(operation_on_key(OPERATION_WRITE, "a", "1"), &done[i]);
        timestamp_t deadline = prepare_deadline(script_only(FRAME_PREPARE, 1));
        cr_assert_geq(deadline, timestamp_from_ms(oracle_ms + 5000));
        cr_assert_leq(deadline, timestamp_from_ms(oracle_ms + 5000 + 50000 + 1000), "try %d", i);
        script_answer_vote(0, timestamp_from_ms(oracle_ms));
        cr_assert_eq(done[i].status, OST_OK);
    }
}

/* What a group says when it has asked the oracle for the time. */
static void refuse_deadline(uint64_t oracle_ms)
{
    struct script_request received = script_take(0);
    Ostraka__AnswerHeader header = OSTRAKA__ANSWER_HEADER__INIT;
    header.status = OST_INVALID_ARGUMENT;
    header.heard_timestamp = timestamp_from_ms(oracle_ms);
    Ostraka__PrepareAnswer answer = OSTRAKA__PREPARE_ANSWER__INIT;
    answer.header = &header;
    script_reply(received.connection_id, FRAME_PREPARE_ANSWER, received.frame.request_id,
                 &answer.base, NULL);
    blob_unref(received.blob);
}

/* The client was idle while the oracle went slower: its caller did nothing wrong. */
Test(client_core_txn, deadline_that_was_too_far_ahead_is_named_anew)
{
    static struct script_outcome done = {0};
    script_pass_ms(100000);
    script_submit(operation_on_key(OPERATION_WRITE, "a", "1"), &done);
    cr_assert_gt(prepare_deadline(script_only(FRAME_PREPARE, 1)),
                 timestamp_from_ms(1030000 + 60000));
    refuse_deadline(1030000);
    script_inbox_clear(); /* what was asked is given up behind it */
    script_pass_ms(10);
    cr_assert_not(done.is_done);
    timestamp_t deadline = prepare_deadline(script_only(FRAME_PREPARE, 1));
    cr_assert_geq(deadline, timestamp_from_ms(1030000 + 4900));
    cr_assert_leq(deadline, timestamp_from_ms(1030000 + 5100));
    script_answer_vote(0, timestamp_from_ms(1030000));
    cr_assert_eq(done.status, OST_OK);
}

/* T5's whole minute would be refused at the least error. */
Test(client_core_txn, longest_deadline_leaves_room_for_the_estimate)
{
    struct operation *operation = operation_on_key(OPERATION_WRITE, "a", "1");
    operation->timeout_ms = 60000;
    script_submit(operation, NULL);
    timestamp_t deadline = prepare_deadline(script_only(FRAME_PREPARE, 1));
    cr_assert_leq(deadline, timestamp_from_ms(1000000 + 56000));
    cr_assert_geq(deadline, timestamp_from_ms(1000000 + 50000));
    script_inbox_clear();
}

/* Of the caller's own transaction, which is to be run again. */
Test(client_core_txn, deadline_that_was_too_far_ahead_aborts)
{
    struct core_txn *txn = core_txn_new(client_core_coordinator_new(script.core));
    static struct script_outcome done = {0};
    script_pass_ms(100000);
    script_txn_put(txn, "a", "1");
    script_submit_txn(OPERATION_TXN_COMMIT, txn, &done);
    refuse_deadline(1030000);
    cr_assert_eq(done.status, OST_ABORTED);
    script_submit_txn(OPERATION_TXN_DROP, txn, NULL);
}

/* The deadline is within the limit: it is refused for something else. */
Test(client_core_txn, invalid_argument_is_told)
{
    static struct script_outcome done = {0};
    script_pass_ms(100000);
    script_submit(operation_on_key(OPERATION_WRITE, "a", "1"), &done);
    refuse_deadline(1100000);
    cr_assert_eq(done.status, OST_INVALID_ARGUMENT);
}

/* The oracle's time may go at twice real speed, after a long rest. */
Test(client_core_txn, open_transaction_keeps_up_with_the_oracle)
{
    struct core_txn *txn = core_txn_new(client_core_coordinator_new(script.core));
    static struct script_outcome got = {0}, done = {0};
    struct operation *operation = operation_on_key(OPERATION_TXN_GET, "a", "");
    operation->txn = txn;
    script_submit(operation, &got);
    script_answer_lock(0, "1");
    script.timestamps_wait = true;
    uint64_t oracle_ms = 1000000 + 20000;
    script_pass_ms(1000);
    size_t at = 0;
    while (at < script.inbox_count && script.inbox[at].frame.type != FRAME_TIMESTAMP)
        at++;
    cr_assert_lt(at, script.inbox_count, "it asks what time it is");
    script_answer_timestamp(at, timestamp_from_ms(oracle_ms));
    script_only(FRAME_TXN_HEARTBEAT, 1);
    script_inbox_clear();
    script_txn_put(txn, "a", "2");
    script_submit_txn(OPERATION_TXN_COMMIT, txn, &done);
    timestamp_t deadline = prepare_deadline(script_only(FRAME_PREPARE, 1));
    cr_assert_geq(deadline, timestamp_from_ms(oracle_ms + 4000));
    script_answer_vote(0, timestamp_from_ms(oracle_ms) + 1);
    cr_assert_eq(done.status, OST_OK);
    script_submit_txn(OPERATION_TXN_DROP, txn, NULL);
}

Test(client_core_txn, commit_without_an_answer_is_learned_by_asking_again)
{
    struct core_txn *txn = txn_writing_two_groups();
    static struct script_outcome first = {0}, second = {0};
    script_submit_txn(OPERATION_TXN_COMMIT, txn, &first);
    script_answer_vote(0, 50);
    script_answer_vote(0, 60);
    for (unsigned ms = 0; ms < 6000; ms += 100) {
        script_pass_ms(100);
        script_inbox_clear();
    }
    cr_assert(first.is_done);
    cr_assert_eq(first.status, OST_MAYBE_COMMITTED);
    script_submit_txn(OPERATION_TXN_COMMIT, txn, &second);
    for (unsigned tries = 0; tries < 40 && script.inbox_count == 0; tries++)
        script_pass_ms(50);
    cr_assert_eq(script.inbox[0].frame.type, FRAME_COMMIT);
    script_refuse(0, OST_OK, 0);
    cr_assert(second.is_done);
    cr_assert_eq(second.status, OST_OK);
    script_submit_txn(OPERATION_TXN_DROP, txn, NULL);
}

Test(client_core_txn, refused_vote_is_told_at_once_and_aborted_behind)
{
    struct core_txn *txn = txn_writing_two_groups();
    static struct script_outcome done = {0};
    script_submit_txn(OPERATION_TXN_COMMIT, txn, &done);
    script_refuse(1, OST_WOUNDED, 0);
    cr_assert(done.is_done);
    cr_assert_eq(done.status, OST_WOUNDED);
    bool aborts = false;
    for (size_t index = 0; index < script.inbox_count; index++)
        aborts = aborts ||
                 (script.inbox[index].frame.type == FRAME_ABORT && script.inbox[index].store == 1);
    cr_assert(aborts);
    script_submit_txn(OPERATION_TXN_DROP, txn, NULL);
}

/* That it does not match was read under a lock, which a deposed leader may have given: so it is
 * told only once the lock is known to stand, and else it is read again. */
Test(client_core_txn, compare_and_set_that_does_not_match_is_validated)
{
    static struct script_outcome done = {0};
    struct bytes one = bytes_of_string("1");
    script_submit(operation_new_compare(bytes_of_string("a"), &one, bytes_of_string("2")), &done);
    script_only(FRAME_LOCK, 1);
    script_answer_lock(0, "other");
    script_only(FRAME_VALIDATE, 1);
    cr_assert(!done.is_done);
    script_refuse(0, OST_LOCKS_LOST, 0);
    script_pass_ms(20);
    script.inbox[0] =
        script.inbox[script.inbox_count - 1]; /* behind the release of what was lost */
    script.inbox_count = 1;
    script_only(FRAME_LOCK, 1);
    script_answer_lock(0, "1");
    script_only(FRAME_PREPARE, 1);
    script_answer_vote(0, 9);
    cr_assert(done.is_done);
    cr_assert_eq(done.status, OST_OK);
    static struct script_outcome conflict = {0};
    script_submit(operation_new_compare(bytes_of_string("a"), &one, bytes_of_string("2")),
                  &conflict);
    script_answer_lock(0, "other");
    script_refuse(0, OST_OK, 0);
    cr_assert(conflict.is_done);
    cr_assert_eq(conflict.status, OST_CONFLICT);
    cr_assert_str_eq(conflict.value, "other");
}

Test(client_core_txn, lost_locks_are_heard_of_by_heartbeat)
{
    struct core_txn *txn = core_txn_new(client_core_coordinator_new(script.core));
    static struct script_outcome rows = {0}, done = {0};
    struct operation *operation = operation_on_key(OPERATION_TXN_SCAN, "a", "e");
    operation->txn = txn;
    script_submit(operation, &rows);
    script_answer_rows(0, NULL, 0, false, 3);
    script_pass_ms(1000);
    const struct script_request *received = script_only(FRAME_TXN_HEARTBEAT, 1);
    Ostraka__TxnHeartbeat *heartbeat = ostraka__txn_heartbeat__unpack(
        NULL, received->frame.message.bytes_count, received->frame.message.data);
    Ostraka__AnswerHeader header = OSTRAKA__ANSWER_HEADER__INIT;
    header.status = OST_LOCKS_LOST;
    Ostraka__TxnHeartbeatAnswer answer = OSTRAKA__TXN_HEARTBEAT_ANSWER__INIT;
    answer.header = &header;
    answer.txn = heartbeat->txn;
    script_reply(received->connection_id, FRAME_TXN_HEARTBEAT_ANSWER, received->frame.request_id,
                 &answer.base, NULL);
    ostraka__txn_heartbeat__free_unpacked(heartbeat, NULL);
    script_submit_txn(OPERATION_TXN_COMMIT, txn, &done);
    cr_assert_eq(done.status, OST_LOCKS_LOST);
    script_submit_txn(OPERATION_TXN_DROP, txn, NULL);
}
