/* The simulator's own checkers: what they must flag, and what they must let pass. */
#include "proto/write_set.h"
#include "shardkv/kv_group.h"
#include "shardkv/kv_keys.h"
#include "tests/sim/lock_check.h"
#include "tests/sim/rows_check.h"
#include "tests/sim/safe_point_check.h"

#include <criterion/criterion.h>
#include <string.h>

static const struct txn_id one = {1, 1}, two = {2, 1};

static void held(struct lock_check *check, struct txn_id owner, const char *start, const char *end,
                 enum lock_mode mode)
{
    struct lock_target target = {.start = bytes_of_string(start), .is_interval = end != NULL};
    if (end)
        target.end = bytes_of_string(end);
    lock_check_held(check, owner, &target, mode);
}

static enum check_verdict locks_end(struct lock_check *check)
{
    lock_check_end(check);
    enum check_verdict verdict = lock_check_result(check)->verdict;
    lock_check_free(check);
    return verdict;
}

static struct lock_check *locks_begin(void)
{
    struct lock_check *check = lock_check_new();
    lock_check_begin(check, "here");
    return check;
}

Test(sim_lock_check, two_exclusive_holders_of_a_key_are_flagged)
{
    struct lock_check *check = locks_begin();
    held(check, one, "k", NULL, LOCK_EXCLUSIVE);
    held(check, two, "k", NULL, LOCK_EXCLUSIVE);
    cr_assert_eq(locks_end(check), CHECK_VIOLATION);
}

Test(sim_lock_check, a_shared_interval_over_an_exclusive_key_is_flagged)
{
    struct lock_check *check = locks_begin();
    held(check, two, "m", NULL, LOCK_EXCLUSIVE);
    held(check, one, "a", "b", LOCK_SHARED);
    held(check, one, "c", "", LOCK_SHARED);
    cr_assert_eq(locks_end(check), CHECK_VIOLATION);
}

Test(sim_lock_check, locks_that_may_stand_side_by_side_pass)
{
    struct lock_check *check = locks_begin();
    held(check, one, "k", NULL, LOCK_SHARED);
    held(check, two, "k", NULL, LOCK_SHARED);
    held(check, one, "m", NULL, LOCK_EXCLUSIVE);
    held(check, one, "l", "n", LOCK_SHARED);
    held(check, two, "n", NULL, LOCK_EXCLUSIVE); /* the end is not in the interval */
    held(check, two, "o", "p", LOCK_EXCLUSIVE);
    cr_assert_eq(locks_end(check), CHECK_OK);
}

Test(sim_lock_check, another_moment_forgets_the_one_before)
{
    struct lock_check *check = locks_begin();
    held(check, one, "k", NULL, LOCK_EXCLUSIVE);
    lock_check_end(check);
    lock_check_begin(check, "later");
    held(check, two, "k", NULL, LOCK_EXCLUSIVE);
    cr_assert_eq(locks_end(check), CHECK_OK);
}

/* --- Rows
 * -------------------------------------------------------------------------------------------- */

static struct store *replica_new(uint32_t generation, const char *value)
{
    struct store *store = store_new_memory();
    struct store_batch *batch = store_batch_new(store);
    struct buffer key, row;
    buffer_init(&key);
    buffer_init(&row);
    struct kv_meta meta = {.generation = generation, .group_epoch = 1};
    meta.configuration = blob_new(0);
    kv_key_group_meta(&key, 7);
    kv_meta_pack(&meta, 1, &row);
    store_batch_put(batch, buffer_bytes(&key), buffer_bytes(&row));
    kv_key_data(&key, 7, generation, bytes_of_string("k"), 5);
    store_batch_put(batch, buffer_bytes(&key), bytes_of_string(value));
    kv_key_data(&key, 7, generation + 1, bytes_of_string("left over"), 5);
    store_batch_put(batch, buffer_bytes(&key), bytes_of_string("of a restore"));
    cr_assert_eq(store_write(store, batch), OST_OK);
    store_batch_free(batch);
    kv_meta_fini(&meta);
    buffer_fini(&key);
    buffer_fini(&row);
    return store;
}

