/* The verdict on the bank must be able to find every way of losing money. */
#include "base/status.h"
#include "cmd/bank.h"

#include <criterion/criterion.h>
#include <string.h>

static struct bank_statistics statistics;
static char why[BANK_WHY_BYTES];
static const struct bank_audit before = {10, 1000, 40};

static int verdict(uint64_t balances_sum, uint64_t transfers_sum, uint64_t acknowledged_count,
                   uint64_t unknown_count)
{
    struct bank_audit after = {10, balances_sum, transfers_sum};
    memset(&statistics, 0, sizeof statistics);
    statistics.acknowledged_count = acknowledged_count;
    statistics.unknown_count = unknown_count;
    return bank_verdict(&before, &after, &statistics, NULL, why);
}

Test(bank_verdict, counts_transfers_since_the_first_audit)
{
    cr_assert_eq(verdict(1000, 40, 0, 0), OST_OK, "%s", why);
    cr_assert_eq(verdict(1000, 50, 5, 0), OST_OK, "%s", why);
}

Test(bank_verdict, finds_money_lost_or_made)
{
    cr_assert_eq(verdict(999, 50, 5, 0), OST_CORRUPT);
    cr_assert(strstr(why, "lost"));
    cr_assert_eq(verdict(1001, 50, 5, 0), OST_CORRUPT);
    cr_assert(strstr(why, "made"));
}

Test(bank_verdict, finds_half_a_transfer)
{
    cr_assert_eq(verdict(1000, 51, 5, 0), OST_CORRUPT);
}

Test(bank_verdict, finds_an_acknowledged_transfer_that_is_gone)
{
    cr_assert_eq(verdict(1000, 48, 5, 0), OST_CORRUPT);
    cr_assert_eq(verdict(1000, 48, 5, 9), OST_CORRUPT);
}

Test(bank_verdict, finds_a_transfer_applied_twice)
{
    cr_assert_eq(verdict(1000, 52, 5, 0), OST_CORRUPT);
}

Test(bank_verdict, an_unknown_outcome_may_be_either)
{
    cr_assert_eq(verdict(1000, 50, 5, 1), OST_OK);
    cr_assert_eq(verdict(1000, 52, 5, 1), OST_OK);
    cr_assert_eq(verdict(1000, 54, 5, 1), OST_CORRUPT);
}

Test(bank_key, sorts_as_numbers_do)
{
    char a[BANK_KEY_BYTES], b[BANK_KEY_BYTES];
    cr_assert_str_eq(bank_key(42, a), "bank/000042");
    cr_assert_lt(strcmp(bank_key(999, a), bank_key(1000, b)), 0);
}
