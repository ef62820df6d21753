/* kv_scan.c: reading the newest versions, or the newest as of a timestamp: one key, or the rows of
 * an interval.
 *
 * Both try the memory first and go to the pool when a block is missing (S5). A scan that turns out
 * to be long goes there too, so that it cannot hold up the loop; it reads from a snapshot taken in
 * the step in which it was granted, so that it shows one state.
 *
 * That snapshot does not protect it from compaction, which may drop what a newer version shadows
 * (kv_gc.h). Every version that is written to what is read after the grant lies above all that were
 * there, and above the safe point of that moment (kv_commit.c); so unless the safe point has come
 * above both, none of them has shadowed anything. If it has, the client reads again.
 */
#include "shardkv/kv_group.h"

#include "base/log.h"
#include "base/sometimes.h"
#include "shardkv/kv_keys.h"

#include <stdlib.h>

/* Rows that a scan may look at on the loop, those that it skips included: some 100 us. */
#define SCAN_LOOP_VISITS_MAX 256u
/* A key with more versions than this is left by a seek. */
#define SCAN_VERSIONS_WALKED_MAX 8u
/* What rows_append adds to key and value, at most. */
#define ROW_OVERHEAD_BYTES 28u

struct kv_scan {
    bool reverse;
    timestamp_t timestamp; /* newer versions are not there for it */
    bool keys_only;
    uint32_t rows_count_max;
    struct buffer lower, upper; /* of row keys */
    struct buffer rows;
    uint32_t rows_count;
    bool more;
    bool has_passed;      /* keys up to `passed` (from it on, in reverse) are dealt with */
    struct buffer passed; /* a data prefix */
    uint32_t visits_left;
    struct buffer seek, user_key, value; /* scratch */
};

struct kv_read {
    struct job job;
    struct kv_shared *shared;
    uint64_t token;
    bool is_rows;
    int status;
    /* A value. */
    struct buffer from, key, value;
    /* Rows. */
    struct kv_scan scan;
    struct store_snapshot *snapshot;
    timestamp_t granted_timestamp; /* nothing that it shows is shadowed by anything at or below */
};

void kv_read_free(struct kv_read *read)
{
    if (!read)
        return;
    store_snapshot_free(read->shared->environment.store, read->snapshot);
    buffer_fini(&read->from);
    buffer_fini(&read->key);
    buffer_fini(&read->value);
    buffer_fini(&read->scan.lower);
    buffer_fini(&read->scan.upper);
    buffer_fini(&read->scan.rows);
    buffer_fini(&read->scan.passed);
    buffer_fini(&read->scan.seek);
    buffer_fini(&read->scan.user_key);
    buffer_fini(&read->scan.value);
    free(read);
}

static struct kv_read *read_new(struct kv_request *request)
{
    struct kv_read *read = memory_alloc_zeroed(1, sizeof(*read));
    read->shared = request->shared;
    read->token = request->token;
    request->read = read;
    return read;
}

/* --- Rows --------------------------------------------------------------------------------------
 */

static bool has_prefix(struct bytes key, struct bytes prefix)
{
    return key.bytes_count >= prefix.bytes_count &&
           bytes_equal(bytes_of(key.data, prefix.bytes_count), prefix);
}

/* Behind all versions of the key with this data prefix: no timestamp is that long. */
static struct bytes seek_behind(struct kv_scan *scan)
{
    buffer_reset(&scan->seek);
    buffer_append(&scan->seek, scan->passed.data, scan->passed.bytes_count);
    memset(buffer_extend(&scan->seek, KV_TIMESTAMP_BYTES + 1), 0xff, KV_TIMESTAMP_BYTES + 1);
    return buffer_bytes(&scan->seek);
}

static timestamp_t version_of(struct bytes row_key)
{
    struct reader tail = {row_key.data + row_key.bytes_count - KV_TIMESTAMP_BYTES,
                          KV_TIMESTAMP_BYTES};
    uint64_t complement = 0;
    bool is_read = reader_u64_be(&tail, &complement);
    ASSERT(is_read);
    return ~complement;
}

/* To the newest version of this key that the scan may see, or behind them all. Timestamps are
 * stored as their complement. */
static void seek_visible(struct kv_scan *scan, struct store_iterator *iterator,
                         struct bytes data_prefix)
{
    struct buffer key = BUFFER_INIT;
    buffer_append(&key, data_prefix.data, data_prefix.bytes_count);
    buffer_append_u64_be(&key, ~scan->timestamp);
    store_iterator_seek(iterator, buffer_bytes(&key));
    buffer_fini(&key);
}

static void scan_pass(struct kv_scan *scan, struct bytes row_key)
{
    buffer_reset(&scan->passed);
    buffer_append(&scan->passed, row_key.data, row_key.bytes_count - KV_TIMESTAMP_BYTES);
    scan->has_passed = true;
}

