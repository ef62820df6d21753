/* register_check.h: are single keys linearizable?
 *
 * Each key is judged for itself, with what each transaction did to it: reads, writes, compare and
 * set, and sequences of these. A strictly serializable history passes; so does one whose
 * transactions are torn between keys, which is for serializability_check.
 *
 * Wing and Gong (1993) with the memoised configurations of Lowe (2017) and Porcupine's undo list.
 * An operation whose outcome is unknown may take effect at any time after its invocation, or never.
 *
 * Anomalies: "garbage-read" (a value that nobody wrote), "aborted-read" (only a failed operation
 * wrote it), "nonlinearizable"; undecided: "step-limit".
 */
#pragma once

#include "cmd/history.h"
#include "tests/check/result.h"

#define REGISTER_CHECK_STEPS_MAX 2000000u

struct register_check_options {
    uint64_t steps_max; /* for each key; 0 is REGISTER_CHECK_STEPS_MAX */
};

/* Judges all reads, writes and cas of HISTORY_TXN; `options` may be NULL. */
void register_check(const struct history *history, const struct register_check_options *options,
                    struct check_result *out);
