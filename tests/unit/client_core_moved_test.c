/* Ranges that split, merge and move under what the client asks: when it asks again, where, and how
 * often (docs/range-moves.md). */
#include "tests/support/client_script.h"

#include <criterion/criterion.h>

TestSuite(client_core_moved, .init = script_setup, .fini = script_teardown);

/* What may become of ["m", ...), which group 2 has at epoch 1. */
static const struct script_range MOVED[] = {{"", 1, 1, NULL}, {"m", 1, 2, NULL}};
static const struct script_range SPLIT[] = {{"", 1, 1, NULL}, {"m", 2, 2, NULL}, {"t", 2, 2, NULL}};
static const struct script_range SPLIT_AND_MOVED[] = {
    {"", 1, 1, NULL}, {"m", 2, 2, NULL}, {"t", 1, 3, NULL}};
static const struct script_range MERGED_AGAIN[] = {{"", 1, 1, NULL}, {"m", 2, 3, NULL}};

#define MAP(ranges) script_ranges_set(ranges, sizeof(ranges) / sizeof((ranges)[0]))

static void map_pushed(void)
{
    script_map_send(script.connections[1], 0);
    script_pass_ms(0); /* what it wakes is due at once */
}

static uint64_t only_id(uint16_t type, store_id_t store)
{
    return script_only(type, store)->frame.request_id;
}

static void assert_names(group_id_t group, const char *start, uint64_t epoch)
{
    struct script_named named = script_names(0);
    cr_assert_eq(named.group, group);
    cr_assert_eq(named.ranges_count, 1u);
    cr_assert_str_eq(named.starts[0], start);
    cr_assert_eq(named.epochs[0], epoch);
}

static struct core_txn *txn_new(void)
{
    return core_txn_new(client_core_coordinator_new(script.core));
}

static void txn_drop(struct core_txn *txn)
{
    static struct script_outcome dropped;
    dropped = (struct script_outcome){0};
    script_submit_txn(OPERATION_TXN_DROP, txn, &dropped);
    cr_assert(dropped.is_done);
}

/* --- How often, and when ---------------------------------------------------------------------- */

/* Answers RANGE_MOVED to whatever comes, for so long. Returns how often it was asked. */
static unsigned refuse_for_ms(uint64_t ms)
{
    unsigned count = 0;
    for (uint64_t passed = 0; passed < ms; passed++) {
        for (; script.inbox_count > 0; count++)
            script_refuse(0, OST_RANGE_MOVED, 0);
        script_pass_ms(1);
    }
    return count;
}

Test(client_core_moved, a_frozen_range_is_asked_again_soon_and_not_often)
{
    static struct script_outcome got = {0};
    script_submit(operation_on_key(OPERATION_GET, "x", ""), &got);
    uint64_t id = only_id(FRAME_GET, 2);
    unsigned first = refuse_for_ms(50);
    cr_assert_geq(first, 4u, "asked %u times in 50 ms", first);
    cr_assert_leq(first, 9u, "asked %u times in 50 ms", first);
    uint32_t maps_before = script.maps_asked_count;
    unsigned later = refuse_for_ms(1000);
    cr_assert_geq(later, 1000u / 21, "asked %u times in a second", later);
    cr_assert_leq(later, 1000u / 10 + 1, "asked %u times in a second", later);
    /* Nobody has a newer map: that is not asked for at each try. */
    cr_assert_leq(script.maps_asked_count - maps_before, 12u, "%u maps",
                  script.maps_asked_count - maps_before);
    for (unsigned ms = 0; script.inbox_count == 0; ms++) {
        cr_assert_leq(ms, 20u, "it serves again, and is not asked");
        script_pass_ms(1);
    }
    cr_assert_neq(only_id(FRAME_GET, 2), id);
    script_answer_get(0, "v");
    cr_assert_eq(got.status, OST_OK);
}

Test(client_core_moved, a_newer_map_ends_the_wait_at_once)
{
    static struct script_outcome got = {0};
    script_submit(operation_on_key(OPERATION_GET, "x", ""), &got);
    uint64_t id = only_id(FRAME_GET, 2);
    refuse_for_ms(200); /* the pauses are at their longest */
    script_refuse(0, OST_RANGE_MOVED, 0);
    cr_assert_eq(script.inbox_count, 0u);
    MAP(MOVED);
    map_pushed();
    cr_assert_neq(only_id(FRAME_GET, 1), id, "an answer to the older form is none to this");
    assert_names(1, "m", 2);
}

