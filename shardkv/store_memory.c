/* store_memory.c: store.h in memory; to compare with, and for the simulator.
 *
 * Every write has a number. A row keeps its versions, newest first, as long as somebody may read
 * them: the present, the state that was flushed last (what a crash leaves), and each snapshot.
 * Reads name the number that they read at. One mutex guards it all; iterators keep a key and seek
 * anew at each step.
 */
#include "shardkv/store_ops.h"

#include "base/memory.h"
#include "base/sometimes.h"
#include "shardkv/kv_keys.h"

#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>
#include <pthread.h>
#include <stdlib.h>

struct memory_version {
    LIST_ENTRY(memory_version) link;
    uint64_t sequence;
    struct blob *value; /* NULL: deleted */
};

struct memory_row {
    RB_ENTRY(memory_row) link;
    struct blob *key;
    LIST_HEAD(, memory_version) versions; /* newest first */
};

static int memory_row_compare(struct memory_row *a, struct memory_row *b)
{
    return bytes_compare(blob_bytes(a->key), blob_bytes(b->key));
}
RB_HEAD(memory_rows, memory_row);
RB_GENERATE_INTERNAL(memory_rows, memory_row, link, memory_row_compare,
                     __attribute__((unused)) static)

struct store_snapshot {
    TAILQ_ENTRY(store_snapshot) link;
    uint64_t sequence;
};

struct store_memory {
    struct store store;
    pthread_mutex_t mutex;
    struct memory_rows rows;
    TAILQ_HEAD(, store_snapshot) snapshots; /* oldest first */
    uint64_t sequence;
    uint64_t flushed_sequence;
    uint64_t written_bytes;
    uint64_t flushed_bytes;
    uint64_t gc_epoch; /* when all rows were last looked at */
    bool is_stalled;
    bool is_cold;
};

struct memory_iterator {
    struct store_iterator base;
    struct store_memory *store;
    struct store_snapshot *snapshot; /* its own, at the number of the one it was given */
    struct buffer lower, upper, key, value;
    bool has_upper;
    bool valid;
    bool is_in_memory; /* STORE_IN_MEMORY */
};

enum memory_operation_type { MEMORY_PUT, MEMORY_PUT_LEAST, MEMORY_DELETE, MEMORY_DELETE_RANGE };

struct memory_operation {
    STAILQ_ENTRY(memory_operation) link;
    enum memory_operation_type type;
    struct blob *key;
    struct blob *value; /* or the upper bound */
};

struct memory_batch {
    struct store_batch base;
    STAILQ_HEAD(, memory_operation) operations;
    size_t bytes_count;
};

static struct store_memory *of_store(const struct store *store)
{
    return (struct store_memory *)(uintptr_t)store;
}

static void lock(struct store_memory *store)
{
    int failed = pthread_mutex_lock(&store->mutex);
    ASSERT(!failed);
}

static void unlock(struct store_memory *store)
{
    int failed = pthread_mutex_unlock(&store->mutex);
    ASSERT(!failed);
}

/* --- Rows and versions -------------------------------------------------------------------------
 */

/* The first row at or after `key`. */
static struct memory_row *row_at_or_after(struct store_memory *store, struct bytes key)
{
    /* A lookup needs a node with a key of its own; this is the small store. */
    struct memory_row wanted = {.key = blob_copy(key)};
    struct memory_row *row = RB_NFIND(memory_rows, &store->rows, &wanted);
    blob_unref(wanted.key);
    return row;
}

static struct memory_row *row_before(struct store_memory *store, struct bytes key)
{
    struct memory_row *row = row_at_or_after(store, key);
    return row ? RB_PREV(memory_rows, &store->rows, row) : RB_MAX(memory_rows, &store->rows);
}

static struct memory_version *version_at(const struct memory_row *row, uint64_t sequence)
{
    struct memory_version *version;
    LIST_FOREACH (version, &row->versions, link) {
        if (version->sequence <= sequence)
            return version;
    }
    return NULL;
}

/* Is there a value of the row at this number? */
static struct blob *value_at(const struct memory_row *row, uint64_t sequence)
{
    struct memory_version *version = version_at(row, sequence);
    return version ? version->value : NULL;
}

static void version_remove(struct memory_version *version)
{
    LIST_REMOVE(version, link);
    blob_unref(version->value);
    free(version);
}

