/* bank_check.h: does the bank's money stay together, and is each transfer applied exactly once?
 *
 * Every ok read shows all accounts and the constant total. Each balance it shows lies within what
 * real time allows: transfers acknowledged before the read began are in it, those that began after
 * it ended or failed are not, and only those in between or of unknown outcome may or may not be.
 * Counters (how many transfers an account took part in) are bounded in the same way.
 *
 * Anomalies: "wrong-total", "missing-account", "negative-balance", "impossible-balance" (a transfer
 * lost, applied twice, or a stale read), "lost-transfer" and "duplicate-transfer" (by counters),
 * "duplicate-account". Undecided: "no-read" (no read succeeded).
 *
 * A transfer from an account to itself changes no balance and counts as two.
 */
#pragma once

#include "cmd/history.h"
#include "tests/check/result.h"

struct bank_check_options {
    bool total_known;
    int64_t total; /* when total_known */
    /* Each account's balance before the history. Otherwise it is what the first ok read that no
     * transfer precedes or overlaps shows, if there is one; without it only totals are judged. */
    bool initial_known;
    int64_t initial;
    bool negative_allowed;
    /* Counters are those at the history's start plus its transfers; the first ok HISTORY_COUNTERS
     * that no transfer precedes or overlaps shows these. Otherwise they were zero. */
};

void bank_check(const struct history *history, const struct bank_check_options *options,
                struct check_result *out);