Test(client_core_moved, a_map_that_came_before_the_answer_is_used_at_once)
{
    static struct script_outcome got = {0};
    script_submit(operation_on_key(OPERATION_GET, "x", ""), &got);
    script_only(FRAME_GET, 2);
    MAP(MOVED);
    map_pushed();
    uint32_t maps_before = script.maps_asked_count;
    script_refuse(0, OST_RANGE_MOVED, 0);
    script_pass_ms(0);
    script_only(FRAME_GET, 1);
    assert_names(1, "m", 2);
    cr_assert_eq(script.maps_asked_count, maps_before, "it is known");
    /* But once only: the new owner has not heard of it yet. */
    script_refuse(0, OST_RANGE_MOVED, 0);
    script_pass_ms(0);
    cr_assert_eq(script.inbox_count, 0u);
}

Test(client_core_moved, a_map_that_changes_another_range_wakes_nobody)
{
    static struct script_outcome got = {0};
    script_submit(operation_on_key(OPERATION_GET, "a", ""), &got);
    refuse_for_ms(200);
    script_refuse(0, OST_RANGE_MOVED, 0);
    MAP(SPLIT);
    map_pushed();
    cr_assert_eq(script.inbox_count, 0u);
}

/* Each store believes that the other one has it, and the shard master changes its mind with every
 * question. */
Test(client_core_moved, two_stores_that_name_each_other_end_by_the_deadline)
{
    static struct script_outcome got = {0};
    script_submit(operation_on_key(OPERATION_GET, "x", ""), &got);
    unsigned count = 0;
    for (unsigned ms = 0; ms < 5100; ms++) {
        for (; script.inbox_count > 0; count++) {
            script.range_epoch++;
            script.map_epoch++;
            script.high_group = script.inbox[0].store == 2 ? 1 : 2;
            script_refuse(0, OST_RANGE_MOVED, script.inbox[0].store == 2 ? 1 : 2);
        }
        script_pass_ms(1);
    }
    cr_assert(got.is_done);
    cr_assert_eq(got.status, OST_RANGE_MOVED);
    cr_assert_leq(count, 1000u, "asked %u times", count);
    /* Without a word from the shard master it is far less. */
    static struct script_outcome again = {0};
    script_submit(operation_on_key(OPERATION_GET, "x", ""), &again);
    count = refuse_for_ms(5100);
    cr_assert_eq(again.status, OST_RANGE_MOVED);
    cr_assert_leq(count, 510u, "asked %u times", count);
}

Test(client_core_moved, two_stores_that_hint_at_each_other_end_by_the_deadline)
{
    static struct script_outcome got = {0};
    script_submit(operation_on_key(OPERATION_GET, "x", ""), &got);
    unsigned count = 0;
    for (unsigned ms = 0; ms < 5100; ms++) {
        for (; script.inbox_count > 0; count++)
            script_refuse(0, OST_NOT_LEADER, script.inbox[0].store == 2 ? 3 : 2);
        script_pass_ms(1);
    }
    cr_assert(got.is_done);
    cr_assert_eq(got.status, OST_NOT_LEADER);
    cr_assert_leq(count, 400u, "asked %u times", count);
}

/* The old owner is gone for good: nobody is left there who could say RANGE_MOVED. */
Test(client_core_moved, what_rests_for_another_reason_follows_the_map_too)
{
    static struct script_outcome done = {0};
    script_submit(operation_on_key(OPERATION_WRITE, "x", "1"), &done);
    uint64_t id = only_id(FRAME_PREPARE, 2);
    script_inbox_clear();
    MAP(MOVED);
    script_lose(2);
    map_pushed();
    for (unsigned ms = 0; script.inbox_count == 0 && ms < 300; ms += 10)
        script_pass_ms(10);
    cr_assert_eq(only_id(FRAME_PREPARE, 1), id, "Q2: the same request");
    assert_names(1, "m", 2);
    script_answer_vote(0, 9);
    cr_assert_eq(done.status, OST_OK);
}

/* --- Reads ------------------------------------------------------------------------------------ */

static void get_through(const struct script_range *ranges, size_t count, store_id_t store,
                        group_id_t group, const char *start, uint64_t epoch)
{
    static struct script_outcome got;
    got = (struct script_outcome){0};
    script_submit(operation_on_key(OPERATION_GET, "x", ""), &got);
    script_ranges_set(ranges, count);
    script_refuse(0, OST_RANGE_MOVED, 0);
    script_pass_ms(20);
    script_only(FRAME_GET, store);
    assert_names(group, start, epoch);
    script_answer_get(0, "v");
    cr_assert_str_eq(got.value, "v");
}