/* OST_WOULD_BLOCK: enough for one turn of the loop. */
static int scan_visit(struct kv_scan *scan)
{
    if (scan->visits_left == 0)
        return OST_WOULD_BLOCK;
    scan->visits_left--;
    return OST_OK;
}

/* One key's newest version that it may see. OST_NOT_FOUND: there was no room for it, and the scan
 * is over. */
static int scan_emit(struct kv_scan *scan, struct bytes row_key, struct bytes row_value)
{
    struct row row;
    if (!kv_key_parse_data(row_key, &scan->user_key, &row.version) || row_value.bytes_count == 0)
        return OST_CORRUPT;
    if (row_value.data[0] != WRITE_PUT)
        return OST_OK;
    row.key = buffer_bytes(&scan->user_key);
    row.value = scan->keys_only ? bytes_of(NULL, 0)
                                : bytes_of(row_value.data + 1, row_value.bytes_count - 1);
    size_t row_bytes = row.key.bytes_count + row.value.bytes_count + ROW_OVERHEAD_BYTES;
    bool is_full = scan->rows_count == scan->rows_count_max ||
                   (scan->rows_count > 0 && scan->rows.bytes_count + row_bytes > SCAN_BYTES_MAX);
    if (is_full) {
        scan->more = true;
        return OST_NOT_FOUND;
    }
    rows_append(&scan->rows, &row);
    scan->rows_count++;
    return OST_OK;
}

static bool row_is_whole(struct bytes row_key)
{
    return row_key.bytes_count > KV_GENERATION_PREFIX_BYTES + KV_TIMESTAMP_BYTES;
}

static int scan_forward(struct kv_scan *scan, struct store_iterator *iterator)
{
    if (scan->has_passed)
        store_iterator_seek(iterator, seek_behind(scan));
    else
        store_iterator_first(iterator);
    while (store_iterator_valid(iterator)) {
        int status = scan_visit(scan);
        struct bytes row_key = store_iterator_key(iterator);
        if (status == OST_OK && !row_is_whole(row_key))
            status = OST_CORRUPT;
        if (status == OST_OK && version_of(row_key) > scan->timestamp) {
            COVER(SNAPSHOT_OLDER_VERSION);
            seek_visible(scan, iterator,
                         bytes_of(row_key.data, row_key.bytes_count - KV_TIMESTAMP_BYTES));
            continue;
        }
        if (status == OST_OK)
            status = scan_emit(scan, row_key, store_iterator_value(iterator));
        if (status != OST_OK)
            return status;
        scan_pass(scan, store_iterator_key(iterator));
        uint32_t walked = 0;
        do {
            store_iterator_next(iterator);
        } while (++walked < SCAN_VERSIONS_WALKED_MAX && store_iterator_valid(iterator) &&
                 has_prefix(store_iterator_key(iterator), buffer_bytes(&scan->passed)));
        if (store_iterator_valid(iterator) &&
            has_prefix(store_iterator_key(iterator), buffer_bytes(&scan->passed)))
            store_iterator_seek(iterator, seek_behind(scan));
    }
    return store_iterator_status(iterator);
}

/* The iterator stands on the oldest version of a key. Copies the newest one that the scan may see
 * into seek and value, and goes on to the key before. When it may see none, what is copied is too
 * new. */
static int reverse_take(struct kv_scan *scan, struct store_iterator *iterator,
                        struct bytes *out_prefix)
{
    size_t prefix_bytes = store_iterator_key(iterator).bytes_count - KV_TIMESTAMP_BYTES;
    for (uint32_t walked = 0;; walked++) {
        struct bytes key = store_iterator_key(iterator);
        struct bytes value = store_iterator_value(iterator);
        bool is_visible = version_of(key) <= scan->timestamp;
        if (walked == 0 || is_visible) {
            buffer_reset(&scan->seek);
            buffer_append(&scan->seek, key.data, key.bytes_count);
            buffer_reset(&scan->value);
            buffer_append(&scan->value, value.data, value.bytes_count);
        }
        *out_prefix = bytes_of(scan->seek.data, prefix_bytes);
        if (!is_visible || walked > SCAN_VERSIONS_WALKED_MAX) {
            store_iterator_seek_before(iterator, *out_prefix);
            break;
        }
        if (walked == SCAN_VERSIONS_WALKED_MAX) {
            seek_visible(scan, iterator, *out_prefix);
            if (!store_iterator_valid(iterator))
                return store_iterator_status(iterator);
            continue;
        }
        store_iterator_previous(iterator);
        if (!store_iterator_valid(iterator) ||
            !has_prefix(store_iterator_key(iterator), *out_prefix))
            break;
    }
    int status = store_iterator_status(iterator);
    return status == OST_NOT_FOUND ? OST_OK : status;
}

