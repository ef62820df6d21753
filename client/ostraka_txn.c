/* ostraka_txn.c: transactions for the caller: a handle on the try under way, and the loop that runs
 * a transaction until it commits. */
#include "client/ostraka_internal.h"

#include "base/memory.h"
#include "client/core_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct ost_txn {
    struct ost_client *client; /* counted */
    struct core_txn *core;     /* the try under way */
    bool is_handed_over;       /* an operation has named it: the core frees it */
    struct txn_age age;        /* of the first try; zeros: not known yet */
    bool is_optimistic;        /* it was begun so */
    uint32_t restarts_count;
    atomic_uint under_way; /* operations; while there are any it is the client's thread's */
    uint32_t groups_count;
    timestamp_t commit_timestamp;
    struct ost_txn_reason reason; /* of the last error, as is the next */
    char error[ERROR_TEXT_BYTES];
    struct blob *reason_key;
};

/* Whoever has failed that often takes locks: an old enough one wounds whoever is in its way. */
#define OPTIMISTIC_TRIES_MAX 3u

static void try_new(struct ost_txn *txn)
{
    txn->core = core_txn_new(client_core_coordinator_new(runtime_core(txn->client)));
    coordinator_set_optimistic(core_txn_coordinator(txn->core), ost_txn_is_optimistic(txn));
}

static int txn_begin(struct ost_client *client, bool is_optimistic, struct ost_txn **out_txn)
{
    struct ost_txn *txn = memory_alloc_zeroed(1, sizeof(*txn));
    atomic_init(&txn->under_way, 0);
    txn->client = client;
    txn->is_optimistic = is_optimistic;
    runtime_ref(client);
    try_new(txn);
    *out_txn = txn;
    return OST_OK;
}

OST_API int ost_begin(struct ost_client *client, struct ost_txn **out_txn)
{
    return txn_begin(client, false, out_txn);
}

OST_API int ost_begin_optimistic(struct ost_client *client, struct ost_txn **out_txn)
{
    return txn_begin(client, true, out_txn);
}

OST_API bool ost_txn_is_optimistic(const struct ost_txn *txn)
{
    return txn->is_optimistic && txn->restarts_count < OPTIMISTIC_TRIES_MAX;
}

/* --- Errors
 * -------------------------------------------------------------------------------------------- */

static void error_set(struct ost_txn *txn, int status, const char *why)
{
    api_failed(status, why);
    txn->reason = (struct ost_txn_reason){.status = status, .cause = ost_status_name(status)};
    snprintf(txn->error, sizeof(txn->error), "%s", ost_last_error());
}

int api_txn_failed(struct ost_txn *txn, int status)
{
    txn->reason = (struct ost_txn_reason){.status = status, .cause = ost_status_name(status)};
    snprintf(txn->error, sizeof(txn->error), "%s", ost_last_error());
    return status;
}

static const char *cause_of(const struct coordinator_reason *reason)
{
    switch (reason->status == OST_LOCKS_LOST ? reason->loss : LOSS_UNSAID) {
    case LOSS_LEADER_CHANGED:
        return "leader_changed";
    case LOSS_EXPIRED:
        return "expired";
    case LOSS_RANGE_MOVES:
        return "range_moved";
    case LOSS_UNSAID:
        break;
    }
    return ost_status_name(reason->status);
}

/* On the client's thread, when an operation of the transaction ended. */
static void error_explain(struct ost_txn *txn, const struct operation *operation)
{
    int status = operation->status;
    if (status == OST_OK || status == OST_NOT_FOUND)
        return;
    api_error_print(txn->client, operation, txn->error);
    txn->reason = (struct ost_txn_reason){.status = status, .cause = ost_status_name(status)};
    const struct coordinator_reason *reason =
        coordinator_reason(core_txn_coordinator(operation->txn));
    if (reason->status != status)
        return;
    blob_unref(txn->reason_key);
    txn->reason_key = blob_copy(reason->key);
    txn->reason.cause = cause_of(reason);
    txn->reason.key = ost_of_bytes(blob_bytes(txn->reason_key));
    txn->reason.other_client = reason->other.client;
    txn->reason.other_sequence = reason->other.sequence;
    if (reason->other.client)
        txn->reason.other_age_ms = core_age_ms(runtime_core(txn->client), &reason->other_age);
    txn->reason.waited_ms = reason->waited_ms;
}

OST_API void ost_txn_get_reason(const struct ost_txn *txn, struct ost_txn_reason *out_reason)
{
    *out_reason = txn->reason;
}

OST_API const char *ost_txn_error(const struct ost_txn *txn)
{
    return txn->error;
}

OST_API uint32_t ost_txn_groups_count(const struct ost_txn *txn)
{
    return txn->groups_count;
}

OST_API uint64_t ost_txn_commit_timestamp(const struct ost_txn *txn)
{
    return txn->commit_timestamp;
}

