/* operations_scan.c: scans, page by page and range by range, with the transaction's own writes
 * between the rows.
 *
 * A scan by itself is one picture in one of two ways: one page of one range, linearizable, which
 * needs no transaction; or pages under locks, in a transaction of its own that is validated at the
 * end. With a timestamp all pages are of one picture anyway.
 */
#include "base/memory.h"
#include "base/sometimes.h"
#include "client/core_internal.h"

#include <stdlib.h>

struct scan {
    struct buffer rows; /* so far */
    uint32_t rows_count;
    struct buffer cursor; /* forward: the next start; in reverse: the next end */
    bool needs_txn;       /* one page was not enough */
    /* The page under way. */
    struct buffer piece_start, piece_end; /* the part of the interval in one range */
    /* What of it the rows that were taken depend on; until the next page is asked for. */
    struct buffer covered_start, covered_end;
};

void scan_free(struct scan *scan)
{
    if (!scan)
        return;
    buffer_fini(&scan->rows);
    buffer_fini(&scan->cursor);
    buffer_fini(&scan->piece_start);
    buffer_fini(&scan->piece_end);
    buffer_fini(&scan->covered_start);
    buffer_fini(&scan->covered_end);
    free(scan);
}

static void buffer_set(struct buffer *buffer, struct bytes bytes)
{
    buffer_reset(buffer);
    buffer_append(buffer, bytes.data, bytes.bytes_count);
}

/* Of two ends, where an empty one is the very end. */
static struct bytes end_min(struct bytes a, struct bytes b)
{
    if (a.bytes_count == 0)
        return b;
    if (b.bytes_count == 0)
        return a;
    return bytes_compare(a, b) < 0 ? a : b;
}

static void page_ask(struct client_core *core, struct operation *operation)
{
    operation->request = request_new(core, FRAME_SCAN, OWNER_READ, operation->deadline_ns);
    operation->request->operation = operation;
    operation->request->any_replica = operation->any_replica;
    request_start(core, operation->request);
}

static bool scan_fits_one_range(struct client_core *core, const struct operation *operation)
{
    struct coordinator_route route;
    if (!map_cache_route(&core->map, operation->key, &route))
        return true; /* nobody knows; the first page will tell */
    if (route.range_end.bytes_count == 0)
        return true;
    return operation->value.bytes_count != 0 &&
           bytes_compare(operation->value, route.range_end) <= 0;
}

void scan_start(struct client_core *core, struct operation *operation)
{
    struct scan *scan = operation->scan;
    if (!scan)
        scan = operation->scan = memory_alloc_zeroed(1, sizeof(*scan));
    buffer_reset(&scan->rows);
    scan->rows_count = 0;
    buffer_set(&scan->cursor, operation->reverse ? operation->value : operation->key);
    bool is_deletion = operation->type == OPERATION_DELETE_RANGE;
    if (is_deletion) {
        operation->keys_only = true;
        operation->lock_mode = LOCK_EXCLUSIVE;
    }
    if (operation->value.bytes_count && bytes_compare(operation->key, operation->value) >= 0) {
        scan_complete(core, operation);
        return;
    }
    bool unlimited = operation->rows_count_max == 0;
    if (!operation->txn && operation->timestamp == 0 &&
        (is_deletion || scan->needs_txn || (unlimited && !scan_fits_one_range(core, operation)))) {
        scan->needs_txn = true;
        operation_take_txn(core, operation);
    }
    page_ask(core, operation);
}

/* Finds the next part of the interval that lies in one range, in the newest map. */
static bool piece_find(struct client_core *core, const struct operation *operation)
{
    struct scan *scan = operation->scan;
    struct bytes cursor = buffer_bytes(&scan->cursor);
    struct coordinator_route route;
    if (operation->reverse) {
        if (!map_cache_route_before(&core->map, cursor, &route))
            return false;
        bool starts_in_range = bytes_compare(operation->key, route.range_start) >= 0;
        buffer_set(&scan->piece_start, starts_in_range ? operation->key : route.range_start);
        buffer_set(&scan->piece_end, cursor);
    } else {
        if (!map_cache_route(&core->map, cursor, &route))
            return false;
        buffer_set(&scan->piece_start, cursor);
        buffer_set(&scan->piece_end, end_min(operation->value, route.range_end));
    }
    return true;
}