static int scan_reverse(struct kv_scan *scan, struct store_iterator *iterator)
{
    if (scan->has_passed)
        store_iterator_seek_before(iterator, buffer_bytes(&scan->passed));
    else
        store_iterator_last(iterator);
    while (store_iterator_valid(iterator)) {
        if (!row_is_whole(store_iterator_key(iterator)))
            return OST_CORRUPT;
        struct bytes prefix;
        int status = scan_visit(scan);
        if (status == OST_OK)
            status = reverse_take(scan, iterator, &prefix);
        if (status == OST_OK && version_of(buffer_bytes(&scan->seek)) <= scan->timestamp)
            status = scan_emit(scan, buffer_bytes(&scan->seek), buffer_bytes(&scan->value));
        else if (status == OST_OK)
            COVER(SNAPSHOT_OLDER_VERSION);
        if (status != OST_OK)
            return status;
        scan_pass(scan, buffer_bytes(&scan->seek));
    }
    return store_iterator_status(iterator);
}

/* OST_OK: done. OST_WOULD_BLOCK: call it again where it may block; it goes on where it stands. */
static int scan_run(struct kv_scan *scan, struct store *store,
                    const struct store_snapshot *snapshot, enum store_mode mode,
                    uint32_t visits_max)
{
    scan->visits_left = visits_max;
    struct store_iterator *iterator = store_iterator_new(
        store, snapshot, buffer_bytes(&scan->lower), buffer_bytes(&scan->upper), mode);
    int status = scan->reverse ? scan_reverse(scan, iterator) : scan_forward(scan, iterator);
    store_iterator_free(iterator);
    return status == OST_NOT_FOUND ? OST_OK : status;
}

/* --- The pool ----------------------------------------------------------------------------------
 */

static void read_job_run(struct job *job)
{
    struct kv_read *read = (struct kv_read *)job;
    struct store *store = read->shared->environment.store;
    if (read->is_rows)
        read->status = scan_run(&read->scan, store, read->snapshot, STORE_MAY_BLOCK, UINT32_MAX);
    else
        read->status = store_first_version(store, buffer_bytes(&read->from), STORE_MAY_BLOCK,
                                           &read->key, &read->value);
}

static void read_job_done(struct job *job)
{
    struct kv_read *read = (struct kv_read *)job;
    struct kv_request *request = kv_request_find(read->shared, read->token);
    if (!request) {
        COVER(READ_CAME_BACK_TO_NOBODY);
        kv_read_free(read);
        return;
    }
    ASSERT(request->state == KV_REQUEST_POOL);
    request->is_value_read = true;
    if (request->is_at_replica) {
        kv_request_move(request, KV_REQUEST_CLOSED);
        kv_read_answer(request);
        return;
    }
    /* A request ends with the leadership it began in, so this is still the leader that granted it.
     */
    ASSERT(request->group->is_leading);
    kv_request_move(request, KV_REQUEST_LOCKS);
    if (request->entry.term == 0) {
        /* The rows of a range that has gone meanwhile may have been deleted under the read. */
        if (kv_request_check_target(request))
            kv_read_answer(request);
        return;
    }
    /* The lock may have gone in the meantime; then the value is worth nothing. */
    struct participant_event event = {
        .type = PARTICIPANT_EV_HEARTBEAT,
        .token = request->token,
        .txn = request->txn,
        .entry = request->entry,
    };
    kv_group_step(request->group, &event);
}

static void read_on_pool(struct kv_request *request)
{
    struct kv_read *read = request->read;
    struct kv_environment *environment = &request->shared->environment;
    kv_request_move(request, KV_REQUEST_POOL);
    environment->metrics->reads_blocked_count++;
    job_push(environment->jobs, &read->job, read_job_run, read_job_done);
}

/* --- Answers -----------------------------------------------------------------------------------
 */

static void answer_value(struct kv_request *request, int status, struct bytes row_key,
                         struct bytes row_value)
{
    if (request->timestamp != 0 && !kv_closed_read_holds(request))
        return;
    struct reader reader = reader_of(row_value);
    uint8_t kind = WRITE_DELETE;
    if (status == OST_OK && (!row_is_whole(row_key) || !reader_u8(&reader, &kind)))
        status = OST_CORRUPT;
    if (status != OST_OK && status != OST_NOT_FOUND) {
        log_write(LOG_ERROR, "a read failed", "group=%lu status=%s", request->group->id,
                  ost_status_name(status));
        kv_answer_status(request, status, NULL);
        return;
    }
    /* The pool may have found what was written after the read was granted. */
    if (status == OST_OK && request->read_timestamp < version_of(row_key))
        request->read_timestamp = version_of(row_key);
    bool found = status == OST_OK && kind == WRITE_PUT;
    kv_answer_value(request, OST_OK, found ? version_of(row_key) : 0, found,
                    found ? bytes_of(reader.data, reader.bytes_left) : bytes_of(NULL, 0));
}

