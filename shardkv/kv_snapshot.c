/* kv_snapshot.c: a group's rows to another replica, and from one (S2).
 *
 * A chunk is a run of rows (kv_rows.h). The first one has an empty key and carries the sender's
 * GroupMeta: what a Raft snapshot's meta does not say.
 *
 * A restore writes under a new generation, which nothing shows until restore_finish has flushed it
 * and then the meta row that names it. What is left of any other generation is deleted when the
 * store is loaded.
 */
#include "shardkv/kv_group.h"

#include "base/log.h"
#include "base/sometimes.h"
#include "shardkv/kv_keys.h"
#include "shardkv/kv_rows.h"

#include <stdlib.h>

#define RESTORE_BATCH_BYTES_MAX (1u << 20)
/* A stalled store is helped by a flush, and then has room again; if not, the restore fails. */
#define RESTORE_TRIES_MAX 8u

void kv_group_rows_delete(struct store_batch *batch, group_id_t group)
{
    struct buffer lower = BUFFER_INIT;
    struct buffer upper = BUFFER_INIT;
    kv_key_group_meta(&lower, group);
    store_batch_delete(batch, buffer_bytes(&lower));
    kv_key_generation(&lower, group, 0);
    kv_key_generation(&upper, group + 1, 0);
    store_batch_delete_range(batch, buffer_bytes(&lower), buffer_bytes(&upper));
    buffer_fini(&lower);
    buffer_fini(&upper);
}

void kv_generation_delete(struct store_batch *batch, group_id_t group, uint32_t generation)
{
    struct buffer lower = BUFFER_INIT;
    struct buffer upper = BUFFER_INIT;
    kv_key_generation(&lower, group, generation);
    kv_key_generation(&upper, group, generation + 1);
    store_batch_delete_range(batch, buffer_bytes(&lower), buffer_bytes(&upper));
    buffer_fini(&lower);
    buffer_fini(&upper);
}

/* --- Sending -----------------------------------------------------------------------------------
 */

struct kv_snapshot {
    struct kv_group *group;
    struct store *store;
    struct store_snapshot *snapshot;
    struct store_iterator *iterator; /* made by the first read, on the pool */
    struct buffer lower, upper;
    struct buffer meta; /* GroupMeta; empty once it is sent */
};

int kv_snapshot_open(void *machine, struct raft_snapshot_meta *out_meta, void **out_snapshot)
{
    struct kv_group *group = machine;
    /* What is open is in memory: only a checkpoint puts it beside the rows of the same moment. */
    int status = kv_checkpoint_write(group);
    if (status != OST_OK)
        return status;
    struct kv_snapshot *snapshot = memory_alloc_zeroed(1, sizeof(*snapshot));
    snapshot->group = group;
    kv_group_snapshot_opened(group);
    snapshot->store = group->shared->environment.store;
    snapshot->snapshot = store_snapshot_new(snapshot->store);
    kv_key_generation(&snapshot->lower, group->id, group->meta.generation);
    kv_key_generation(&snapshot->upper, group->id, group->meta.generation + 1);
    kv_meta_pack(&group->meta, group->replica, &snapshot->meta);
    kv_meta_to_raft(&group->meta, out_meta);
    *out_snapshot = snapshot;
    return OST_OK;
}

int kv_snapshot_read(void *opaque, struct buffer *chunk, size_t bytes_max, bool *out_last)
{
    struct kv_snapshot *snapshot = opaque;
    size_t bytes_before = chunk->bytes_count;
    *out_last = false;
    if (!snapshot->iterator) {
        snapshot->iterator =
            store_iterator_new(snapshot->store, snapshot->snapshot, buffer_bytes(&snapshot->lower),
                               buffer_bytes(&snapshot->upper), STORE_MAY_BLOCK);
        store_iterator_first(snapshot->iterator);
    }
    if (snapshot->meta.bytes_count > 0) {
        kv_row_append(chunk, bytes_of(NULL, 0), buffer_bytes(&snapshot->meta));
        buffer_reset(&snapshot->meta);
    }
    struct store_iterator *iterator = snapshot->iterator;
    while (store_iterator_valid(iterator) && chunk->bytes_count - bytes_before < bytes_max) {
        kv_row_append(chunk, kv_key_tail(store_iterator_key(iterator)),
                      store_iterator_value(iterator));
        store_iterator_next(iterator);
    }
    if (store_iterator_valid(iterator))
        return OST_OK;
    int status = store_iterator_status(iterator);
    *out_last = status == OST_NOT_FOUND;
    return *out_last ? OST_OK : status;
}

void kv_snapshot_close(void *opaque)
{
    struct kv_snapshot *snapshot = opaque;
    store_iterator_free(snapshot->iterator);
    store_snapshot_free(snapshot->store, snapshot->snapshot);
    kv_group_snapshot_closed(snapshot->group);
    buffer_fini(&snapshot->lower);
    buffer_fini(&snapshot->upper);
    buffer_fini(&snapshot->meta);
    free(snapshot);
}

/* --- Receiving ---------------------------------------------------------------------------------
 */

struct kv_restore {
    struct store *store;
    group_id_t group;
    replica_id_t replica;
    uint32_t generation;
    uint64_t group_epoch;
    raft_index_t index; /* what the leader's Raft says that this is */
    raft_term_t term;
    raft_index_t configuration_index;
    struct blob *configuration;
    struct kv_meta meta; /* what the first row says */
    bool has_meta;
    bool is_finished;
    struct store_batch *batch;
    struct buffer key;
};