struct blob *scan_encode(struct client_core *core, struct request *request)
{
    struct operation *operation = request->operation;
    struct scan *scan = operation->scan;
    if (!piece_find(core, operation))
        return NULL;
    uint32_t rows_count_max = SCAN_ROWS_COUNT_MAX;
    if (operation->rows_count_max && operation->rows_count_max - scan->rows_count < rows_count_max)
        rows_count_max = operation->rows_count_max - scan->rows_count;
    if (RARE(CLIENT_SCAN_PAGE_ONE_ROW))
        rows_count_max = 1;
    struct bytes start = buffer_bytes(&scan->piece_start), end = buffer_bytes(&scan->piece_end);
    if (operation->txn && !coordinator_is_optimistic(operation->txn->coordinator)) {
        struct coordinator_scan page = {.route_key = start,
                                        .start = start,
                                        .end = end,
                                        .rows_count_max = rows_count_max,
                                        .reverse = operation->reverse,
                                        .keys_only = operation->keys_only,
                                        .mode = operation->lock_mode};
        coordinator_set_wait(operation->txn->coordinator, core_wait_ms(core, request->give_up_ns));
        return coordinator_encode_scan(operation->txn->coordinator, request->id, &page,
                                       &request->group);
    }
    struct coordinator_route route;
    if (!map_cache_route(&core->map, start, &route))
        return NULL;
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    range.start.data = (uint8_t *)(uintptr_t)route.range_start.data;
    range.start.len = route.range_start.bytes_count;
    range.epoch = route.epoch;
    Ostraka__ScanRequest message = OSTRAKA__SCAN_REQUEST__INIT;
    message.group = route.group;
    message.range = &range;
    message.start.data = scan->piece_start.data;
    message.start.len = start.bytes_count;
    message.end.data = scan->piece_end.data;
    message.end.len = end.bytes_count;
    message.rows_count_max = rows_count_max;
    message.reverse = operation->reverse;
    message.timestamp = operation->timestamp;
    message.any_replica = operation->any_replica;
    message.keys_only = operation->keys_only;
    message.wait_ms_max = core_wait_ms(core, request->give_up_ns);
    request->group = route.group;
    return frame_encode(FRAME_SCAN, request->id, &message.base, NULL, 0);
}

/* --- Merging -------------------------------------------------------------------------------------
 */

/* Rows of a page and own writes in the same interval, in the scan's order. */
struct merge {
    struct reader rows;
    struct row row;
    bool has_row;
    bool is_broken;
    struct write_buffer_entry *write; /* NULL: no more */
    bool reverse;
    bool keys_only;
    struct bytes start, end; /* what the page covers */
};

static void merge_next_row(struct merge *merge)
{
    int status = rows_next(&merge->rows, &merge->row);
    merge->has_row = status == OST_OK;
    merge->is_broken = merge->is_broken || status == OST_PROTOCOL;
}

static void merge_keep_write(struct merge *merge)
{
    if (!merge->write)
        return;
    struct write write = write_buffer_entry_write(merge->write);
    if (!key_in_range(write.key, merge->start, merge->end))
        merge->write = NULL;
}

static void merge_next_write(struct merge *merge)
{
    merge->write =
        merge->reverse ? write_buffer_previous(merge->write) : write_buffer_next(merge->write);
    merge_keep_write(merge);
}

/* The next row as the transaction sees it; false at the end of the page. */
static bool merge_next(struct merge *merge, struct row *out_row)
{
    for (;;) {
        if (!merge->write) {
            if (!merge->has_row)
                return false;
            *out_row = merge->row;
            merge_next_row(merge);
            return true;
        }
        struct write write = write_buffer_entry_write(merge->write);
        int order = merge->has_row ? bytes_compare(merge->row.key, write.key) : 1;
        if (merge->has_row && merge->reverse)
            order = -order;
        if (order < 0) {
            *out_row = merge->row;
            merge_next_row(merge);
            return true;
        }
        if (merge->has_row && order == 0)
            merge_next_row(merge); /* overwritten here */
        merge_next_write(merge);
        if (write.kind == WRITE_PUT) {
            *out_row = (struct row){.key = write.key, .version = 0, .value = write.value};
            if (merge->keys_only)
                out_row->value = bytes_of(NULL, 0);
            return true;
        }
    }
}

/* How far the page reached: up to its last row when rows are left, else to the end of the piece. */
static bool page_bounds(struct scan *scan, const struct operation *operation,
                        const struct answer *answer, struct bytes *out_last_key)
{
    *out_last_key = bytes_of(NULL, 0);
    struct reader reader = reader_of(answer->payload);
    struct row row;
    uint32_t count = 0;
    int status;
    while ((status = rows_next(&reader, &row)) == OST_OK) {
        if (!key_in_range(row.key, buffer_bytes(&scan->piece_start),
                          buffer_bytes(&scan->piece_end)))
            return false;
        *out_last_key = row.key;
        count++;
    }
    (void)operation;
    return status == OST_NOT_FOUND && count == answer->rows_count && !(answer->more && count == 0);
}

/* The limit ended the scan with this row: what lies behind it makes no difference. */
static void covered_cut(struct scan *scan, bool reverse, struct bytes last_key)
{
    struct buffer *end = reverse ? &scan->covered_start : &scan->covered_end;
    buffer_set(end, last_key);
    if (!reverse)
        buffer_append_u8(end, 0); /* the next possible key */
}