Test(client_core_moved, a_get_follows_a_split_a_move_and_a_merge)
{
    get_through(SPLIT, 3, 2, 2, "t", 2);
    get_through(SPLIT_AND_MOVED, 3, 1, 1, "t", 3);
    static const struct script_range BACK[] = {
        {"", 1, 1, NULL}, {"m", 2, 2, NULL}, {"t", 2, 4, NULL}};
    get_through(BACK, 3, 2, 2, "t", 4);
    static const struct script_range MERGED[] = {{"", 1, 1, NULL}, {"m", 2, 5, NULL}};
    get_through(MERGED, 2, 2, 2, "m", 5);
}

Test(client_core_moved, a_snapshot_read_that_a_replica_does_not_know_goes_to_the_leader_at_once)
{
    MAP(SPLIT);
    map_pushed();
    static struct script_outcome got = {0};
    for (;;) {
        got = (struct script_outcome){0};
        struct operation *operation = operation_on_key(OPERATION_GET, "x", "");
        operation->timestamp = 70;
        operation->any_replica = true;
        script_submit(operation, &got);
        if (script.inbox[0].store != 2)
            break;
        script_answer_get(0, "v"); /* the leader: another one, please */
    }
    uint32_t maps_before = script.maps_asked_count;
    script_refuse(0, OST_RANGE_MOVED, 0); /* it has not applied the split yet */
    script_pass_ms(0);
    script_only(FRAME_GET, 2);
    cr_assert_eq(script.maps_asked_count, maps_before);
    MAP(SPLIT_AND_MOVED);
    script_refuse(0, OST_RANGE_MOVED, 0);
    script_pass_ms(20);
    script_only(FRAME_GET, 1);
    assert_names(1, "t", 3);
    script_answer_get(0, "v");
    cr_assert_str_eq(got.value, "v");
}

/* The first range is read when the second one splits, and its right half goes to the first's
 * group. */
Test(client_core_moved, a_snapshot_scan_goes_on_where_it_was)
{
    static struct script_outcome rows = {0};
    struct operation *operation = operation_on_key(OPERATION_SCAN, "a", "z");
    operation->timestamp = 70;
    script_submit(operation, &rows);
    static const char *const LOW[] = {"a", "b"}, *const MIDDLE[] = {"m"}, *const HIGH[] = {"x"};
    script_answer_rows(0, LOW, 2, false, 0);
    script_only(FRAME_SCAN, 2);
    MAP(SPLIT_AND_MOVED);
    script_refuse(0, OST_RANGE_MOVED, 0);
    script_pass_ms(20);
    script_only(FRAME_SCAN, 2);
    assert_names(2, "m", 2);
    script_answer_rows(0, MIDDLE, 1, false, 0);
    script_only(FRAME_SCAN, 1);
    assert_names(1, "t", 3);
    script_answer_rows(0, HIGH, 1, false, 0);
    cr_assert_eq(rows.status, OST_OK);
    cr_assert_eq(rows.rows_count, 4u);
}

/* It fitted one range, and needed no transaction; it does not any more. */
Test(client_core_moved, a_scan_whose_range_splits_becomes_a_transaction)
{
    static struct script_outcome rows = {0};
    script_submit(operation_on_key(OPERATION_SCAN, "n", "z"), &rows);
    script_only(FRAME_SCAN, 2);
    MAP(SPLIT);
    script_refuse(0, OST_RANGE_MOVED, 0);
    script_pass_ms(20);
    static const char *const LEFT[] = {"n"}, *const RIGHT[] = {"x", "y"};
    script_answer_rows(0, LEFT, 1, false, 0);
    script_only(FRAME_SCAN, 2); /* from the start, with locks */
    script_answer_rows(0, LEFT, 1, false, 4);
    assert_names(2, "t", 2);
    script_answer_rows(0, RIGHT, 2, false, 4);
    script_only(FRAME_VALIDATE, 2);
    script_refuse(0, OST_OK, 0);
    cr_assert_eq(rows.status, OST_OK);
    cr_assert_eq(rows.rows_count, 3u);
}

