/* limits.h: the texts of errors that name a limit of DESIGN section 8: what is over it, how large
 * that is, and where the limit lies.
 */
#pragma once

#include "base/status.h"
#include "base/types.h"

#define LIMIT_WHY_BYTES 96

/* OST_OK; OST_INVALID_ARGUMENT: the key is empty; OST_TOO_LARGE. `out_why` (LIMIT_WHY_BYTES) gets
 * a line with an error: "value is 1048577 bytes: the limit is 1 MiB". */
OST_MUST_CHECK int limit_check_key(size_t bytes_count, char *out_why);
OST_MUST_CHECK int limit_check_value(size_t bytes_count, char *out_why);
/* A whole transaction: its operations, and the bytes of their keys and values. */
OST_MUST_CHECK int limit_check_txn(uint64_t operations_count, uint64_t bytes_count, char *out_why);