/* Appends the page's rows. OST_OK: go on at the cursor. OST_NOT_FOUND: that was the end. */
static int page_take(struct operation *operation, const struct answer *answer)
{
    struct scan *scan = operation->scan;
    struct bytes last_key;
    if (!page_bounds(scan, operation, answer, &last_key))
        return OST_PROTOCOL;
    /* The cursor moves on first: where it goes is where this page ends. */
    struct bytes covered_start = buffer_bytes(&scan->piece_start);
    struct bytes covered_end = buffer_bytes(&scan->piece_end);
    if (operation->reverse) {
        buffer_set(&scan->cursor, answer->more ? last_key : covered_start);
        covered_start = buffer_bytes(&scan->cursor);
    } else if (answer->more) {
        buffer_set(&scan->cursor, last_key);
        buffer_append_u8(&scan->cursor, 0); /* the next possible key */
        covered_end = buffer_bytes(&scan->cursor);
    } else {
        buffer_set(&scan->cursor, covered_end);
    }
    buffer_set(&scan->covered_start, covered_start);
    buffer_set(&scan->covered_end, covered_end);
    struct merge merge = {.rows = reader_of(answer->payload),
                          .reverse = operation->reverse,
                          .keys_only = operation->keys_only,
                          .start = covered_start,
                          .end = covered_end};
    merge_next_row(&merge);
    if (operation->txn) {
        const struct write_buffer *writes = coordinator_writes(operation->txn->coordinator);
        merge.write = operation->reverse ? write_buffer_last(writes, covered_end)
                                         : write_buffer_first(writes, covered_start);
        merge_keep_write(&merge);
    }
    bool is_whole = operation->reverse
                        ? !answer->more && bytes_equal(covered_start, operation->key)
                        : !answer->more && bytes_equal(covered_end, operation->value);
    struct row row;
    last_key = bytes_of(NULL, 0);
    while (merge_next(&merge, &row)) {
        if (operation->rows_count_max && scan->rows_count == operation->rows_count_max) {
            operation->result_more = true;
            covered_cut(scan, operation->reverse, last_key);
            return OST_NOT_FOUND;
        }
        rows_append(&scan->rows, &row);
        scan->rows_count++;
        last_key = row.key;
    }
    if (is_whole)
        return OST_NOT_FOUND;
    if (operation->rows_count_max && scan->rows_count == operation->rows_count_max) {
        operation->result_more = true;
        covered_cut(scan, operation->reverse, last_key);
        return OST_NOT_FOUND;
    }
    return OST_OK;
}

void scan_complete(struct client_core *core, struct operation *operation)
{
    struct scan *scan = operation->scan;
    operation->result_rows = buffer_bytes(&scan->rows);
    operation->result_rows_count = scan->rows_count;
    if (operation_is_callers(operation))
        TAILQ_REMOVE(&operation->txn->reads, operation, link);
    if (operation->type == OPERATION_DELETE_RANGE)
        delete_range_scanned(core, operation, operation->result_rows, operation->result_rows_count);
    else
        core_complete(core, operation, OST_OK);
}

static void scan_failed(struct client_core *core, struct operation *operation, int status,
                        const char *why)
{
    if (operation->timestamp != 0 && !ost_status_is_retryable(status)) {
        operation->why = why;
        core_complete(core, operation, status);
        return;
    }
    if (!operation_is_callers(operation)) {
        operation_run_again(core, operation, status);
        return;
    }
    TAILQ_REMOVE(&operation->txn->reads, operation, link);
    core_complete(core, operation, status);
}

void scan_answered(struct client_core *core, struct operation *operation, group_id_t group,
                   const struct answer *answer)
{
    struct scan *scan = operation->scan;
    int status = answer->status;
    int growing = OST_OK;
    if (status == OST_OK) {
        operation->result_more = false;
        status = page_take(operation, answer);
        if (status == OST_OK && operation->type == OPERATION_DELETE_RANGE &&
            scan->rows_count > TXN_OPERATIONS_COUNT_MAX)
            status = OST_NOT_FOUND; /* more than a transaction may write: it ends here */
    } else if (status == OST_NOT_FOUND) {
        status = OST_PROTOCOL;
    }
    if (operation->txn) {
        struct lock_target read = {.start = buffer_bytes(&scan->covered_start),
                                   .end = buffer_bytes(&scan->covered_end),
                                   .is_interval = true};
        core_txn_read_answered(core, operation->txn, group, &read, answer);
        if (answer->status == OST_OK)
            growing = core_txn_check_growing(core, operation->txn);
    }
    if (growing != OST_OK)
        status = growing;
    if (status != OST_OK && status != OST_NOT_FOUND) {
        scan_failed(core, operation, status, answer->header ? answer->header->text : NULL);
        return;
    }
    bool is_last = status == OST_NOT_FOUND;
    if (operation->type == OPERATION_SCAN && !operation->txn && operation->timestamp == 0 &&
        !is_last) {
        scan->needs_txn = true; /* what follows must be of the same picture */
        scan_start(core, operation);
    } else if (!is_last) {
        page_ask(core, operation);
    } else if (operation->type == OPERATION_SCAN && operation->txn) {
        core_txn_commit(core, operation->txn, operation);
    } else {
        scan_complete(core, operation);
    }
}
