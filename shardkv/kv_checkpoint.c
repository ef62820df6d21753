/* kv_checkpoint.c: the rows from which a replica starts, and how they come to be (S1).
 *
 * Entries that are applied write versions and outcomes, and nothing else: open transactions, owned
 * ranges and the meta row with the applied index stay in memory. A checkpoint writes these in one
 * batch, before each flush and each snapshot. After a crash the replica starts from the last
 * checkpoint that reached the disk and applies the log again from its index. The store may by then
 * hold versions and outcomes of entries behind that index (a flush takes with it what was written
 * after the checkpoint, and RocksDB also flushes by itself), and that does no harm:
 *   - a version is keyed by its commit timestamp, so writing it again writes the same row;
 *   - an outcome names its entry and is hidden until that entry is applied again
 *     (kv_group_find_outcome), so every decision is made from the state of the first time;
 *   - nothing else that is applied looks at a row.
 * The log is cut only behind a checkpoint that was flushed. What this saves: a transaction that
 * lives for milliseconds costs no row but its versions and its outcome.
 */
#include "shardkv/kv_group.h"

#include "shardkv/kv_keys.h"

#include <stdlib.h>

/* --- Writing ---------------------------------------------------------------------------------- */

struct checkpoint_writer {
    struct kv_group *group;
    struct store_batch *batch;
    struct arena arena;
};

static void note_row(struct kv_checkpoint *checkpoint, struct txn_id txn, bool is_prepared,
                     bool is_record)
{
    if (checkpoint->rows_count == checkpoint->rows_capacity) {
        checkpoint->rows_capacity = checkpoint->rows_capacity ? 2 * checkpoint->rows_capacity : 16;
        checkpoint->rows = memory_realloc(checkpoint->rows,
                                          checkpoint->rows_capacity * sizeof(checkpoint->rows[0]));
    }
    checkpoint->rows[checkpoint->rows_count++] =
        (struct kv_checkpoint_row){.txn = txn, .is_prepared = is_prepared, .is_record = is_record};
}

/* What an earlier checkpoint wrote goes; what is still open is put back by the same batch. */
static void delete_row(struct checkpoint_writer *writer, const struct kv_checkpoint_row *row)
{
    struct kv_group *group = writer->group;
    struct buffer *key = &group->shared->key;
    if (row->is_prepared) {
        kv_key_prepared(key, group->id, group->meta.generation, row->txn);
        store_batch_delete(writer->batch, buffer_bytes(key));
    }
    if (row->is_record) {
        kv_key_open(key, group->id, group->meta.generation, row->txn);
        store_batch_delete(writer->batch, buffer_bytes(key));
    }
}

static void put_prepared(struct checkpoint_writer *writer, const struct txn_open *open)
{
    struct kv_group *group = writer->group;
    struct kv_shared *shared = group->shared;
    struct bytes message = blob_bytes(open->prepared_message);
    struct bytes write_set = blob_bytes(open->write_set);
    kv_key_prepared(&shared->key, group->id, group->meta.generation, open->txn);
    buffer_reset(&shared->value);
    buffer_append_u32_be(&shared->value, (uint32_t)message.bytes_count);
    buffer_append(&shared->value, message.data, message.bytes_count);
    buffer_append(&shared->value, write_set.data, write_set.bytes_count);
    store_batch_put(writer->batch, buffer_bytes(&shared->key), buffer_bytes(&shared->value));
}

static void put_open(void *context, struct txn_open *open)
{
    struct checkpoint_writer *writer = context;
    struct kv_group *group = writer->group;
    struct buffer *key = &group->shared->key;
    note_row(&group->checkpoint, open->txn, open->is_prepared, open->is_home);
    if (open->is_prepared)
        put_prepared(writer, open);
    if (!open->is_home)
        return;
    kv_key_open(key, group->id, group->meta.generation, open->txn);
    store_batch_put(writer->batch, buffer_bytes(key), txn_open_pack(open, &writer->arena));
}

void kv_checkpoint_touch_range(struct kv_group *group, struct blob *start)
{
    struct kv_checkpoint *checkpoint = &group->checkpoint;
    if (checkpoint->touched_count == checkpoint->touched_capacity) {
        checkpoint->touched_capacity =
            checkpoint->touched_capacity ? 2 * checkpoint->touched_capacity : 16;
        checkpoint->touched_ranges =
            memory_realloc(checkpoint->touched_ranges,
                           checkpoint->touched_capacity * sizeof(checkpoint->touched_ranges[0]));
    }
    checkpoint->touched_ranges[checkpoint->touched_count++] = blob_ref(start);
}

static void forget_touched(struct kv_checkpoint *checkpoint, size_t count)
{
    for (size_t index = 0; index < count; index++)
        blob_unref(checkpoint->touched_ranges[index]);
    checkpoint->touched_count -= count;
    if (checkpoint->touched_count > 0)
        memmove(checkpoint->touched_ranges, checkpoint->touched_ranges + count,
                checkpoint->touched_count * sizeof(checkpoint->touched_ranges[0]));
}

