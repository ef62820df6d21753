#include "proto/limits.h"

#include <inttypes.h>
#include <stdio.h>

/* The texts below name these numbers. */
_Static_assert(KEY_BYTES_MAX == 8u << 10, "a text names the limit");
_Static_assert(VALUE_BYTES_MAX == 1u << 20, "a text names the limit");
_Static_assert(TXN_BYTES_MAX == 64u << 20, "a text names the limit");
_Static_assert(TXN_OPERATIONS_COUNT_MAX == 100000u, "a text names the limit");

int limit_check_key(size_t bytes_count, char *out_why)
{
    if (bytes_count > 0 && bytes_count <= KEY_BYTES_MAX)
        return OST_OK;
    if (bytes_count == 0) {
        snprintf(out_why, LIMIT_WHY_BYTES, "key is empty: it has at least 1 byte");
        return OST_INVALID_ARGUMENT;
    }
    snprintf(out_why, LIMIT_WHY_BYTES, "key is %zu bytes: the limit is 8 KiB", bytes_count);
    return OST_TOO_LARGE;
}

int limit_check_value(size_t bytes_count, char *out_why)
{
    if (bytes_count <= VALUE_BYTES_MAX)
        return OST_OK;
    snprintf(out_why, LIMIT_WHY_BYTES, "value is %zu bytes: the limit is 1 MiB", bytes_count);
    return OST_TOO_LARGE;
}

int limit_check_txn(uint64_t operations_count, uint64_t bytes_count, char *out_why)
{
    if (operations_count > TXN_OPERATIONS_COUNT_MAX) {
        snprintf(out_why, LIMIT_WHY_BYTES,
                 "transaction has %" PRIu64 " operations: the limit is 100,000", operations_count);
        return OST_TOO_LARGE;
    }
    if (bytes_count > TXN_BYTES_MAX) {
        snprintf(out_why, LIMIT_WHY_BYTES, "transaction is %" PRIu64 " bytes: the limit is 64 MiB",
                 bytes_count);
        return OST_TOO_LARGE;
    }
    return OST_OK;
}
