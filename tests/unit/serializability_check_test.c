/* serializability_check_test.c: small histories, one for each anomaly. */
#include "tests/check/serializability_check.h"
#include "tests/support/history_story.h"

#include <criterion/criterion.h>
#include <string.h>

static struct check_result judge_with(const char *story, bool ignore_realtime)
{
    struct history *history = history_story(story);
    struct serializability_check_options options = {.ignore_realtime = ignore_realtime,
                                                    .ignore_process = ignore_realtime};
    struct check_result result;
    serializability_check(history, &options, &result);
    history_free(history);
    return result;
}

static struct check_result judge(const char *story)
{
    return judge_with(story, false);
}

static void demand(const char *story, const char *name)
{
    struct check_result result = judge(story);
    cr_assert_eq(result.verdict, CHECK_VIOLATION);
    cr_assert_str_eq(result.name, name, "found %s: %s", result.names, result.explanation);
}

static void demand_also(const char *story, const char *name)
{
    struct check_result result = judge(story);
    cr_assert_eq(result.verdict, CHECK_VIOLATION);
    cr_assert(check_result_has(&result, name), "found only %s: %s", result.names,
              result.explanation);
}

static void demand_ok(const char *story)
{
    struct check_result result = judge(story);
    cr_assert_eq(result.verdict, CHECK_OK, "found %s: %s", result.names, result.explanation);
}

Test(serializability_check, a_serial_history_passes)
{
    demand_ok("0 invoke txn [['append',1,1],['r',1,null]]\n"
              "0 ok txn [['append',1,1],['r',1,[1]]]\n"
              "1 invoke txn [['r',1,null],['append',1,2]]\n"
              "1 ok txn [['r',1,[1]],['append',1,2]]\n"
              "0 invoke txn [['r',1,null],['r',2,null]]\n"
              "0 ok txn [['r',1,[1,2]],['r',2,null]]");
}

Test(serializability_check, overlapping_operations_may_go_either_way)
{
    demand_ok("0 invoke txn [['append',1,1]]\n"
              "1 invoke txn [['r',1,null]]\n"
              "2 invoke txn [['r',1,null]]\n"
              "1 ok txn [['r',1,[1]]]\n"
              "2 ok txn [['r',1,[]]]\n"
              "0 ok txn [['append',1,1]]");
}

Test(serializability_check, an_unknown_append_may_have_happened_late_or_never)
{
    demand_ok("0 invoke txn [['append',1,1]]\n"
              "0 info txn null\n"
              "2 invoke txn [['append',1,2]]\n"
              "1 invoke txn [['r',1,null]]\n"
              "1 ok txn [['r',1,[]]]\n"
              "1 invoke txn [['r',1,null]]\n"
              "1 ok txn [['r',1,[1]]]\n"
              "1 invoke txn [['r',1,null]]\n"
              "1 ok txn [['r',1,[1]]]");
}

Test(serializability_check, half_of_an_unknown_transaction_is_seen)
{
    demand("0 invoke txn [['append',1,1],['append',2,1]]\n"
           "0 info txn null\n"
           "1 invoke txn [['r',1,null],['r',2,null]]\n"
           "1 ok txn [['r',1,[1]],['r',2,[]]]",
           "G-single");
}

Test(serializability_check, g0_writes_in_both_orders)
{
    demand("0 invoke txn [['append',1,1],['append',2,1]]\n"
           "1 invoke txn [['append',1,2],['append',2,2]]\n"
           "0 ok txn [['append',1,1],['append',2,1]]\n"
           "1 ok txn [['append',1,2],['append',2,2]]\n"
           "2 invoke txn [['r',1,null],['r',2,null]]\n"
           "2 ok txn [['r',1,[1,2]],['r',2,[2,1]]]",
           "G0");
}

Test(serializability_check, g1c_each_reads_from_the_other)
{
    demand("0 invoke txn [['append',1,1],['r',2,null]]\n"
           "1 invoke txn [['append',2,1],['r',1,null]]\n"
           "0 ok txn [['append',1,1],['r',2,[1]]]\n"
           "1 ok txn [['append',2,1],['r',1,[1]]]",
           "G1c");
}

