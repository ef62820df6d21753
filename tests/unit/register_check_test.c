/* register_check_test.c: small histories of single keys. */
#include "tests/check/register_check.h"
#include "tests/support/history_story.h"

#include <criterion/criterion.h>
#include <string.h>

static struct check_result judge_with(const char *story, uint64_t steps_max)
{
    struct history *history = history_story(story);
    struct register_check_options options = {.steps_max = steps_max};
    struct check_result result;
    register_check(history, &options, &result);
    history_free(history);
    return result;
}

static void demand(const char *story, const char *name)
{
    struct check_result result = judge_with(story, 0);
    cr_assert_eq(result.verdict, CHECK_VIOLATION);
    cr_assert_str_eq(result.name, name, "%s", result.explanation);
}

static void demand_ok(const char *story)
{
    struct check_result result = judge_with(story, 0);
    cr_assert_eq(result.verdict, CHECK_OK, "%s: %s", result.name, result.explanation);
}

Test(register_check, a_write_under_way_may_be_seen_or_not)
{
    demand_ok("0 invoke txn [['w',1,1]]\n"
              "1 invoke txn [['r',1,null]]\n"
              "2 invoke txn [['r',1,null]]\n"
              "1 ok txn [['r',1,1]]\n"
              "2 ok txn [['r',1,null]]\n"
              "0 ok txn [['w',1,1]]");
}

Test(register_check, once_seen_a_write_stays_seen)
{
    demand("0 invoke txn [['w',1,1]]\n"
           "1 invoke txn [['r',1,null]]\n"
           "1 ok txn [['r',1,1]]\n"
           "2 invoke txn [['r',1,null]]\n"
           "2 ok txn [['r',1,null]]\n"
           "0 ok txn [['w',1,1]]",
           "nonlinearizable");
}

Test(register_check, a_stale_read_is_told_with_what_overlaps_it)
{
    const char *story = "0 invoke txn [['w',1,1]]\n"
                        "0 ok txn [['w',1,1]]\n"
                        "0 invoke txn [['w',1,2]]\n"
                        "0 ok txn [['w',1,2]]\n"
                        "1 invoke txn [['r',1,null]]\n"
                        "2 invoke txn [['w',1,3]]\n"
                        "1 ok txn [['r',1,1]]\n"
                        "2 ok txn [['w',1,3]]";
    demand(story, "nonlinearizable");
    struct check_result result = judge_with(story, 0);
    cr_assert(strstr(result.explanation, "key 1:"), "%s", result.explanation);
    cr_assert(strstr(result.explanation, "process 1 ok txn [[\"r\",1,1]]"), "%s",
              result.explanation);
}

Test(register_check, keys_are_judged_apart)
{
    demand_ok("0 invoke txn [['w',1,1],['w',2,1]]\n"
              "1 invoke txn [['r',1,null],['r',2,null]]\n"
              "1 ok txn [['r',1,1],['r',2,null]]\n"
              "0 ok txn [['w',1,1],['w',2,1]]");
}

Test(register_check, an_unknown_write_may_take_effect_late)
{
    demand_ok("0 invoke txn [['w',1,1]]\n"
              "0 info txn null\n"
              "1 invoke txn [['w',1,2]]\n"
              "1 ok txn [['w',1,2]]\n"
              "1 invoke txn [['r',1,null]]\n"
              "1 ok txn [['r',1,2]]\n"
              "1 invoke txn [['r',1,null]]\n"
              "1 ok txn [['r',1,1]]");
}

Test(register_check, an_unknown_write_takes_effect_once)
{
    demand("0 invoke txn [['w',1,1]]\n"
           "0 info txn null\n"
           "1 invoke txn [['r',1,null]]\n"
           "1 ok txn [['r',1,1]]\n"
           "1 invoke txn [['w',1,2]]\n"
           "1 ok txn [['w',1,2]]\n"
           "1 invoke txn [['r',1,null]]\n"
           "1 ok txn [['r',1,1]]",
           "nonlinearizable");
}

