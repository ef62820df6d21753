/* lock_check.h: may these locks be held side by side? Fed with what one leader's table holds at one
 * moment, whatever made it so.
 *
 * Anomaly: "lock-conflict": two transactions hold locks that share a key, one of them exclusive.
 */
#pragma once

#include "base/bytes.h"
#include "tests/check/result.h"
#include "txn/lock_table.h"

struct lock_check;

struct lock_check *lock_check_new(void);
void lock_check_free(struct lock_check *check);
/* Another moment, or another table: what was held before counts no more. `where` is copied. */
void lock_check_begin(struct lock_check *check, const char *where);
/* The keys are borrowed until lock_check_end. */
void lock_check_held(struct lock_check *check, struct txn_id owner,
                     const struct lock_target *target, enum lock_mode mode);
void lock_check_end(struct lock_check *check);
const struct check_result *lock_check_result(const struct lock_check *check);