/* --- Operations
 * ---------------------------------------------------------------------------------------- */

/* The caller may use the handle again, or free it, as soon as this has been called. */
static void txn_operation_ended(struct ost_txn *txn, struct operation *operation)
{
    struct coordinator *coordinator = core_txn_coordinator(operation->txn);
    txn->age = *coordinator_age(coordinator);
    error_explain(txn, operation);
    if (operation->type == OPERATION_TXN_COMMIT) {
        txn->groups_count = coordinator_groups_count(coordinator);
        txn->commit_timestamp = coordinator_commit_timestamp(coordinator);
    }
    atomic_fetch_sub_explicit(&txn->under_way, 1, memory_order_release);
}

static void txn_async_done(struct operation *operation)
{
    ost_done_fn done = (ost_done_fn)(uintptr_t)operation->done_context[0];
    struct ost_txn *txn = operation->done_context[2];
    char error[ERROR_TEXT_BYTES];
    api_error_print(txn->client, operation, error);
    txn_operation_ended(txn, operation);
    api_async_call(operation, error, done, operation->done_context[1]);
    operation_free(operation);
}

/* May the calling thread touch the transaction now? */
static int txn_check_mine(struct ost_txn *txn)
{
    if (atomic_load_explicit(&txn->under_way, memory_order_acquire) == 0 ||
        runtime_is_own_thread(txn->client))
        return OST_OK;
    return OST_INVALID_ARGUMENT;
}

int api_txn_submit(struct ost_txn *txn, struct operation *operation, ost_done_fn done,
                   void *context)
{
    operation->txn = txn->core;
    operation->age = txn->age;
    operation->done = txn_async_done;
    operation->done_context[0] = (void *)(uintptr_t)done;
    operation->done_context[1] = context;
    operation->done_context[2] = txn;
    atomic_fetch_add_explicit(&txn->under_way, 1, memory_order_relaxed);
    bool was_handed_over = txn->is_handed_over;
    txn->is_handed_over = true;
    int status = runtime_submit(txn->client, operation);
    if (status != OST_OK) {
        txn->is_handed_over = was_handed_over;
        atomic_fetch_sub_explicit(&txn->under_way, 1, memory_order_relaxed);
        error_set(txn, status, NULL);
    }
    return status;
}

struct txn_call {
    struct ost_txn *txn;
    void (*copy)(struct operation *operation, void *context);
    void *context;
    bool was_taken;
    char error[ERROR_TEXT_BYTES]; /* a line of the caller's: the handle is another thread's soon */
};

static void txn_call_copy(struct operation *operation, void *context)
{
    struct txn_call *call = context;
    call->was_taken = true;
    api_error_print(call->txn->client, operation, call->error);
    if (call->copy)
        call->copy(operation, call->context);
    txn_operation_ended(call->txn, operation);
}

int api_txn_call(struct ost_txn *txn, struct operation *operation,
                 void (*copy)(struct operation *operation, void *context), void *context)
{
    if (runtime_is_own_thread(txn->client)) {
        operation_free(operation);
        error_set(txn, OST_INVALID_ARGUMENT, "a call that waits was made from a callback");
        return OST_INVALID_ARGUMENT;
    }
    operation->txn = txn->core;
    operation->age = txn->age;
    struct txn_call call = {.txn = txn, .copy = copy, .context = context};
    atomic_fetch_add_explicit(&txn->under_way, 1, memory_order_relaxed);
    bool was_handed_over = txn->is_handed_over;
    txn->is_handed_over = true;
    int status = runtime_call(txn->client, operation, txn_call_copy, &call);
    if (!call.was_taken) {
        txn->is_handed_over = was_handed_over;
        atomic_fetch_sub_explicit(&txn->under_way, 1, memory_order_relaxed);
        error_set(txn, status, NULL);
    }
    if (call.error[0])
        api_failed_with(call.error);
    return status;
}

static struct operation *txn_get_new(struct ost_bytes key, bool for_update)
{
    struct operation *operation =
        operation_new(OPERATION_TXN_GET, bytes_of_ost(key), bytes_of(NULL, 0));
    operation->lock_mode = for_update ? LOCK_EXCLUSIVE : LOCK_SHARED;
    return operation;
}

static int txn_get(struct ost_txn *txn, struct ost_bytes key, bool for_update,
                   struct ost_value *out_value)
{
    *out_value = (struct ost_value){0};
    int status = api_key_check(key);
    if (status != OST_OK)
        return api_txn_failed(txn, status);
    struct coordinator *coordinator = core_txn_coordinator(txn->core);
    struct write write;
    /* What it has written itself needs no other thread. */
    if (txn_check_mine(txn) == OST_OK && coordinator_state(coordinator) == COORDINATOR_GROWING &&
        write_buffer_find(coordinator_writes(coordinator), bytes_of_ost(key), &write) == OST_OK) {
        if (write.kind == WRITE_DELETE)
            return OST_NOT_FOUND;
        struct operation own = {.result_value = write.value};
        api_copy_value(&own, out_value);
        return OST_OK;
    }
    return api_txn_call(txn, txn_get_new(key, for_update), api_copy_value, out_value);
}

