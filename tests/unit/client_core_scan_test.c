/* The client's scans over ranges and pages, alone and in a transaction. */
#include "tests/support/client_script.h"

#include <criterion/criterion.h>

TestSuite(client_core_scan, .init = script_setup, .fini = script_teardown);

Test(client_core_scan, short_scan_of_one_range_needs_no_transaction)
{
    static struct script_outcome rows = {0};
    script_submit(operation_on_key(OPERATION_SCAN, "a", "c"), &rows);
    script_only(FRAME_SCAN, 1);
    static const char *const KEYS[] = {"a", "b"};
    script_answer_rows(0, KEYS, 2, false, 0);
    cr_assert(rows.is_done);
    cr_assert_eq(rows.rows_count, 2u);
    cr_assert(!rows.more);
}

Test(client_core_scan, scan_over_two_ranges_is_one_validated_transaction)
{
    static struct script_outcome rows = {0};
    script_submit(operation_on_key(OPERATION_SCAN, "a", "z"), &rows);
    script_only(FRAME_SCAN, 1);
    static const char *const LOW[] = {"a", "b"}, *const HIGH[] = {"m", "n", "x"};
    script_answer_rows(0, LOW, 2, false, 4);
    script_only(FRAME_SCAN, 2);
    script_answer_rows(0, HIGH, 3, false, 8);
    cr_assert_eq(script.inbox_count, 2u);
    cr_assert_eq(script.inbox[0].frame.type, FRAME_VALIDATE);
    script_refuse(0, OST_OK, 0);
    script_refuse(0, OST_OK, 0);
    cr_assert(rows.is_done);
    cr_assert_eq(rows.status, OST_OK);
    cr_assert_eq(rows.rows_count, 5u);
}

Test(client_core_scan, second_page_turns_a_scan_into_a_transaction)
{
    static struct script_outcome rows = {0};
    struct operation *operation = operation_on_key(OPERATION_SCAN, "a", "m");
    operation->reverse = true;
    script_submit(operation, &rows);
    static const char *const FIRST[] = {"l", "k"}, *const SECOND[] = {"b"};
    script_answer_rows(0, FIRST, 2, true, 0);
    script_only(FRAME_SCAN, 1);
    script_answer_rows(0, FIRST, 2, true, 4);
    script_answer_rows(0, SECOND, 1, false, 4);
    script_only(FRAME_VALIDATE, 1);
    script_refuse(0, OST_LOCKS_LOST, 0); /* not one picture: from the start */
    cr_assert(!rows.is_done);
    script_pass_ms(20);
    script.inbox[0] = script.inbox[script.inbox_count - 1];
    script.inbox_count = 1;
    script_answer_rows(0, SECOND, 1, false, 5);
    script_refuse(0, OST_OK, 0);
    cr_assert(rows.is_done);
    cr_assert_eq(rows.rows_count, 1u);
}

Test(client_core_scan, scan_in_a_transaction_sees_its_own_writes)
{
    struct coordinator *coordinator = client_core_coordinator_new(script.core);
    const char *why;
    struct write deleted = {WRITE_DELETE, bytes_of_string("b"), bytes_of(NULL, 0)};
    struct write added = {WRITE_PUT, bytes_of_string("c"), bytes_of_string("new")};
    cr_assert_eq(coordinator_write(coordinator, &deleted, &why), OST_OK);
    cr_assert_eq(coordinator_write(coordinator, &added, &why), OST_OK);
    struct core_txn *txn = core_txn_new(coordinator);
    static struct script_outcome rows = {0};
    struct operation *operation = operation_on_key(OPERATION_TXN_SCAN, "a", "e");
    operation->txn = txn;
    operation->rows_count_max = 2;
    script_submit(operation, &rows);
    static const char *const KEYS[] = {"a", "b", "d"};
    script_answer_rows(0, KEYS, 3, false, 3);
    cr_assert(rows.is_done);
    cr_assert_eq(rows.rows_count, 2u); /* a, c; then d is left */
    cr_assert(rows.more);
    script_submit_txn(OPERATION_TXN_DROP, txn, NULL);
}

Test(client_core_scan, deletion_of_a_range_takes_keys_alone_and_locks_them_exclusive)
{
    static struct script_outcome done = {0};
    script_submit(operation_on_key(OPERATION_DELETE_RANGE, "a", "c"), &done);
    const struct script_request *received = script_only(FRAME_SCAN, 1);
    Ostraka__ScanRequest *request = ostraka__scan_request__unpack(
        NULL, received->frame.message.bytes_count, received->frame.message.data);
    cr_assert(request->keys_only && request->txn);
    cr_assert_eq(request->mode, OSTRAKA__LOCK_MODE__EXCLUSIVE);
    cr_assert(request->wait_ms_max > 4000 && request->wait_ms_max <= 4500);
    ostraka__scan_request__free_unpacked(request, NULL);
    static const char *const KEYS[] = {"a", "b"};
    script_answer_rows(0, KEYS, 2, false, 3);
    script_only(FRAME_PREPARE, 1);
    script_answer_vote(0, 9);
    cr_assert(done.is_done);
    cr_assert_eq(done.rows_count, 2u);
}
