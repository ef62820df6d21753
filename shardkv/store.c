#include "shardkv/store_ops.h"

#include "shardkv/kv_keys.h"

void store_options_default(struct store_options *out_options)
{
    *out_options = (struct store_options){
        .block_cache_bytes = 32u << 20,
        .write_buffer_bytes = 64u << 20,
    };
}

void store_close(struct store *store)
{
    if (store)
        store->ops->close(store);
}

int store_get(struct store *store, struct bytes key, enum store_mode mode, struct buffer *out_value)
{
    return store->ops->get(store, key, mode, out_value);
}

int store_first_version(struct store *store, struct bytes from, enum store_mode mode,
                        struct buffer *out_key, struct buffer *out_value)
{
    ASSERT(mode != STORE_FLUSHED && from.bytes_count > KV_TIMESTAMP_BYTES);
    return store->ops->first_version(store, from, mode, out_key, out_value);
}

struct store_snapshot *store_snapshot_new(struct store *store)
{
    return store->ops->snapshot_new(store);
}

void store_snapshot_free(struct store *store, struct store_snapshot *snapshot)
{
    if (snapshot)
        store->ops->snapshot_free(store, snapshot);
}

struct store_iterator *store_iterator_new(struct store *store,
                                          const struct store_snapshot *snapshot, struct bytes lower,
                                          struct bytes upper, enum store_mode mode)
{
    ASSERT(mode != STORE_FLUSHED);
    return store->ops->iterator_new(store, snapshot, lower, upper, mode);
}

void store_iterator_free(struct store_iterator *iterator)
{
    if (iterator)
        iterator->ops->iterator_free(iterator);
}

void store_iterator_first(struct store_iterator *iterator)
{
    iterator->ops->iterator_first(iterator);
}

void store_iterator_last(struct store_iterator *iterator)
{
    iterator->ops->iterator_last(iterator);
}

void store_iterator_seek(struct store_iterator *iterator, struct bytes key)
{
    iterator->ops->iterator_seek(iterator, key);
}

void store_iterator_seek_before(struct store_iterator *iterator, struct bytes key)
{
    iterator->ops->iterator_seek_before(iterator, key);
}

void store_iterator_next(struct store_iterator *iterator)
{
    ASSERT(store_iterator_valid(iterator));
    iterator->ops->iterator_next(iterator);
}

void store_iterator_previous(struct store_iterator *iterator)
{
    ASSERT(store_iterator_valid(iterator));
    iterator->ops->iterator_previous(iterator);
}

bool store_iterator_valid(const struct store_iterator *iterator)
{
    return iterator->ops->iterator_valid(iterator);
}

int store_iterator_status(const struct store_iterator *iterator)
{
    return iterator->ops->iterator_status(iterator);
}

struct bytes store_iterator_key(const struct store_iterator *iterator)
{
    return iterator->ops->iterator_key(iterator);
}

struct bytes store_iterator_value(const struct store_iterator *iterator)
{
    return iterator->ops->iterator_value(iterator);
}

struct store_batch *store_batch_new(struct store *store)
{
    return store->ops->batch_new(store);
}

void store_batch_free(struct store_batch *batch)
{
    if (batch)
        batch->ops->batch_free(batch);
}

void store_batch_reset(struct store_batch *batch)
{
    batch->ops->batch_reset(batch);
}

void store_batch_put(struct store_batch *batch, struct bytes key, struct bytes value)
{
    batch->ops->batch_put(batch, key, value);
}

void store_batch_put_least(struct store_batch *batch, struct bytes key, struct bytes value)
{
    batch->ops->batch_put_least(batch, key, value);
}

void store_batch_delete(struct store_batch *batch, struct bytes key)
{
    batch->ops->batch_delete(batch, key);
}

void store_batch_delete_range(struct store_batch *batch, struct bytes lower, struct bytes upper)
{
    ASSERT(bytes_compare(lower, upper) <= 0);
    batch->ops->batch_delete_range(batch, lower, upper);
}

size_t store_batch_bytes(const struct store_batch *batch)
{
    return batch->ops->batch_bytes(batch);
}

int store_write(struct store *store, struct store_batch *batch)
{
    ASSERT(store->ops == batch->ops);
    return store->ops->write(store, batch);
}

int store_flush(struct store *store)
{
    return store->ops->flush(store);
}

int store_compact(struct store *store, struct bytes lower, struct bytes upper)
{
    return store->ops->compact(store, lower, upper);
}

struct kv_gc *store_gc(struct store *store)
{
    return store->gc;
}

uint64_t store_unflushed_bytes(const struct store *store)
{
    return store->ops->unflushed_bytes(store);
}

uint64_t store_approximate_bytes(struct store *store, struct bytes lower, struct bytes upper)
{
    return store->ops->approximate_bytes(store, lower, upper);
}