static bool version_is_needed(struct store_memory *store, const struct memory_row *row,
                              const struct memory_version *version)
{
    if (version == LIST_FIRST(&row->versions) ||
        version == version_at(row, store->flushed_sequence))
        return true;
    struct store_snapshot *snapshot;
    TAILQ_FOREACH (snapshot, &store->snapshots, link) {
        if (version == version_at(row, snapshot->sequence))
            return true;
    }
    return false;
}

/* Drops what nobody can read; the row too when nothing is left of it. */
static void row_trim(struct store_memory *store, struct memory_row *row)
{
    struct memory_version *version = LIST_FIRST(&row->versions);
    while (version) {
        struct memory_version *next = LIST_NEXT(version, link);
        if (!version_is_needed(store, row, version))
            version_remove(version);
        version = next;
    }
    version = LIST_FIRST(&row->versions);
    if (version && !version->value && !LIST_NEXT(version, link) &&
        version->sequence <= store->flushed_sequence)
        version_remove(version);
    if (!LIST_EMPTY(&row->versions))
        return;
    RB_REMOVE(memory_rows, &store->rows, row);
    blob_unref(row->key);
    free(row);
}

static void row_write(struct store_memory *store, struct memory_row *row, struct blob *value)
{
    struct memory_version *version = memory_alloc(sizeof(*version));
    version->sequence = store->sequence;
    version->value = value ? blob_ref(value) : NULL;
    LIST_INSERT_HEAD(&row->versions, version, link);
    row_trim(store, row);
}

static struct memory_row *row_find(struct store_memory *store, struct blob *key)
{
    struct memory_row wanted = {.key = key};
    return RB_FIND(memory_rows, &store->rows, &wanted);
}

static void key_write(struct store_memory *store, struct blob *key, struct blob *value)
{
    struct memory_row *row = row_find(store, key);
    if (!row && !value)
        return;
    if (!row) {
        row = memory_alloc_zeroed(1, sizeof(*row));
        row->key = blob_ref(key);
        RB_INSERT(memory_rows, &store->rows, row);
    }
    row_write(store, row, value);
}

/* --- The store ---------------------------------------------------------------------------------
 */

static void memory_close(struct store *base)
{
    struct store_memory *store = of_store(base);
    ASSERT(TAILQ_EMPTY(&store->snapshots));
    struct memory_row *row = RB_MIN(memory_rows, &store->rows);
    while (row) {
        struct memory_row *next = RB_NEXT(memory_rows, &store->rows, row);
        while (!LIST_EMPTY(&row->versions))
            version_remove(LIST_FIRST(&row->versions));
        RB_REMOVE(memory_rows, &store->rows, row);
        blob_unref(row->key);
        free(row);
        row = next;
    }
    pthread_mutex_destroy(&store->mutex);
    kv_gc_free(store->store.gc);
    free(store);
}

static int memory_get(struct store *base, struct bytes key, enum store_mode mode,
                      struct buffer *out_value)
{
    struct store_memory *store = of_store(base);
    if (mode == STORE_IN_MEMORY && store->is_cold)
        return OST_WOULD_BLOCK;
    lock(store);
    struct memory_row *row = row_at_or_after(store, key);
    uint64_t sequence = mode == STORE_FLUSHED ? store->flushed_sequence : store->sequence;
    struct blob *value =
        row && bytes_equal(blob_bytes(row->key), key) ? value_at(row, sequence) : NULL;
    if (value) {
        buffer_reset(out_value);
        buffer_append(out_value, value->data, value->bytes_count);
    }
    unlock(store);
    return value ? OST_OK : OST_NOT_FOUND;
}

static bool has_prefix(struct bytes key, struct bytes prefix)
{
    return key.bytes_count >= prefix.bytes_count &&
           bytes_equal(bytes_of(key.data, prefix.bytes_count), prefix);
}

