#include "tests/check/timestamp_check.h"

#include <criterion/criterion.h>

static struct timestamp_check *check;

static void setup(void)
{
    check = timestamp_check_new();
}

static void teardown(void)
{
    timestamp_check_free(check);
}

TestSuite(timestamp_check, .init = setup, .fini = teardown);

static void is_fine(void)
{
    cr_assert_eq(timestamp_check_result(check)->verdict, CHECK_OK, "%s",
                 timestamp_check_result(check)->explanation);
}

static void is_found(const char *name)
{
    cr_assert_eq(timestamp_check_result(check)->verdict, CHECK_VIOLATION);
    cr_assert_str_eq(timestamp_check_result(check)->name, name);
}

static void answer(uint64_t asker, uint64_t request, timestamp_t first, uint32_t count)
{
    timestamp_check_handed_out(check, first, count, 1);
    timestamp_check_answered(check, asker, request, first, count);
}

Test(timestamp_check, ever_higher_answers_are_fine)
{
    for (uint64_t request = 1; request < 200; request++) {
        timestamp_check_asked(check, request % 3, request);
        answer(request % 3, request, request * 10, 5);
    }
    is_fine();
    cr_assert_gt(timestamp_check_result(check)->judged_count, 100);
}

/* Nobody had the first answer when the second one was asked for. */
Test(timestamp_check, what_was_asked_side_by_side_may_come_in_any_order)
{
    timestamp_check_asked(check, 1, 1);
    timestamp_check_asked(check, 2, 1);
    answer(1, 1, 20, 1);
    answer(2, 1, 10, 1);
    is_fine();
}

Test(timestamp_check, an_answer_below_one_that_had_come_before_it_was_asked_for)
{
    timestamp_check_asked(check, 1, 1);
    answer(1, 1, 20, 1);
    timestamp_check_asked(check, 2, 1);
    answer(2, 1, 19, 1);
    is_found("timestamp-goes-back");
}

Test(timestamp_check, the_last_of_a_row_counts)
{
    timestamp_check_asked(check, 1, 1);
    answer(1, 1, 20, 5);
    timestamp_check_asked(check, 2, 1);
    timestamp_check_answered(check, 2, 1, 24, 1);
    is_found("timestamp-goes-back");
}

Test(timestamp_check, hearsay_counts)
{
    timestamp_check_heard(check, 30);
    timestamp_check_asked(check, 1, 1);
    answer(1, 1, 30, 1);
    is_found("timestamp-goes-back");
}

/* The answer may be to its first try. */
Test(timestamp_check, a_question_that_is_sent_again_is_as_old_as_its_first_try)
{
    timestamp_check_asked(check, 1, 1);
    timestamp_check_heard(check, 30);
    timestamp_check_asked(check, 1, 1);
    answer(1, 1, 20, 1);
    is_fine();
}

Test(timestamp_check, a_second_answer_is_nobodys)
{
    timestamp_check_asked(check, 1, 1);
    answer(1, 1, 20, 1);
    timestamp_check_heard(check, 30);
    timestamp_check_answered(check, 1, 1, 20, 1);
    timestamp_check_answered(check, 9, 9, 1, 1);
    is_fine();
}

Test(timestamp_check, the_same_timestamp_of_two_oracles)
{
    timestamp_check_handed_out(check, 10, 1, 1);
    timestamp_check_handed_out(check, 11, 1, 2);
    is_fine();
    timestamp_check_handed_out(check, 10, 1, 2);
    is_found("timestamp-twice");
}

Test(timestamp_check, rows_that_overlap)
{
    timestamp_check_handed_out(check, 10, 10, 1);
    timestamp_check_handed_out(check, 30, 10, 1);
    timestamp_check_handed_out(check, 20, 10, 2); /* fits between */
    is_fine();
    timestamp_check_handed_out(check, 9, 2, 2);
    is_found("timestamp-twice");
}

Test(timestamp_check, a_row_inside_another)
{
    timestamp_check_handed_out(check, 10, 10, 1);
    timestamp_check_handed_out(check, 15, 1, 2);
    is_found("timestamp-twice");
}