OST_API int ost_txn_get(struct ost_txn *txn, struct ost_bytes key, struct ost_value *out_value)
{
    return txn_get(txn, key, false, out_value);
}

OST_API int ost_txn_get_for_update(struct ost_txn *txn, struct ost_bytes key,
                                   struct ost_value *out_value)
{
    return txn_get(txn, key, true, out_value);
}

OST_API int ost_txn_get_async(struct ost_txn *txn, struct ost_bytes key, bool for_update,
                              ost_done_fn done, void *context)
{
    int status = api_key_check(key);
    if (status != OST_OK)
        return api_txn_failed(txn, status);
    return api_txn_submit(txn, txn_get_new(key, for_update), done, context);
}

/* NULL: an argument breaks a limit. */
static struct operation *txn_scan_new(struct ost_txn *txn, struct ost_bytes start,
                                      struct ost_bytes end, uint32_t rows_count_max, bool reverse,
                                      int *out_status)
{
    *out_status = api_interval_check(start, end);
    if (*out_status != OST_OK) {
        api_txn_failed(txn, *out_status);
        return NULL;
    }
    struct operation *operation =
        operation_new(OPERATION_TXN_SCAN, bytes_of_ost(start), bytes_of_ost(end));
    operation->rows_count_max = rows_count_max;
    operation->reverse = reverse;
    return operation;
}

static int txn_scan(struct ost_txn *txn, struct ost_bytes start, struct ost_bytes end,
                    uint32_t rows_count_max, bool reverse, enum lock_mode mode,
                    struct ost_rows *out_rows)
{
    *out_rows = (struct ost_rows){0};
    int status;
    struct operation *operation = txn_scan_new(txn, start, end, rows_count_max, reverse, &status);
    if (!operation)
        return status;
    operation->lock_mode = mode;
    return api_txn_call(txn, operation, api_copy_rows, out_rows);
}

OST_API int ost_txn_scan(struct ost_txn *txn, struct ost_bytes start, struct ost_bytes end,
                         uint32_t rows_count_max, bool reverse, struct ost_rows *out_rows)
{
    return txn_scan(txn, start, end, rows_count_max, reverse, LOCK_SHARED, out_rows);
}

OST_API int ost_txn_scan_for_update(struct ost_txn *txn, struct ost_bytes start,
                                    struct ost_bytes end, uint32_t rows_count_max, bool reverse,
                                    struct ost_rows *out_rows)
{
    return txn_scan(txn, start, end, rows_count_max, reverse, LOCK_EXCLUSIVE, out_rows);
}

static int txn_scan_async(struct ost_txn *txn, struct operation *operation, enum lock_mode mode,
                          int status, ost_done_fn done, void *context)
{
    if (!operation)
        return status;
    operation->lock_mode = mode;
    return api_txn_submit(txn, operation, done, context);
}

OST_API int ost_txn_scan_async(struct ost_txn *txn, struct ost_bytes start, struct ost_bytes end,
                               uint32_t rows_count_max, bool reverse, ost_done_fn done,
                               void *context)
{
    int status;
    struct operation *operation = txn_scan_new(txn, start, end, rows_count_max, reverse, &status);
    return txn_scan_async(txn, operation, LOCK_SHARED, status, done, context);
}

OST_API int ost_txn_scan_for_update_async(struct ost_txn *txn, struct ost_bytes start,
                                          struct ost_bytes end, uint32_t rows_count_max,
                                          bool reverse, ost_done_fn done, void *context)
{
    int status;
    struct operation *operation = txn_scan_new(txn, start, end, rows_count_max, reverse, &status);
    return txn_scan_async(txn, operation, LOCK_EXCLUSIVE, status, done, context);
}

static int txn_write(struct ost_txn *txn, enum write_kind kind, struct ost_bytes key,
                     struct ost_bytes value)
{
    int status = txn_check_mine(txn);
    if (status != OST_OK)
        return status; /* the error text is not ours either */
    if ((key.bytes_count && !key.data) || (value.bytes_count && !value.data)) {
        error_set(txn, OST_INVALID_ARGUMENT, "data is NULL");
        return OST_INVALID_ARGUMENT;
    }
    struct write write = {.kind = kind, .key = bytes_of_ost(key), .value = bytes_of_ost(value)};
    const char *why = NULL;
    status = coordinator_write(core_txn_coordinator(txn->core), &write, &why);
    if (status != OST_OK)
        error_set(txn, status, why);
    return status;
}