static int memory_first_version(struct store *base, struct bytes from, enum store_mode mode,
                                struct buffer *out_key, struct buffer *out_value)
{
    struct store_memory *store = of_store(base);
    struct bytes prefix = bytes_of(from.data, from.bytes_count - KV_TIMESTAMP_BYTES);
    if (mode == STORE_IN_MEMORY && store->is_cold)
        return OST_WOULD_BLOCK;
    lock(store);
    struct memory_row *row = row_at_or_after(store, from);
    while (row && has_prefix(blob_bytes(row->key), prefix) && !value_at(row, store->sequence))
        row = RB_NEXT(memory_rows, &store->rows, row);
    bool found = row && has_prefix(blob_bytes(row->key), prefix);
    if (found) {
        struct blob *value = value_at(row, store->sequence);
        buffer_reset(out_key);
        buffer_append(out_key, row->key->data, row->key->bytes_count);
        buffer_reset(out_value);
        buffer_append(out_value, value->data, value->bytes_count);
    }
    unlock(store);
    return found ? OST_OK : OST_NOT_FOUND;
}

static struct store_snapshot *snapshot_add(struct store_memory *store, uint64_t sequence)
{
    struct store_snapshot *snapshot = memory_alloc_zeroed(1, sizeof(*snapshot));
    snapshot->sequence = sequence;
    TAILQ_INSERT_TAIL(&store->snapshots, snapshot, link);
    return snapshot;
}

static struct store_snapshot *memory_snapshot_new(struct store *base)
{
    struct store_memory *store = of_store(base);
    lock(store);
    struct store_snapshot *snapshot = snapshot_add(store, store->sequence);
    unlock(store);
    return snapshot;
}

static void memory_snapshot_free(struct store *base, struct store_snapshot *snapshot)
{
    struct store_memory *store = of_store(base);
    lock(store);
    TAILQ_REMOVE(&store->snapshots, snapshot, link);
    unlock(store);
    free(snapshot);
}

/* --- Iterators ---------------------------------------------------------------------------------
 */

static struct memory_iterator *of_iterator(const struct store_iterator *iterator)
{
    return (struct memory_iterator *)(uintptr_t)iterator;
}

static const struct store_ops memory_ops;

static struct store_iterator *memory_iterator_new(struct store *base,
                                                  const struct store_snapshot *snapshot,
                                                  struct bytes lower, struct bytes upper,
                                                  enum store_mode mode)
{
    struct store_memory *store = of_store(base);
    struct memory_iterator *iterator = memory_alloc_zeroed(1, sizeof(*iterator));
    iterator->is_in_memory = mode == STORE_IN_MEMORY;
    iterator->base.ops = &memory_ops;
    iterator->store = store;
    buffer_append(&iterator->lower, lower.data, lower.bytes_count);
    buffer_append(&iterator->upper, upper.data, upper.bytes_count);
    iterator->has_upper = upper.bytes_count > 0;
    lock(store);
    iterator->snapshot = snapshot_add(store, snapshot ? snapshot->sequence : store->sequence);
    unlock(store);
    return &iterator->base;
}

static void memory_iterator_free(struct store_iterator *base)
{
    struct memory_iterator *iterator = of_iterator(base);
    memory_snapshot_free(&iterator->store->store, iterator->snapshot);
    buffer_fini(&iterator->lower);
    buffer_fini(&iterator->upper);
    buffer_fini(&iterator->key);
    buffer_fini(&iterator->value);
    free(iterator);
}

/* Takes over `row`, or the next that has a value in this direction and lies inside. */
static void iterator_settle(struct memory_iterator *iterator, struct memory_row *row, bool forward)
{
    uint64_t sequence = iterator->snapshot->sequence;
    while (row && !value_at(row, sequence))
        row = forward ? RB_NEXT(memory_rows, NULL, row) : RB_PREV(memory_rows, NULL, row);
    iterator->valid = false;
    if (!row || (iterator->is_in_memory && iterator->store->is_cold))
        return;
    struct bytes key = blob_bytes(row->key);
    if (bytes_compare(key, buffer_bytes(&iterator->lower)) < 0 ||
        (iterator->has_upper && bytes_compare(key, buffer_bytes(&iterator->upper)) >= 0))
        return;
    struct blob *value = value_at(row, sequence);
    iterator->valid = true;
    buffer_reset(&iterator->key);
    buffer_append(&iterator->key, key.data, key.bytes_count);
    buffer_reset(&iterator->value);
    buffer_append(&iterator->value, value->data, value->bytes_count);
}

