/* serializability_check.h: is a list-append history (strictly) serializable?
 *
 * Elle's method (Kingsbury and Alvaro, VLDB 2020). Each append puts a value that is unique for its
 * key at the end of the key's list, so that a read shows the order of all writes before it. From
 * that follow the dependencies of Adya (1999) between transactions: ww (who appended next), wr (who
 * read it), rw (who appended after what was read), and the orders that clients saw: of a process,
 * and of real time. A cycle of them is an anomaly:
 *
 *   "G0" of ww only; "G1c" of ww and wr; "G-single" with one rw; "G2-item" with several;
 *   with "-process" or "-realtime" behind it when the cycle needs such an edge.
 *
 * Anomalies without a cycle: "G1a" (read of what a failed transaction appended), "dirty-update" (a
 * transaction built upon that), "G1b" (read of what its writer overwrote itself), "garbage-read"
 * (of what nobody appended), "duplicate-elements", "incompatible-order" (no read is a prefix of the
 * other), "internal" (a transaction contradicts itself), "lost-update" (two transactions appended
 * to the same version that they had read). Undecided: "ambiguous" (a value was appended twice to a
 * key by the workload itself).
 */
#pragma once

#include "cmd/history.h"
#include "tests/check/result.h"

struct serializability_check_options {
    bool ignore_realtime; /* judge serializability, not strict serializability */
    bool ignore_process;
};

/* Judges all appends and reads of lists of HISTORY_TXN; `options` may be NULL. */
void serializability_check(const struct history *history,
                           const struct serializability_check_options *options,
                           struct check_result *out);