Test(serializability_check, g_single_read_skew)
{
    demand("0 invoke txn [['r',1,null],['r',2,null]]\n"
           "1 invoke txn [['append',1,1],['append',2,1]]\n"
           "1 ok txn [['append',1,1],['append',2,1]]\n"
           "0 ok txn [['r',1,[]],['r',2,[1]]]\n"
           "2 invoke txn [['r',1,null]]\n"
           "2 ok txn [['r',1,[1]]]",
           "G-single");
}

Test(serializability_check, g2_write_skew)
{
    const char *story = "0 invoke txn [['r',1,null],['append',2,1]]\n"
                        "1 invoke txn [['r',2,null],['append',1,1]]\n"
                        "0 ok txn [['r',1,[]],['append',2,1]]\n"
                        "1 ok txn [['r',2,[]],['append',1,1]]\n"
                        "2 invoke txn [['r',1,null],['r',2,null]]\n"
                        "2 ok txn [['r',1,[1]],['r',2,[1]]]";
    demand(story, "G2-item");
    struct check_result result = judge(story);
    cr_assert(strstr(result.explanation, "T1 read key 1 as empty, without 1, which T2 appended"),
              "%s", result.explanation);
    cr_assert(strstr(result.explanation, "T1 = process 0 ok txn [[\"r\",1,[]],[\"append\",2,1]]"),
              "%s", result.explanation);
}

Test(serializability_check, write_skew_of_appends_that_no_read_shows)
{
    demand("0 invoke txn [['r',1,null],['append',2,1]]\n"
           "1 invoke txn [['r',2,null],['append',1,1]]\n"
           "0 ok txn [['r',1,[]],['append',2,1]]\n"
           "1 ok txn [['r',2,[]],['append',1,1]]",
           "G2-item");
}

Test(serializability_check, one_that_read_all_and_appended_is_not_before_itself)
{
    demand_ok("0 invoke txn [['r',1,null],['append',1,1]]\n"
              "0 ok txn [['r',1,[]],['append',1,1]]\n"
              "1 invoke txn [['append',1,2]]\n"
              "1 ok txn [['append',1,2]]");
}

Test(serializability_check, lost_update)
{
    const char *story = "0 invoke txn [['r',1,null],['append',1,1]]\n"
                        "1 invoke txn [['r',1,null],['append',1,2]]\n"
                        "0 ok txn [['r',1,[]],['append',1,1]]\n"
                        "1 ok txn [['r',1,[]],['append',1,2]]\n"
                        "2 invoke txn [['r',1,null]]\n"
                        "2 ok txn [['r',1,[1,2]]]";
    demand(story, "lost-update");
    demand_also(story, "G-single");
}

Test(serializability_check, an_acknowledged_append_is_gone)
{
    const char *story = "0 invoke txn [['append',1,1]]\n"
                        "0 ok txn [['append',1,1]]\n"
                        "1 invoke txn [['r',1,null]]\n"
                        "1 ok txn [['r',1,[]]]";
    demand(story, "G-single-realtime");
    cr_assert_eq(judge_with(story, true).verdict, CHECK_OK,
                 "it is serializable: the read may be first");
}

Test(serializability_check, a_stale_read)
{
    demand("0 invoke txn [['append',1,1]]\n"
           "0 ok txn [['append',1,1]]\n"
           "1 invoke txn [['append',1,2]]\n"
           "1 ok txn [['append',1,2]]\n"
           "2 invoke txn [['r',1,null]]\n"
           "2 ok txn [['r',1,[1]]]\n"
           "3 invoke txn [['r',1,null]]\n"
           "3 ok txn [['r',1,[1,2]]]",
           "G-single-realtime");
}

Test(serializability_check, a_client_does_not_see_its_own_append)
{
    demand("0 invoke txn [['append',1,1]]\n"
           "0 ok txn [['append',1,1]]\n"
           "0 invoke txn [['r',1,null]]\n"
           "0 ok txn [['r',1,[]]]\n",
           "G-single-process");
}