void kv_checkpoint_fini(struct kv_checkpoint *checkpoint)
{
    forget_touched(checkpoint, checkpoint->touched_count);
    free(checkpoint->touched_ranges);
    free(checkpoint->rows);
}

/* A group may have thousands of ranges: only the rows of those that have changed since the last
 * checkpoint are written. */
static void put_range(struct checkpoint_writer *writer, struct bytes start)
{
    struct kv_group *group = writer->group;
    struct kv_shared *shared = group->shared;
    const struct kv_range *range = kv_ranges_at(&group->ranges, start);
    kv_key_range(&shared->key, group->id, group->meta.generation, start);
    if (!range) {
        store_batch_delete(writer->batch, buffer_bytes(&shared->key));
        return;
    }
    Ostraka__RangeRow row = OSTRAKA__RANGE_ROW__INIT;
    row.end = field_of_bytes(blob_bytes(range->end));
    row.epoch = range->epoch;
    row.state = (Ostraka__RangeState)range->state;
    row.change = range->change;
    row.from_group = range->from_group;
    if (range->luggage)
        row.luggage = field_of_bytes(blob_bytes(range->luggage));
    buffer_reset(&shared->value);
    size_t row_bytes = ostraka__range_row__get_packed_size(&row);
    ostraka__range_row__pack(&row, buffer_extend(&shared->value, row_bytes));
    store_batch_put(writer->batch, buffer_bytes(&shared->key), buffer_bytes(&shared->value));
}

static void put_ranges(struct checkpoint_writer *writer)
{
    struct kv_checkpoint *checkpoint = &writer->group->checkpoint;
    checkpoint->touched_count_before = checkpoint->touched_count;
    for (size_t index = 0; index < checkpoint->touched_count; index++)
        put_range(writer, blob_bytes(checkpoint->touched_ranges[index]));
}

static void put_meta(struct checkpoint_writer *writer)
{
    struct kv_group *group = writer->group;
    struct kv_shared *shared = group->shared;
    kv_meta_pack(&group->meta, group->replica, &shared->value);
    kv_key_group_meta(&shared->key, group->id);
    store_batch_put(writer->batch, buffer_bytes(&shared->key), buffer_bytes(&shared->value));
}

bool kv_checkpoint_is_possible(const struct kv_group *group)
{
    /* A restore owns the meta row; a slice that waits for the store has changed the memory alone.
     */
    return !group->is_restoring && !group->slice.is_built;
}

void kv_checkpoint_put(struct kv_group *group, struct store_batch *batch)
{
    struct checkpoint_writer writer = {.group = group, .batch = batch};
    struct kv_checkpoint *checkpoint = &group->checkpoint;
    arena_init(&writer.arena);
    checkpoint->rows_count_before = checkpoint->rows_count;
    for (size_t index = 0; index < checkpoint->rows_count_before; index++)
        delete_row(&writer, &checkpoint->rows[index]);
    txn_records_each(group->records, put_open, &writer);
    put_ranges(&writer);
    put_meta(&writer);
    arena_fini(&writer.arena);
}

void kv_checkpoint_written(struct kv_group *group)
{
    struct kv_checkpoint *checkpoint = &group->checkpoint;
    forget_touched(checkpoint, checkpoint->touched_count_before);
    checkpoint->touched_count_before = 0;
    if (checkpoint->rows_count_before == 0)
        return;
    checkpoint->rows_count -= checkpoint->rows_count_before;
    if (checkpoint->rows_count > 0)
        memmove(checkpoint->rows, checkpoint->rows + checkpoint->rows_count_before,
                checkpoint->rows_count * sizeof(checkpoint->rows[0]));
    checkpoint->rows_count_before = 0;
}

int kv_checkpoint_write(struct kv_group *group)
{
    if (!kv_checkpoint_is_possible(group))
        return OST_BUSY;
    struct store_batch *batch = store_batch_new(group->shared->environment.store);
    kv_checkpoint_put(group, batch);
    int status = kv_group_write(group, batch);
    /* Not written: the rows of both stay noted, and deleting one that is not there is harmless. */
    if (status == OST_OK)
        kv_checkpoint_written(group);
    store_batch_free(batch);
    return status;
}

/* --- Loading -----------------------------------------------------------------------------------
 */

static bool range_row_is_sound(const struct kv_group *group, struct bytes start,
                               const Ostraka__RangeRow *row, struct arena *arena)
{
    if (row->state < OSTRAKA__RANGE_STATE__RANGE_OWNED ||
        row->state > OSTRAKA__RANGE_STATE__RANGE_COPIED ||
        kv_ranges_overlap(&group->ranges, start, bytes_of_field(row->end)))
        return false;
    return row->state != OSTRAKA__RANGE_STATE__RANGE_COPIED ||
           message_unpack(&ostraka__range_luggage__descriptor, bytes_of_field(row->luggage), arena);
}