Test(client_core_moved, a_scan_in_reverse_meets_a_merge_between_its_pages)
{
    MAP(SPLIT);
    map_pushed();
    static struct script_outcome rows = {0};
    struct operation *operation = operation_on_key(OPERATION_SCAN, "n", "z");
    operation->timestamp = 70;
    operation->reverse = true;
    script_submit(operation, &rows);
    static const char *const RIGHT[] = {"y", "x"}, *const LEFT[] = {"n"};
    assert_names(2, "t", 2);
    script_answer_rows(0, RIGHT, 2, false, 0);
    assert_names(2, "m", 2);
    MAP(MERGED_AGAIN);
    script_refuse(0, OST_RANGE_MOVED, 0);
    script_pass_ms(20);
    assert_names(2, "m", 3);
    script_answer_rows(0, LEFT, 1, false, 0);
    cr_assert_eq(rows.rows_count, 3u);
}

/* --- Transactions ----------------------------------------------------------------------------- */

static void submit_lock(struct core_txn *txn, const char *key, struct script_outcome *outcome)
{
    struct operation *operation = operation_on_key(OPERATION_TXN_GET, key, "");
    operation->txn = txn;
    script_submit(operation, outcome);
}

Test(client_core_moved, a_first_lock_is_taken_where_the_range_went)
{
    struct core_txn *txn = txn_new();
    static struct script_outcome locked = {0}, done = {0};
    submit_lock(txn, "x", &locked);
    script_only(FRAME_LOCK, 2);
    MAP(MOVED);
    script_refuse(0, OST_RANGE_MOVED, 0);
    script_pass_ms(20);
    script_only(FRAME_LOCK, 1);
    assert_names(1, "m", 2);
    script_answer_lock(0, "v");
    cr_assert_str_eq(locked.value, "v");
    script_txn_put(txn, "x", "1");
    script_submit_txn(OPERATION_TXN_COMMIT, txn, &done);
    script_only(FRAME_PREPARE, 1);
    script_answer_vote(0, 50);
    cr_assert_eq(done.status, OST_OK);
    txn_drop(txn);
}

Test(client_core_moved, locks_stay_where_a_range_splits)
{
    struct core_txn *txn = txn_new();
    static struct script_outcome first = {0}, second = {0}, done = {0};
    submit_lock(txn, "n", &first);
    script_answer_lock(0, "v");
    MAP(SPLIT);
    submit_lock(txn, "x", &second);
    script_refuse(0, OST_RANGE_MOVED, 0);
    script_pass_ms(20);
    script_only(FRAME_LOCK, 2);
    assert_names(2, "t", 2);
    script_answer_lock(0, "v"); /* the same entry */
    script_txn_put(txn, "x", "1");
    script_submit_txn(OPERATION_TXN_COMMIT, txn, &done);
    struct script_named named = script_names(0);
    cr_assert_eq(named.ranges_count, 2u);
    script_answer_vote(0, 50);
    cr_assert_eq(done.status, OST_OK);
    txn_drop(txn);
}

/* What it held at the old owner was dropped with the freeze: it runs again, in time. */
Test(client_core_moved, locks_do_not_go_along_with_a_move)
{
    struct core_txn *txn = txn_new();
    static struct script_outcome first = {0}, done = {0};
    submit_lock(txn, "x", &first);
    script_answer_lock(0, "v");
    script_txn_put(txn, "x", "1");
    script_submit_txn(OPERATION_TXN_COMMIT, txn, &done);
    script_only(FRAME_PREPARE, 2);
    MAP(MOVED);
    script_refuse(0, OST_RANGE_MOVED, 0);
    script_pass_ms(20);
    cr_assert(done.is_done);
    cr_assert_eq(done.status, OST_RANGE_MOVED);
    cr_assert(ost_status_is_retryable(done.status));
    txn_drop(txn);
}

Test(client_core_moved, a_write_is_prepared_where_the_range_went_with_the_same_id)
{
    static struct script_outcome done = {0};
    script_submit(operation_on_key(OPERATION_WRITE, "x", "1"), &done);
    uint64_t id = only_id(FRAME_PREPARE, 2);
    refuse_for_ms(30);
    MAP(MOVED);
    map_pushed();
    script_inbox_clear();
    script_pass_ms(1100); /* what it had sent last was not answered */
    for (unsigned tries = 0; tries < 30 && script.inbox_count == 0; tries++)
        script_pass_ms(50);
    cr_assert_eq(script.inbox[0].frame.request_id, id);
    assert_names(1, "m", 2);
}