/* The whole key space. */
static const struct range_fact everything = {.epoch = 1,
                                             .state = OSTRAKA__RANGE_STATE__RANGE_OWNED};
static const struct range_facts owned = {&everything, 1};

static enum check_verdict rows_of(const char *a, const char *b, raft_index_t index_of_b)
{
    struct rows_check *check = rows_check_new();
    struct store *first = replica_new(1, a), *second = replica_new(3, b);
    rows_check_replica(check, first, 1, 7, 10, 0, owned);
    rows_check_replica(check, second, 2, 7, index_of_b, 0, owned);
    enum check_verdict verdict = rows_check_result(check)->verdict;
    cr_assert_gt(rows_check_result(check)->judged_count, 0, "or it has looked at nothing");
    rows_check_free(check);
    store_close(first);
    store_close(second);
    return verdict;
}

Test(sim_rows_check, replicas_that_differ_at_one_index_are_flagged)
{
    cr_assert_eq(rows_of("x", "y", 10), CHECK_VIOLATION);
}

Test(sim_rows_check, replicas_at_different_indexes_may_differ)
{
    cr_assert_eq(rows_of("x", "y", 11), CHECK_OK);
}

Test(sim_rows_check, generations_and_leftovers_make_no_difference)
{
    cr_assert_eq(rows_of("x", "x", 10), CHECK_OK);
}

/* Of replicas that differ in a key "k" of this one range: the first anomaly; "" for none. */
static const char *rows_in(const char *start, const char *end, Ostraka__RangeState state)
{
    static char name[CHECK_NAME_BYTES];
    struct range_fact fact = {
        .start = bytes_of_string(start), .end = bytes_of_string(end), .state = state};
    struct rows_check *check = rows_check_new();
    struct store *first = replica_new(1, "x"), *second = replica_new(3, "y");
    rows_check_replica(check, first, 1, 7, 10, 0, (struct range_facts){&fact, 1});
    rows_check_replica(check, second, 2, 7, 10, 0, (struct range_facts){&fact, 1});
    strcpy(name, rows_check_result(check)->name);
    rows_check_free(check);
    store_close(first);
    store_close(second);
    return name;
}

Test(sim_rows_check, rows_of_no_range_are_flagged)
{
    cr_assert_str_eq(rows_in("k", "k0", OSTRAKA__RANGE_STATE__RANGE_OWNED), "rows-differ");
    cr_assert_str_eq(rows_in("a", "k", OSTRAKA__RANGE_STATE__RANGE_OWNED), "rows-left");
    cr_assert_str_eq(rows_in("k0", "", OSTRAKA__RANGE_STATE__RANGE_OWNED), "rows-left");
}

Test(sim_rows_check, rows_of_a_range_that_is_not_owned_are_not_compared)
{
    cr_assert_str_eq(rows_in("", "", OSTRAKA__RANGE_STATE__RANGE_COPYING), "");
    cr_assert_str_eq(rows_in("", "k", OSTRAKA__RANGE_STATE__RANGE_SEALED), "rows-left");
}

static enum check_verdict outcomes_of(timestamp_t time_of_abort)
{
    struct rows_check *check = rows_check_new();
    struct atomic_check *outcomes = atomic_check_new();
    struct bytes txn = bytes_of_string("0123456789abcdef");
    timestamp_t committed = timestamp_from_ms(1000);
    rows_check_outcome(check, txn, ATOMIC_COMMITTED, committed, 0, "client");
    rows_check_outcome(check, txn, ATOMIC_ABORTED, 0, time_of_abort, "store");
    rows_check_report(check, outcomes);
    enum check_verdict verdict = atomic_check_result(outcomes)->verdict;
    atomic_check_free(outcomes);
    rows_check_free(check);
    return verdict;
}

Test(sim_rows_check, two_outcomes_of_one_transaction_are_flagged)
{
    cr_assert_eq(outcomes_of(timestamp_from_ms(2000)), CHECK_VIOLATION);
    cr_assert_eq(outcomes_of(0), CHECK_VIOLATION, "who knows no time is believed");
}

