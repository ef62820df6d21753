/* The client's optimistic transactions: what is read without locks is checked at the commit. */
#include "tests/support/client_script.h"

#include <criterion/criterion.h>

TestSuite(client_core_optimistic, .init = script_setup, .fini = script_teardown);

static struct core_txn *txn_optimistic(void)
{
    struct coordinator *coordinator = client_core_coordinator_new(script.core);
    coordinator_set_optimistic(coordinator, true);
    return core_txn_new(coordinator);
}

Test(client_core_optimistic, optimistic_get_is_a_plain_one_and_is_checked_at_the_commit)
{
    struct core_txn *txn = txn_optimistic();
    static struct script_outcome got = {0}, done = {0};
    struct operation *operation = operation_on_key(OPERATION_TXN_GET, "a", "");
    operation->txn = txn;
    script_submit(operation, &got);
    script_only(FRAME_GET, 1);
    script_answer_get(0, "one");
    cr_assert(got.is_done && got.status == OST_OK);
    script_txn_put(txn, "b", "2");
    script_submit_txn(OPERATION_TXN_COMMIT, txn, &done);
    const struct script_request *received = script_only(FRAME_PREPARE, 1);
    Ostraka__PrepareRequest *request = ostraka__prepare_request__unpack(
        NULL, received->frame.message.bytes_count, received->frame.message.data);
    cr_assert_eq(request->n_checks, 1u);
    cr_assert(request->checks[0]->is_key && request->checks[0]->read_timestamp == 40);
    ostraka__prepare_request__free_unpacked(request, NULL);
    script_refuse(0, OST_VERSION_CHANGED, 0);
    cr_assert(done.is_done);
    cr_assert_eq(done.status, OST_VERSION_CHANGED);
    cr_assert(ost_status_is_retryable(done.status));
    cr_assert_eq(script.inbox_count, 0u, "nothing is held anywhere");
    script_submit_txn(OPERATION_TXN_DROP, txn, NULL);
}

Test(client_core_optimistic, one_optimistic_read_commits_without_asking)
{
    struct core_txn *txn = txn_optimistic();
    static struct script_outcome got = {0}, done = {0};
    struct operation *operation = operation_on_key(OPERATION_TXN_GET, "a", "");
    operation->txn = txn;
    script_submit(operation, &got);
    script_answer_get(0, NULL);
    cr_assert_eq(got.status, OST_NOT_FOUND);
    script_submit_txn(OPERATION_TXN_COMMIT, txn, &done);
    cr_assert(done.is_done && done.status == OST_OK);
    script_submit_txn(OPERATION_TXN_DROP, txn, NULL);
}

/* Scans [a, e) of rows a, b, d (in this order or backward) with "c" written by itself, and returns
 * the interval that is checked. */
static void scan_checked(bool reverse, uint32_t limit, bool more, struct buffer *out_start,
                         struct buffer *out_end)
{
    static const char *const KEYS[] = {"a", "b", "d"}, *const BACKWARD[] = {"d", "b", "a"};
    struct core_txn *txn = txn_optimistic();
    static struct script_outcome rows, done;
    rows = done = (struct script_outcome){0};
    script_txn_put(txn, "c", "new");
    struct operation *operation = operation_on_key(OPERATION_TXN_SCAN, "a", "e");
    operation->txn = txn;
    operation->rows_count_max = limit;
    operation->reverse = reverse;
    script_submit(operation, &rows);
    const struct script_request *received = script_only(FRAME_SCAN, 1);
    Ostraka__ScanRequest *scan = ostraka__scan_request__unpack(
        NULL, received->frame.message.bytes_count, received->frame.message.data);
    cr_assert_null(scan->txn, "it is a plain one");
    ostraka__scan_request__free_unpacked(scan, NULL);
    script_answer_rows(0, reverse ? BACKWARD : KEYS, 3, more, 0);
    cr_assert(rows.is_done && rows.status == OST_OK);
    script_submit_txn(OPERATION_TXN_COMMIT, txn, &done);
    received = script_only(FRAME_PREPARE, 1);
    Ostraka__PrepareRequest *request = ostraka__prepare_request__unpack(
        NULL, received->frame.message.bytes_count, received->frame.message.data);
    cr_assert_eq(request->n_checks, 1u);
    const Ostraka__ReadCheck *check = request->checks[0];
    cr_assert(!check->is_key && check->read_timestamp == 41);
    buffer_append(out_start, check->start.data, check->start.len);
    buffer_append(out_end, check->end.data, check->end.len);
    ostraka__prepare_request__free_unpacked(request, NULL);
    script_answer_vote(0, 50);
    cr_assert_eq(done.status, OST_OK);
    script_submit_txn(OPERATION_TXN_DROP, txn, NULL);
}

Test(client_core_optimistic, optimistic_scan_is_checked_as_far_as_its_last_row)
{
    static const struct {
        bool reverse;
        uint32_t limit;
        bool more;
        struct bytes start, end;
    } cases[] = {
        {false, 0, false, {(const uint8_t *)"a", 1}, {(const uint8_t *)"e", 1}},
        {true, 0, false, {(const uint8_t *)"a", 1}, {(const uint8_t *)"e", 1}},
        {false, 2, true, {(const uint8_t *)"a", 1}, {(const uint8_t *)"b", 2}}, /* b, and a zero */
        {false, 3, true, {(const uint8_t *)"a", 1}, {(const uint8_t *)"c", 2}}, /* its own */
        {false, 4, true, {(const uint8_t *)"a", 1}, {(const uint8_t *)"d", 2}},
        {true, 1, true, {(const uint8_t *)"d", 1}, {(const uint8_t *)"e", 1}},
        {true, 2, true, {(const uint8_t *)"c", 1}, {(const uint8_t *)"e", 1}},
        {true, 3, false, {(const uint8_t *)"b", 1}, {(const uint8_t *)"e", 1}},
        {true, 4, false, {(const uint8_t *)"a", 1}, {(const uint8_t *)"e", 1}},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        struct buffer start = BUFFER_INIT, end = BUFFER_INIT;
        scan_checked(cases[index].reverse, cases[index].limit, cases[index].more, &start, &end);
        cr_assert(bytes_equal(buffer_bytes(&start), cases[index].start), "case %zu", index);
        cr_assert(bytes_equal(buffer_bytes(&end), cases[index].end), "case %zu", index);
        buffer_fini(&start);
        buffer_fini(&end);
    }
}