static void memory_iterator_seek(struct store_iterator *base, struct bytes key)
{
    struct memory_iterator *iterator = of_iterator(base);
    if (bytes_compare(key, buffer_bytes(&iterator->lower)) < 0)
        key = buffer_bytes(&iterator->lower);
    lock(iterator->store);
    iterator_settle(iterator, row_at_or_after(iterator->store, key), true);
    unlock(iterator->store);
}

static void memory_iterator_seek_before(struct store_iterator *base, struct bytes key)
{
    struct memory_iterator *iterator = of_iterator(base);
    if (iterator->has_upper && bytes_compare(key, buffer_bytes(&iterator->upper)) > 0)
        key = buffer_bytes(&iterator->upper);
    lock(iterator->store);
    iterator_settle(iterator, row_before(iterator->store, key), false);
    unlock(iterator->store);
}

static void memory_iterator_first(struct store_iterator *base)
{
    memory_iterator_seek(base, buffer_bytes(&of_iterator(base)->lower));
}

static void memory_iterator_last(struct store_iterator *base)
{
    struct memory_iterator *iterator = of_iterator(base);
    if (iterator->has_upper) {
        memory_iterator_seek_before(base, buffer_bytes(&iterator->upper));
        return;
    }
    lock(iterator->store);
    iterator_settle(iterator, RB_MAX(memory_rows, &iterator->store->rows), false);
    unlock(iterator->store);
}

static void memory_iterator_next(struct store_iterator *base)
{
    struct memory_iterator *iterator = of_iterator(base);
    lock(iterator->store);
    struct bytes key = buffer_bytes(&iterator->key);
    struct memory_row *row = row_at_or_after(iterator->store, key);
    if (row && bytes_equal(blob_bytes(row->key), key))
        row = RB_NEXT(memory_rows, &iterator->store->rows, row);
    iterator_settle(iterator, row, true);
    unlock(iterator->store);
}

static void memory_iterator_previous(struct store_iterator *base)
{
    struct memory_iterator *iterator = of_iterator(base);
    lock(iterator->store);
    iterator_settle(iterator, row_before(iterator->store, buffer_bytes(&iterator->key)), false);
    unlock(iterator->store);
}

static bool memory_iterator_valid(const struct store_iterator *base)
{
    return of_iterator(base)->valid;
}

static int memory_iterator_status(const struct store_iterator *base)
{
    const struct memory_iterator *iterator = of_iterator(base);
    if (iterator->valid)
        return OST_OK;
    return iterator->is_in_memory && iterator->store->is_cold ? OST_WOULD_BLOCK : OST_NOT_FOUND;
}

static struct bytes memory_iterator_key(const struct store_iterator *base)
{
    return buffer_bytes(&of_iterator(base)->key);
}

static struct bytes memory_iterator_value(const struct store_iterator *base)
{
    return buffer_bytes(&of_iterator(base)->value);
}

/* --- Writes ------------------------------------------------------------------------------------
 */

static struct memory_batch *of_batch(const struct store_batch *batch)
{
    return (struct memory_batch *)(uintptr_t)batch;
}

static struct store_batch *memory_batch_new(struct store *store)
{
    (void)store;
    struct memory_batch *batch = memory_alloc_zeroed(1, sizeof(*batch));
    batch->base.ops = &memory_ops;
    STAILQ_INIT(&batch->operations);
    return &batch->base;
}

static void memory_batch_reset(struct store_batch *base)
{
    struct memory_batch *batch = of_batch(base);
    while (!STAILQ_EMPTY(&batch->operations)) {
        struct memory_operation *operation = STAILQ_FIRST(&batch->operations);
        STAILQ_REMOVE_HEAD(&batch->operations, link);
        blob_unref(operation->key);
        blob_unref(operation->value);
        free(operation);
    }
    batch->bytes_count = 0;
}

static void memory_batch_free(struct store_batch *base)
{
    memory_batch_reset(base);
    free(of_batch(base));
}

static void batch_add(struct store_batch *base, enum memory_operation_type type, struct bytes key,
                      struct bytes value)
{
    struct memory_batch *batch = of_batch(base);
    struct memory_operation *operation = memory_alloc_zeroed(1, sizeof(*operation));
    operation->type = type;
    operation->key = blob_copy(key);
    operation->value = type == MEMORY_DELETE ? NULL : blob_copy(value);
    STAILQ_INSERT_TAIL(&batch->operations, operation, link);
    batch->bytes_count += key.bytes_count + value.bytes_count;
}

