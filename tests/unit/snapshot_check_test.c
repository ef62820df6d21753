/* The checker of snapshots finds each anomaly that it names, and nothing in good histories. */
#include "tests/check/snapshot_check.h"

#include "base/random.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct snapshot_check *check;
static struct check_result result;

static void init(void)
{
    check = snapshot_check_new();
}

static void fini(void)
{
    snapshot_check_free(check);
}

TestSuite(snapshot_check, .init = init, .fini = fini);

static void writes(uint64_t txn, const char *key, const char *value)
{
    struct bytes bytes = value ? bytes_of_string(value) : bytes_of(NULL, 0);
    snapshot_check_write(check, txn, bytes_of_string(key), value ? &bytes : NULL);
}

/* Writes `value` to x, and to y. */
static uint64_t transaction(const char *value)
{
    uint64_t txn = snapshot_check_begin(check);
    writes(txn, "x", value);
    writes(txn, "y", value);
    return txn;
}

static void commits(const char *value, timestamp_t timestamp)
{
    snapshot_check_committed(check, transaction(value), timestamp);
}

static void reads(timestamp_t timestamp, const char *key, const char *value, timestamp_t version)
{
    struct bytes bytes = value ? bytes_of_string(value) : bytes_of(NULL, 0);
    snapshot_check_read(check, timestamp, bytes_of_string(key), value ? &bytes : NULL, version,
                        "client 1");
}

static void expect(const char *name)
{
    snapshot_check_judge(check, &result);
    cr_assert_str_eq(result.name, name, "%s", result.explanation);
    cr_assert_eq(result.verdict == CHECK_OK, name[0] == '\0');
}

Test(snapshot_check, exactly_what_is_at_or_below_is_right)
{
    commits("a", 10);
    commits("b", 20);
    commits(NULL, 30);
    reads(9, "x", NULL, 0);
    reads(10, "x", "a", 10);
    reads(19, "y", "a", 10);
    reads(20, "y", "b", 20);
    reads(30, "x", NULL, 0);
    reads(50, "never written", NULL, 0);
    expect("");
    cr_assert_eq(result.judged_count, 6);
}

Test(snapshot_check, missed_commit)
{
    commits("a", 10);
    commits("b", 20);
    reads(20, "x", "a", 10);
    expect("missed-commit");
    cr_assert_str_eq(result.explanation, "client 1 read x as of 20 and saw version 10, but "
                                         "transaction 2 had committed there at 20");
}

Test(snapshot_check, missed_commit_that_shows_nothing)
{
    commits("a", 10);
    reads(15, "x", NULL, 0);
    expect("missed-commit");
}

Test(snapshot_check, missed_delete)
{
    commits("a", 10);
    commits(NULL, 20);
    reads(25, "x", "a", 10);
    expect("missed-commit");
}

/* What came in too late for the first read is there for the second. */
Test(snapshot_check, commit_under_a_read_is_noticed_by_the_first)
{
    reads(15, "x", NULL, 0);
    reads(15, "x", "a", 12);
    commits("a", 12);
    expect("missed-commit");
    cr_assert_eq(result.violations_count, 1);
}

Test(snapshot_check, future_read)
{
    commits("a", 10);
    commits("b", 20);
    reads(19, "x", "b", 20);
    expect("future-read");
}

Test(snapshot_check, aborted_read)
{
    snapshot_check_aborted(check, transaction("a"));
    reads(30, "x", "a", 10);
    expect("aborted-read");
}

Test(snapshot_check, garbage_read)
{
    commits("a", 10);
    reads(30, "x", "z", 10);
    expect("garbage-read");
}

Test(snapshot_check, moved_commit)
{
    commits("a", 10);
    reads(30, "x", "a", 11);
    expect("moved-commit");
}

Test(snapshot_check, two_versions_at_one_timestamp)
{
    commits("a", 10);
    commits("b", 10);
    expect("two-versions");
}

Test(snapshot_check, unknown_outcome_may_be_seen_or_not)
{
    commits("a", 10);
    transaction("b");
    reads(30, "x", "a", 10);
    reads(30, "y", "a", 10);
    expect("");
    cr_assert_eq(result.unknown_count, 1);
}

Test(snapshot_check, unknown_outcome_is_the_same_everywhere)
{
    commits("a", 10);
    transaction("b");
    reads(19, "x", "a", 10);
    reads(30, "x", "b", 20);
    reads(40, "y", "b", 20);
    expect("");
}

Test(snapshot_check, half_of_an_unknown_outcome_is_a_missed_commit)
{
    commits("a", 10);
    transaction("b");
    reads(30, "x", "b", 20);
    reads(30, "y", "a", 10);
    expect("missed-commit");
}

Test(snapshot_check, unknown_outcome_commits_at_one_timestamp)
{
    transaction("b");
    reads(30, "x", "b", 20);
    reads(30, "y", "b", 21);
    expect("moved-commit");
}

/* Random good histories, and each with one read made wrong: it is found. */
Test(snapshot_check, one_wrong_read_among_many_is_found)
{
    struct random random;
    random_init(&random, 1);
    for (int round = 0; round < 300; round++) {
        snapshot_check_free(check);
        check = snapshot_check_new();
        enum { COMMITS = 20, READS = 60 };
        char values[COMMITS][8];
        timestamp_t at[COMMITS];
        for (int commit = 0; commit < COMMITS; commit++) {
            at[commit] = (commit > 0 ? at[commit - 1] : 0) + 1 + random_below(&random, 5);
            snprintf(values[commit], sizeof values[commit], "%d", commit);
            uint64_t txn = transaction(values[commit]);
            if (random_below(&random, 4) != 0)
                snapshot_check_committed(check, txn, at[commit]);
        }
        int wrong = round % 2 == 0 ? -1 : (int)random_below(&random, READS);
        /* Every commit is seen by somebody, so that those of unknown outcome have one. */
        for (int commit = 0; commit < COMMITS; commit++)
            reads(at[commit], "x", values[commit], at[commit]);
        for (int read = 0; read < READS; read++) {
            int newest = (int)random_below(&random, COMMITS - 2) + 1;
            timestamp_t timestamp = at[newest] + random_below(&random, at[newest + 1] - at[newest]);
            int shown = read != wrong ? newest : newest + (random_below(&random, 2) ? 1 : -1);
            reads(timestamp, random_below(&random, 2) ? "x" : "y", values[shown], at[shown]);
        }
        snapshot_check_judge(check, &result);
        cr_assert_eq(result.verdict == CHECK_OK, wrong < 0, "round %d: %s", round,
                     result.explanation);
    }
}

Test(snapshot_check, delete_of_unknown_outcome_explains_what_is_not_there)
{
    commits("a", 10);
    transaction(NULL);
    reads(15, "x", NULL, 0);
    reads(16, "y", "a", 10);
    expect("");
}