/* One of its two groups is being left when it is asked for its vote. */
Test(client_core_moved, a_prepare_follows_its_range_and_the_commit_follows_home)
{
    struct core_txn *txn = txn_new();
    static struct script_outcome done = {0};
    static const struct script_range BEFORE[] = {
        {"", 1, 1, NULL}, {"m", 2, 1, NULL}, {"t", 2, 1, NULL}};
    MAP(BEFORE);
    map_pushed();
    script_txn_put(txn, "n", "1"); /* home */
    script_txn_put(txn, "a", "1");
    script_submit_txn(OPERATION_TXN_COMMIT, txn, &done);
    cr_assert_eq(script.inbox_count, 2u);
    size_t home_at = script.inbox[0].store == 2 ? 0 : 1;
    uint64_t id = script.inbox[home_at].frame.request_id;
    script_refuse(home_at, OST_RANGE_MOVED, 0);
    static const struct script_range SPLIT_AT_HOME[] = {
        {"", 1, 1, NULL}, {"m", 2, 2, NULL}, {"p", 2, 2, NULL}, {"t", 2, 1, NULL}};
    MAP(SPLIT_AT_HOME);
    map_pushed();
    script_answer_vote(0, 50); /* group 1 */
    cr_assert_eq(only_id(FRAME_PREPARE, 2), id);
    assert_names(2, "m", 2);
    script_answer_vote(0, 60);
    uint64_t commit_id = only_id(FRAME_COMMIT, 2);
    /* No answer: it may have been done. Then home goes to group 1, and what is decided with it. */
    script_inbox_clear();
    static const struct script_range HOME_MOVED[] = {
        {"", 1, 1, NULL}, {"m", 1, 3, NULL}, {"p", 2, 2, NULL}, {"t", 2, 1, NULL}};
    MAP(HOME_MOVED);
    map_pushed();
    for (unsigned tries = 0; tries < 60 && script.inbox_count == 0; tries++) {
        script_pass_ms(50);
        while (script.inbox_count > 0 && script.inbox[0].frame.type == FRAME_TXN_HEARTBEAT)
            blob_unref(script_take(0).blob);
    }
    cr_assert_eq(only_id(FRAME_COMMIT, 1), commit_id, "T5: the same request, at the new group");
    assert_names(1, "m", 3);
    script_refuse(0, OST_OK, 0);
    cr_assert_eq(done.status, OST_OK);
    txn_drop(txn);
}

Test(client_core_moved, a_commit_that_meets_a_seal_waits_and_is_asked_at_the_new_owner)
{
    struct core_txn *txn = txn_new();
    static struct script_outcome done = {0};
    script_txn_put(txn, "x", "1"); /* home */
    script_txn_put(txn, "a", "1");
    script_submit_txn(OPERATION_TXN_COMMIT, txn, &done);
    script_answer_vote(0, 50);
    script_answer_vote(0, 60);
    uint64_t id = only_id(FRAME_COMMIT, 2);
    unsigned count = refuse_for_ms(100);
    cr_assert_leq(count, 14u, "asked %u times", count);
    if (script.inbox_count > 0)
        script_refuse(0, OST_RANGE_MOVED, 0);
    cr_assert(!done.is_done, "C1: no answer is an abort");
    MAP(MOVED);
    map_pushed();
    cr_assert_eq(only_id(FRAME_COMMIT, 1), id);
    assert_names(1, "m", 2);
    script_refuse(0, OST_OK, 0);
    cr_assert_eq(done.status, OST_OK);
    txn_drop(txn);
}

Test(client_core_moved, two_ranges_that_merge_under_a_prepare_are_named_as_one)
{
    MAP(SPLIT);
    map_pushed();
    struct core_txn *txn = txn_new();
    static struct script_outcome done = {0};
    script_txn_put(txn, "n", "1");
    script_txn_put(txn, "x", "1");
    script_submit_txn(OPERATION_TXN_COMMIT, txn, &done);
    uint64_t id = only_id(FRAME_PREPARE, 2);
    cr_assert_eq(script_names(0).ranges_count, 2u);
    MAP(MERGED_AGAIN);
    script_refuse(0, OST_RANGE_MOVED, 0);
    script_pass_ms(20);
    cr_assert_eq(only_id(FRAME_PREPARE, 2), id);
    assert_names(2, "m", 3);
    script_answer_vote(0, 50);
    cr_assert_eq(done.status, OST_OK);
    txn_drop(txn);
}