Test(serializability_check, real_time_goes_through_a_third)
{
    /* T1 ended before T2 began, T2 before T3 did: T3 does not show what T1 appended. */
    demand("0 invoke txn [['append',1,1]]\n"
           "0 ok txn [['append',1,1]]\n"
           "1 invoke txn [['append',2,1]]\n"
           "1 ok txn [['append',2,1]]\n"
           "2 invoke txn [['append',2,2]]\n"
           "2 ok txn [['append',2,2]]\n"
           "3 invoke txn [['r',1,null]]\n"
           "3 ok txn [['r',1,[]]]",
           "G-single-realtime");
}

Test(serializability_check, writes_against_real_time)
{
    demand("0 invoke txn [['append',1,1]]\n"
           "0 ok txn [['append',1,1]]\n"
           "1 invoke txn [['append',1,2]]\n"
           "1 ok txn [['append',1,2]]\n"
           "2 invoke txn [['r',1,null]]\n"
           "2 ok txn [['r',1,[2,1]]]",
           "G0-realtime");
}

Test(serializability_check, a_read_from_the_future)
{
    demand("0 invoke txn [['r',1,null]]\n"
           "0 ok txn [['r',1,[1]]]\n"
           "1 invoke txn [['append',1,1]]\n"
           "1 ok txn [['append',1,1]]",
           "G1c-realtime");
}

Test(serializability_check, g1a_a_failed_append_is_seen)
{
    demand("0 invoke txn [['append',1,1]]\n"
           "0 fail txn null\n"
           "1 invoke txn [['r',1,null]]\n"
           "1 ok txn [['r',1,[1]]]",
           "G1a");
}

Test(serializability_check, a_dirty_update)
{
    demand_also("0 invoke txn [['append',1,1]]\n"
                "0 fail txn null\n"
                "1 invoke txn [['append',1,2]]\n"
                "1 ok txn [['append',1,2]]\n"
                "1 invoke txn [['r',1,null]]\n"
                "1 ok txn [['r',1,[1,2]]]",
                "dirty-update");
}

Test(serializability_check, g1b_an_intermediate_append_is_seen)
{
    demand("0 invoke txn [['append',1,1],['append',1,2]]\n"
           "1 invoke txn [['r',1,null]]\n"
           "1 ok txn [['r',1,[1]]]\n"
           "0 ok txn [['append',1,1],['append',1,2]]",
           "G1b");
}

Test(serializability_check, a_value_that_nobody_appended)
{
    demand("0 invoke txn [['r',1,null]]\n"
           "0 ok txn [['r',1,[7]]]",
           "garbage-read");
}

Test(serializability_check, an_append_is_applied_twice)
{
    demand("0 invoke txn [['append',1,1]]\n"
           "0 ok txn [['append',1,1]]\n"
           "1 invoke txn [['r',1,null]]\n"
           "1 ok txn [['r',1,[1,1]]]",
           "duplicate-elements");
}

Test(serializability_check, reads_disagree_on_the_order)
{
    demand("0 invoke txn [['append',1,1]]\n"
           "1 invoke txn [['append',1,2]]\n"
           "2 invoke txn [['r',1,null]]\n"
           "3 invoke txn [['r',1,null]]\n"
           "2 ok txn [['r',1,[1]]]\n"
           "3 ok txn [['r',1,[2,1]]]\n"
           "0 ok txn [['append',1,1]]\n"
           "1 ok txn [['append',1,2]]",
           "incompatible-order");
}

Test(serializability_check, a_transaction_contradicts_itself)
{
    demand("0 invoke txn [['append',1,1],['r',1,null]]\n"
           "0 ok txn [['append',1,1],['r',1,[]]]",
           "internal");
    demand_also("0 invoke txn [['append',1,1]]\n"
                "1 invoke txn [['r',1,null],['r',1,null]]\n"
                "1 ok txn [['r',1,[]],['r',1,[1]]]\n"
                "0 ok txn [['append',1,1]]",
                "internal");
}

Test(serializability_check, the_workload_appends_a_value_twice)
{
    struct check_result result = judge("0 invoke txn [['append',1,1]]\n"
                                       "0 ok txn [['append',1,1]]\n"
                                       "1 invoke txn [['append',1,1]]\n"
                                       "1 ok txn [['append',1,1]]");
    cr_assert_eq(result.verdict, CHECK_UNDECIDED);
    cr_assert_str_eq(result.name, "ambiguous");
}
