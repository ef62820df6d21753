/* ostraka_update.c: delete-range, compare-and-set and add, by themselves and in transactions. */
#include "client/ostraka_internal.h"

/* Each: NULL when an argument breaks a limit, and *out_status says which way. */

static struct operation *delete_range_new(struct ost_bytes start, struct ost_bytes end,
                                          int *out_status)
{
    *out_status = api_interval_check(start, end);
    if (*out_status != OST_OK)
        return NULL;
    return operation_new(OPERATION_DELETE_RANGE, bytes_of_ost(start), bytes_of_ost(end));
}

static struct operation *compare_new(struct ost_bytes key, const struct ost_bytes *expected,
                                     struct ost_bytes value, int *out_status)
{
    *out_status = api_key_check(key);
    if (*out_status == OST_OK && expected)
        *out_status = api_value_check(*expected);
    if (*out_status == OST_OK)
        *out_status = api_value_check(value);
    if (*out_status != OST_OK)
        return NULL;
    struct bytes wanted = expected ? bytes_of_ost(*expected) : bytes_of(NULL, 0);
    return operation_new_compare(bytes_of_ost(key), expected ? &wanted : NULL, bytes_of_ost(value));
}

static struct operation *add_new(struct ost_bytes key, int64_t delta, int *out_status)
{
    *out_status = api_key_check(key);
    if (*out_status != OST_OK)
        return NULL;
    struct operation *operation =
        operation_new(OPERATION_ADD, bytes_of_ost(key), bytes_of(NULL, 0));
    operation->delta = delta;
    return operation;
}

static void copy_count(struct operation *operation, void *context)
{
    if (context && operation->status == OST_OK)
        *(uint64_t *)context = operation->result_rows_count;
}

static void copy_number(struct operation *operation, void *context)
{
    if (context && operation->status == OST_OK)
        *(int64_t *)context = operation->result_number;
}

static int submit(struct ost_client *client, struct operation *operation, int status,
                  ost_done_fn done, void *context)
{
    if (!operation)
        return status;
    api_async_set(client, operation, done, context);
    status = runtime_submit(client, operation);
    return status == OST_OK ? OST_OK : api_failed(status, NULL);
}

static int txn_call(struct ost_txn *txn, struct operation *operation, int status,
                    void (*copy)(struct operation *operation, void *context), void *context)
{
    return operation ? api_txn_call(txn, operation, copy, context) : api_txn_failed(txn, status);
}

static int txn_submit(struct ost_txn *txn, struct operation *operation, int status,
                      ost_done_fn done, void *context)
{
    return operation ? api_txn_submit(txn, operation, done, context) : api_txn_failed(txn, status);
}

/* --- By themselves
 * ------------------------------------------------------------------------------------- */

OST_API int ost_delete_range(struct ost_client *client, struct ost_bytes start,
                             struct ost_bytes end, uint64_t *out_count)
{
    int status;
    struct operation *operation = delete_range_new(start, end, &status);
    return operation ? api_call(client, operation, copy_count, out_count) : status;
}

OST_API int ost_compare_and_set(struct ost_client *client, struct ost_bytes key,
                                const struct ost_bytes *expected, struct ost_bytes value)
{
    int status;
    struct operation *operation = compare_new(key, expected, value, &status);
    return operation ? api_call(client, operation, NULL, NULL) : status;
}

OST_API int ost_add(struct ost_client *client, struct ost_bytes key, int64_t delta,
                    int64_t *out_value)
{
    int status;
    struct operation *operation = add_new(key, delta, &status);
    return operation ? api_call(client, operation, copy_number, out_value) : status;
}

OST_API int ost_delete_range_async(struct ost_client *client, struct ost_bytes start,
                                   struct ost_bytes end, ost_done_fn done, void *context)
{
    int status;
    struct operation *operation = delete_range_new(start, end, &status);
    return submit(client, operation, status, done, context);
}

OST_API int ost_compare_and_set_async(struct ost_client *client, struct ost_bytes key,
                                      const struct ost_bytes *expected, struct ost_bytes value,
                                      ost_done_fn done, void *context)
{
    int status;
    struct operation *operation = compare_new(key, expected, value, &status);
    return submit(client, operation, status, done, context);
}

OST_API int ost_add_async(struct ost_client *client, struct ost_bytes key, int64_t delta,
                          ost_done_fn done, void *context)
{
    int status;
    struct operation *operation = add_new(key, delta, &status);
    return submit(client, operation, status, done, context);
}

/* --- In a transaction
 * ---------------------------------------------------------------------------------- */

OST_API int ost_txn_delete_range(struct ost_txn *txn, struct ost_bytes start, struct ost_bytes end,
                                 uint64_t *out_count)
{
    int status;
    struct operation *operation = delete_range_new(start, end, &status);
    return txn_call(txn, operation, status, copy_count, out_count);
}

OST_API int ost_txn_compare_and_set(struct ost_txn *txn, struct ost_bytes key,
                                    const struct ost_bytes *expected, struct ost_bytes value)
{
    int status;
    struct operation *operation = compare_new(key, expected, value, &status);
    return txn_call(txn, operation, status, NULL, NULL);
}

OST_API int ost_txn_add(struct ost_txn *txn, struct ost_bytes key, int64_t delta,
                        int64_t *out_value)
{
    int status;
    struct operation *operation = add_new(key, delta, &status);
    return txn_call(txn, operation, status, copy_number, out_value);
}

OST_API int ost_txn_delete_range_async(struct ost_txn *txn, struct ost_bytes start,
                                       struct ost_bytes end, ost_done_fn done, void *context)
{
    int status;
    struct operation *operation = delete_range_new(start, end, &status);
    return txn_submit(txn, operation, status, done, context);
}

OST_API int ost_txn_compare_and_set_async(struct ost_txn *txn, struct ost_bytes key,
                                          const struct ost_bytes *expected, struct ost_bytes value,
                                          ost_done_fn done, void *context)
{
    int status;
    struct operation *operation = compare_new(key, expected, value, &status);
    return txn_submit(txn, operation, status, done, context);
}

OST_API int ost_txn_add_async(struct ost_txn *txn, struct ost_bytes key, int64_t delta,
                              ost_done_fn done, void *context)
{
    int status;
    struct operation *operation = add_new(key, delta, &status);
    return txn_submit(txn, operation, status, done, context);
}
