/* ostraka_snapshot.c: snapshots for the caller: a timestamp that reads name.
 *
 * A snapshot that gets old holds its timestamp against the safe point (core_hold.c), so that what
 * it shows stays there; a young one needs no hold, and costs nothing. The hold of a snapshot: NONE
 * -> ASKED -> held -> CLOSED;  ASKED -> NONE (try again);  each -> CLOSED.
 */
#include "client/ostraka_internal.h"

#include "base/memory.h"

#include <stdlib.h>
#include <time.h>

/* The history that is kept should be longer than a few times this. */
#define HOLD_AGE_MS 60000u
#define HOLD_TTL_MS 60000u

#define HOLD_NONE   UINT64_C(0)
#define HOLD_ASKED  (UINT64_MAX - 1)
#define HOLD_CLOSED UINT64_MAX

struct ost_snapshot {
    struct ost_client *client; /* counted */
    timestamp_t timestamp;
    bool any_replica;
    nanoseconds_t opened_ns;
    atomic_uint references; /* the holder's, and those of reads under way */
    _Atomic uint64_t hold;  /* one of the above, or its number */
};

static nanoseconds_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (nanoseconds_t)now.tv_sec * NS_PER_S + (nanoseconds_t)now.tv_nsec;
}

static struct ost_snapshot *snapshot_new(struct ost_client *client, timestamp_t timestamp,
                                         bool any_replica)
{
    struct ost_snapshot *snapshot = memory_alloc_zeroed(1, sizeof(*snapshot));
    atomic_init(&snapshot->references, 1);
    snapshot->client = client;
    runtime_ref(client);
    snapshot->timestamp = timestamp;
    snapshot->any_replica = any_replica;
    snapshot->opened_ns = monotonic_ns();
    atomic_init(&snapshot->hold, HOLD_NONE);
    return snapshot;
}

static void snapshot_unref(struct ost_snapshot *snapshot)
{
    if (atomic_fetch_sub_explicit(&snapshot->references, 1, memory_order_acq_rel) != 1)
        return;
    runtime_unref(snapshot->client);
    free(snapshot);
}

/* --- Holding its timestamp
 * ---------------------------------------------------------------------------------------------- */

static struct operation *hold_operation_new(timestamp_t timestamp)
{
    struct operation *operation =
        operation_new(OPERATION_HOLD, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->hold_timestamp = timestamp;
    operation->hold_ttl_ms = HOLD_TTL_MS;
    operation->hold_age_ms_min = HOLD_AGE_MS;
    return operation;
}

/* Nobody waits for the end; a client that closes lets go of everything. */
static void hold_let_go(struct ost_client *client, uint64_t hold)
{
    struct operation *operation =
        operation_new(OPERATION_RELEASE, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->hold = hold;
    operation->done = operation_free;
    (void)!runtime_submit(client, operation);
}

static void held(struct operation *operation)
{
    struct ost_snapshot *snapshot = operation->done_context[0];
    /* One that is refused for good would be again: reads tell why. */
    uint64_t next = operation->status == OST_OK                  ? operation->hold
                    : ost_status_is_retryable(operation->status) ? HOLD_NONE
                                                                 : HOLD_ASKED;
    uint64_t expected = HOLD_ASKED;
    bool is_open = atomic_compare_exchange_strong(&snapshot->hold, &expected, next);
    if (!is_open && operation->status == OST_OK && operation->hold != 0)
        hold_let_go(snapshot->client, operation->hold);
    snapshot_unref(snapshot);
    operation_free(operation);
}

/* Before each read: is it time to hold the timestamp? The read does not wait for that. */
static void snapshot_keep(struct ost_snapshot *snapshot)
{
    uint64_t expected = HOLD_NONE;
    if (monotonic_ns() < snapshot->opened_ns + HOLD_AGE_MS * NS_PER_MS ||
        !atomic_compare_exchange_strong(&snapshot->hold, &expected, HOLD_ASKED))
        return;
    struct operation *operation = hold_operation_new(snapshot->timestamp);
    operation->done = held;
    operation->done_context[0] = snapshot;
    atomic_fetch_add_explicit(&snapshot->references, 1, memory_order_relaxed);
    if (runtime_submit(snapshot->client, operation) == OST_OK)
        return;
    atomic_store(&snapshot->hold, HOLD_NONE);
    snapshot_unref(snapshot);
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

/* What it stands on. */
struct opened {
    timestamp_t timestamp;
    uint64_t hold;
};

static void copy_opened(struct operation *operation, void *context)
{
    struct opened *opened = context;
    if (operation->type == OPERATION_TIMESTAMP)
        opened->timestamp = operation->result_version;
    else
        opened->hold = operation->hold;
}

OST_API int ost_snapshot_open(struct ost_client *client, const struct ost_snapshot_options *options,
                              struct ost_snapshot **out_snapshot)
{
    const struct ost_snapshot_options fresh = {0};
    options = options ? options : &fresh;
    *out_snapshot = NULL;
    struct opened opened = {.timestamp = options->timestamp};
    struct operation *operation = opened.timestamp == 0 ? timestamp_operation_new(options)
                                                        : hold_operation_new(opened.timestamp);
    int status = api_call(client, operation, copy_opened, &opened);
    if (status != OST_OK)
        return status;
    *out_snapshot = snapshot_new(client, opened.timestamp, options->any_replica);
    atomic_store(&(*out_snapshot)->hold, opened.hold);
    return OST_OK;
}

struct opening {
    struct ost_client *client;
    bool any_replica;
    timestamp_t timestamp; /* named */
    ost_snapshot_done_fn done;
    void *context;
};

static void open_async_done(struct operation *operation)
{
    struct opening *opening = operation->done_context[0];
    struct opened opened = {.timestamp = opening->timestamp};
    copy_opened(operation, &opened);
    struct ost_snapshot *snapshot = NULL;
    if (operation->status == OST_OK) {
        snapshot = snapshot_new(opening->client, opened.timestamp, opening->any_replica);
        atomic_store(&snapshot->hold, opened.hold);
    }
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
    struct operation *operation = options->timestamp == 0 ? timestamp_operation_new(options)
                                                          : hold_operation_new(options->timestamp);
    operation->done = open_async_done;
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
    if (!snapshot)
        return;
    uint64_t hold = atomic_exchange(&snapshot->hold, HOLD_CLOSED);
    if (hold != HOLD_NONE && hold != HOLD_ASKED)
        hold_let_go(snapshot->client, hold);
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
    snapshot_keep(snapshot);
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
    snapshot_keep(snapshot);
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