static void memory_batch_put(struct store_batch *batch, struct bytes key, struct bytes value)
{
    batch_add(batch, MEMORY_PUT, key, value);
}

static void memory_batch_put_least(struct store_batch *batch, struct bytes key, struct bytes value)
{
    batch_add(batch, MEMORY_PUT_LEAST, key, value);
}

static void memory_batch_delete(struct store_batch *batch, struct bytes key)
{
    batch_add(batch, MEMORY_DELETE, key, bytes_of(NULL, 0));
}

static void memory_batch_delete_range(struct store_batch *batch, struct bytes lower,
                                      struct bytes upper)
{
    batch_add(batch, MEMORY_DELETE_RANGE, lower, upper);
}

static size_t memory_batch_bytes(const struct store_batch *base)
{
    return of_batch(base)->bytes_count;
}

static void range_delete(struct store_memory *store, struct bytes lower, struct bytes upper)
{
    struct memory_row *row = row_at_or_after(store, lower);
    while (row && bytes_compare(blob_bytes(row->key), upper) < 0) {
        struct memory_row *next = RB_NEXT(memory_rows, &store->rows, row);
        row_write(store, row, NULL);
        row = next;
    }
}

static void key_write_least(struct store_memory *store, struct blob *key, struct blob *value)
{
    const struct memory_row *row = row_find(store, key);
    const struct blob *there = row ? value_at(row, store->sequence) : NULL;
    if (!there || bytes_compare(blob_bytes(value), blob_bytes(there)) < 0)
        key_write(store, key, value);
}

static void operation_write(struct store_memory *store, const struct memory_operation *operation)
{
    switch (operation->type) {
    case MEMORY_PUT:
    case MEMORY_DELETE:
        key_write(store, operation->key, operation->value);
        break;
    case MEMORY_PUT_LEAST:
        key_write_least(store, operation->key, operation->value);
        break;
    case MEMORY_DELETE_RANGE:
        range_delete(store, blob_bytes(operation->key), blob_bytes(operation->value));
        break;
    }
}

static int memory_write(struct store *base, struct store_batch *base_batch)
{
    struct store_memory *store = of_store(base);
    struct memory_batch *batch = of_batch(base_batch);
    if (store->is_stalled)
        return OST_BUSY;
    lock(store);
    store->sequence++;
    const struct memory_operation *operation;
    STAILQ_FOREACH (operation, &batch->operations, link)
        operation_write(store, operation);
    store->written_bytes += batch->bytes_count;
    unlock(store);
    return OST_OK;
}

/* What a compaction does: it sees what was flushed, and what it drops is gone at once and for
 * everybody: the present, a crash, and snapshots that still show it. */
static void rows_drop(struct store_memory *store, struct bytes lower, struct bytes upper)
{
    struct kv_gc_run *run = kv_gc_run_new(store->store.gc);
    struct memory_row *row = row_at_or_after(store, lower);
    while (row && (upper.bytes_count == 0 || bytes_compare(blob_bytes(row->key), upper) < 0)) {
        struct memory_row *next = RB_NEXT(memory_rows, &store->rows, row);
        struct blob *value = value_at(row, store->flushed_sequence);
        if (value && !RARE(COMPACTION_MISSES_ROW) &&
            kv_gc_run_drops(run, blob_bytes(row->key), blob_bytes(value))) {
            struct memory_version *version = version_at(row, store->flushed_sequence);
            while (version) {
                struct memory_version *older = LIST_NEXT(version, link);
                version_remove(version);
                version = older;
            }
            row_trim(store, row);
        }
        row = next;
    }
    kv_gc_run_free(run);
}

static int memory_flush(struct store *base)
{
    struct store_memory *store = of_store(base);
    lock(store);
    store->flushed_sequence = store->sequence;
    store->flushed_bytes = store->written_bytes;
    uint64_t epoch = kv_gc_epoch(store->store.gc);
    if (epoch != store->gc_epoch)
        rows_drop(store, bytes_of(NULL, 0), bytes_of(NULL, 0));
    store->gc_epoch = epoch;
    unlock(store);
    return OST_OK;
}