static void answer_rows(struct kv_request *request)
{
    const struct kv_read *read = request->read;
    if (request->timestamp != 0 && !kv_closed_read_holds(request))
        return;
    if (read->status != OST_OK) {
        log_write(LOG_ERROR, "a scan failed", "group=%lu status=%s", request->group->id,
                  ost_status_name(read->status));
        kv_answer_status(request, read->status, NULL);
    } else if (read->snapshot && request->group->meta.safe_point > read->granted_timestamp) {
        COVER(SCAN_OVERTAKEN);
        kv_answer_status(request, OST_NOT_READY, "the safe point has overtaken the read");
    } else {
        kv_answer_rows(request, read->scan.rows_count, read->scan.more,
                       buffer_bytes(&read->scan.rows));
    }
}

void kv_read_answer(struct kv_request *request)
{
    const struct kv_read *read = request->read;
    if (read->is_rows)
        answer_rows(request);
    else
        answer_value(request, read->status, buffer_bytes(&read->key), buffer_bytes(&read->value));
}

/* The newest there can be sorts before all others, and counts for what has no timestamp. */
static timestamp_t visible_timestamp(struct kv_request *request)
{
    request->generation = request->group->meta.generation;
    return request->timestamp != 0 ? request->timestamp : UINT64_MAX;
}

void kv_read_value(struct kv_request *request)
{
    struct kv_shared *shared = request->shared;
    struct kv_group *group = request->group;
    request->read_timestamp = kv_group_read_timestamp(group);
    ProtobufCBinaryData key = request->type == FRAME_GET
                                  ? ((const Ostraka__GetRequest *)request->message)->key
                                  : ((const Ostraka__LockRequest *)request->message)->key;
    kv_load_asked(group, bytes_of_field(key), 0);
    kv_key_data(&shared->key, group->id, group->meta.generation, bytes_of_field(key),
                visible_timestamp(request));
    int status = store_first_version(shared->environment.store, buffer_bytes(&shared->key),
                                     STORE_IN_MEMORY, &shared->found_key, &shared->value);
    if (status != OST_WOULD_BLOCK && !RARE(CACHE_COLD)) {
        answer_value(request, status, buffer_bytes(&shared->found_key),
                     buffer_bytes(&shared->value));
        return;
    }
    struct kv_read *read = read_new(request);
    buffer_append(&read->from, shared->key.data, shared->key.bytes_count);
    read_on_pool(request);
}

void kv_read_rows(struct kv_request *request)
{
    struct store *store = request->shared->environment.store;
    struct kv_group *group = request->group;
    const Ostraka__ScanRequest *message = (const Ostraka__ScanRequest *)request->message;
    struct kv_read *read = read_new(request);
    struct kv_scan *scan = &read->scan;
    read->is_rows = true;
    request->read_timestamp = kv_group_read_timestamp(group);
    kv_load_asked(group, bytes_of_field(message->start), 0);
    scan->reverse = message->reverse;
    scan->timestamp = visible_timestamp(request);
    scan->keys_only = message->keys_only;
    scan->rows_count_max = message->rows_count_max;
    if (scan->rows_count_max == 0 || scan->rows_count_max > SCAN_ROWS_COUNT_MAX)
        scan->rows_count_max = SCAN_ROWS_COUNT_MAX;
    if (RARE(SCAN_PAGE_ONE_ROW))
        scan->rows_count_max = 1;
    /* An escaped key with its end is at or before every version of that key and of all behind it.
     */
    kv_key_data_prefix(&scan->lower, group->id, group->meta.generation,
                       bytes_of_field(message->start));
    if (message->end.len > 0)
        kv_key_data_prefix(&scan->upper, group->id, group->meta.generation,
                           bytes_of_field(message->end));
    else
        kv_key_kind(&scan->upper, group->id, group->meta.generation, KV_ROW_DATA + 1);
    uint32_t visits_max = RARE(SCAN_VISITS_ONE_ROW) ? 1 : SCAN_LOOP_VISITS_MAX;
    read->status = scan_run(scan, store, NULL, STORE_IN_MEMORY, visits_max);
    if (read->status != OST_WOULD_BLOCK) {
        kv_read_answer(request);
        return;
    }
    /* Nothing has been written since the rows that it already has: the same state. */
    read->snapshot = store_snapshot_new(store);
    read->granted_timestamp = kv_group_read_timestamp(group);
    read_on_pool(request);
}