Test(register_check, not_before_it_was_invoked)
{
    demand("1 invoke txn [['r',1,null]]\n"
           "1 ok txn [['r',1,1]]\n"
           "0 invoke txn [['w',1,1]]\n"
           "0 info txn null",
           "nonlinearizable");
}

Test(register_check, a_chain_of_unknown_operations)
{
    /* 1 -> 2 -> 3 by two compare-and-sets that never answered. */
    demand_ok("0 invoke txn [['cas',1,[2,3]]]\n"
              "1 invoke txn [['w',1,1]]\n"
              "1 ok txn [['w',1,1]]\n"
              "2 invoke txn [['cas',1,[1,2]]]\n"
              "2 info txn null\n"
              "1 invoke txn [['r',1,null]]\n"
              "1 ok txn [['r',1,1]]\n"
              "1 invoke txn [['r',1,null]]\n"
              "1 ok txn [['r',1,3]]");
}

Test(register_check, compare_and_set)
{
    demand_ok("0 invoke txn [['w',1,1]]\n"
              "1 invoke txn [['cas',1,[1,2]]]\n"
              "2 invoke txn [['cas',1,[2,3]]]\n"
              "2 ok txn [['cas',1,[2,3]]]\n"
              "1 ok txn [['cas',1,[1,2]]]\n"
              "0 ok txn [['w',1,1]]");
    demand("0 invoke txn [['w',1,1]]\n"
           "0 ok txn [['w',1,1]]\n"
           "1 invoke txn [['cas',1,[1,2]]]\n"
           "2 invoke txn [['cas',1,[1,3]]]\n"
           "1 ok txn [['cas',1,[1,2]]]\n"
           "2 ok txn [['cas',1,[1,3]]]",
           "nonlinearizable");
}

Test(register_check, deleted_key_is_absent_until_it_is_written_again)
{
    const char *story = "0 invoke txn [['w',1,1]]\n"
                        "0 ok txn [['w',1,1]]\n"
                        "0 invoke txn [['w',1,null]]\n"
                        "0 ok txn [['w',1,null]]\n"
                        "0 invoke txn [['r',1,null]]\n"
                        "0 ok txn [['r',1,%s]]\n"
                        "0 invoke txn [['cas',1,[null,2]]]\n"
                        "0 ok txn [['cas',1,[null,2]]]\n"
                        "0 invoke txn [['r',1,null]]\n"
                        "0 ok txn [['r',1,%s]]";
    char text[1024];
    snprintf(text, sizeof text, story, "null", "2");
    demand_ok(text);
    snprintf(text, sizeof text, story, "1", "2");
    demand(text, "nonlinearizable");
    snprintf(text, sizeof text, story, "null", "null");
    demand(text, "nonlinearizable");
}

Test(register_check, read_then_write_in_one)
{
    demand("0 invoke txn [['r',1,null],['w',1,1]]\n"
           "1 invoke txn [['r',1,null],['w',1,2]]\n"
           "0 ok txn [['r',1,null],['w',1,1]]\n"
           "1 ok txn [['r',1,null],['w',1,2]]",
           "nonlinearizable");
}

Test(register_check, reads_of_what_was_never_there)
{
    demand("0 invoke txn [['r',1,null]]\n"
           "0 ok txn [['r',1,7]]",
           "garbage-read");
    demand("0 invoke txn [['w',1,7]]\n"
           "0 fail txn null\n"
           "0 invoke txn [['r',1,null]]\n"
           "0 ok txn [['r',1,7]]",
           "aborted-read");
}

Test(register_check, what_is_given_up_is_not_passed)
{
    struct check_result result = judge_with("0 invoke txn [['w',1,1]]\n"
                                            "0 ok txn [['w',1,1]]\n"
                                            "0 invoke txn [['cas',1,[1,2]]]\n"
                                            "0 ok txn [['cas',1,[1,2]]]",
                                            1);
    cr_assert_eq(result.verdict, CHECK_UNDECIDED);
    cr_assert_str_eq(result.name, "step-limit");
    cr_assert_eq(result.undecided_count, 1);
}