static int memory_compact(struct store *base, struct bytes lower, struct bytes upper)
{
    struct store_memory *store = of_store(base);
    lock(store);
    rows_drop(store, lower, upper);
    unlock(store);
    return OST_OK;
}

static uint64_t memory_approximate_bytes(struct store *base, struct bytes lower, struct bytes upper)
{
    struct store_memory *store = of_store(base);
    uint64_t bytes_count = 0;
    lock(store);
    struct memory_row *row = row_at_or_after(store, lower);
    for (; row && bytes_compare(blob_bytes(row->key), upper) < 0;
         row = RB_NEXT(memory_rows, &store->rows, row)) {
        struct blob *value = value_at(row, store->flushed_sequence);
        if (value)
            bytes_count += row->key->bytes_count + value->bytes_count;
    }
    unlock(store);
    return bytes_count;
}

static uint64_t memory_unflushed_bytes(const struct store *base)
{
    struct store_memory *store = of_store(base);
    lock(store);
    uint64_t bytes_count = store->written_bytes - store->flushed_bytes;
    unlock(store);
    return bytes_count;
}

static const struct store_ops memory_ops = {
    .close = memory_close,
    .get = memory_get,
    .first_version = memory_first_version,
    .snapshot_new = memory_snapshot_new,
    .snapshot_free = memory_snapshot_free,
    .iterator_new = memory_iterator_new,
    .iterator_free = memory_iterator_free,
    .iterator_first = memory_iterator_first,
    .iterator_last = memory_iterator_last,
    .iterator_seek = memory_iterator_seek,
    .iterator_seek_before = memory_iterator_seek_before,
    .iterator_next = memory_iterator_next,
    .iterator_previous = memory_iterator_previous,
    .iterator_valid = memory_iterator_valid,
    .iterator_status = memory_iterator_status,
    .iterator_key = memory_iterator_key,
    .iterator_value = memory_iterator_value,
    .batch_new = memory_batch_new,
    .batch_free = memory_batch_free,
    .batch_reset = memory_batch_reset,
    .batch_put = memory_batch_put,
    .batch_put_least = memory_batch_put_least,
    .batch_delete = memory_batch_delete,
    .batch_delete_range = memory_batch_delete_range,
    .batch_bytes = memory_batch_bytes,
    .write = memory_write,
    .flush = memory_flush,
    .compact = memory_compact,
    .unflushed_bytes = memory_unflushed_bytes,
    .approximate_bytes = memory_approximate_bytes,
};

struct store *store_new_memory(void)
{
    struct store_memory *store = memory_alloc_zeroed(1, sizeof(*store));
    store->store.ops = &memory_ops;
    store->store.gc = kv_gc_new();
    int failed = pthread_mutex_init(&store->mutex, NULL);
    ASSERT(!failed);
    RB_INIT(&store->rows);
    TAILQ_INIT(&store->snapshots);
    return &store->store;
}

void store_memory_hinder(struct store *base, bool is_stalled, bool is_cold)
{
    ASSERT(base->ops == &memory_ops);
    of_store(base)->is_stalled = is_stalled;
    of_store(base)->is_cold = is_cold;
}

void store_memory_crash(struct store *base)
{
    ASSERT(base->ops == &memory_ops);
    struct store_memory *store = of_store(base);
    lock(store);
    ASSERT(TAILQ_EMPTY(&store->snapshots));
    struct memory_row *row = RB_MIN(memory_rows, &store->rows);
    while (row) {
        struct memory_row *next = RB_NEXT(memory_rows, &store->rows, row);
        while (!LIST_EMPTY(&row->versions) &&
               LIST_FIRST(&row->versions)->sequence > store->flushed_sequence)
            version_remove(LIST_FIRST(&row->versions));
        row_trim(store, row);
        row = next;
    }
    store->written_bytes = store->flushed_bytes;
    unlock(store);
}

struct store *store_memory_after_crash(struct store *base)
{
    ASSERT(base->ops == &memory_ops);
    struct store_memory *store = of_store(base);
    struct store_memory *left = of_store(store_new_memory());
    lock(store);
    left->sequence = left->flushed_sequence = 1;
    struct memory_row *row;
    RB_FOREACH (row, memory_rows, &store->rows) {
        struct blob *value = value_at(row, store->flushed_sequence);
        if (value)
            key_write(left, row->key, value);
    }
    unlock(store);
    return &left->store;
}
