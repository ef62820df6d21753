/* ostraka_snapshot.c: snapshots for the caller: a timestamp that reads name. */
#include "client/ostraka_internal.h"

#include "base/memory.h"

#include <stdlib.h>

struct ost_snapshot {
    struct ost_client *client; /* counted */
    timestamp_t timestamp;
    bool any_replica;
    atomic_uint references; /* the holder's, and those of reads under way */
};

static struct ost_snapshot *snapshot_new(struct ost_client *client, timestamp_t timestamp,
                                         bool any_replica)
{
    struct ost_snapshot *snapshot = memory_alloc_zeroed(1, sizeof(*snapshot));
    atomic_init(&snapshot->references, 1);
    snapshot->client = client;
    runtime_ref(client);
    snapshot->timestamp = timestamp;
    snapshot->any_replica = any_replica;
    return snapshot;
}

static void snapshot_unref(struct ost_snapshot *snapshot)
{
    if (atomic_fetch_sub_explicit(&snapshot->references, 1, memory_order_acq_rel) != 1)
        return;
    runtime_unref(snapshot->client);
    free(snapshot);
}

/* --- Life
 * ---------------------------------------------------------------------------------------------- */

static struct operation *timestamp_operation_new(const struct ost_snapshot_options *options)
{
    struct operation *operation =
        operation_new(OPERATION_TIMESTAMP, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->staleness_ms_max = options->staleness_ms_max;
    return operation;
}

static void copy_timestamp(struct operation *operation, void *context)
{
    *(timestamp_t *)context = operation->result_version;
}

OST_API int ost_snapshot_open(struct ost_client *client, const struct ost_snapshot_options *options,
                              struct ost_snapshot **out_snapshot)
{
    const struct ost_snapshot_options fresh = {0};
    options = options ? options : &fresh;
    *out_snapshot = NULL;
    timestamp_t timestamp = options->timestamp;
    int status = OST_OK;
    if (timestamp == 0)
        status = api_call(client, timestamp_operation_new(options), copy_timestamp, &timestamp);
    if (status == OST_OK)
        *out_snapshot = snapshot_new(client, timestamp, options->any_replica);
    return status;
}

struct opening {
    struct ost_client *client;
    bool any_replica;
    timestamp_t timestamp; /* named */
    ost_snapshot_done_fn done;
    void *context;
};

static void opened(struct operation *operation)
{
    struct opening *opening = operation->done_context[0];
    timestamp_t timestamp =
        opening->timestamp != 0 ? opening->timestamp : operation->result_version;
    struct ost_snapshot *snapshot = NULL;
    if (operation->status == OST_OK)
        snapshot = snapshot_new(opening->client, timestamp, opening->any_replica);
    opening->done(opening->context, operation->status, snapshot);
    runtime_unref(opening->client);
    free(opening);
    operation_free(operation);
}

OST_API int ost_snapshot_open_async(struct ost_client *client,
                                    const struct ost_snapshot_options *options,
                                    ost_snapshot_done_fn done, void *context)
{
    const struct ost_snapshot_options fresh = {0};
    options = options ? options : &fresh;
    struct opening *opening = memory_alloc_zeroed(1, sizeof(*opening));
    opening->client = client;
    runtime_ref(client);
    opening->any_replica = options->any_replica;
    opening->timestamp = options->timestamp;
    opening->done = done;
    opening->context = context;
    /* A timestamp that is named is there at once, and still the callback comes from the thread. */
    struct operation *operation =
        options->timestamp == 0
            ? timestamp_operation_new(options)
            : operation_new(OPERATION_AFTER, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->done = opened;
    operation->done_context[0] = opening;
    int status = runtime_submit(client, operation);
    if (status != OST_OK) {
        runtime_unref(client);
        free(opening);
    }
    return status;
}

OST_API void ost_snapshot_close(struct ost_snapshot *snapshot)
{
    if (snapshot)
        snapshot_unref(snapshot);
}

OST_API uint64_t ost_snapshot_timestamp(const struct ost_snapshot *snapshot)
{
    return snapshot->timestamp;
}

/* --- Reads
 * -----------------------------------------------------------------------------------------------
 */

/* NULL: an argument breaks a limit, which ost_last_error names. */
static struct operation *get_new(struct ost_snapshot *snapshot, struct ost_bytes key,
                                 int *out_status)
{
    *out_status = api_key_check(key);
    if (*out_status != OST_OK)
        return NULL;
    struct operation *operation =
        operation_new(OPERATION_GET, bytes_of_ost(key), bytes_of(NULL, 0));
    operation->timestamp = snapshot->timestamp;
    operation->any_replica = snapshot->any_replica;
    return operation;
}

static struct operation *scan_new(struct ost_snapshot *snapshot, struct ost_bytes start,
                                  struct ost_bytes end, uint32_t rows_count_max, bool reverse,
                                  int *out_status)
{
    *out_status = api_interval_check(start, end);
    if (*out_status != OST_OK)
        return NULL;
    struct operation *operation =
        operation_new(OPERATION_SCAN, bytes_of_ost(start), bytes_of_ost(end));
    operation->rows_count_max = rows_count_max;
    operation->reverse = reverse;
    operation->timestamp = snapshot->timestamp;
    operation->any_replica = snapshot->any_replica;
    return operation;
}

OST_API int ost_snapshot_get(struct ost_snapshot *snapshot, struct ost_bytes key,
                             struct ost_value *out_value)
{
    *out_value = (struct ost_value){0};
    int status;
    struct operation *operation = get_new(snapshot, key, &status);
    return operation ? api_call(snapshot->client, operation, api_copy_value, out_value) : status;
}

OST_API int ost_snapshot_scan(struct ost_snapshot *snapshot, struct ost_bytes start,
                              struct ost_bytes end, uint32_t rows_count_max, bool reverse,
                              struct ost_rows *out_rows)
{
    *out_rows = (struct ost_rows){0};
    int status;
    struct operation *operation = scan_new(snapshot, start, end, rows_count_max, reverse, &status);
    return operation ? api_call(snapshot->client, operation, api_copy_rows, out_rows) : status;
}

static void read_async_done(struct operation *operation)
{
    struct ost_snapshot *snapshot = operation->done_context[2];
    ost_done_fn done = (ost_done_fn)(uintptr_t)operation->done_context[0];
    char error[ERROR_TEXT_BYTES];
    api_error_print(snapshot->client, operation, error);
    api_async_call(operation, error, done, operation->done_context[1]);
    snapshot_unref(snapshot);
    operation_free(operation);
}

static int read_async(struct ost_snapshot *snapshot, struct operation *operation, ost_done_fn done,
                      void *context)
{
    operation->done = read_async_done;
    operation->done_context[0] = (void *)(uintptr_t)done;
    operation->done_context[1] = context;
    operation->done_context[2] = snapshot;
    atomic_fetch_add_explicit(&snapshot->references, 1, memory_order_relaxed);
    int status = runtime_submit(snapshot->client, operation);
    if (status != OST_OK)
        snapshot_unref(snapshot);
    return status;
}

OST_API int ost_snapshot_get_async(struct ost_snapshot *snapshot, struct ost_bytes key,
                                   ost_done_fn done, void *context)
{
    int status;
    struct operation *operation = get_new(snapshot, key, &status);
    return operation ? read_async(snapshot, operation, done, context) : status;
}

OST_API int ost_snapshot_scan_async(struct ost_snapshot *snapshot, struct ost_bytes start,
                                    struct ost_bytes end, uint32_t rows_count_max, bool reverse,
                                    ost_done_fn done, void *context)
{
    int status;
    struct operation *operation = scan_new(snapshot, start, end, rows_count_max, reverse, &status);
    return operation ? read_async(snapshot, operation, done, context) : status;
}