int kv_restore_open(void *machine, const struct raft_snapshot_meta *meta, void **out_restore)
{
    struct kv_group *group = machine;
    /* A slice that waits for the store would be forgotten, and its memory not. */
    if (group->is_restoring || group->is_leading || group->slice.is_built)
        return OST_CONFLICT;
    struct kv_restore *restore = memory_alloc_zeroed(1, sizeof(*restore));
    restore->store = group->shared->environment.store;
    restore->group = group->id;
    restore->replica = group->replica;
    restore->group_epoch = group->meta.group_epoch;
    restore->generation = ++group->generation_last;
    restore->index = meta->index;
    restore->term = meta->term;
    restore->configuration_index = meta->configuration_index;
    restore->configuration = raft_configuration_pack(&meta->configuration);
    restore->batch = store_batch_new(restore->store);
    /* From here until the close nothing else writes this group's meta row. */
    group->is_restoring = true;
    *out_restore = restore;
    return OST_OK;
}

static int restore_batch_write(struct kv_restore *restore)
{
    int status = OST_BUSY;
    for (uint32_t tries = 0; status == OST_BUSY && tries < RESTORE_TRIES_MAX; tries++) {
        status = store_write(restore->store, restore->batch);
        if (status == OST_BUSY) {
            int flush_status = store_flush(restore->store);
            if (flush_status != OST_OK)
                return flush_status;
        }
    }
    if (status == OST_OK)
        store_batch_reset(restore->batch);
    return status;
}

static int restore_take_meta(struct kv_restore *restore, struct bytes row)
{
    replica_id_t sender;
    int status = restore->has_meta ? OST_CORRUPT : kv_meta_unpack(row, &restore->meta, &sender);
    if (status != OST_OK)
        return status;
    if (restore->meta.applied_index != restore->index ||
        restore->meta.applied_term != restore->term)
        return OST_CORRUPT;
    restore->has_meta = true;
    return OST_OK;
}

int kv_restore_write(void *opaque, struct bytes chunk)
{
    struct kv_restore *restore = opaque;
    struct reader reader = reader_of(chunk);
    while (reader.bytes_left > 0) {
        struct kv_row row;
        int status = OST_OK;
        if (!kv_row_next(&reader, &row))
            return OST_CORRUPT;
        if (row.key.bytes_count == 0) {
            status = restore_take_meta(restore, row.value);
        } else {
            kv_key_generation(&restore->key, restore->group, restore->generation);
            buffer_append(&restore->key, row.key.data, row.key.bytes_count);
            store_batch_put(restore->batch, buffer_bytes(&restore->key), row.value);
            if (store_batch_bytes(restore->batch) >= RESTORE_BATCH_BYTES_MAX ||
                RARE(RESTORE_ONE_ROW))
                status = restore_batch_write(restore);
        }
        if (status != OST_OK)
            return status;
    }
    return OST_OK;
}

int kv_restore_finish(void *opaque)
{
    struct kv_restore *restore = opaque;
    if (!restore->has_meta)
        return OST_CORRUPT;
    /* All of its rows first, durable; then the row that makes them the group's. */
    int status = restore_batch_write(restore);
    if (status == OST_OK)
        status = store_flush(restore->store);
    if (status != OST_OK)
        return status;
    struct kv_meta *meta = &restore->meta;
    meta->generation = restore->generation;
    if (meta->group_epoch < restore->group_epoch)
        meta->group_epoch = restore->group_epoch;
    meta->configuration_index = restore->configuration_index;
    blob_unref(meta->configuration);
    meta->configuration = blob_ref(restore->configuration);
    struct buffer row = BUFFER_INIT;
    kv_meta_pack(meta, restore->replica, &row);
    kv_key_group_meta(&restore->key, restore->group);
    store_batch_put(restore->batch, buffer_bytes(&restore->key), buffer_bytes(&row));
    buffer_fini(&row);
    status = restore_batch_write(restore);
    if (status == OST_OK)
        status = store_flush(restore->store);
    restore->is_finished = status == OST_OK;
    return status;
}

/* The rows of a generation go. `is_undone`: the restore's meta row is in the store and must give
 * way to the group's own, in the same batch. Not tried twice: what stays is deleted at the next
 * start, and the next checkpoint writes the meta row again. */
static void generation_drop(struct kv_group *group, uint32_t generation, bool is_undone)
{
    struct store_batch *batch = store_batch_new(group->shared->environment.store);
    kv_generation_delete(batch, group->id, generation);
    if (is_undone) {
        COVER(RESTORE_UNDONE);
        kv_checkpoint_put(group, batch);
    }
    int status = kv_group_write(group, batch);
    if (status != OST_OK)
        log_write(LOG_WARN, "rows of an old generation stay until the next start",
                  "group=%lu generation=%u", group->id, generation);
    else if (is_undone)
        kv_checkpoint_written(group);
    store_batch_free(batch);
}

static void restore_adopt(struct kv_group *group)
{
    uint32_t generation_before = group->meta.generation;
    int status = kv_group_load(group);
    if (status != OST_OK) {
        kv_fatal(group->shared, "cannot load the snapshot of group %lu: %s", group->id,
                 ost_status_text(status));
        return;
    }
    group->flushed_index = group->meta.applied_index;
    kv_group_point_flushed(group,
                           &(struct kv_gc_point){group->meta.generation, group->meta.safe_point,
                                                 group->meta.log_timestamp});
    generation_drop(group, generation_before, false);
}

void kv_restore_close(void *machine, void *opaque, bool adopt)
{
    struct kv_group *group = machine;
    struct kv_restore *restore = opaque;
    ASSERT(restore->is_finished || !adopt);
    if (adopt)
        restore_adopt(group);
    else
        generation_drop(group, restore->generation, restore->is_finished);
    group->is_restoring = false;
    if (adopt)
        kv_closed_applied(group);
    store_batch_free(restore->batch);
    blob_unref(restore->configuration);
    kv_meta_fini(&restore->meta);
    buffer_fini(&restore->key);
    free(restore);
}