OST_API int ost_txn_put(struct ost_txn *txn, struct ost_bytes key, struct ost_bytes value)
{
    return txn_write(txn, WRITE_PUT, key, value);
}

OST_API int ost_txn_delete(struct ost_txn *txn, struct ost_bytes key)
{
    return txn_write(txn, WRITE_DELETE, key, ost_bytes(NULL, 0));
}

OST_API int ost_txn_commit(struct ost_txn *txn)
{
    struct operation *operation =
        operation_new(OPERATION_TXN_COMMIT, bytes_of(NULL, 0), bytes_of(NULL, 0));
    return api_txn_call(txn, operation, NULL, NULL);
}

OST_API int ost_txn_commit_async(struct ost_txn *txn, ost_done_fn done, void *context)
{
    struct operation *operation =
        operation_new(OPERATION_TXN_COMMIT, bytes_of(NULL, 0), bytes_of(NULL, 0));
    return api_txn_submit(txn, operation, done, context);
}

/* --- Ends
 * ---------------------------------------------------------------------------------------------- */

static void drop_done(struct operation *operation)
{
    struct ost_txn *txn = operation->done_context[2];
    if (txn) { /* whatever was under way has been told before */
        runtime_unref(txn->client);
        blob_unref(txn->reason_key);
        free(txn);
    }
    operation_free(operation);
}

/* Gives up the try under way. `handle`: freed once that is done; NULL: it goes on with another try.
 * False: there is nothing to wait for, the handle is still the caller's. */
static bool try_drop(struct ost_txn *txn, struct ost_txn *handle)
{
    struct core_txn *core = txn->core;
    txn->core = NULL;
    if (txn->is_handed_over) {
        struct operation *operation =
            operation_new(OPERATION_TXN_DROP, bytes_of(NULL, 0), bytes_of(NULL, 0));
        operation->txn = core;
        operation->done = drop_done;
        operation->done_context[2] = handle;
        if (runtime_submit(txn->client, operation) == OST_OK)
            return true;
    }
    /* Nobody else knows of it: it was never handed over, or the client is closed. */
    core_txn_free(core);
    return false;
}

OST_API int ost_txn_restart(struct ost_txn *txn)
{
    if (atomic_load_explicit(&txn->under_way, memory_order_acquire) != 0)
        return OST_INVALID_ARGUMENT;
    try_drop(txn, NULL);
    txn->restarts_count++;
    try_new(txn);
    txn->is_handed_over = false;
    txn->groups_count = 0;
    txn->commit_timestamp = 0;
    return OST_OK;
}

OST_API void ost_txn_free(struct ost_txn *txn)
{
    if (!txn || try_drop(txn, txn))
        return;
    runtime_unref(txn->client);
    blob_unref(txn->reason_key);
    free(txn);
}

/* --- Run
 * -----------------------------------------------------------------------------------------------
 */

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / NS_PER_MS;
}

static void back_off(struct ost_client *client, uint32_t tries_count)
{
    uint64_t most_us = UINT64_C(1000) << (tries_count < 10 ? tries_count : 10);
    uint64_t limit_us = runtime_options(client)->backoff_ms_max * UINT64_C(1000);
    if (most_us > limit_us)
        most_us = limit_us;
    uint64_t wait_us = 1 + runtime_random_below(client, most_us);
    struct timespec wait = {.tv_sec = (time_t)(wait_us / 1000000),
                            .tv_nsec = (long)(wait_us % 1000000) * 1000};
    nanosleep(&wait, NULL);
}

static int run(struct ost_client *client, bool is_optimistic,
               int (*body)(struct ost_txn *txn, void *context), void *context)
{
    if (runtime_is_own_thread(client))
        return OST_INVALID_ARGUMENT;
    struct ost_txn *txn;
    int status = txn_begin(client, is_optimistic, &txn);
    if (status != OST_OK)
        return status;
    uint64_t end_ms = now_ms() + runtime_options(client)->operation_timeout_ms;
    for (uint32_t tries_count = 0;; tries_count++) {
        status = body(txn, context);
        if (status == OST_OK)
            status = ost_txn_commit(txn);
        if (!ost_status_is_retryable(status) || now_ms() >= end_ms)
            break;
        int restarted = ost_txn_restart(txn);
        if (restarted != OST_OK) { /* the body has left something under way */
            status = restarted;
            break;
        }
        back_off(client, tries_count);
    }
    ost_txn_free(txn);
    return status;
}

OST_API int ost_run(struct ost_client *client, int (*body)(struct ost_txn *txn, void *context),
                    void *context)
{
    return run(client, false, body, context);
}

OST_API int ost_run_optimistic(struct ost_client *client,
                               int (*body)(struct ost_txn *txn, void *context), void *context)
{
    return run(client, true, body, context);
}