static int load_range(struct kv_group *group, struct bytes start, struct bytes row)
{
    struct arena arena;
    arena_init(&arena);
    int status = OST_CORRUPT;
    Ostraka__RangeRow *loaded =
        (Ostraka__RangeRow *)message_unpack(&ostraka__range_row__descriptor, row, &arena);
    if (loaded && range_row_is_sound(group, start, loaded, &arena)) {
        struct kv_range *range = kv_ranges_add(&group->ranges, start, bytes_of_field(loaded->end),
                                               loaded->epoch, (enum kv_range_state)loaded->state);
        range->change = loaded->change;
        range->from_group = loaded->from_group;
        if (range->state == KV_RANGE_COPIED)
            range->luggage = blob_copy(bytes_of_field(loaded->luggage));
        status = OST_OK;
    }
    arena_fini(&arena);
    return status;
}

/* Prepared parts and records are keyed by their transaction. */
static int note_loaded(struct kv_group *group, struct bytes rest, bool is_prepared, int status)
{
    struct reader reader = reader_of(rest);
    struct txn_id txn;
    if (!reader_u64_be(&reader, &txn.client) || !reader_u64_be(&reader, &txn.sequence) ||
        reader.bytes_left > 0)
        return OST_CORRUPT;
    if (status == OST_OK)
        note_row(&group->checkpoint, txn, is_prepared, !is_prepared);
    return status;
}

static int load_prepared(struct kv_group *group, struct bytes rest, struct bytes row)
{
    struct reader reader = reader_of(row);
    uint32_t message_bytes;
    struct bytes message;
    if (!reader_u32_be(&reader, &message_bytes) || !reader_bytes(&reader, message_bytes, &message))
        return OST_CORRUPT;
    int status = txn_records_load_prepared(group->records, message,
                                           bytes_of(reader.data, reader.bytes_left));
    return note_loaded(group, rest, true, status);
}

static int load_open(struct kv_group *group, struct bytes rest, struct bytes row)
{
    return note_loaded(group, rest, false, txn_records_load_open(group->records, row));
}

static int load_kind(struct kv_group *group, uint8_t kind,
                     int (*load)(struct kv_group *group, struct bytes rest, struct bytes row))
{
    struct buffer lower = BUFFER_INIT;
    struct buffer upper = BUFFER_INIT;
    kv_key_kind(&lower, group->id, group->meta.generation, kind);
    kv_key_kind(&upper, group->id, group->meta.generation, (uint8_t)(kind + 1));
    struct store_iterator *iterator =
        store_iterator_new(group->shared->environment.store, NULL, buffer_bytes(&lower),
                           buffer_bytes(&upper), STORE_MAY_BLOCK);
    int status = OST_OK;
    for (store_iterator_first(iterator); status == OST_OK && store_iterator_valid(iterator);
         store_iterator_next(iterator)) {
        struct kv_row_key parts;
        if (!kv_key_parse(store_iterator_key(iterator), &parts)) {
            status = OST_CORRUPT;
            break;
        }
        status = load(group, parts.rest, store_iterator_value(iterator));
        if (status != OST_OK)
            break;
    }
    if (status == OST_OK && store_iterator_status(iterator) != OST_NOT_FOUND)
        status = store_iterator_status(iterator);
    store_iterator_free(iterator);
    buffer_fini(&lower);
    buffer_fini(&upper);
    return status;
}

int kv_group_load(struct kv_group *group)
{
    struct kv_shared *shared = group->shared;
    ASSERT(!group->is_leading);
    kv_slice_drop(group);
    kv_ranges_fini(&group->ranges);
    txn_records_clear(group->records);
    group->checkpoint.rows_count = 0;
    forget_touched(&group->checkpoint, group->checkpoint.touched_count);
    kv_key_group_meta(&shared->key, group->id);
    int status = store_get(shared->environment.store, buffer_bytes(&shared->key), STORE_MAY_BLOCK,
                           &shared->value);
    if (status != OST_OK)
        return status;
    status = kv_meta_unpack(buffer_bytes(&shared->value), &group->meta, &group->replica);
    if (status != OST_OK)
        return status;
    if (group->generation_last < group->meta.generation)
        group->generation_last = group->meta.generation;
    group->garbage_from = 0; /* nobody knows */
    status = load_kind(group, KV_ROW_RANGE, load_range);
    /* The order that record.h asks for: the prepared part has more to say. */
    if (status == OST_OK)
        status = load_kind(group, KV_ROW_PREPARED, load_prepared);
    if (status == OST_OK)
        status = load_kind(group, KV_ROW_OPEN, load_open);
    return status;
}
