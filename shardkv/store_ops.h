/* store_ops.h: what an implementation of store.h provides. Each object begins with its operations
 * or its store; store.c forwards. */
#pragma once

#include "shardkv/kv_gc.h"
#include "shardkv/store.h"

struct store_ops {
    void (*close)(struct store *store);
    int (*get)(struct store *store, struct bytes key, enum store_mode mode,
               struct buffer *out_value);
    int (*first_version)(struct store *store, struct bytes from, enum store_mode mode,
                         struct buffer *out_key, struct buffer *out_value);
    struct store_snapshot *(*snapshot_new)(struct store *store);
    void (*snapshot_free)(struct store *store, struct store_snapshot *snapshot);
    struct store_iterator *(*iterator_new)(struct store *store,
                                           const struct store_snapshot *snapshot,
                                           struct bytes lower, struct bytes upper,
                                           enum store_mode mode);
    void (*iterator_free)(struct store_iterator *iterator);
    void (*iterator_first)(struct store_iterator *iterator);
    void (*iterator_last)(struct store_iterator *iterator);
    void (*iterator_seek)(struct store_iterator *iterator, struct bytes key);
    void (*iterator_seek_before)(struct store_iterator *iterator, struct bytes key);
    void (*iterator_next)(struct store_iterator *iterator);
    void (*iterator_previous)(struct store_iterator *iterator);
    bool (*iterator_valid)(const struct store_iterator *iterator);
    int (*iterator_status)(const struct store_iterator *iterator);
    struct bytes (*iterator_key)(const struct store_iterator *iterator);
    struct bytes (*iterator_value)(const struct store_iterator *iterator);
    struct store_batch *(*batch_new)(struct store *store);
    void (*batch_free)(struct store_batch *batch);
    void (*batch_reset)(struct store_batch *batch);
    void (*batch_put)(struct store_batch *batch, struct bytes key, struct bytes value);
    void (*batch_put_least)(struct store_batch *batch, struct bytes key, struct bytes value);
    void (*batch_delete)(struct store_batch *batch, struct bytes key);
    void (*batch_delete_range)(struct store_batch *batch, struct bytes lower, struct bytes upper);
    size_t (*batch_bytes)(const struct store_batch *batch);
    int (*write)(struct store *store, struct store_batch *batch);
    int (*flush)(struct store *store);
    int (*compact)(struct store *store, struct bytes lower, struct bytes upper);
    uint64_t (*unflushed_bytes)(const struct store *store);
    uint64_t (*approximate_bytes)(struct store *store, struct bytes lower, struct bytes upper);
};

struct store {
    const struct store_ops *ops;
    struct kv_gc *gc; /* freed when nothing of the store reads it any more */
};
struct store_iterator {
    const struct store_ops *ops;
};
struct store_batch {
    const struct store_ops *ops;
};