Test(sim_rows_check, an_abort_after_the_outcome_was_forgotten_says_nothing)
{
    cr_assert_eq(outcomes_of(timestamp_from_ms(1000 + 120001)), CHECK_OK);
}

/* --- Old versions ----------------------------------------------------------------------------- */

/* A replica with these versions of one key, newest last; a negative one is a marker. */
static struct store *replica_with(const int *versions, size_t count)
{
    struct store *store = replica_new(1, "the same");
    struct store_batch *batch = store_batch_new(store);
    struct buffer key = BUFFER_INIT;
    for (size_t index = 0; index < count; index++) {
        bool is_marker = versions[index] < 0;
        timestamp_t timestamp = (timestamp_t)(is_marker ? -versions[index] : versions[index]);
        uint8_t value[] = {is_marker ? WRITE_DELETE : WRITE_PUT};
        kv_key_data(&key, 7, 1, bytes_of_string("of many versions"), timestamp);
        store_batch_put(batch, buffer_bytes(&key), bytes_of(value, 1));
    }
    cr_assert_eq(store_write(store, batch), OST_OK);
    store_batch_free(batch);
    buffer_fini(&key);
    return store;
}

static bool are_equal(const int *a, size_t a_count, const int *b, size_t b_count,
                      timestamp_t safe_point)
{
    struct rows_check *check = rows_check_new();
    struct store *first = replica_with(a, a_count), *second = replica_with(b, b_count);
    rows_check_replica(check, first, 1, 7, 10, safe_point, owned);
    rows_check_replica(check, second, 2, 7, 10, safe_point, owned);
    bool is_equal = rows_check_result(check)->verdict == CHECK_OK;
    rows_check_free(check);
    store_close(first);
    store_close(second);
    return is_equal;
}
#define EQUAL(safe_point, first, second)                                                           \
    are_equal((const int[])first, sizeof((const int[])first) / sizeof(int), (const int[])second,   \
              sizeof((const int[])second) / sizeof(int), safe_point)
#define _(...)                                                                                     \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

Test(sim_rows_check, what_nobody_may_read_makes_no_difference)
{
    cr_expect(EQUAL(20, _(10, 15, 25), _(15, 25)));
    cr_expect(EQUAL(20, _(10, -15, 25), _(25)), "swept");
    cr_expect(EQUAL(20, _(10, -15, 18, 25), _(18, 25)));
    cr_expect_not(EQUAL(20, _(10, 15, 25), _(10, 25)), "the newest at the safe point is gone");
    cr_expect_not(EQUAL(20, _(10, -15, 25), _(10, 25)), "a marker without what it hid");
    cr_expect_not(EQUAL(20, _(10, 15, 25), _(10, 15)));
    cr_expect_not(EQUAL(20, _(15, 21, 25), _(15, 25)), "a reader at 21 is missing it");
    cr_expect_not(EQUAL(20, _(15, -21), _(15)), "a marker above the safe point");
}

Test(sim_safe_point_check, what_is_flagged)
{
    struct safe_point_check check;
    safe_point_check_init(&check);
    safe_point_check_replica(&check, 1, 0, 10, 100);
    safe_point_check_replica(&check, 2, 0, 8, 90);
    safe_point_check_replica(&check, 1, 3, 50, 90);
    safe_point_check_replica(&check, 2, 3, 40, 0);
    safe_point_check_replica(&check, 2, 3, 51, 90);
    safe_point_check_hold(&check, 100);
    cr_assert_eq(check.result.verdict, CHECK_OK);
    struct safe_point_check before = check;
    safe_point_check_hold(&check, 99);
    cr_assert_eq(check.result.verdict, CHECK_VIOLATION);
    cr_assert_str_eq(check.result.name, "hold-passed");
    check = before;
    safe_point_check_replica(&check, 2, 3, 52, 89);
    cr_assert_str_eq(check.result.name, "safe-point-back");
    check = before;
    safe_point_check_replica(&check, 2, 0, 11, 99);
    cr_assert_str_eq(check.result.name, "safe-point-back");
    check = before;
    safe_point_check_replica(&check, 2, 3, 52, 101);
    cr_assert_str_eq(check.result.name, "safe-point-ahead");
}
