/* bank_check_test.c: small histories of a bank. */
#include "tests/check/bank_check.h"
#include "tests/support/history_story.h"

#include <criterion/criterion.h>

static struct check_result judge(const char *story, const struct bank_check_options *options)
{
    struct history *history = history_story(story);
    struct check_result result;
    bank_check(history, options, &result);
    history_free(history);
    return result;
}

static void demand(const char *story, const char *name)
{
    struct check_result result = judge(story, NULL);
    cr_assert_eq(result.verdict, CHECK_VIOLATION);
    cr_assert_str_eq(result.name, name, "%s", result.explanation);
}

static void demand_ok(const char *story)
{
    struct check_result result = judge(story, NULL);
    cr_assert_eq(result.verdict, CHECK_OK, "%s: %s", result.name, result.explanation);
}

#define START "9 invoke read null\n9 ok read {'1':10,'2':10}\n"
#define MOVE  "{'from':1,'to':2,'amount':3}\n"

Test(bank_check, a_transfer_under_way_may_be_seen_or_not)
{
    demand_ok(START "0 invoke transfer " MOVE "1 invoke read null\n1 ok read {'1':7,'2':13}\n"
                    "0 ok transfer " MOVE "1 invoke read null\n1 ok read {'1':7,'2':13}");
    demand_ok(START "0 invoke transfer " MOVE "1 invoke read null\n1 ok read {'1':10,'2':10}\n"
                    "0 ok transfer " MOVE "1 invoke read null\n1 ok read {'1':7,'2':13}");
}

Test(bank_check, an_unknown_transfer_may_be_applied_late_or_never)
{
    demand_ok(START "0 invoke transfer " MOVE "0 info transfer null\n"
                    "1 invoke read null\n1 ok read {'1':10,'2':10}\n"
                    "1 invoke read null\n1 ok read {'1':7,'2':13}");
}

Test(bank_check, a_torn_read)
{
    demand(START "0 invoke transfer " MOVE "1 invoke read null\n1 ok read {'1':7,'2':10}",
           "wrong-total");
}

Test(bank_check, a_transfer_is_lost)
{
    demand(START "0 invoke transfer " MOVE "0 ok transfer " MOVE
                 "1 invoke read null\n1 ok read {'1':10,'2':10}",
           "impossible-balance");
}

Test(bank_check, a_transfer_is_applied_twice)
{
    demand(START "0 invoke transfer " MOVE "0 ok transfer " MOVE
                 "1 invoke read null\n1 ok read {'1':4,'2':16}",
           "impossible-balance");
}

Test(bank_check, a_failed_transfer_is_applied)
{
    demand(START "0 invoke transfer " MOVE "0 fail transfer null\n"
                 "1 invoke read null\n1 ok read {'1':7,'2':13}",
           "impossible-balance");
}

Test(bank_check, a_read_shows_what_has_not_begun)
{
    demand(START "1 invoke read null\n1 ok read {'1':7,'2':13}\n"
                 "0 invoke transfer " MOVE "0 ok transfer " MOVE,
           "impossible-balance");
}

Test(bank_check, counters_tell_lost_from_doubled)
{
    demand(START "0 invoke transfer " MOVE "0 ok transfer " MOVE
                 "1 invoke counters null\n1 ok counters {'1':0,'2':1}",
           "lost-transfer");
    demand(START "0 invoke transfer " MOVE "0 ok transfer " MOVE
                 "1 invoke counters null\n1 ok counters {'1':1,'2':2}",
           "duplicate-transfer");
    demand_ok(START "8 invoke counters null\n8 ok counters {'1':5,'2':6}\n"
                    "0 invoke transfer " MOVE "0 ok transfer " MOVE
                    "1 invoke counters null\n1 ok counters {'1':6,'2':7}");
}

Test(bank_check, accounts_are_all_there_once)
{
    demand(START "1 invoke read null\n1 ok read {'1':20}", "missing-account");
    demand(START "1 invoke read null\n1 ok read {'1':10,'2':5,'2':5}", "duplicate-account");
}

Test(bank_check, no_account_is_overdrawn)
{
    const char *story = START "0 invoke transfer {'from':1,'to':2,'amount':12}\n"
                              "1 invoke read null\n1 ok read {'1':-2,'2':22}";
    struct bank_check_options options = {.negative_allowed = true};
    demand(story, "negative-balance");
    cr_assert_eq(judge(story, &options).verdict, CHECK_OK);
}

Test(bank_check, without_a_read_nothing_is_shown)
{
    struct check_result result = judge("0 invoke transfer " MOVE "0 ok transfer " MOVE, NULL);
    cr_assert_eq(result.verdict, CHECK_UNDECIDED);
    cr_assert_str_eq(result.name, "no-read");
}

Test(bank_check, what_is_known_beforehand_is_held_against_the_first_read)
{
    struct bank_check_options initial = {.initial_known = true, .initial = 10};
    struct bank_check_options total = {.total_known = true, .total = 21};
    cr_assert_eq(judge(START, &initial).verdict, CHECK_OK);
    cr_assert_str_eq(judge(START, &total).name, "wrong-total");
    initial.initial = 9;
    cr_assert_eq(judge(START, &initial).verdict, CHECK_VIOLATION);
}
