#include "tests/check/atomic_check.h"

#include <criterion/criterion.h>
#include <string.h>

static void report(struct atomic_check *check, const char *id, enum atomic_check_outcome outcome,
                   timestamp_t commit_ts, const char *where)
{
    atomic_check_report(check, bytes_of_string(id), outcome, commit_ts, where);
}

Test(atomic_check, one_outcome_everywhere)
{
    struct atomic_check *check = atomic_check_new();
    report(check, "a", ATOMIC_COMMITTED, 5, "store 1");
    report(check, "a", ATOMIC_COMMITTED, 5, "store 2");
    report(check, "a", ATOMIC_COMMITTED, 0, "client 7");
    report(check, "b", ATOMIC_ABORTED, 0, "store 1");
    report(check, "b", ATOMIC_ABORTED, 0, "store 2");
    report(check, "ab", ATOMIC_COMMITTED, 6, "store 2");
    cr_assert_eq(atomic_check_result(check)->verdict, CHECK_OK);
    cr_assert_eq(atomic_check_result(check)->judged_count, 6);
    atomic_check_free(check);
}

Test(atomic_check, committed_here_and_aborted_there)
{
    struct atomic_check *check = atomic_check_new();
    report(check, "a", ATOMIC_COMMITTED, 5, "store 1");
    report(check, "a", ATOMIC_ABORTED, 0, "store 2");
    cr_assert_str_eq(atomic_check_result(check)->name, "split-outcome");
    cr_assert_str_eq(atomic_check_result(check)->explanation,
                     "transaction a is committed at store 1 and aborted at store 2");
    atomic_check_free(check);
}

Test(atomic_check, two_timestamps)
{
    struct atomic_check *check = atomic_check_new();
    report(check, "a", ATOMIC_COMMITTED, 0, "client 7");
    report(check, "a", ATOMIC_COMMITTED, 5, "store 1");
    report(check, "a", ATOMIC_COMMITTED, 6, "store 2");
    cr_assert_str_eq(atomic_check_result(check)->name, "two-timestamps");
    cr_assert(strstr(atomic_check_result(check)->explanation, "store 1"), "%s",
              atomic_check_result(check)->explanation);
    atomic_check_free(check);
}
